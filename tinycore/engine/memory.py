"""The memory plan: which temporaries of one run may share memory.

Comes in: for each temporary its size and the first and last step that touch it. Goes out: a place
in a few reused regions. plan.py asks; buffers are made by realize.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tinycore.util import round_up

_ALIGNMENT = 256


class Lifetime(NamedTuple):
    """A temporary that is written first at step `first` and read last at step `last`.

    Units: `size_bytes` in bytes.
    """

    size_bytes: int
    first: int
    last: int


class MemoryPlan(NamedTuple):
    """The region of each temporary, in the order asked, and the size of each region in bytes."""

    region_of: tuple[int, ...]
    region_bytes: tuple[int, ...]


def plan_memory(lifetimes: Sequence[Lifetime]) -> MemoryPlan:
    """Regions such that temporaries alive at one step never share one.

    Best fit in order of first use: the smallest free region that is large enough, else the largest
    free one grown, else a new one.
    """
    region_bytes: list[int] = []
    busy_until: list[int] = []
    region_of = [0] * len(lifetimes)
    for number in sorted(range(len(lifetimes)), key=lambda k: lifetimes[k].first):
        size_bytes, first, last = lifetimes[number]
        size_bytes = round_up(max(size_bytes, 1), _ALIGNMENT)
        free = [k for k, until in enumerate(busy_until) if until < first]
        if not free:
            free = [len(region_bytes)]
            region_bytes.append(0)
            busy_until.append(0)
        fits = [k for k in free if region_bytes[k] >= size_bytes]
        best = min(fits, key=region_bytes.__getitem__, default=None)
        chosen = max(free, key=region_bytes.__getitem__) if best is None else best
        region_bytes[chosen] = max(region_bytes[chosen], size_bytes)
        busy_until[chosen] = last
        region_of[number] = chosen
    return MemoryPlan(tuple(region_of), tuple(region_bytes))
