"""Who read and wrote each element: iterations of a loop, or threads of a block between barriers.

In: numbers of elements, and for each who touches it. Out: whether another one did before, with
nothing that orders the two. Next file: control.py.
"""

from __future__ import annotations

from tinycore.runtime.ref.memory import Instance
from tinycore.runtime.ref.number import Array
from tinycore.uop.ops import UOp
from tinycore.util import np

TEAM = 1 << 40  # who is TEAM * team + lane, or the number of an iteration
MET = TEAM - 1  # the lane of what a team did before its last barrier
NOBODY = -1
SEVERAL = -2


class Marks:
    """For each element the last that touched it."""

    def __init__(self, instance: Instance) -> None:
        self.who = np().full(instance.data.size, NOBODY, np().int64)

    def by_others(self, cells: Array, who: Array) -> Array:
        """True where somebody else touched the element, and no barrier lies between."""
        seen = self.who[cells]
        met = seen == who // TEAM * TEAM + MET
        return (seen != NOBODY) & (seen != who) & ~met

    def join(self, cells: Array, who: Array) -> None:
        """Remember who reads, besides those that did before."""
        joined = np().where(self.by_others(cells, who), SEVERAL, who)
        self.who[cells] = joined
        self.who[cells[self.who[cells] != joined]] = SEVERAL


class Watch:
    """What runs side by side: it must not meet in the buffers of `changed` born before it.

    `who` and `cure` are for messages. Reads are kept apart by team, since a barrier of one team
    orders that team alone.
    """

    def __init__(self, who: str, cure: str, born: int, changed: frozenset[UOp]) -> None:
        self.who = who
        self.cure = cure
        self.born = born
        self.changed = changed
        self.written: dict[Instance, Marks] = {}
        self.read: dict[tuple[Instance, int], Marks] = {}

    def covers(self, instance: Instance) -> bool:
        """True if a buffer is shared by what runs side by side, and changed."""
        return instance.born < self.born and instance.node in self.changed

    def reads(self, instance: Instance, cells: Array, who: Array, note: bool) -> bool:
        """True if another wrote what this one reads; `note` remembers the read."""
        written = self.written.get(instance)
        if written is not None and written.by_others(cells, who).any():
            return True
        for team in np().unique(who // TEAM) if note else ():
            mine = who // TEAM == team
            marks = self.read.setdefault((instance, int(team)), Marks(instance))
            marks.join(cells[mine], who[mine])
        return False

    def writes(self, instance: Instance, cells: Array, who: Array, differs: Array) -> bool:
        """True if another read this, or wrote it where the new value `differs`."""
        for (other, _), marks in self.read.items():
            if other is instance and marks.by_others(cells, who).any():
                return True
        marks = self.written.setdefault(instance, Marks(instance))
        met = marks.by_others(cells, who) & differs
        marks.who[cells] = who
        return bool(met.any())

    def barrier(self, team: int | None) -> None:
        """All meet here, or those of one team."""
        if team is None:
            self.written.clear()
            self.read.clear()
            return
        for marks in self.written.values():
            marks.who[marks.who // TEAM == team] = team * TEAM + MET
        for (_, reader), marks in self.read.items():
            if reader == team:
                marks.who[marks.who != NOBODY] = team * TEAM + MET
