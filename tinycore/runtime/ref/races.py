"""Who read and wrote each element: iterations of a loop, and agents of a block between barriers.

In: numbers of elements, and for each the iteration or agent that touches it. Out: whether another
one did before, with nothing that orders the two. Next file: checked.py.
"""

from __future__ import annotations

from tinycore.runtime.ref.memory import Instance
from tinycore.runtime.ref.number import Array
from tinycore.uop.ops import UOp
from tinycore.util import np

NOBODY = -1
SEVERAL = -2
TEAM = 1 << 20  # agent = TEAM * team + lane


class Marks:
    """For each element the last that touched it, and when."""

    __slots__ = ("time", "who")

    def __init__(self, instance: Instance) -> None:
        self.who = np().full(instance.data.size, NOBODY, np().int64)
        self.time = np().zeros(instance.data.size, np().int64)

    def by_others(self, cells: Array, who: Array) -> Array:
        """True where somebody else touched the element."""
        seen = self.who[cells]
        return (seen != NOBODY) & (seen != who)

    def put(self, cells: Array, who: Array, now: int = 0) -> None:
        """Remember who writes."""
        self.who[cells] = who
        self.time[cells] = now

    def join(self, cells: Array, who: Array, fresh: Array, now: int = 0) -> None:
        """Remember who reads, besides those before unless `fresh`."""
        alone = fresh | ~self.by_others(cells, who)
        joined = np().where(alone, who, SEVERAL)
        self.put(cells, joined, now)
        self.who[cells[self.who[cells] != joined]] = SEVERAL


class Frame:
    """A loop while it runs: its iterations must not meet in the buffers that it changes."""

    def __init__(self, loop: UOp, born: int, changed: frozenset[UOp]) -> None:
        self.loop = loop
        self.born = born
        self.changed = changed
        self.written: dict[Instance, Marks] = {}
        self.read: dict[Instance, Marks] = {}

    def watches(self, instance: Instance) -> bool:
        """True if iterations share this buffer and change it."""
        return instance.born < self.born and instance.node in self.changed

    def reads(self, instance: Instance, cells: Array, who: Array) -> bool:
        """True if another iteration wrote what this one reads."""
        if instance in self.written and self.written[instance].by_others(cells, who).any():
            return True
        marks = self.read.setdefault(instance, Marks(instance))
        marks.join(cells, who, np().zeros(cells.shape, bool))
        return False

    def writes(self, instance: Instance, cells: Array, who: Array, differs: Array) -> bool:
        """True if another iteration read this, or wrote it where the new value `differs`."""
        if instance in self.read and self.read[instance].by_others(cells, who).any():
            return True
        marks = self.written.setdefault(instance, Marks(instance))
        met = marks.by_others(cells, who) & differs
        marks.put(cells, who)
        return bool(met.any())


class Agents:
    """The threads of a block, ordered by barriers of the block and of one team in it."""

    def __init__(self) -> None:
        self.clock = 0
        self.block = 0
        self.teams: dict[int, int] = {}
        self.written: dict[Instance, Marks] = {}
        self.read: dict[tuple[Instance, int], Marks] = {}

    def barrier(self, team: int | None) -> None:
        """All agents of the block, or of one team, meet here."""
        self.clock += 1
        if team is None:
            self.block = self.clock
        else:
            self.teams[team] = self.clock

    def unfinished(self, instance: Instance, cells: Array, who: Array) -> bool:
        """True if another agent wrote this, with no barrier between."""
        written = self.written.get(instance)
        return written is not None and bool(self._unordered(written, cells, who).any())

    def reads(self, instance: Instance, cells: Array, who: Array) -> bool:
        """True if another agent wrote what this one reads, with no barrier between."""
        if self.unfinished(instance, cells, who):
            return True
        self.clock += 1
        for team in np().unique(who // TEAM):
            part = who // TEAM == team
            marks = self.read.setdefault((instance, int(team)), Marks(instance))
            chosen = cells[part]
            fresh = ~self._unordered(marks, chosen, who[part], int(team))
            marks.join(chosen, who[part], fresh, self.clock)
        return False

    def writes(self, instance: Instance, cells: Array, who: Array) -> bool:
        """True if another agent touched this, with no barrier between."""
        for (other, team), marks in self.read.items():
            if other is instance and self._unordered(marks, cells, who, team).any():
                return True
        marks = self.written.setdefault(instance, Marks(instance))
        if self._unordered(marks, cells, who).any():
            return True
        self.clock += 1
        marks.put(cells, who, self.clock)
        return False

    def _unordered(self, marks: Marks, cells: Array, who: Array, team: int | None = None) -> Array:
        time = marks.time[cells]
        teams = marks.who[cells] // TEAM if team is None else np().full(cells.shape, team)
        met = np().zeros(cells.shape, np().int64)
        for number, when in self.teams.items():
            met = np().where((teams == number) & (who // TEAM == number), when, met)
        return marks.by_others(cells, who) & (time > np().maximum(met, self.block))
