"""Runs the statements of a kernel: loops at once or one by one, roles and teams side by side.

In: kernels as trees, numpy arrays. Out: the arrays changed in place, or RefError. Next file:
backend.py.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from random import Random

from tinycore.runtime.ref.frame import Frame, agents
from tinycore.runtime.ref.memory import EMPTY, FILLS, READ, Array, Instance, Path, Watch, np
from tinycore.uop import Ops, UOp
from tinycore.uop.index import axis, variable
from tinycore.uop.spec import TEAMS
from tinycore.uop.tree import BODIES, DEPENDENT, GLOBAL, Kernel, dependents, let, load, values
from tinycore.util import prod

BLOCK = 1 << 18  # iterations that run at once: 1 MiB of float32

Arrays = Sequence[Array]
Values = Mapping[str, int] | None
Steps = Iterator[str]  # each step says what a thread of control waits for


def run_kernel(
    kernel: Kernel, arrays: Arrays, variables: Values = None, seed: int = 0, checked: bool = False
) -> None:
    """Run a kernel, by the oracle if it is as scheduled, else by the checked entry.

    Shapes: each array or memory starts with the elements of its parameter at upper bounds, in C
    order; bfloat16 and fp8 are their bits. `seed` orders what has no order. CHECK_OOB=1 refuses a
    gathered index outside its axis instead of masking it.

    Raises: RefError.
    """
    machine = Machine(kernel, Random(seed), checked)
    with np.errstate(all="ignore"):
        for node in kernel.variables:
            name, lo, hi = node.arg
            value = (variables or {}).get(name)
            if value is None or not lo <= value <= hi:
                machine.fail(f"variable {name} is {value}", f"a number in {lo}..{hi}")
            machine = machine.at(variable(name, lo, hi), value)
            machine.names[node] = node.dtype.constant(value)
        for node, array in zip(kernel.params, arrays, strict=True):
            data = np.frombuffer(array, node.dtype.storage, node.size)
            machine.names[node] = Instance(node, machine, data)
        for waits in machine.body(kernel.body):
            machine.fail(f"deadlock: {waits}", "a copy or free that lets one go on")


check_kernel = partial(run_kernel, checked=True)
"""Run any kernel tree, and refuse what docs/ir.md forbids a device. Raises: RefError."""


class Machine(Frame):
    """A frame that runs statements: one with op LET is run by `do_let`."""

    def body(self, statements: Sequence[UOp]) -> Steps:
        """Run statements; copies that read a buffer which ends are waited for."""
        for statement in statements:
            self.statement = statement
            run = getattr(self, f"do_{statement.op.name.lower()}")
            yield from run(statement) or ()
        for node in statements:
            for slot in self.names[node].slots if node.is_buffer else ():
                if slot.state == FILLS:
                    self.fail(f"{slot.name} ends while a copy fills it", "a wait before")
                if slot.state == READ:
                    slot.complete()

    def do_let(self, statement: UOp) -> None:
        """Name a value."""
        self.names[statement] = self.value(statement.source)

    def do_buffer(self, buffer: UOp) -> None:
        """Declare a buffer; a swizzle permutes its slots and changes no value."""
        found = self.names[buffer] = Instance(buffer, self)
        bits, base, _ = buffer.arg.swizzle or (0, 0, 0)
        if found.size % (1 << (base + bits)):
            self.fail(f"the swizzle of {buffer.name} leaves its slots", "whole periods in each")

    def do_if(self, statement: UOp) -> Steps:
        """Run the body where the mask is true."""
        inner = copy(self)
        inner.mask = self.where(statement.arg)
        if inner.mask.any():
            yield from inner.body(statement.src)

    def do_loop(self, loop: UOp) -> Steps:
        """Run a loop in blocks of iterations, or its teams side by side."""
        arg, place = loop.arg, loop.index
        watch = Watch(f"iterations of {arg.kind} {arg.axis}", arg.kind, arg.map)
        if arg.map in TEAMS:
            yield from self.side_by_side(watch, [loop])
            return
        extent = self.index(arg.extent)
        count = int(np.max(extent))
        block = max(1, BLOCK // prod(self.shape)) if loop in self.at_once else 1
        starts = range(0, count, block)
        for start in starts if arg.kind == "ser" else self.shuffled(starts):
            inner = self.at(place, start, min(block, count - start))
            who = inner.index(place)
            if arg.kind != "ser":
                inner.watches = (*self.watches, (watch, who))
            if np.ndim(extent):
                inner.mask = inner.where((arg.extent - 1 - place,))
            if arg.map in ("thread", "lane"):
                inner.lane = who if self.lane is None else self.lane * count + who
            yield from inner.body(loop.src)

    def do_block(self, block: UOp) -> Steps:
        """Statements in order, or roles side by side."""
        if block.kind == "roles":
            return self.side_by_side(Watch("roles"), block.src)
        return self.body(block.src)

    def side_by_side(self, watch: Watch, statements: Sequence[UOp]) -> Steps:
        """Let each role or team go as far as it can, in a random order, until all are done."""
        threads: dict[str, Steps] = {}
        for statement in statements:
            for name, at in agents(statement):
                inner = self.at(statement.index, at)
                inner.path = (*self.path, (name, at))
                inner.watches = (*self.watches, (watch, len(threads)))
                threads[f"{name} {at}"] = inner.body(statement.src)
        waits: dict[str, str] = {}
        while threads:
            before, waits = waits, {}
            for thread in self.shuffled(list(threads)):
                waits[thread] = next(threads[thread], "")
                if not waits[thread]:
                    del threads[thread]
            if waits == before:
                yield "; ".join(sorted(map(": ".join, waits.items())))

    # stores

    def do_store(self, statement: UOp) -> None:
        """Store values; each state that depends on them is moved whole."""
        arg, moved = statement.arg, dependents(statement)
        new = tuple(map(load, statement.src, arg.places if moved else ()))
        old = tuple(let("old", leader) for leader in new)
        for note in old:
            self.do_let(note)
        inner = copy(self)
        inner.lane = self.lane_of(statement)
        given = list(map(inner.value, values(statement)))
        for buffer, access, value in zip(statement.src, arg.places, given, strict=False):
            inner.put(inner.place(buffer, access), value, arg.combine or arg.rebase)
        for state in moved:
            lead = statement.place
            extents = state.arg.shape[len(lead.indices) :]
            box = [(f"~{at}", extent) for at, extent in enumerate(extents)]
            axes = [axis(*one) for one in box]
            place = lead._replace(indices=(*lead.indices, *axes))
            value = DEPENDENT[arg.rebase].moved(old, new, load(state, place))
            goal = arg._replace(places=(place,), combine="")
            move = statement.replace(src=(state, value), arg=goal)
            self.boxed(box).do_store(move)

    # copies, their WAIT and FREE

    def do_copy(self, statement: UOp) -> Steps:
        """Begin a copy once its slot is free; what it writes is poison until the WAIT."""
        arg = statement.arg
        target, source = statement.src
        outward = target.space == GLOBAL
        near, named = (source.source, source.arg) if outward else (target, statement.place)
        ((slot, sequence),) = self.slots(near, named.sequence)
        while not slot.may_start(sequence, outward):
            yield f"copy {slot.told(sequence)}"
        inner = self.boxed(arg.box)
        place = inner.place(target, statement.place)
        (cells,) = place.rows()
        if not (outward or np.unique(cells).size == cells.size == place.instance.size):
            self.fail(f"a copy does not fill {target.name}", "a box that fits, not masked")
        inner.put(place, inner.value(source), "copy")
        slot.begin(sequence, READ if outward else FILLS, place.instance, cells)

    def do_wait(self, statement: UOp) -> Steps:
        """Go on when each copy is complete; the role or team that waited sees it."""
        for buffer, index in zip(statement.src, statement.arg, strict=True):
            ((slot, sequence),) = self.slots(buffer, index)
            while not slot.holds(sequence):
                yield f"wait {slot.told(sequence)}"
            slot.complete()
            slot.waited.add(self.path)

    def do_free(self, statement: UOp) -> None:
        """Give slots back; one is empty when every consumer has."""
        for buffer, index in zip(statement.src, statement.arg, strict=True):
            ((slot, sequence),) = self.slots(buffer, index)
            if not slot.visible(sequence, self.path):
                self.fail(f"free {slot.told(sequence)}", "a wait before, and one free")
            slot.freed.add(self.path)
            if slot.freed >= {*consumers(self.kernel.body, buffer)}:
                slot.state = EMPTY

    # what a team does as a whole

    def do_mma(self, statement: UOp) -> None:
        """acc += a * b: exact products, one rounding."""
        arg = statement.arg
        if self.lane is not None or (arg.engine in TEAMS and not self.path):
            self.fail("mma is not run by a team as a whole", f"a {arg.engine} around, no lanes")
        acc, product = statement.src
        inner = self.boxed(arg.box)
        place = inner.place(acc, statement.place)
        inner.check(place, "sum")
        wide = np.float64 if acc.is_float else np.int64
        left, right = map(inner.value, product.src)
        cells, products = place.rows(left.astype(wide) * right)
        totals = acc.dtype.decode(place.instance.data).astype(wide)
        np.add.at(totals, cells, products)
        place.instance.data[cells] = acc.dtype.encode(totals[cells])

    def do_barrier(self, statement: UOp) -> None:
        """All threads of the block meet, or those of the team that runs."""
        if self.lane is not None or self.shape:
            self.fail("a barrier stands where lanes diverge", "a place that all of a team reach")
        for path, watch in self.threads.items():
            if self.path in ((), path):
                watch.clear()


def consumers(body: Iterable[UOp], buffer: UOp, path: Path = ()) -> Iterator[Path]:
    """Each role or team that must free the slots of a buffer."""
    for statement in body:
        if statement.op is Ops.FREE and buffer in statement.src:
            yield path
        elif statement.op in BODIES:
            for inner in [(*path, agent) for agent in agents(statement)] or [path]:
                yield from consumers(statement.src, buffer, inner)
