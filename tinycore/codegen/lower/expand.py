"""Runs the statements of a kernel at compile time, writing the program that does the rest.

Comes in: a tree of plain loops, stores and LETs. Goes out: `Lowered`. A loop over registers is
run here, once for each number; a vector loop runs once, its axis standing for all lanes; a
serial loop opens a block. Next: a renderer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tinycore.codegen.lower.facts import EACH, LANES, NEVER, ONCE, Study
from tinycore.codegen.lower.loops import everywhere
from tinycore.codegen.lower.registers import in_memory, plan
from tinycore.codegen.lower.scope import Scope
from tinycore.codegen.lower.values import Values
from tinycore.dtype import DType, dtypes
from tinycore.runtime.caps import Caps
from tinycore.runtime.errors import Unsupported
from tinycore.uop.index import Index, as_index, axis
from tinycore.uop.lowered import REGISTER, SCRATCH, Lowered
from tinycore.uop.monoids import MONOIDS
from tinycore.uop.ops import Ops, Scalar, UOp, const
from tinycore.uop.rewrite import COUNTERS, Counters
from tinycore.uop.tree import Access, BufferArg, Kernel, LoopArg, store, walk
from tinycore.util import round_up

ALIGNMENT = 64  # bytes: the widest vector register, and a line of the nearest cache


def expand(kernel: Kernel, caps: Caps) -> Lowered:
    """The program of a kernel whose statements are plain loops, IFs, LETs and stores."""
    expander = Expander(kernel, caps.vector_bytes)
    program = expander.run()
    counters = COUNTERS.setdefault("expand", Counters())
    counters.visits += expander.scope.visits
    return program


class Expander:
    """One kernel on its way to a program."""

    def __init__(self, kernel: Kernel, vector_bytes: int) -> None:
        self.kernel = kernel
        self.vector_bytes = vector_bytes
        self.study = Study(kernel.body)
        storage = plan(self.study, kernel.body)
        storage.update({param: in_memory(param.arg) for param in kernel.params})
        self.scope = Scope(self.study, storage)
        self.scope.buffers.update({param: param for param in kernel.params})
        self.values = Values(self.scope)
        self.blocks = self.scope.blocks
        self.used_bytes = 0
        self.most_bytes = 0

    def run(self) -> Lowered:
        """Write the program."""
        self.body(self.kernel.body)
        kernel = self.kernel
        return Lowered(
            kernel.name,
            kernel.params,
            kernel.variables,
            _grid(kernel),
            (),
            self.most_bytes,
            self.blocks.listed(),
        )

    def body(self, statements: Iterable[UOp]) -> None:
        """Statements in order; the scratch memory of their buffers is free again after them."""
        used = self.used_bytes
        for statement in statements:
            self.scope.visits += 1
            run = _STATEMENTS.get(statement.op)
            if run is None:
                raise Unsupported(f"lower: {statement.op.name} has no lowering for this target")
            run(self, statement)
        self.used_bytes = used

    def condition(self, statement: UOp) -> None:
        """An IF; a mask that is known decides it here."""
        test = self.values.indices.holds(statement.arg)
        if test.op is not Ops.CONST:
            self._scoped(UOp(Ops.IF, dtypes.void, (test,), None, self.blocks.number()), statement)
        elif test.arg:
            self.body(statement.src)

    def loop(self, statement: UOp) -> None:
        """A LOOP, by the way it runs."""
        mode = self.study.mode(statement)
        if mode == NEVER:
            return
        if mode == ONCE:
            self.body(statement.src)
        elif mode == EACH:
            self._copied(statement)
        elif mode == LANES:
            with self.scope.along(self.study.atom(statement)):
                self.body(statement.src)
        else:
            self._serial(statement)

    def _copied(self, statement: UOp) -> None:
        atom = self.study.atom(statement)
        env = self.scope.env
        before = self.scope.copied
        self.scope.copied = before | {atom}
        for number in range(statement.arg.extent.const):
            env[atom] = number
            self.body(statement.src)
        del env[atom]
        self.scope.copied = before

    def _serial(self, statement: UOp) -> None:
        arg: LoopArg = statement.arg
        indices = self.values.indices
        extent = self.scope.addresses.value(indices.bind(indices.form(arg.extent)))
        head = UOp(Ops.LOOP, dtypes.int64, (extent,), arg, self.blocks.number())
        index = axis(arg.axis, arg.extent)
        if index.terms:
            self.scope.addresses.axes[index.terms[0][0]] = head
        self._scoped(head, statement)

    def _scoped(self, head: UOp, statement: UOp) -> None:
        """The body of `statement` in a block of its own."""
        stored = self.study.stored(statement)
        may_skip = head.op is Ops.IF or statement.arg.extent.lo < 1
        self._changed(stored)
        self.blocks.open(head, stored, may_skip)
        self.body(statement.src)
        self.blocks.close()
        self._changed(stored)

    def _changed(self, buffers: Iterable[UOp]) -> None:
        for buffer in buffers:
            self.scope.changed(buffer)

    # buffers

    def buffer(self, statement: UOp) -> None:
        """A declaration: fresh registers, or scratch memory of this worker."""
        storage = self.scope.storage[statement]
        if storage.width:
            shape = (as_index(storage.size // storage.width),)
            arg = BufferArg(statement.arg.name, shape, REGISTER)
            dtype, tag = statement.dtype.vec(storage.width), self.blocks.number()
        else:
            arg = BufferArg(statement.arg.name, (as_index(storage.size),), SCRATCH)
            dtype, tag = statement.dtype, self._scratch(storage.size * statement.dtype.itemsize)
        node = UOp(Ops.BUFFER, dtype, (), arg, tag)
        self.scope.buffers[statement] = self.blocks.append(node)
        self.scope.changed(statement)
        if statement.arg.init:
            self._fill(statement)

    def _scratch(self, size_bytes: int) -> int:
        first = self.used_bytes
        self.used_bytes = round_up(first + size_bytes, ALIGNMENT)
        self.most_bytes = max(self.most_bytes, self.used_bytes)
        return first

    def _fill(self, buffer: UOp) -> None:
        value = identity(buffer.arg.init, buffer.dtype)
        if self.scope.storage[buffer].width:
            self.values.elements.write_all(buffer, value)
            return
        lanes = 1 if self.scope.lane else self.vector_bytes // buffer.dtype.itemsize
        name, shape = buffer.arg.name, buffer.arg.shape
        body = everywhere(name, shape, lambda at: [store(buffer, Access(at), value)], lanes)
        for statement in body:
            self.study.learn(statement, self.scope.lane)
        self.body(body)


def identity(combine: str, dtype: DType) -> UOp:
    """The value that a monoid leaves others unchanged by, in a type that has it."""
    value: Scalar = MONOIDS[combine].identity
    if value in (float("inf"), float("-inf")):
        value = dtype.max if value > 0 else dtype.min
    return const(value, dtype)


def _grid(kernel: Kernel) -> tuple[Index, ...]:
    """What workers share; a loop of one iteration is no loop, and its program runs once."""
    loops = [node.arg for node, _ in walk(kernel.body) if node.op is Ops.LOOP]
    extents = [arg.extent for arg in loops if arg.map == "grid"]
    return tuple([extent for extent in extents if extent.terms or extent.const != 1])


_STATEMENTS: dict[Ops, Callable[[Expander, UOp], None]] = {
    Ops.BLOCK: lambda expander, statement: expander.body(statement.src),
    Ops.BUFFER: Expander.buffer,
    Ops.LET: lambda expander, statement: expander.values.set_let(statement),
    Ops.STORE: lambda expander, statement: expander.values.store_value(statement),
    Ops.IF: Expander.condition,
    Ops.LOOP: Expander.loop,
}
