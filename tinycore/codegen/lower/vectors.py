"""Loops that lowering itself writes, as plain trees.

Comes in: an extent and what to do at an index. Goes out: statements. copies.py, combine.py,
join.py and expand.py use these for tiles, whole buffers and fills.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tinycore.uop.index import Index, axis
from tinycore.uop.ops import UOp
from tinycore.uop.tree import loop

MAX_UNROLLED = 4
Named = tuple[str, Index, str]  # the name of a loop's axis, its extent, its map


def along_lanes(
    name: str, extent: Index, lanes: int, body: Callable[[Index], list[UOp]]
) -> list[UOp]:
    """`body` for every index below `extent`, `lanes` at once; what is left over follows."""
    if extent.terms or lanes == 1:
        return [loop("par", name, extent, body(axis(name, extent)))]
    whole, rest = divmod(extent.const, lanes)
    found = []
    if whole:
        lane = axis(f"{name}.1", lanes)
        first = axis(f"{name}.0", whole) * lanes
        inner = loop("par", f"{name}.1", lanes, body(first + lane), "vec")
        run = "unroll" if whole <= MAX_UNROLLED else ""
        found.append(loop("par", f"{name}.0", whole, [inner], run))
    if rest:
        lane = axis(f"{name}'", rest)
        last = body(lane + whole * lanes)
        found.append(loop("par", f"{name}'", rest, last, "vec"))
    return found


def nested(loops: Iterable[Named], body: Sequence[UOp]) -> list[UOp]:
    """Parallel loops, the first outermost, around `body`."""
    found = list(body)
    for name, extent, run in reversed(list(loops)):
        found = [loop("par", name, extent, found, run)]
    return found
