"""The checked entry: loops in random order, roles and teams side by side, every rule held.

In: a kernel that actions or lowering made, arrays, a seed. Out: the arrays changed, or RefError
that names the statement. suspect.py checks reads and stores, tiles.py runs copies and MMA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random

from tinycore.runtime.ref import tiles
from tinycore.runtime.ref.memory import conjunction
from tinycore.runtime.ref.number import Array
from tinycore.runtime.ref.order import bounds
from tinycore.runtime.ref.races import Frame
from tinycore.runtime.ref.rings import TEAMS, State
from tinycore.runtime.ref.suspect import Place, Suspect
from tinycore.uop.affine import atoms
from tinycore.uop.index import axis
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import LoopArg, axis_of, walk
from tinycore.util import prod

BLOCK = 1 << 20  # iterations that run at once
LANES = frozenset({"thread", "lane"})
TOGETHER = frozenset({Ops.COPY, Ops.WAIT, Ops.FREE, Ops.MMA, Ops.BARRIER, Ops.BLOCK})


class Thread:
    """One of several threads of control: its steps, and what it waits for."""

    def __init__(self, name: str, scope: Place, steps: Iterator[str]) -> None:
        self.name = name
        self.scope = scope
        self.steps = steps
        self.waits = ""
        self.done = False


class Checked:
    """Control flow of a checked run."""

    def __init__(self, machine: Suspect, seed: int) -> None:
        self.machine = machine
        self.random = Random(seed)
        self.in_order = bounds(machine.kernel)
        self.together: dict[UOp, bool] = {}
        self.changed: dict[UOp, frozenset[UOp]] = {}

    def run(self) -> None:
        """Run the kernel. Raises: RefError, also where no role can go on."""
        for waits in self.body(self.machine.kernel.body):
            self.machine.fail(f"deadlock: {waits}", "a copy or free that lets one go on")

    def body(self, statements: Sequence[UOp]) -> Iterator[str]:
        """Run statements in order; buffers declared among them end with the last."""
        scope = self.machine.scope
        for statement in statements:
            scope.statement = statement
            control = _CONTROL.get(statement.op)
            if control is None:
                _PLAIN[statement.op](self.machine, statement)
            else:
                yield from control(self, statement)
        for statement in statements:
            if statement.op is Ops.BUFFER:
                self._end_of_life(statement)

    def _end_of_life(self, statement: UOp) -> None:
        ring = self.machine.rings[self.machine.instance(statement)]
        for slot in ring.slots:
            if slot.state is State.PENDING:
                wrong = f"{statement.arg.name} ends while a copy fills it ({slot})"
                self.machine.fail(wrong, "a wait before")
            if slot.state is State.READING:
                slot.complete(State.EMPTY)

    # loops

    def loop(self, statement: UOp) -> Iterator[str]:
        """Run a loop: all at once if nothing in it concerns a team, else in a random order."""
        arg: LoopArg = statement.arg
        machine = self.machine
        count = int(machine.index(arg.extent, []))
        machine.clock += 1
        frame = Frame(statement, machine.clock, self._changed(statement))
        if arg.map in TEAMS:
            yield from self._teams(statement, frame, count)
            return
        block = max(1, BLOCK // prod(machine.scope.shape))
        if arg.kind != "par" or self._is_together(statement):
            block = 1
        starts = list(range(0, count, block))
        if arg.kind != "ser":
            self.random.shuffle(starts)
        for start in starts:
            yield from self._block(statement, frame, start, min(block, count - start))

    def _is_together(self, loop: UOp) -> bool:
        """True if a body is run by a team as a whole, or has loops of lengths that differ."""
        found = self.together.get(loop)
        if found is None:
            inner = [statement for statement, _ in walk(loop.src)]
            found = any(statement.op in TOGETHER or _is_team(statement) for statement in inner)
            found = found or bool(self.in_order & atoms(axis_of(loop)))
            self.together[loop] = found
        return found

    def _changed(self, loop: UOp) -> frozenset[UOp]:
        """The buffers in which iterations must not meet: in a red loop those of plain stores."""
        found = self.changed.get(loop)
        if found is None:
            inner = [statement for statement, _ in walk(loop.src)]
            par = loop.arg.kind == "par"
            targets = [target for statement in inner for target in _targets(statement, par)]
            found = frozenset(targets if loop.arg.kind != "ser" else ())
            self.changed[loop] = found
        return found

    def _block(self, statement: UOp, frame: Frame, start: int, count: int) -> Iterator[str]:
        arg: LoopArg = statement.arg
        outer = self.machine.scope
        scope = self.machine.scope = replace(outer)
        place: Array = start + scope.enter(arg.kind, count) if count > 1 else start
        for atom, _ in axis_of(statement).terms:
            scope.axes[atom] = place
        if frame.changed:
            scope.frames = (*outer.frames, (frame, place))
        scope.owned = outer.owned or arg.map == "own"
        scope.crossing = outer.crossing or (arg.map == "own" and arg.kind == "red")
        if arg.map in LANES:
            scope.lane = place if outer.lane is None else outer.lane * arg.extent.hi + place
        yield from self.body(statement.src)
        for atom, _ in axis_of(statement).terms:
            del scope.axes[atom]
        self.machine.scope = outer

    def branch(self, statement: UOp) -> Iterator[str]:
        """Run the body of an IF where its mask is true."""
        outer = self.machine.scope
        mask = self.machine.mask(statement.arg)
        if mask is None or mask.any():
            self.machine.scope = replace(outer, mask=conjunction(outer.mask, mask))
            yield from self.body(statement.src)
            self.machine.scope = outer

    # threads of control

    def block(self, statement: UOp) -> Iterator[str]:
        """Statements in order, or roles side by side."""
        if statement.arg.kind != "roles":
            yield from self.body(statement.src)
            return
        threads = [thread for role in statement.src for thread in self._replicas(role)]
        yield from self._side_by_side(threads)

    def _replicas(self, role: UOp) -> Iterator[Thread]:
        arg = role.arg
        for number in range(arg.replicas):
            scope = self.machine.scope.split()
            scope.path = (*scope.path, (arg.name, number))
            for atom, _ in axis(arg.axis, arg.replicas).terms:
                scope.axes[atom] = number
            name = f"{arg.name} {number}" if arg.replicas > 1 else arg.name
            yield Thread(name, scope, self.body(role.src))

    def _teams(self, loop: UOp, frame: Frame, count: int) -> Iterator[str]:
        threads = []
        for number in range(count):
            scope = self.machine.scope.split()
            scope.path = (*scope.path, (loop.arg.axis, number))
            scope.frames = (*scope.frames, (frame, number))
            for atom, _ in axis_of(loop).terms:
                scope.axes[atom] = number
            threads.append(Thread(f"{loop.arg.axis} {number}", scope, self.body(loop.src)))
        yield from self._side_by_side(threads)

    def _side_by_side(self, threads: list[Thread]) -> Iterator[str]:
        """Let each go as far as it can, in a random order, until all are done or none moves."""
        outer = self.machine.scope
        while threads:
            before = self.machine.clock
            self.random.shuffle(threads)
            for thread in threads:
                self._step(thread)
            self.machine.scope = outer
            moved = self.machine.clock != before or any(thread.done for thread in threads)
            threads = [thread for thread in threads if not thread.done]
            if not moved:
                yield "; ".join(sorted(f"{thread.name}: {thread.waits}" for thread in threads))

    def _step(self, thread: Thread) -> None:
        self.machine.scope = thread.scope
        waits = next(thread.steps, None)
        thread.done = waits is None
        thread.waits = waits or ""
        thread.scope = self.machine.scope


def _is_team(statement: UOp) -> bool:
    return statement.op is Ops.LOOP and statement.arg.map in TEAMS


def _targets(statement: UOp, combining: bool) -> Iterable[UOp]:
    """The buffers that a statement changes; by combining too if asked."""
    if statement.op is Ops.STORE:
        count = len(statement.arg.places)
        plain = statement.src[:count] if combining or not statement.arg.combine else ()
        return (*plain, *statement.src[2 * count :]) if combining else plain
    if statement.op is Ops.COPY or (statement.op is Ops.MMA and combining):
        return statement.src[:1]
    return ()


def _let(machine: Suspect, statement: UOp) -> None:
    machine.scope.lets[statement] = machine.value(statement.src[0])


def _barrier(machine: Suspect, statement: UOp) -> None:
    scope = machine.scope
    if scope.lane is not None or scope.dims:
        machine.fail("a barrier stands where lanes diverge", "a place that all of a team reach")
    machine.agents.barrier(machine.team() if scope.path else None)


_PLAIN: dict[Ops, Callable[[Suspect, UOp], object]] = {
    Ops.LET: _let,
    Ops.STORE: Suspect.store,
    Ops.BUFFER: Suspect.declare,
    Ops.FREE: tiles.free,
    Ops.MMA: tiles.mma,
    Ops.BARRIER: _barrier,
}
_CONTROL: dict[Ops, Callable[[Checked, UOp], Iterator[str]]] = {
    Ops.LOOP: Checked.loop,
    Ops.IF: Checked.branch,
    Ops.BLOCK: Checked.block,
    Ops.COPY: lambda checked, statement: tiles.copy(checked.machine, statement),
    Ops.WAIT: lambda checked, statement: tiles.wait(checked.machine, statement),
}
