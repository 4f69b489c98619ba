"""Runs the statements of a kernel at compile time, writing the program that does the rest.

In: a tree of plain loops, stores and LETs. Out: `Lowered`. Register loops run here, once for each
number; vector loops once for all lanes. Next: a renderer.
"""

from collections.abc import Callable, Iterable

from tinycore.codegen.lower.mapped import decided
from tinycore.codegen.lower.storage import plan
from tinycore.codegen.lower.stores import loops_along, nest
from tinycore.codegen.lower.values import Values
from tinycore.codegen.optimize.edit import atom_of, changed, edit, loops_in
from tinycore.dtype import dtypes
from tinycore.runtime.contract import Caps, Unsupported
from tinycore.uop.index import Atom, as_index, make
from tinycore.uop.lowered import GROUP, REGISTER, SCRATCH, Lowered
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import MONOIDS, Access, BufferArg, Kernel, store
from tinycore.uop.upat import COUNTERS
from tinycore.util import round_up

ALIGNMENT = 64  # bytes: the widest vector register, and a line of the nearest cache


def expand(kernel: Kernel, caps: Caps) -> Lowered:
    """The program of a kernel of plain loops, IFs, LETs and stores."""
    loops = [node.arg for node in loops_in(kernel.body)]
    team = max([arg.extent.hi for arg in loops if arg.map == "thread"], default=1)
    values = Values(plan(kernel), short=caps.max_group_threads > 1)
    expander = Expander(values, caps.vector_bytes, team)
    expander.body(kernel.body)
    COUNTERS["expand"].visits += values.visits
    return Lowered(
        kernel.name,
        kernel.params,
        tuple([node.replace(dtype=dtypes.int64) for node in kernel.variables]),
        grid=tuple([arg.extent for arg in loops if arg.map == "grid"]),
        group=(as_index(team),) if team > 1 else (),
        scratch_bytes=expander.most_bytes,
        uops=tuple(values.stack[0].body),
    )


class Expander:
    """One kernel on its way to a program."""

    def __init__(self, values: Values, vector_bytes: int, team: int) -> None:
        self.vector_bytes = vector_bytes
        self.team = team
        self.values = values
        self.used_bytes = 0
        self.most_bytes = 0

    def body(self, statements: Iterable[UOp]) -> None:
        """Statements in order; the scratch memory of their buffers is free again afterwards."""
        used = self.used_bytes
        for statement in statements:
            self.values.visits += 1
            run = _STATEMENTS.get(statement.op)
            if run is None:
                what = f"{statement.op.name} has no lowering for this target"
                raise Unsupported(f"lower: {what}; expected loops and plain stores")
            run(self, statement)
        self.used_bytes = used

    def condition(self, statement: UOp) -> None:
        """An IF, decided here if its mask is known."""
        test = self.values.mask(statement.arg)
        if not test.is_const:
            head = UOp(Ops.IF, dtypes.void, (test,), None, self.values.moment())
            self._scoped(head, statement, may_skip=True)
        elif test.arg:
            self.body(statement.src)

    def barrier(self, statement: UOp) -> None:
        """A BARRIER, one of many."""
        self.values.append(statement.replace(tag=self.values.moment()))

    def loop(self, statement: UOp) -> None:
        """A LOOP, by its map; no index holds the axis of a single iteration."""
        run = _LOOPS.get(statement.map, Expander.serial)
        run(self, statement, atom_of(statement))

    def copied(self, statement: UOp, atom: Atom | None) -> None:
        """The body once for each number."""
        for number in range(statement.extent.const):
            self.values.copied[atom] = make(number)
            self.body(statement.src)
        self.values.copied.pop(atom, None)

    def along(self, statement: UOp, lane: Atom | None) -> None:
        """The body once, for all lanes."""
        assert lane is not None, "lower: one lane is no vector"
        values = self.values
        values.lane, values.lanes = lane, lane.hi + 1
        values.now[lane] = values.steps(1, values.lanes, dtypes.int32)
        self.body(statement.src)
        values.lane, values.lanes = None, 1

    def serial(self, statement: UOp, atom: Atom | None) -> None:
        """A loop of the program."""
        extent = self.values.value(self.values.bind(statement.extent))
        head = UOp(Ops.LOOP, dtypes.int64, (extent,), statement.arg, self.values.moment())
        self.values.now[atom] = head
        least = self.team if statement.map == "thread" else 1
        self._scoped(head, statement, statement.extent.lo < least)

    def _scoped(self, head: UOp, statement: UOp, may_skip: bool) -> None:
        values, stored = self.values, changed([statement])
        values.changed(*stored)
        values.open(head, stored, may_skip)
        self.body(statement.src)
        values.close()
        values.changed(*stored)

    # buffers

    def buffer(self, statement: UOp) -> None:
        """A declaration: fresh registers, or scratch memory of this worker."""
        values, space = self.values, statement.space
        storage, tag = values.storage[statement], values.moment()
        if storage.width:
            space = REGISTER
        elif space != GROUP or self.team == 1:
            space, tag = SCRATCH, self.used_bytes
            self.used_bytes = round_up(tag + storage.size * statement.dtype.itemsize, ALIGNMENT)
            self.most_bytes = max(self.most_bytes, self.used_bytes)
        lanes = storage.width or 1
        arg = BufferArg(statement.name, (as_index(storage.size // lanes),), space)
        node = UOp(Ops.BUFFER, statement.dtype.vec(lanes), (), arg, tag)
        values.buffers[statement] = values.append(node)
        values.changed(statement)
        if statement.init:
            self._fill(statement)

    def _fill(self, state: UOp) -> None:
        storage = self.values.storage[state]
        value = state.const_like(MONOIDS[state.init].identity)
        if storage.width:
            self.values.write_registers(state, range(storage.size), value)
            return
        loops = loops_along(state, state.name, storage)
        filled = store(state, Access(tuple([one.index for one in loops])), value)
        vector_bytes = 0 if self.values.lane else self.vector_bytes
        self.body(edit(nest(loops, filled, vector_bytes), decided))


_LOOPS = {"vec": Expander.along, "reg": Expander.copied, "unroll": Expander.copied}

_STATEMENTS: dict[Ops, Callable[[Expander, UOp], None]] = {
    Ops.BARRIER: Expander.barrier,
    Ops.BLOCK: lambda expander, statement: expander.body(statement.src),
    Ops.BUFFER: Expander.buffer,
    Ops.LET: lambda expander, statement: expander.values.let(statement),
    Ops.STORE: lambda expander, statement: expander.values.store(statement),
    Ops.IF: Expander.condition,
    Ops.LOOP: Expander.loop,
}
