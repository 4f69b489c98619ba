"""Runs the statements of a kernel at compile time, writing the program that does the rest.

In: a tree of plain loops, stores and LETs. Out: `Lowered`. Register loops run here, once for each
number; vector loops once for all lanes. Next: a renderer.
"""

from collections.abc import Callable, Iterable

from tinycore.codegen.lower.mapped import decided
from tinycore.codegen.lower.storage import plan
from tinycore.codegen.lower.stores import nest, place_in
from tinycore.codegen.lower.values import Values
from tinycore.codegen.optimize.edit import atom_of, changed, edit, loops_in
from tinycore.dtype import dtypes
from tinycore.runtime.contract import Caps
from tinycore.runtime.errors import Unsupported
from tinycore.uop.index import Atom, as_index, make
from tinycore.uop.lowered import REGISTER, SCRATCH, Lowered
from tinycore.uop.ops import MONOIDS, Ops, UOp
from tinycore.uop.tree import Access, BufferArg, Kernel, LoopArg, store
from tinycore.uop.upat import COUNTERS
from tinycore.util import round_up

ALIGNMENT = 64  # bytes: the widest vector register, and a line of the nearest cache


def expand(kernel: Kernel, caps: Caps) -> Lowered:
    """The program of a kernel of plain loops, IFs, LETs and stores."""
    expander = Expander(kernel, caps.vector_bytes)
    expander.body(kernel.body)
    values = expander.values
    COUNTERS["expand"].visits += values.visits
    grid = [node.arg.extent for node in loops_in(kernel.body) if node.arg.map == "grid"]
    return Lowered(
        kernel.name,
        kernel.params,
        kernel.variables,
        grid=tuple(grid),
        group=(),
        scratch_bytes=expander.most_bytes,
        uops=tuple(values.body),
    )


class Expander:
    """One kernel on its way to a program."""

    def __init__(self, kernel: Kernel, vector_bytes: int) -> None:
        self.vector_bytes = vector_bytes
        self.values = Values(plan(kernel))
        self.used_bytes = 0
        self.most_bytes = 0

    def body(self, statements: Iterable[UOp]) -> None:
        """Statements in order; the scratch memory of their buffers is free again afterwards."""
        used = self.used_bytes
        for statement in statements:
            self.values.visits += 1
            run = _STATEMENTS.get(statement.op)
            if run is None:
                raise Unsupported(f"lower: {statement.op.name} has no lowering for this target")
            run(self, statement)
        self.used_bytes = used

    def condition(self, statement: UOp) -> None:
        """An IF, decided here if its mask is known."""
        test = self.values.mask(statement.arg)
        if test.op is not Ops.CONST:
            head = UOp(Ops.IF, dtypes.void, (test,), None, self.values.moment())
            self._scoped(head, statement, may_skip=True)
        elif test.arg:
            self.body(statement.src)

    def loop(self, statement: UOp) -> None:
        """A LOOP, by its map; no index holds the axis of a single iteration."""
        run = _LOOPS.get(statement.arg.map, Expander.serial)
        run(self, statement, atom_of(statement))

    def copied(self, statement: UOp, atom: Atom | None) -> None:
        """The body once for each number."""
        for number in range(statement.arg.extent.const):
            self.values.copied[atom] = make(number)
            self.body(statement.src)
        self.values.copied.pop(atom, None)

    def along(self, statement: UOp, lane: Atom | None) -> None:
        """The body once, for all lanes."""
        assert lane is not None, "lower: one lane is no vector"
        lanes = lane.hi + 1
        self.values.lane, self.values.lanes = lane, lanes
        self.values.now[lane] = self.values.steps(1, lanes, dtypes.int32)
        self.body(statement.src)
        self.values.lane, self.values.lanes = None, 1

    def serial(self, statement: UOp, atom: Atom | None) -> None:
        """A loop of the program."""
        extent = self.values.value(self.values.bind(statement.arg.extent))
        head = UOp(Ops.LOOP, dtypes.int64, (extent,), statement.arg, self.values.moment())
        self.values.now[atom] = head
        self._scoped(head, statement, statement.arg.extent.lo < 1)

    def _scoped(self, head: UOp, statement: UOp, may_skip: bool) -> None:
        stored = changed([statement])
        self.values.changed(*stored)
        self.values.open(head, stored, may_skip)
        self.body(statement.src)
        self.values.close()
        self.values.changed(*stored)

    # buffers

    def buffer(self, statement: UOp) -> None:
        """A declaration: fresh registers, or scratch memory of this worker."""
        storage = self.values.storage[statement]
        space, tag, lanes = REGISTER, self.values.moment(), storage.width
        if not lanes:
            lanes = 1
            space, tag = SCRATCH, self.used_bytes
            self.used_bytes = round_up(tag + storage.size * statement.dtype.itemsize, ALIGNMENT)
            self.most_bytes = max(self.most_bytes, self.used_bytes)
        arg = BufferArg(statement.name, (as_index(storage.size // lanes),), space)
        node = UOp(Ops.BUFFER, statement.dtype.vec(lanes), (), arg, tag)
        self.values.buffers[statement] = self.values.append(node)
        self.values.changed(statement)
        if statement.arg.init:
            self._fill(statement)

    def _fill(self, state: UOp) -> None:
        name, shape = state.name, state.arg.shape
        value = state.const_like(MONOIDS[state.arg.init].identity)
        if self.values.storage[state].width:
            self.values.fill(state, value)
            return
        vector_bytes = 0 if self.values.lane else self.vector_bytes
        loops = [LoopArg(f"{name}.{k}", extent, "par") for k, extent in enumerate(shape)]
        body = nest(loops, store(state, Access(place_in(loops)), value), vector_bytes)
        self.body(edit(body, decided))


_LOOPS = {"vec": Expander.along, "reg": Expander.copied, "unroll": Expander.copied}

_STATEMENTS: dict[Ops, Callable[[Expander, UOp], None]] = {
    Ops.BLOCK: lambda expander, statement: expander.body(statement.src),
    Ops.BUFFER: Expander.buffer,
    Ops.LET: lambda expander, statement: expander.values.let(statement),
    Ops.STORE: lambda expander, statement: expander.values.store(statement),
    Ops.IF: Expander.condition,
    Ops.LOOP: Expander.loop,
}
