"""Writes a lowered program as LLVM IR text that needs no pass.

In: `Lowered`. Out: a module with one function, void NAME(ptr args, i64 tid, i64 nt). args holds
slots of 8 bytes: the buffers, the variables, then the scratch memory of all workers. Worker tid
runs the grid loop from tid*G/nt to (tid+1)*G/nt; worker 0 runs a program without one. Next file:
llvm_instructions.py.
"""

from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any, NamedTuple

from tinycore.codegen.render.llvm_instructions import OPS as OPS, Register, Text, register_type
from tinycore.runtime.contract import Renderer
from tinycore.uop import Ops, UOp
from tinycore.uop.lowered import REGISTER, Lowered


class LLVMRenderer(Renderer[Lowered]):
    """Renders for any target of LLVM, with vectors of `caps.vector_bytes`."""

    def render(self, program: Lowered) -> str:
        """The module of a program. Raises: Unsupported, naming op and dtype."""
        width = 8 * self.caps.vector_bytes
        attributes = f'"prefer-vector-width"="{width}" "min-legal-vector-width"="{width}"'
        return Module(program, self.caps.contraction).text(attributes)


class Scope(NamedTuple):
    """An open LOOP or IF.

    `before` is the label before it; `outside` and `inside` name the registers that change in it.
    """

    name: str
    before: str
    outside: dict[Register, str]
    inside: dict[Register, str]


class Module(Text):
    """One program on its way to text."""

    def __init__(self, program: Lowered, contracts: bool) -> None:
        super().__init__(contracts)
        self.program = program
        self.scratch = ""
        self.open: list[Iterator[str]] = []

    def text(self, attributes: str) -> str:
        """The text of the module."""
        self._arguments()
        for node in self.program.uops:
            self.names[node] = _WRITERS.get(node.op, Module.scalar)(self, node)
        if not self.program.grid:
            self.go_on("done")
        self.line("ret void")
        head = f'define void @"{self.program.name}"(ptr %args, i64 %tid, i64 %nt) #0 {{\nentry:\n'
        declared = "".join(self.declared)
        tail = f"\n}}\n{declared}attributes #0 = {{ nounwind {attributes} }}\n"
        return head + "\n".join(self.lines) + tail

    def _arguments(self) -> None:
        program = self.program
        for node in (*program.params, *program.variables):
            self.names[node] = self._argument("ptr" if node.is_buffer else "i64")
        if program.scratch_bytes:
            base = self._argument("ptr")
            mine = self.new(f"mul i64 %tid, {program.scratch_bytes}")
            self.scratch = self.new(f"getelementptr i8, ptr {base}, i64 {mine}")
        if not program.grid:
            self.branch(self.new("icmp eq i64 %tid, 0"), "alone", "done")

    def _argument(self, kind: str) -> str:
        slot = len(self.names)
        place = self.new(f"getelementptr i64, ptr %args, i64 {slot}") if slot else "%args"
        return self.new(f"load {kind}, ptr {place}, align 8")

    # buffers

    def buffer(self, node: UOp) -> str:
        """A declaration: undefined registers, or a part of scratch memory."""
        if node.space != REGISTER:
            return self.new(f"getelementptr i8, ptr {self.scratch}, i64 {node.tag}")
        for place in range(node.arg.shape[0].const):
            self.registers[node, place] = "poison"
        return ""

    # loops and branches

    def begin(self, node: UOp) -> str:
        """What is written up to the body of a LOOP or an IF."""
        scope = self.loop(node) if node.is_loop else self.condition(node)
        self.open.append(scope)
        return next(scope)

    def end(self, node: UOp) -> None:
        """What is written after the body of the innermost scope."""
        next(self.open.pop(), None)

    def loop(self, node: UOp) -> Iterator[str]:
        """A block with a phi for the counter, which is yielded, and for each changing register."""
        first, end = "0", self.name(node.source)
        is_grid = node.map == "grid"
        if is_grid:
            following = self.new("add i64 %tid, 1")
            first, end = self._share("%tid", end), self._share(following, end)
        scope = self._scope("l", node)
        name, counter = scope.name, f"%{scope.name}.i"
        may_skip = is_grid or node.extent.lo < 1
        self.go_on(name)
        head = len(self.lines)
        self.registers.update(scope.inside)
        if may_skip:
            more = self.new(f"icmp slt i64 {counter}, {end}")
            self.branch(more, f"{name}.body", f"{name}.end")
        yield counter
        following = self.new(f"add nuw nsw i64 {counter}, 1")
        sides = f"[ {first}, %{scope.before} ], [ {following}, %{self.label} ]"
        self.lines[head:head] = [f"  {counter} = phi i64 {sides}", *self._phis(scope)]
        if may_skip:
            self.line(f"br label %{name}")
            self.registers.update(scope.inside)
        else:
            more = self.new(f"icmp slt i64 {following}, {end}")
            self.line(f"br i1 {more}, label %{name}, label %{name}.end")
        self.block(f"{name}.end")

    def _share(self, worker: str, extent: str) -> str:
        """Where the share of a worker begins: worker * extent / nt."""
        whole = self.new(f"mul i64 {worker}, {extent}")
        return self.new(f"udiv i64 {whole}, %nt")

    def condition(self, node: UOp) -> Iterator[str]:
        """A block that is jumped over, and after it a phi for each changing register."""
        scope = self._scope("c", node)
        self.branch(self.name(node.source), scope.name, f"{scope.name}.end")
        yield ""
        phis = self._phis(scope)
        self.go_on(f"{scope.name}.end")
        self.lines += phis
        self.registers.update(scope.inside)

    def _scope(self, start: str, head: UOp) -> Scope:
        uops = self.program.uops
        below = uops[uops.index(head) :]
        body = takewhile(lambda node: node.op is not Ops.END or node.source is not head, below)
        stored = [(node.source, node.src[1].arg) for node in body if node.is_store]
        outside = {one: self.registers[one] for one in stored if one in self.registers}
        name = self.fresh(start)
        inside = {register: f"%{name}.{k}" for k, register in enumerate(outside)}
        return Scope(name, self.label, outside, inside)

    def _phis(self, scope: Scope) -> list[str]:
        found = []
        for register, before in scope.outside.items():
            kind, after = register_type(register[0].dtype), self.registers[register]
            sides = f"[ {before}, %{scope.before} ], [ {after}, %{self.label} ]"
            found.append(f"  {scope.inside[register]} = phi {kind} {sides}")
        return found


_WRITERS: dict[Ops, Callable[[Module, UOp], Any]] = {
    Ops.BUFFER: Module.buffer,
    Ops.LOAD: Module.load,
    Ops.STORE: Module.store,
    Ops.SHUFFLE: Module.shuffle,
    Ops.LOOP: Module.begin,
    Ops.IF: Module.begin,
    Ops.END: Module.end,
}
