"""Runs the statements of a kernel at compile time, writing the program that does the rest.

Comes in: a tree of plain loops, stores and LETs. Goes out: `Lowered`. A loop over registers is
run here, once for each number; a vector loop runs once, its axis standing for all lanes; a
serial loop opens a block. Next: a renderer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tinycore.codegen.lower.storage import in_memory, is_copied, plan
from tinycore.codegen.lower.stores import nest, place_in
from tinycore.codegen.lower.values import Values
from tinycore.codegen.optimize.edit import atom_of, changed
from tinycore.dtype import dtypes
from tinycore.runtime.contract import Caps
from tinycore.runtime.errors import Unsupported
from tinycore.uop.index import Atom, Index, as_index, make
from tinycore.uop.lowered import REGISTER, SCRATCH, Lowered
from tinycore.uop.ops import MONOIDS, Ops, UOp, const
from tinycore.uop.tree import Access, BufferArg, Kernel, LoopArg, store, walk
from tinycore.uop.upat import COUNTERS
from tinycore.util import round_up

ALIGNMENT = 64  # bytes: the widest vector register, and a line of the nearest cache


def expand(kernel: Kernel, caps: Caps) -> Lowered:
    """The program of a kernel whose statements are plain loops, IFs, LETs and stores."""
    expander = Expander(kernel, caps.vector_bytes)
    expander.body(kernel.body)
    COUNTERS["expand"].visits += expander.values.visits
    uops = tuple(expander.blocks.body)
    heads = kernel.params, kernel.variables, _grid(kernel)
    return Lowered(kernel.name, *heads, (), expander.most_bytes, uops)


class Expander:
    """One kernel on its way to a program."""

    def __init__(self, kernel: Kernel, vector_bytes: int) -> None:
        self.vector_bytes = vector_bytes
        storage = plan(kernel.body)
        storage.update({param: in_memory(param.arg) for param in kernel.params})
        self.values = Values(storage)
        self.values.buffers.update({param: param for param in kernel.params})
        self.indices = self.values.indices
        self.blocks = self.values.blocks
        self.used_bytes = 0
        self.most_bytes = 0

    def body(self, statements: Iterable[UOp]) -> None:
        """Statements in order; the scratch memory of their buffers is free again after them."""
        used = self.used_bytes
        for statement in statements:
            self.values.visits += 1
            run = _STATEMENTS.get(statement.op)
            if run is None:
                raise Unsupported(f"lower: {statement.op.name} has no lowering for this target")
            run(self, statement)
        self.used_bytes = used

    def condition(self, statement: UOp) -> None:
        """An IF; a mask that is known decides it here."""
        test = self.values.holds(statement.arg)
        if test.op is not Ops.CONST:
            head = UOp(Ops.IF, dtypes.void, (test,), None, self.blocks.number())
            self._scoped(head, statement, may_skip=True)
        elif test.arg:
            self.body(statement.src)

    def loop(self, statement: UOp) -> None:
        """A LOOP, by the way it runs."""
        run = self.along if statement.arg.map == "vec" else self.serial
        if is_copied(statement):
            run = self.copied
        run(statement, atom_of(statement))

    def copied(self, statement: UOp, atom: Atom | None) -> None:
        """The body once for each number."""
        for number in range(statement.arg.extent.const):
            if atom is not None:
                self.values.now[atom] = make(number)
            self.body(statement.src)

    def along(self, statement: UOp, lane: Atom | None) -> None:
        """The body once, for all lanes."""
        assert lane is not None, "lower: one lane is no vector"
        lanes = lane.hi + 1
        self.indices.lane, self.indices.lanes = lane, lanes
        self.values.now[lane] = self.blocks.steps(1, lanes, dtypes.int32)
        self.body(statement.src)
        self.indices.lane, self.indices.lanes = None, 1

    def serial(self, statement: UOp, atom: Atom | None) -> None:
        """A loop of the program."""
        extent = self.indices.value(self.indices.bind(statement.arg.extent))
        head = UOp(Ops.LOOP, dtypes.int64, (extent,), statement.arg, self.blocks.number())
        if atom is not None:
            self.values.now[atom] = head
        self._scoped(head, statement, statement.arg.extent.lo < 1)

    def _scoped(self, head: UOp, statement: UOp, may_skip: bool) -> None:
        """The body of `statement` in a block of its own."""
        stored = changed([statement])
        self.values.changed(*stored)
        self.blocks.open(head, stored, may_skip)
        self.body(statement.src)
        self.blocks.close()
        self.values.changed(*stored)

    # buffers

    def buffer(self, statement: UOp) -> None:
        """A declaration: fresh registers, or scratch memory of this worker."""
        storage = self.values.storage[statement]
        dtype, size = statement.dtype, storage.size
        if storage.width:
            space, tag = REGISTER, self.blocks.number()
            size //= storage.width
            dtype = dtype.vec(storage.width)
        else:
            space, tag = SCRATCH, self.used_bytes
            self.used_bytes = round_up(tag + size * dtype.itemsize, ALIGNMENT)
            self.most_bytes = max(self.most_bytes, self.used_bytes)
        arg = BufferArg(statement.arg.name, (as_index(size),), space)
        node = UOp(Ops.BUFFER, dtype, (), arg, tag)
        self.values.buffers[statement] = self.blocks.append(node)
        self.values.changed(statement)
        if statement.arg.init:
            self._fill(statement)

    def _fill(self, buffer: UOp) -> None:
        value = const(MONOIDS[buffer.arg.init].identity, buffer.dtype)
        if self.values.storage[buffer].width:
            self.values.fill(buffer, value)
            return
        lanes = 1 if self.indices.lane else self.vector_bytes // buffer.dtype.itemsize
        shape = enumerate(buffer.arg.shape)
        loops = [LoopArg(f"{buffer.arg.name}.{k}", extent, "par") for k, extent in shape]
        body = store(buffer, Access(place_in(loops)), value)
        self.body(nest(loops, [body], lanes))


def _grid(kernel: Kernel) -> tuple[Index, ...]:
    """What workers share; a loop of one iteration is no loop, and its program runs once."""
    loops = [node.arg for node, _ in walk(kernel.body) if node.op is Ops.LOOP]
    extents = [arg.extent for arg in loops if arg.map == "grid"]
    return tuple([extent for extent in extents if extent.terms or extent.const != 1])


_STATEMENTS: dict[Ops, Callable[[Expander, UOp], None]] = {
    Ops.BLOCK: lambda expander, statement: expander.body(statement.src),
    Ops.BUFFER: Expander.buffer,
    Ops.LET: lambda expander, statement: expander.values.let(statement),
    Ops.STORE: lambda expander, statement: expander.values.store(statement),
    Ops.IF: Expander.condition,
    Ops.LOOP: Expander.loop,
}
