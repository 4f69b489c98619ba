"""Statements that lowering itself writes or replaces, as plain trees.

Comes in: statements and what to do with each, or a shape and what to do at a place. Goes out:
statements. The passes use these for tiles, whole buffers, fills and joins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tinycore.uop.index import Index, axis
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import loop

MAX_UNROLLED = 4
SCOPES = frozenset({Ops.LOOP, Ops.IF, Ops.BLOCK})
"""Statements that hold others."""

Place = tuple[Index, ...]


def changed(statements: Iterable[UOp], change: Callable[[UOp], Sequence[UOp]]) -> tuple[UOp, ...]:
    """Statements, innermost first, each replaced by what `change` makes of it."""
    found: list[UOp] = []
    for statement in statements:
        if statement.op in SCOPES:
            body = changed(statement.src, change)
            statement = statement.replace(src=body)
        found += change(statement)
    return tuple(found)


def everywhere(
    name: str,
    shape: Sequence[Index],
    at: Callable[[Place], list[UOp]],
    lanes: int = 1,
    runs: Sequence[str] = (),
) -> list[UOp]:
    """`at` for every place of a shape, its last dimension `lanes` at once; what is left over
    follows. `runs` says how each other loop runs."""
    axes = [(f"{name}.{k}", extent) for k, extent in enumerate(shape)]
    place = tuple([axis(*each) for each in axes])
    if lanes == 1 or not axes or shape[-1].terms:
        body = at(place)
    else:
        body = _along_lanes(*axes.pop(), lanes, lambda last: at((*place[:-1], last)))
    for k, (each, extent) in reversed(list(enumerate(axes))):
        body = [loop("par", each, extent, body, runs[k] if runs else "")]
    return body


def _along_lanes(
    name: str, extent: Index, lanes: int, at: Callable[[Index], list[UOp]]
) -> list[UOp]:
    whole, rest = divmod(extent.const, lanes)
    found = []
    if whole:
        index = axis(f"{name}.0", whole) * lanes + axis(f"{name}.1", lanes)
        inner = loop("par", f"{name}.1", lanes, at(index), "vec")
        run = "unroll" if whole <= MAX_UNROLLED else ""
        found.append(loop("par", f"{name}.0", whole, [inner], run))
    if rest:
        last = at(axis(f"{name}'", rest) + whole * lanes)
        found.append(loop("par", f"{name}'", rest, last, "vec"))
    return found
