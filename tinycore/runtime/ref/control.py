"""Runs the statements of a kernel: loops at once or one by one, roles and teams side by side.

In: a kernel and what to do for each statement. Out: effects, or RefError where no thread of control
can go on. Both entries run by it: oracle.py and suspect.py say what reads and stores do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from tinycore.runtime.ref.machine import Machine
from tinycore.runtime.ref.memory import Scope, conjunction
from tinycore.runtime.ref.number import Array
from tinycore.runtime.ref.order import bounds, is_team, is_together
from tinycore.runtime.ref.races import Watch
from tinycore.uop.affine import atoms
from tinycore.uop.index import Index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import axis_value
from tinycore.uop.tree import Kernel, LoopArg, axis_of
from tinycore.util import prod

BLOCK = 1 << 18  # iterations that run at once: 1 MiB of float32
LANES = frozenset({"thread", "lane"})

Steps = Iterator[str]  # each step says what the thread waits for
Handlers = Mapping[Ops, Callable[[Any, UOp], Steps | None]]


class Thread:
    """One of several threads of control: its steps, and what it waits for."""

    def __init__(self, name: str, scope: Scope, steps: Steps) -> None:
        self.name = name
        self.scope = scope
        self.steps = steps
        self.waits: str | None = ""


class Control(Machine):
    """A machine that runs; `random` orders what has no order, None runs it as it stands."""

    def __init__(
        self,
        kernel: Kernel,
        handlers: Handlers,
        check_out_of_bounds: bool = False,
        random: Random | None = None,
    ) -> None:
        super().__init__(kernel, check_out_of_bounds)
        self.handlers = handlers
        self.random = random
        self.bounds = bounds(kernel)
        self.at_once: dict[UOp, bool] = {}

    def run(self) -> None:
        """Run the kernel. Raises: RefError, also where no role can go on."""
        for waits in self.body(self.kernel.body):
            self.fail(f"deadlock: {waits}", "a copy or free that lets one go on")

    def merges(self, loop: UOp) -> bool:
        """True if the iterations of a loop may run at once."""
        return bool(loop.arg.kind == "par") and not is_together(loop)

    def watch(self, loop: UOp) -> Watch | None:
        """What watches the iterations of a loop, or roles, if anything must."""
        return None

    def end(self, buffer: UOp) -> object:
        """The life of a buffer ends."""

    def body(self, statements: Sequence[UOp]) -> Steps:
        """Run statements in order; buffers declared among them end with the last."""
        scope = self.scope
        for statement in statements:
            scope.statement = statement
            steps = self.handlers[statement.op](self, statement)
            if steps is not None:
                yield from steps
        for statement in statements:
            if statement.op is Ops.BUFFER:
                self.end(statement)

    def let(self, statement: UOp) -> None:
        """Name a value."""
        self.scope.lets[statement] = self.value(statement.src[0])

    def branch(self, statement: UOp) -> Steps:
        """Run the body of an IF where its mask is true."""
        outer = self.scope
        mask = self.mask(statement.arg)
        if mask is None or mask.any():
            self.scope = replace(outer, mask=conjunction(outer.mask, mask))
            yield from self.body(statement.src)
            self.scope = outer

    # loops

    def loop(self, statement: UOp) -> Steps:
        """Run a loop in blocks of iterations, or in teams side by side."""
        count = int(self.index(statement.arg.extent))
        self.clock += 1
        watch = self.watch(statement)
        if is_team(statement):
            name = statement.arg.axis
            threads = [self._thread(statement, name, at, watch, at) for at in range(count)]
            yield from self._side_by_side(threads)
            return
        block = max(1, BLOCK // prod(self.scope.shape)) if self._runs_at_once(statement) else 1
        starts = list(range(0, count, block))
        if self.random and statement.arg.kind != "ser":
            self.random.shuffle(starts)
        for start in starts:
            yield from self._block(statement, watch, start, min(block, count - start))

    def _runs_at_once(self, loop: UOp) -> bool:
        found = self.at_once.get(loop)
        if found is None:
            free = self.bounds.isdisjoint(atoms(axis_of(loop)))
            found = self.at_once[loop] = free and self.merges(loop)
        return found

    def _block(self, statement: UOp, watch: Watch | None, start: int, count: int) -> Steps:
        arg: LoopArg = statement.arg
        outer = self.scope
        scope = self.scope = replace(outer)
        place: Array = start + scope.enter(arg.kind, count) if count > 1 else start
        _enter(scope, axis_of(statement), place, watch, place)
        scope.owned |= arg.map == "own"
        scope.crossing |= arg.map == "own" and arg.kind == "red"
        if arg.map in LANES:
            scope.lane = place if outer.lane is None else outer.lane * arg.extent.hi + place
        yield from self.body(statement.src)
        for atom, _ in axis_of(statement).terms:
            del scope.axes[atom]
        self.scope = outer

    # threads of control

    def block(self, statement: UOp) -> Steps:
        """Statements in order, or roles side by side."""
        if statement.arg.kind != "roles":
            yield from self.body(statement.src)
            return
        self.clock += 1
        watch = self.watch(statement)
        threads: list[Thread] = []
        for role in statement.src:
            for at in range(role.arg.replicas):
                threads.append(self._thread(role, role.arg.name, at, watch, len(threads)))
        yield from self._side_by_side(threads)

    def _thread(
        self, statement: UOp, name: str, number: int, watch: Watch | None, place: int
    ) -> Thread:
        """A role or an iteration over teams; for `watch` it is number `place`."""
        scope = self.scope.split((name, number))
        _enter(scope, axis_value(statement), number, watch, place)
        return Thread(f"{name} {number}", scope, self.body(statement.src))

    def _side_by_side(self, threads: list[Thread]) -> Steps:
        """Let each go as far as it can, in a random order, until all are done or none moves."""
        outer = self.scope
        while threads:
            before = self.clock
            if self.random:
                self.random.shuffle(threads)
            for thread in threads:
                self._step(thread)
            self.scope = outer
            moved = self.clock != before or any(thread.waits is None for thread in threads)
            threads = [thread for thread in threads if thread.waits is not None]
            if not moved:
                yield "; ".join(sorted([f"{thread.name}: {thread.waits}" for thread in threads]))

    def _step(self, thread: Thread) -> None:
        self.scope = thread.scope
        thread.waits = next(thread.steps, None)
        thread.scope = self.scope


def _enter(scope: Scope, index: Index, value: Array, watch: Watch | None, place: Array) -> None:
    """Inside `scope` the axis has a value, and what runs is at `place` of the watch."""
    for atom, _ in index.terms:
        scope.axes[atom] = value
    if watch is not None:
        scope.watches = (*scope.watches, (watch, place))


SCHEDULED: Handlers = {  # a store and a declaration depend on the entry
    Ops.LET: Control.let,
    Ops.STORE: lambda machine, statement: machine.store(statement),
    Ops.BUFFER: lambda machine, statement: machine.declare(statement),
    Ops.LOOP: Control.loop,
    Ops.IF: Control.branch,
    Ops.BLOCK: Control.block,
}
