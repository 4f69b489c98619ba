"""The checked entry: it trusts no kernel, and holds each read and store against all others.

In: a kernel that actions or lowering made, arrays, a random order. Out: the arrays changed, or
RefError at the first thing that a device may not do, with its statement. Next file: tiles.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tinycore.runtime.ref import number
from tinycore.runtime.ref.control import Control, Handlers
from tinycore.runtime.ref.lanes import lanes_of
from tinycore.runtime.ref.memory import Instance, Path
from tinycore.runtime.ref.number import Array
from tinycore.runtime.ref.order import changed
from tinycore.runtime.ref.races import TEAM, Watch
from tinycore.runtime.ref.rings import Ring, Slot, State, consumers, filled
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Access, Kernel
from tinycore.util import np

ALL_LANES = TEAM - 2  # the lane of what a team does as a whole


class Suspect(Control):
    """The state of a checked run."""

    def __init__(
        self, kernel: Kernel, handlers: Handlers, check_out_of_bounds: bool, random: Random
    ) -> None:
        super().__init__(kernel, handlers, check_out_of_bounds, random)
        self.filled = filled(kernel)
        self.consumers = consumers(kernel)
        self.rings: dict[Instance, Ring] = {}
        self.threads = Watch("a thread", "a barrier between", 0, frozenset())
        self.teams: dict[Path, int] = {}
        self.changed: dict[UOp, frozenset[UOp]] = {}
        self.copying = False  # a COPY or MMA reads, not the lanes around
        self.executing: Array | None = None
        self.flying: dict[Instance, Array] = {}
        self.unwritten: dict[Instance, Array] = {}

    def declare(self, node: UOp) -> None:
        """A new instance, with slots; what is no float remembers which elements were written."""
        super().declare(node)
        instance = self.instance(node)
        self.rings[instance] = Ring(node.arg.slots)
        if not (node.dtype.is_float or node.arg.init or node in self.filled):
            self.unwritten[instance] = np().ones(instance.data.size, bool)

    def end(self, buffer: UOp) -> None:
        """No copy fills a buffer that ends; those that read it are waited for."""
        for slot in self.rings[self.instance(buffer)].slots:
            if slot.state is State.PENDING:
                self.fail(f"{buffer.arg.name} ends while a copy fills it ({slot})", "a wait before")
            if slot.state is State.READING:
                slot.complete(State.EMPTY)

    def watch(self, outer: UOp) -> Watch | None:
        """A watch over the buffers in which iterations or roles must not meet."""
        found = self.changed.get(outer)
        if found is None:
            found = self.changed[outer] = changed(outer) - self.filled
        is_loop = outer.op is Ops.LOOP
        who = f"an iteration of {outer.arg.kind} {outer.arg.axis}" if is_loop else "a role"
        return Watch(who, "buffers of their own", self.clock, found) if found else None

    def team(self) -> int:
        """The number of the role, warpgroup or warp that runs."""
        return self.teams.setdefault(self.scope.path, len(self.teams))

    def store(self, node: UOp) -> None:
        """Store by the lanes that hold the target."""
        scope = self.scope
        self.executing = lanes_of(self, node, scope.owned, scope.crossing)
        super().store(node)
        self.executing = None

    # reads

    def fetch(self, instance: Instance, access: Access, cells: Array, mask: Array | None) -> Array:
        """Elements as values, if they may be read here."""
        if instance.node in self.filled:
            self._check_slot(instance, access)
        self._check_content(instance, cells, mask)
        for watch, who in self._watching(instance, mask):
            note = watch is not self.threads or not self.copying
            if watch.reads(instance, self.each(cells, mask), who, note):
                wrong = f"{watch.who} reads what another wrote in {instance.arg.name}"
                self.fail(wrong, watch.cure)
        return super().fetch(instance, access, cells, mask)

    def _watching(self, instance: Instance, mask: Array | None) -> Iterator[tuple[Watch, Array]]:
        """What must not meet in a buffer, with who touches each element of it now."""
        scope = self.scope
        for watch, numbers in scope.watches:
            if watch.covers(instance):
                yield watch, self.each(numbers, mask)
        shared = self.kernel.spmd and instance.arg.space == "group"
        if shared and instance.node not in self.filled:
            lane = None if self.copying else scope.lane
            lane = lane if self.executing is None else self.executing
            who = self.team() * TEAM + (ALL_LANES if lane is None else lane)
            yield self.threads, self.each(who, mask)

    def _check_content(self, instance: Instance, cells: Array, mask: Array | None) -> None:
        name = instance.arg.name
        if instance in self.flying and self.flying[instance][self.each(cells, mask)].any():
            self.fail(f"{name} is read while a copy writes it", "a wait before")
        if instance in self.unwritten and self.unwritten[instance][self.each(cells, mask)].any():
            self.fail(f"{name} is read unwritten", "a store before")

    def _check_slot(self, instance: Instance, access: Access) -> None:
        for sequence, slot in self._slots(instance, access):
            if not slot.visible(sequence, self.scope.path):
                name = f"{instance.arg.name}[{sequence}]"
                self.fail(f"{name} is read but its slot is {slot}", "a wait for it by who reads")

    def _slots(self, instance: Instance, access: Access) -> Iterator[tuple[int, Slot]]:
        ring = self.rings[instance]
        wanted: Array = ring.number(None)
        if access.sequence is not None:
            wanted = self.index(access.sequence)
        for sequence in np().unique(wanted):
            yield int(sequence), ring.slot(int(sequence))

    # stores

    def write(self, instance: Instance, access: Access, values: Array, combine: str) -> None:
        """Store values, or combine them with what is there, if that may happen here."""
        name = instance.arg.name
        if instance.node in self.filled:
            self.fail(f"{name} is the target of a copy and of a store", "one of them")
        cells, mask = self.cells(instance, access)
        values = number.convert(values, instance.node.dtype)
        if combine:
            values = self.combined(instance, cells, values, combine)
        flat = self.each(cells, mask)
        stored = self.each(number.encode(values, instance.node.dtype), mask)
        for sequence, slot in self._slots(instance, access) if instance in self.rings else ():
            if slot.state is State.READING:
                self.fail(f"{name}[{sequence}] is written while a copy reads it", "a wait before")
        self.claim(instance, flat, stored, mask, combine)
        instance.data[flat] = stored

    def claim(
        self, instance: Instance, flat: Array, stored: Array, mask: Array | None, combine: str
    ) -> None:
        """Hold a write against all iterations around: they meet in equal plain values alone."""
        name = instance.arg.name
        if instance in self.flying and self.flying[instance][flat].any():
            self.fail(f"{name} is written while a copy writes it", "a wait before")
        differs = _differ(instance.data[flat], stored) | bool(combine)
        for watch, who in self._watching(instance, mask):
            if watch.writes(instance, flat, who, differs | (watch is self.threads)):
                wrong = f"{watch.who} meets another where it stores in {name}"
                self.fail(wrong, watch.cure)
        if _repeated(flat, stored, bool(combine)):
            self.fail(f"iterations that run side by side meet in {name}", "places of their own")
        if instance in self.unwritten:
            self.unwritten[instance][flat] = False


def _differ(first: Array, second: Array) -> Array:
    """Where stored elements differ; NaN equals itself."""
    same = first == second
    if first.dtype.kind == "f":
        same = same | (np().isnan(first) & np().isnan(second))
    return ~same


def _repeated(cells: Array, stored: Array, always: bool) -> bool:
    """True if an element appears twice, with values that differ or `always`."""
    order = np().argsort(cells, kind="stable")
    ordered, values = cells[order], stored[order]
    same = ordered[1:] == ordered[:-1]
    return bool(np().any(same & (_differ(values[1:], values[:-1]) | always)))
