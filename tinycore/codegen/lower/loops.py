"""Loops that lowering itself writes, over every place of a tile or a buffer.

Comes in: a shape and what to do at a place. Goes out: statements. copies.py, combine.py and
expand.py use these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinycore.uop.index import Index, axis
from tinycore.uop.ops import UOp
from tinycore.uop.tree import loop

MAX_UNROLLED = 4
Place = tuple[Index, ...]


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
