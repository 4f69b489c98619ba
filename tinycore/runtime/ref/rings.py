"""The slots of a buffer that copies fill or empty: the sequence number and state of each.

In: COPY, WAIT and FREE as they run. Out: whether each may go on. Next file: suspect.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from tinycore.runtime.ref.memory import Path
from tinycore.runtime.ref.number import Array
from tinycore.runtime.ref.order import is_team
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import sites, under
from tinycore.uop.tree import GLOBAL, Kernel
from tinycore.util import prod


class State(Enum):
    """What is known of a slot; READING is one that a copy still reads."""

    EMPTY = "empty"
    PENDING = "being filled"
    FULL = "full"
    READING = "being read by a copy"


class Slot:
    """One slot: the sequence number it holds or held last, and who waited for it and freed it."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.state = State.EMPTY
        self.finish: Callable[[], None] = _nothing
        self.waited: set[Path] = set()
        self.freed: set[Path] = set()

    def __str__(self) -> str:
        return f"{self.state.value}, number {self.sequence}"

    def start(self, state: State, sequence: int, finish: Callable[[], None]) -> None:
        """A copy begins: `finish` is what its completion does."""
        self.state = state
        self.sequence = sequence
        self.finish = finish
        self.waited.clear()
        self.freed.clear()

    def complete(self, state: State) -> None:
        """The copy under way has arrived."""
        self.finish()
        self.state = state

    def visible(self, sequence: int, path: Path) -> bool:
        """True if `path`, or a scope around it, waited for this number."""
        if self.state is not State.FULL or self.sequence != sequence:
            return False
        return any(path[:length] in self.waited for length in range(len(path) + 1))


class Ring:
    """The slots of one buffer at run time."""

    def __init__(self, count: int) -> None:
        self.slots = [Slot(number - count) for number in range(count)]

    def number(self, sequence: Array | None) -> int:
        """A sequence number; without one, that of the last copy."""
        return self.slots[0].sequence if sequence is None else int(sequence)

    def coming(self, sequence: Array | None) -> int:
        """A sequence number; without one, that of the copy under way, or of the next."""
        empty = self.slots[0].state is State.EMPTY
        return self.number(sequence) + (sequence is None and empty)

    def slot(self, sequence: int) -> Slot:
        """The slot that holds number `sequence` once it is filled."""
        return self.slots[sequence % len(self.slots)]

    def may_fill(self, sequence: int) -> bool:
        """True if the slot is empty and its turn has come."""
        slot = self.slot(sequence)
        return slot.state is State.EMPTY and slot.sequence == sequence - len(self.slots)


def _nothing() -> None:
    """A slot with no copy under way has nothing to finish."""


def filled(kernel: Kernel) -> frozenset[UOp]:
    """The near buffers that a COPY fills: their elements are ordered by WAIT and FREE."""
    targets = [statement.src[0] for statement in under(kernel.body) if statement.op is Ops.COPY]
    return frozenset([target for target in targets if target.arg.space != GLOBAL])


def consumers(kernel: Kernel) -> Mapping[UOp, int]:
    """How many roles, warpgroups and warps must free each slot of a buffer."""
    found: dict[UOp, dict[tuple[str, ...], int]] = {}
    for site in sites(kernel, ""):
        if site.statement.op is Ops.FREE:
            teams = [outer for outer in site.around if is_team(outer) or outer.op is Ops.BLOCK]
            names = tuple([_name(team) for team in teams])
            count = prod([_count(team) for team in teams])
            for buffer in site.statement.src:
                found.setdefault(buffer, {})[names] = count
    return {buffer: sum(counts.values()) for buffer, counts in found.items()}


def _name(team: UOp) -> str:
    name: str = team.arg.axis if team.op is Ops.LOOP else team.arg.name
    return name


def _count(team: UOp) -> int:
    count: int = team.arg.extent.hi if team.op is Ops.LOOP else team.arg.replicas
    return count
