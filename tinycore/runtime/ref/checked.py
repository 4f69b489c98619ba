"""A machine that trusts nobody: it holds each read and store against all others.

In: a kernel that actions or lowering made. Out: RefError at the first thing that a device may not
do, with its statement. Next file: __init__.py, which starts it.
"""

from collections.abc import Sequence
from copy import copy
from functools import reduce
from operator import and_

from tinycore.runtime.ref import number
from tinycore.runtime.ref.frame import Touch, rows
from tinycore.runtime.ref.machine import COMBINE, Machine, Steps
from tinycore.runtime.ref.memory import ABSENT, FLYING, PRESENT, UNWRITTEN, Instance, Slot, Watch
from tinycore.runtime.ref.number import Array, np
from tinycore.runtime.ref.order import TEAMS
from tinycore.uop.affine import atoms, evaluate
from tinycore.uop.index import Index
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.tree import GLOBAL, Access


class Checked(Machine):
    """The frame of a checked run."""

    def body(self, statements: Sequence[UOp]) -> Steps:
        """Run statements; no copy fills a buffer that ends, those that read it are waited for."""
        yield from super().body(statements)
        buffers = [node for node in statements if node.op is Ops.BUFFER]
        for slot in [slot for node in buffers for slot in self.names[node].slots]:
            if slot.state == "being filled":
                self.fail(f"{slot.name} ends while a copy fills it", "a wait before")
            if slot.state == "being read by a copy":
                slot.complete()

    def slots(self, buffer: UOp, sequence: Index | None) -> list[tuple[Slot, int | None]]:
        """The slots that a place names, with their sequence numbers if it gives them."""
        slots = self.names[buffer].slots
        if sequence is None:
            return [(slots[0], None)]
        numbers = np.unique(self.index(sequence)).tolist()
        return [(slots[one % len(slots)], one) for one in numbers]

    # reads and stores

    def check(self, touch: Touch, how: str, values: Array = 0) -> None:
        """Refuse to touch what is not there, what a copy moves, and what another touched."""
        instance, reads = touch.instance, how == "load"
        for slot, sequence in self.slots(instance.node, touch.sequence):
            fine = reads or slot.state != "being read by a copy"
            if self.changed.get(instance.node) == "filled":
                fine = reads and slot.visible(sequence, self.path)
            if not fine:
                wrong = f"{how or 'store'} of {slot.told(sequence)}"
                self.fail(wrong, "a wait before; copies fill slots alone")
        stored = number.encode(values, instance.node.dtype)
        cells, new = rows(touch.mask, touch.cells, stored)
        state = instance.states[cells].max(initial=PRESENT)
        if state > (PRESENT if reads else UNWRITTEN):
            self.fail(f"{instance.name} is touched, {ABSENT[state]}", "a store or a wait before")
        for watch, numbers in self._watches(instance):
            same, value, who = rows(touch.mask, touch.cells, stored, numbers)
            plain = how == "" and watch.kind != "threads"
            differs = _differ(instance.data[same], value) if plain else True
            kind = "read" if reads or (how and watch.kind == "red") else "written"
            if watch.kind == "threads" and self.engine:
                kind = "seen"
            if watch.meets(instance, kind, same, who, differs):
                wrong = f"two {watch.name} meet in {instance.name}"
                self.fail(wrong, "a barrier between, or buffers of their own")
        if not reads:
            self._settle(instance, cells, new, how)

    def _settle(self, instance: Instance, cells: Array, new: Array, how: str) -> None:
        """Those that store at once may meet in equal plain values alone."""
        meet = np.unique(cells).size < cells.size
        if meet and how not in COMBINE:
            instance.data[cells] = new  # of those that meet the last stays
            meet = _differ(instance.data[cells], new).any()
        if meet:
            self.fail(f"two at once meet in {instance.name}", "places of their own")
        instance.states[cells] = PRESENT

    def _watches(self, instance: Instance) -> list[tuple[Watch, Array]]:
        """What must not meet in a buffer, with the number of who touches it now."""
        if self.changed.get(instance.node) != "written":
            return []
        found = list(self.watches[instance.watches :])
        if self.kernel.spmd and instance.node.arg.space == "group":
            teams, threads = self.threads[None], self.threads[self.path]
            found.append((teams, list(self.threads).index(self.path)))
            found.append((threads, 0 if self.lane is None else self.lane + 1))
        return found

    # fragments: `own L(t) = F(dims)` says that lane t holds an element iff L(t) = F

    def do_store(self, statement: UOp) -> None:
        """Store by the lanes that hold the target."""
        inner = copy(self)
        inner.lane = self._lane(statement)
        Machine.do_store(inner, statement)

    def _lane(self, statement: UOp) -> Array | None:
        """The lane that runs a store of each element: the one around, or the first that may.

        Inside a loop mapped `own` the lanes that hold the target run it, and must hold what it
        reads, unless a reduction crosses lanes; if none holds it, those that hold all it reads.
        """
        target = statement.src[0], statement.arg.places[0]
        loads = [node for node in toposort(statement.src) if node.op is Ops.LOAD]
        places = [target, *[(load.src[0], load.arg) for load in loads]]
        owned = [place for place in places if place[0].arg.own]
        if not owned:
            return self.lane
        axes = [atom for buffer, _ in owned for atom in atoms(buffer.arg.own.lane)]
        count = 1 + max([atom.hi for atom in axes])
        lanes = np.arange(count).reshape((count,) + (1,) * len(self.shape))
        held = [self._held(lanes, *place) for place in owned]
        if "red" in self.own:
            held = held[:1]
        running = lanes == self.lane
        if self.own:
            running = held[0] if owned[0] is target else reduce(and_, held)
        missing = any((running & ~one).any() for one in held)
        runs = running.any(axis=0).all()
        if missing or not runs:
            names = ", ".join([buffer.arg.name for buffer, _ in owned])
            self.fail(f"a lane touches a register that it does not own, of {names}", "its own lane")
        return np.argmax(running, axis=0)

    def _held(self, lanes: Array, buffer: UOp, access: Access) -> Array:
        """For each lane, in front, whether it holds the element or may not touch it."""
        own, names = buffer.arg.own, buffer.arg.names
        element = evaluate(
            own.element, lambda atom: self.index(access.indices[names.index(atom.name)])
        )
        held = evaluate(own.lane, lambda atom: lanes) == element
        return held | ~self.touch(buffer, access).mask

    # copies, their WAIT and FREE

    def do_copy(self, statement: UOp) -> Steps:
        """Begin a copy once its slot is free: until the WAIT what it writes is poison."""
        target, source = statement.src
        place = statement.arg.place
        outward = target.arg.space == GLOBAL
        near, named = target, place
        if outward:
            near, named = source.src[0], source.arg
        ((slot, sequence),) = self.slots(near, named.sequence)
        while not slot.may_start(sequence, outward):
            yield f"copy {slot.told(sequence)}"
        inner = self.boxed(statement.arg.box, engine=True)
        touch = inner.touch(target, place)
        value = inner.value(source)
        instance = touch.instance
        if outward:
            inner.check(touch, "", value)
        stored = number.encode(value, target.dtype)
        cells, stored = rows(touch.mask, touch.cells, stored)
        if not (outward or np.unique(cells).size == cells.size == instance.size):
            self.fail(f"a copy does not fill {target.arg.name}", "a box that fits, not masked")
        instance.data[cells] = number.initial("", target.dtype)
        instance.states[cells] = FLYING

        def arrive() -> None:
            instance.data[cells] = stored
            instance.states[cells] = PRESENT

        slot.sequence = slot.sequence + slot.count if sequence is None else sequence
        slot.state = "being read by a copy" if outward else "being filled"
        slot.arrive = arrive
        slot.waited.clear()
        slot.freed.clear()

    def do_wait(self, statement: UOp) -> Steps:
        """Go on when each copy is complete; it is visible to the role or team that waited."""
        for buffer, index in zip(statement.src, statement.arg, strict=True):
            ((slot, sequence),) = self.slots(buffer, index)
            while not slot.holds(sequence):
                yield f"wait {slot.told(sequence)}"
            slot.complete()
            slot.waited.add(self.path)

    def do_free(self, statement: UOp) -> None:
        """Give slots back; one is empty, and poison, when every consumer has."""
        for buffer, index in zip(statement.src, statement.arg, strict=True):
            ((slot, sequence),) = self.slots(buffer, index)
            if not slot.visible(sequence, self.path):
                self.fail(f"free {slot.told(sequence)}", "a wait before, and one free")
            slot.freed.add(self.path)
            wanted = {path for node, path in self.consumers if node is buffer}
            if slot.freed >= wanted:
                slot.state = "empty"
                tiles = self.names[buffer].data.reshape(slot.count, -1)
                tiles[slot.sequence % slot.count] = number.initial("", buffer.dtype)

    # what a team does as a whole

    def do_mma(self, statement: UOp) -> None:
        """acc += a * b: exact products, one rounding."""
        arg = statement.arg
        if self.lane is not None or (arg.scope in TEAMS and not self.path):
            self.fail("mma is not run by a team as a whole", f"a {arg.scope} around, no lanes")
        acc, a, b = statement.src
        inner = self.boxed(arg.box, "red", engine=True)
        wide = np.float64 if acc.dtype.is_float else np.int64
        products = inner.load(a, arg.a).astype(wide) * inner.load(b, arg.b)
        inner.write(acc, arg.acc, products, "mma")

    def do_barrier(self, statement: UOp) -> None:
        """All threads of the block meet, or those of the team that runs."""
        if self.lane is not None or self.shape:
            self.fail("a barrier stands where lanes diverge", "a place that all of a team reach")
        for path, watch in self.threads.items():
            if self.path in ((), path):
                watch.clear()


def _differ(first: Array, second: Array) -> Array:
    """Where stored elements differ; NaN equals itself."""
    return (first != second) & ((first == first) | (second == second))
