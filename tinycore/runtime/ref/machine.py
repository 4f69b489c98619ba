"""Runs the statements of a kernel: loops at once or one by one, roles and teams side by side.

In: a frame, statements. Out: effects on the arrays. It trusts a kernel as the scheduler wrote it;
what must be refused in others is up to checked.py, which is next.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import Any

from tinycore.dtype import COMPUTE
from tinycore.runtime.ref import number
from tinycore.runtime.ref.frame import Frame, Touch, rows
from tinycore.runtime.ref.memory import Instance, Watch
from tinycore.runtime.ref.number import Array, np
from tinycore.runtime.ref.order import members
from tinycore.uop.index import axis
from tinycore.uop.ops import UOp
from tinycore.uop.sites import axis_value
from tinycore.uop.table import DEPENDENT
from tinycore.uop.tree import Access, StoreArg
from tinycore.util import prod

BLOCK = 1 << 18  # iterations that run at once: 1 MiB of float32
LANES = ("thread", "lane")
COMBINE = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum", "mma": "add"}

Steps = Iterator[str]  # each step says what a thread of control waits for


class Machine(Frame):
    """A frame that runs statements: one with op LET is run by `do_let`."""

    def body(self, statements: Sequence[UOp]) -> Steps:
        """Run statements in order."""
        for statement in statements:
            self.statement = statement
            run = getattr(self, f"do_{statement.op.name.lower()}")
            yield from run(statement) or ()

    def do_let(self, statement: UOp) -> None:
        """Name a value."""
        self.names[statement] = self.value(statement.src[0])

    def do_buffer(self, buffer: UOp) -> None:
        """Declare a buffer; a swizzle permutes its slots and changes no value."""
        found = self.names[buffer] = Instance(buffer, self)
        bits, base, _ = buffer.arg.swizzle or (0, 0, 0)
        if found.size % (1 << (base + bits)):
            self.fail(f"the swizzle of {found.name} leaves its slots", "whole periods in each")

    def do_if(self, statement: UOp) -> Steps:
        """Run the body where the mask is true."""
        inner = copy(self)
        inner.mask = self.where(statement.arg, [self.mask])
        if inner.mask.any():
            yield from inner.body(statement.src)

    def do_loop(self, loop: UOp) -> Steps:
        """Run a loop in blocks of iterations, or its teams side by side."""
        if members(loop):
            yield from self.side_by_side(loop)
            return
        arg, place, watch = loop.arg, axis_value(loop), Watch(loop.arg)
        count = int(self.index(arg.extent))
        block = 1
        if loop in self.at_once and not (self.random and arg.kind == "red"):
            block = max(1, BLOCK // prod(self.shape))
        starts = range(0, count, block)
        for start in starts if arg.kind == "ser" else self.shuffled(starts):
            inner = self.at(place, start, min(block, count - start), arg.kind)
            who = inner.index(place)
            if arg.kind != "ser":
                inner.watches = (*self.watches, (watch, who))
            if arg.map == "own":
                inner.own = (*self.own, arg.kind)
            if arg.map in LANES:
                inner.lane = who if self.lane is None else self.lane * arg.extent.hi + who
            yield from inner.body(loop.src)

    def do_block(self, block: UOp) -> Steps:
        """Statements in order, or roles side by side."""
        return self.side_by_side(block) if members(block) else self.body(block.src)

    def side_by_side(self, outer: UOp) -> Steps:
        """Let each role or team go as far as it can, in a random order, until all are done."""
        watch = Watch(outer.arg)
        threads = {}
        for who, (statement, name, at) in enumerate(members(outer)):
            inner = self.at(axis_value(statement), at)
            inner.path = (*self.path, (name, at))
            inner.watches = (*self.watches, (watch, who))
            threads[f"{name} {at}"] = inner.body(statement.src)
        waits: dict[str, str] = {}
        while threads:
            before, waits = waits, {}
            for name in self.shuffled(threads):
                waits[name] = next(threads[name], "")
                if not waits[name]:
                    del threads[name]
            if waits == before:
                yield "; ".join(sorted([f"{name}: {waits[name]}" for name in threads]))

    def shuffled(self, items: Iterable[Any]) -> list[Any]:
        """What has no order, in a random one."""
        found = list(items)
        if self.random:
            self.random.shuffle(found)
        return found

    # stores

    def do_store(self, statement: UOp) -> None:
        """Store values; a leading state that changes moves the states that depend on it."""
        arg = statement.arg
        count = len(arg.places)
        states = list(zip(statement.src, arg.places, strict=False))
        values = [self.value(value) for value in statement.src[count : 2 * count]]
        old = [self.load(*state) for state in states if arg.rebase]
        for state, value in zip(states, values, strict=True):
            self.write(*state, value, arg.combine)
        new = [self.load(*state) for state in states if arg.rebase]
        for dependent in statement.src[2 * count :]:
            self._move(dependent, arg, old, new)

    def _move(self, dependent: UOp, arg: StoreArg, old: list[Array], new: list[Array]) -> None:
        """Move the dependent state at the leading state's place, all its further dimensions."""
        lead = arg.places[0]
        further = dependent.arg.shape[len(lead.indices) :]
        box = [(f"~{at}", extent) for at, extent in enumerate(further)]
        access = Access((*lead.indices, *[axis(*one) for one in box]), lead.mask)
        inner = self.boxed(box)
        moved = DEPENDENT[arg.rebase].rho(np, old, new, inner.load(dependent, access))
        inner.write(dependent, access, moved, arg.rebase)

    def write(self, buffer: UOp, access: Access, values: Array, how: str) -> None:
        """Store values; `how` is "" for plain ones, else how they come from what was there.

        An MMA rounds once, after it has added.
        """
        dtype, touch = buffer.dtype, self.touch(buffer, access)
        ufunc = getattr(np, COMBINE.get(how, ""), None)
        self.check(touch, how, 0 if ufunc else values)
        if how != "mma":
            values = number.convert(values, dtype)
        if ufunc:
            values = self._merged(ufunc, touch, values)
        cells, values = rows(touch.mask, touch.cells, values)
        data = touch.instance.data
        if ufunc and how != "mma" and dtype not in COMPUTE:
            ufunc.at(data, cells, values)
            return
        if ufunc:
            values = ufunc(number.decode(data[cells], dtype), values)
        data[cells] = number.encode(values, dtype)

    def _merged(self, ufunc: Any, touch: Touch, values: Array) -> Array:
        """Values combined over the iterations that share an element, which must be red."""
        strides = np.broadcast_to(touch.cells, self.shape).strides
        inner = range(len(self.shape) - touch.instance.depth)
        shared = tuple([at for at in inner if strides[at] == 0])
        if any(self.kinds[at] == "par" for at in shared):
            self.fail("iterations of a parallel loop meet", "a loop of kind red")
        if touch.mask is not np.True_:
            return values
        whole = np.broadcast_to(values, self.shape)
        return ufunc.reduce(whole, axis=shared, dtype=whole.dtype, keepdims=True)
