"""Writes a lowered program as LLVM IR text that needs no pass: vectors, phis and branches as is.

Comes in: `Lowered`. Goes out: a module with one function, void NAME(ptr args, i64 tid, i64 nt).
args holds slots of 8 bytes: the buffers, the variables, then the address of scratch memory, of
which worker tid has its own part. The grid loop of worker tid runs from tid*G/nt to (tid+1)*G/nt;
a program without one is run by worker 0. Register buffers become values and phis, never memory.
Spellings are in llvm_text.py and llvm_values.py.
"""

from __future__ import annotations

from collections.abc import Callable

from tinycore.codegen.render import llvm_values
from tinycore.codegen.render.llvm_text import Text, register_type
from tinycore.dtype import dtypes
from tinycore.runtime.caps import Caps
from tinycore.runtime.contract import Renderer
from tinycore.uop.lowered import REGISTER, Lowered
from tinycore.uop.ops import Ops, UOp

Register = tuple[UOp, int]  # a register buffer and a place in it

OPS = tuple(sorted([op.name for op in llvm_values.SPELLED]))
"""The scalar ops this renderer spells, for `Caps.ops`; the core decomposes the others."""


class LLVMRenderer(Renderer[Lowered]):
    """Renders for any target of LLVM; vectors are as wide as `caps.vector_bytes` says."""

    def __init__(self, caps: Caps) -> None:
        super().__init__(caps)
        width = 8 * caps.vector_bytes
        self.attributes = f'"prefer-vector-width"="{width}" "min-legal-vector-width"="{width}"'

    def render(self, program: Lowered) -> str:
        """The module of a program. Raises: Unsupported, naming op and dtype."""
        return Module(program, self.caps.contraction).text(self.attributes)


class Scope:
    """An open LOOP or IF: its labels, its counter, and the registers that change inside."""

    def __init__(self, name: str, before: str, changing: dict[Register, str]) -> None:
        self.name = name
        self.before = before
        self.changing = changing  # what each was called before
        self.inside = {register: f"%{name}.{k}" for k, register in enumerate(changing)}
        self.phis = 0
        self.counter = ("", "", "")
        self.may_skip = False


