"""The memory plan: which temporaries of one run may share memory.

Comes in: for each temporary its size and the first and last step that touch it. Goes out: a place
in a few reused regions. plan.py asks; buffers are made by realize.py.
"""

from __future__ import annotations

from typing import NamedTuple

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


def plan_memory(lifetimes: list[Lifetime]) -> MemoryPlan:
    """Regions such that temporaries alive at one step never share one.

    Best fit in order of first use: the smallest free region that is large enough, else the largest
    free one grown, else a new one.
    """
    region_bytes: list[int] = []
    busy_until: list[int] = []
    region_of = [0] * len(lifetimes)
    for number in sorted(range(len(lifetimes)), key=lambda k: lifetimes[k].first):
        need = lifetimes[number]
        size = -(-max(need.size_bytes, 1) // _ALIGNMENT) * _ALIGNMENT
        free = [k for k, until in enumerate(busy_until) if until < need.first]
        chosen = _best_fit(free, region_bytes, size)
        if chosen is None:
            chosen = len(region_bytes)
            region_bytes.append(0)
            busy_until.append(0)
        region_bytes[chosen] = max(region_bytes[chosen], size)
        busy_until[chosen] = need.last
        region_of[number] = chosen
    return MemoryPlan(tuple(region_of), tuple(region_bytes))


def _best_fit(free: list[int], region_bytes: list[int], size: int) -> int | None:
    large = [k for k in free if region_bytes[k] >= size]
    if large:
        return min(large, key=lambda k: region_bytes[k])
    return max(free, key=lambda k: region_bytes[k], default=None)
