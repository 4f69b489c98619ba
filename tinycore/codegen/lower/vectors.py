"""Loops that lowering itself writes: over lanes and the rest, as plain trees.

Comes in: an extent and what to do at an index. Goes out: statements. copies.py, combine.py and
expand.py use them for tiles, whole buffers and fills.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tinycore.uop.index import Index, as_index, axis
from tinycore.uop.ops import UOp
from tinycore.uop.tree import loop

Body = Callable[[Index], list[UOp]]


def along_lanes(name: str, extent: Index, lanes: int, body: Body) -> list[UOp]:
    """`body` for every index below `extent`, `lanes` at once; what is left over follows."""
    if extent.terms or lanes == 1:
        return [loop("par", name, extent, body(axis(name, extent)))]
    whole, rest = divmod(extent.const, lanes)
    found = []
    if whole:
        outer, lane = axis(f"{name}.0", whole), axis(f"{name}.1", lanes)
        inner = loop("par", f"{name}.1", lanes, body(outer * lanes + lane), "vec")
        found.append(loop("par", f"{name}.0", whole, [inner]))
    if rest:
        lane = axis(f"{name}'", rest)
        found.append(loop("par", f"{name}'", rest, body(lane + whole * lanes), "vec"))
    return found


def nested(names: Iterable[tuple[str, Index, str]], body: list[UOp]) -> list[UOp]:
    """Parallel loops of (name, extent, map), the first outermost, around `body`."""
    for name, extent, kind in reversed(list(names)):
        body = [loop("par", name, as_index(extent), body, kind)]
    return body