class Module(Text):
    """One program on its way to text."""

    def __init__(self, program: Lowered, contracts: bool) -> None:
        super().__init__(contracts)
        self.program = program
        self.registers: dict[Register, str] = {}
        self.position = 0
        self.scratch = ""
        self.open: list[Scope] = []

    def text(self, attributes: str) -> str:
        """The text of the module."""
        self._arguments()
        for position, node in enumerate(self.program.uops):
            self.position = position
            write = _WRITERS.get(node.op, llvm_values.scalar)
            name = write(self, node)
            if name is not None:
                self.names[node] = name
        if not self.program.grid:
            self.line("br label %done")
            self.block("done")
        self.line("ret void")
        head = f'define void @"{self.program.name}"(ptr %args, i64 %tid, i64 %nt) #0 {{\nentry:\n'
        declared = "".join([f"{line}\n" for line in self.declared])
        tail = f"\n}}\n{declared}attributes #0 = {{ nounwind {attributes} }}\n"
        return head + "\n".join(self.lines) + tail

    def _arguments(self) -> None:
        program = self.program
        slots = [("ptr", param) for param in program.params]
        for variable in program.variables:
            slots.append(("i64", UOp(Ops.VARIABLE, dtypes.int64, (), variable.arg)))
        for number, (kind, node) in enumerate(slots):
            self.names[node] = self._argument(kind, number)
        if program.scratch_bytes:
            base = self._argument("ptr", len(slots))
            mine = self.new(f"mul i64 %tid, {program.scratch_bytes}")
            self.scratch = self.new(f"getelementptr i8, ptr {base}, i64 {mine}")
        if not program.grid:
            first = self.new("icmp eq i64 %tid, 0")
            self.branch(first, "alone", "done")
            self.block("alone")

    def _argument(self, kind: str, slot: int) -> str:
        place = self.new(f"getelementptr i64, ptr %args, i64 {slot}") if slot else "%args"
        return self.new(f"load {kind}, ptr {place}, align 8")

    # buffers

    def buffer(self, node: UOp) -> str | None:
        """A declaration: undefined registers, or a part of scratch memory."""
        if node.arg.space != REGISTER:
            return self.new(f"getelementptr i8, ptr {self.scratch}, i64 {node.tag}")
        for place in range(node.arg.shape[0].const):
            self.registers[node, place] = "poison"
        return None

    def load(self, node: UOp) -> str:
        """A LOAD; of a register it is another name."""
        buffer, offset, *_ = node.src
        if buffer.arg.space == REGISTER:
            return self.registers[buffer, offset.arg]
        return llvm_values.load(self, node)

    def store(self, node: UOp) -> None:
        """A STORE; to a register it gives the register another name."""
        buffer, offset, value, *_ = node.src
        if buffer.arg.space == REGISTER:
            self.registers[buffer, offset.arg] = self.name(value)
        else:
            llvm_values.store(self, node)

    # loops and branches

    def loop(self, node: UOp) -> str:
        """The head of a loop: a block with a phi for its counter and each changing register."""
        first, end = "0", self.name(node.src[0])
        if node.arg.map == "grid":
            following = self.new("add i64 %tid, 1")
            first, end = self._share("%tid", end), self._share(following, end)
        scope = self._scope("l", node)
        counter = f"%{scope.name}.i"
        scope.counter = (counter, first, end)
        scope.may_skip = node.arg.map == "grid" or node.arg.extent.lo < 1
        self.line(f"br label %{scope.name}")
        self.block(scope.name)
        scope.phis = len(self.lines)
        self.lines.append("")
        self.registers.update(scope.inside)
        if scope.may_skip:
            more = self.new(f"icmp slt i64 {counter}, {end}")
            self.branch(more, f"{scope.name}.body", f"{scope.name}.end")
            self.block(f"{scope.name}.body")
        return counter

    def _share(self, worker: str, extent: str) -> str:
        """Where the share of a worker begins: worker * extent / nt."""
        whole = self.new(f"mul i64 {worker}, {extent}")
        return self.new(f"udiv i64 {whole}, %nt")

    def condition(self, node: UOp) -> None:
        """The head of an IF."""
        test = self.name(node.src[0])
        scope = self._scope("c", node)
        self.branch(test, scope.name, f"{scope.name}.end")
        self.block(scope.name)

    def _scope(self, start: str, head: UOp) -> Scope:
        """A scope and the registers that change in it; not those declared inside."""
        changing: dict[Register, str] = {}
        for node in self.program.uops[self.position :]:
            if node.op is Ops.END and node.src[0] is head:
                break
            if node.op is Ops.STORE and node.src[0].arg.space == REGISTER:
                register = (node.src[0], node.src[1].arg)
                if register in self.registers:
                    changing[register] = self.registers[register]
        scope = Scope(self.fresh(start), self.label, changing)
        self.open.append(scope)
        return scope

    def end(self, node: UOp) -> None:
        """The end of a LOOP or an IF."""
        scope = self.open.pop()
        if node.src[0].op is Ops.LOOP:
            self._end_loop(scope)
        else:
            self._end_condition(scope)

    def _end_loop(self, scope: Scope) -> None:
        counter, first, end = scope.counter
        following = self.new(f"add nuw nsw i64 {counter}, 1")
        phis = [
            f"  {counter} = phi i64 [ {first}, %{scope.before} ], [ {following}, %{self.label} ]"
        ]
        phis += self._phis(scope, self.label)
        self.lines[scope.phis] = "\n".join(phis)
        if scope.may_skip:
            self.line(f"br label %{scope.name}")
            self.registers.update(scope.inside)
        else:
            more = self.new(f"icmp slt i64 {following}, {end}")
            self.branch(more, scope.name, f"{scope.name}.end")
        self.block(f"{scope.name}.end")

    def _end_condition(self, scope: Scope) -> None:
        inner = self.label
        self.line(f"br label %{scope.name}.end")
        self.block(f"{scope.name}.end")
        self.lines += self._phis(scope, inner)
        self.registers.update(scope.inside)

    def _phis(self, scope: Scope, last: str) -> list[str]:
        """What each changing register is: what it was before, or at the end of block `last`."""
        found = []
        for register, before in scope.changing.items():
            kind, after = register_type(register[0].dtype), self.registers[register]
            sides = f"[ {before}, %{scope.before} ], [ {after}, %{last} ]"
            found.append(f"  {scope.inside[register]} = phi {kind} {sides}")
        return found


_WRITERS: dict[Ops, Callable[[Module, UOp], str | None]] = {
    Ops.BUFFER: Module.buffer,
    Ops.LOAD: Module.load,
    Ops.STORE: Module.store,
    Ops.SHUFFLE: llvm_values.shuffle,
    Ops.LOOP: Module.loop,
    Ops.IF: Module.condition,
    Ops.END: Module.end,
}
