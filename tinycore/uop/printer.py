"""Writes kernels, plans and values as the text of IR.md section 1.

Comes in: `Kernel`, `Plan` or a node. Goes out: text that uop/parser.py reads back as the same
nodes. One statement a line, children indented; the order of masks and terms does not depend on
what was built before, so that equal kernels print equally.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tinycore.dtype import DType, dtypes
from tinycore.uop import affine
from tinycore.uop.affine import Mask
from tinycore.uop.index import Index, make
from tinycore.uop.lexer import ATOM, COMPARE, INFIX, LANES, LEVELS, PRODUCT, RANGE, SUM
from tinycore.uop.monoids import MONOIDS
from tinycore.uop.ops import Ops, Scalar, UOp
from tinycore.uop.table import TABLE
from tinycore.uop.tree import GLOBAL, Access, BufferArg, Kernel, Launch, Own, Plan

Piece = tuple[str, int]  # text, and how tightly its outermost sign binds


def show(unit: Kernel | Plan) -> str:
    """The text of a kernel, or of a plan with its kernels before it."""
    printer = Printer()
    if isinstance(unit, Kernel):
        return printer.kernel(unit)
    kernels = dict.fromkeys(launch.kernel for launch in unit.launches)
    texts = [printer.kernel(kernel) for kernel in kernels if kernel is not None]
    return "".join(texts) + printer.plan(unit)


def show_value(node: UOp) -> str:
    """The text of one scalar expression."""
    return Printer().value(node, None)


def show_statement(node: UOp) -> str:
    """The line of one statement, without its children."""
    return Printer().statement(node)


class Printer:
    """Texts of values and index values, each made once."""

    def __init__(self) -> None:
        self.pieces: dict[UOp, Piece] = {}
        self.indices: dict[Index, str] = {}

    # units

    def kernel(self, kernel: Kernel) -> str:
        """The lines of a kernel."""
        head = self._head("kernel", kernel) + (" spmd" if kernel.spmd else "")
        lines = [head]
        self._body(kernel.body, "  ", lines)
        return "\n".join(lines) + "\n"

    def plan(self, plan: Plan) -> str:
        """The lines of a plan, without its kernels."""
        lines = [self._head("plan", plan)]
        lines += [f"  temp {self.declaration(temp)}" for temp in plan.temps]
        lines += [f"  launch {_launch(launch)}" for launch in plan.launches]
        return "\n".join(lines) + "\n"

    def _head(self, word: str, unit: Kernel | Plan) -> str:
        params = [self.declaration(param) for param in unit.params]
        params += [_variable(variable) for variable in unit.variables]
        return f"{word} {unit.name}({', '.join(params)})"

    def _body(self, statements: Iterable[UOp], indent: str, lines: list[str]) -> None:
        for statement in statements:
            lines.append(indent + self.statement(statement))
            if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
                self._body(statement.src, indent + "  ", lines)

    # statements

    def statement(self, node: UOp) -> str:
        """The line of a statement."""
        write = _STATEMENTS.get(node.op)
        return self.value(node, None) if write is None else write(self, node)

    def loop(self, node: UOp) -> str:
        """par i:4 @reg"""
        arg = node.arg
        place = f" @{arg.map}" if arg.map else ""
        return f"{arg.kind} {arg.axis}:{self.index(arg.extent)}{place}"

    def buffer(self, node: UOp) -> str:
        """buf acc f32[12, 16] reg = sum"""
        return f"buf {self._shape(node)} {node.arg.space}{self._fields(node.arg)}"

    def let(self, node: UOp) -> str:
        """p = exp(z - m)"""
        return f"{node.arg} = {self.value(node.src[0], None)}"

    def store(self, node: UOp) -> str:
        """Y[i | i < n] = x"""
        arg = node.arg
        count = len(arg.places)
        buffers = node.src[:count]
        values = node.src[count : 2 * count]
        targets = [self._place(*pair) for pair in zip(buffers, arg.places, strict=True)]
        texts = [self.value(*pair) for pair in zip(values, [b.dtype for b in buffers], strict=True)]
        sign = MONOIDS[arg.combine].text if arg.combine else "="
        moved = ", ".join(buffer.arg.name for buffer in node.src[2 * count :])
        rebase = f" rebase {arg.rebase}({moved})" if arg.rebase else ""
        if count == 1:
            return f"{targets[0]} {sign} {texts[0]}{rebase}"
        return f"({', '.join(targets)}) {sign} ({', '.join(texts)}){rebase}"

    def copy(self, node: UOp) -> str:
        """copy P[p, x] <- B[p + x] over p:2, x:32 @loop"""
        arg = node.arg
        target, source = node.src
        text = self.value(source, target.dtype)
        tail = f" @{arg.engine}" if arg.engine else ""
        return f"copy {self._place(target, arg.place)} <- {text}{self._over(arg.box)}{tail}"

    def slots(self, node: UOp) -> str:
        """wait As[k], Bs[k]"""
        word = node.op.name.lower()
        pairs = zip(node.src, node.arg, strict=True)
        texts = [f"{b.arg.name}[{'' if e is None else self.index(e)}]" for b, e in pairs]
        return f"{word} {', '.join(texts)}"

    def mma(self, node: UOp) -> str:
        """mma acc[r, c] += A[r, q] * B[q, c] over r:64, c:32, q:16 @warpgroup"""
        arg = node.arg
        pairs = zip(node.src, (arg.acc, arg.a, arg.b), strict=True)
        acc, a, b = [self._place(*pair) for pair in pairs]
        return f"mma {acc} += {a} * {b}{self._over(arg.box)} @{arg.scope}"

    def block(self, node: UOp) -> str:
        """roles, seq, or role math w:2"""
        arg = node.arg
        name = f" {arg.name}" if arg.name else ""
        count = f" {arg.axis}:{arg.replicas}" if arg.axis or arg.replicas != 1 else ""
        return f"{arg.kind}{name}{count}"

    def _over(self, box: tuple[tuple[str, Index], ...]) -> str:
        axes = [f"{name}:{self.index(extent)}" for name, extent in box]
        return f" over {', '.join(axes)}" if axes else ""

    # buffers

    def declaration(self, node: UOp) -> str:
        """X f32[n], a parameter or a temporary; its space is told where it is not global."""
        space = "" if node.arg.space == GLOBAL else f" {node.arg.space}"
        return self._shape(node) + space + self._fields(node.arg)

    def _shape(self, node: UOp) -> str:
        arg: BufferArg = node.arg
        shape = [self.index(extent) for extent in arg.shape]
        if len(arg.names) == len(shape):
            shape = [f"{name}:{text}" for name, text in zip(arg.names, shape, strict=True)]
        return f"{arg.name} {node.dtype.short}[{', '.join(shape)}]"

    def _fields(self, arg: BufferArg) -> str:
        text = f" slots {arg.slots}" if arg.slots != 1 else ""
        text += f" = {arg.init}" if arg.init else ""
        text += " swizzle {} {} {}".format(*arg.swizzle) if arg.swizzle else ""
        return text + (self._own(arg.own) if arg.own else "")

    def _own(self, own: Own) -> str:
        axes = [atom for atom in affine.atoms(own.lane) if atom.hi + 1 != LANES]
        box = sorted((atom.name, make(atom.hi + 1)) for atom in axes)
        return f" own {self.index(own.lane)} = {self.index(own.element)}{self._over(tuple(box))}"

    def _place(self, buffer: UOp, access: Access) -> str:
        """P[k; i, j | i < 4 else 1.0]; a scalar needs no brackets."""
        inside = ", ".join([self.index(index) for index in access.indices])
        if access.sequence is not None:
            inside = f"{self.index(access.sequence)}; {inside}".rstrip()
        if access.mask or access.fill is not None:
            inside += f" | {self._conditions(access.mask)}".rstrip()
        if access.fill is not None:
            inside += f" else {_number(access.fill)}"
        name: str = buffer.arg.name
        return f"{name}[{inside.lstrip()}]" if inside or buffer.arg.shape else name

    # index values and masks

    def index(self, value: Index) -> str:
        """An index value."""
        found = self.indices.get(value)
        if found is None:
            found = self.indices[value] = affine.show(value, self._gathered)
        return found

    def _gathered(self, node: object) -> str:
        assert isinstance(node, UOp), "printer: a gathered index holds no node"
        self.value(node, None)
        return self._operand(node, RANGE, None)

    def mask(self, mask: Mask) -> str:
        """A conjunction, its comparisons sorted by their text."""
        return self._conditions(mask) or "true"

    def _conditions(self, mask: Mask) -> str:
        return ", ".join(sorted([self.comparison(value) for value in mask]))

    def comparison(self, value: Index) -> str:
        """value >= 0, with what is negative moved to the right."""
        if not value.terms:
            return "true" if value.const >= 0 else "false"
        left = make(0, tuple([term for term in value.terms if term[1] > 0]))
        right = make(0, tuple([(atom, -c) for atom, c in value.terms if c < 0]))
        if not left.terms:
            return f"{self.index(right)} < {value.const + 1}"
        if not right.terms:
            return f"{self.index(left)} >= {-value.const}"
        if value.const == -1:
            return f"{self.index(right)} < {self.index(left)}"
        return f"{self.index(left)} >= {self.index(right - value.const)}"

    # values

    def value(self, node: UOp, dtype: DType | None) -> str:
        """An expression where a number of type `dtype` needs no name of its type.

        Not recursive: an expression may be longer than Python's stack.
        """
        work = [node]
        while work:
            top = work[-1]
            missing = [source for source in _operands(top) if source not in self.pieces]
            if missing:
                work += missing
                continue
            work.pop()
            if top not in self.pieces:
                self.pieces[top] = self.piece(top)
        return self._operand(node, 0, dtype)

    def piece(self, node: UOp) -> Piece:
        """The text of a node whose sources have theirs."""
        row = TABLE[node.op]
        if row.sources in (None, len(node.src)):
            write = _VALUES.get(node.op)
            if write is not None:
                return write(self, node)
            if node.op in INFIX:
                return self._infix(node, f" {INFIX[node.op]} ", node.src[1])
        text = row.text or node.op.name.lower()
        return f"{text}({', '.join(self._arguments(node.src))})", ATOM

    def _operand(self, node: UOp, above: int, dtype: DType | None) -> str:
        """`node` as a source of a sign that binds as tightly as `above`."""
        if node.op is Ops.CONST:
            return _constant(node, dtype)
        text, level = self.pieces[node]
        return text if level > above else f"({text})"

    def _exact(self, node: UOp, above: int) -> str:
        """`node` where nothing beside it tells the type of a number."""
        return _typed(node) if node.op is Ops.CONST else self._operand(node, above, None)

    def _arguments(self, sources: tuple[UOp, ...]) -> list[str]:
        """Numbers among arguments take the type of a neighbour that is no number."""
        typed = [source.dtype for source in sources if source.op is not Ops.CONST]
        near = typed[0] if typed and len(sources) > 1 else None
        return [self._operand(source, 0, near) for source in sources]

    def _infix(self, node: UOp, sign: str, right: UOp) -> Piece:
        left = node.src[0]
        level = LEVELS[sign.strip()]
        near = None if right.op is Ops.CONST else right.dtype
        start = level if level == COMPARE else level - 1
        first = self._operand(left, start, near)
        return f"{first}{sign}{self._operand(right, level, left.dtype)}", level

    def add(self, node: UOp) -> Piece:
        """a + b, or a - b."""
        right = node.src[1]
        if right.op is Ops.NEG:
            near = None if right.src[0].op is Ops.CONST else right.dtype
            left = self._operand(node.src[0], SUM - 1, near)
            return f"{left} - {self._exact(right.src[0], SUM)}", SUM
        if right.op is Ops.CONST and right.dtype.kind != "b" and right.arg < 0:
            return self._infix(node, " - ", right.replace(arg=-right.arg))
        return self._infix(node, " + ", right)

    def multiply(self, node: UOp) -> Piece:
        """a * b, or a / b."""
        left, right = node.src
        if right.op is not Ops.RECIP:
            return self._infix(node, " * ", right)
        if left.op is Ops.CONST and left.arg == 1:
            return f"{_typed(left)} / {self._operand(right.src[0], PRODUCT, left.dtype)}", PRODUCT
        return self._infix(node, " / ", right.src[0])

    def reciprocal(self, node: UOp) -> Piece:
        """1.0 / x"""
        return f"1.0 / {self._exact(node.src[0], PRODUCT)}", PRODUCT

    def negate(self, node: UOp) -> Piece:
        """-x"""
        return f"-{self._exact(node.src[0], ATOM - 1)}", ATOM

    def cast(self, node: UOp) -> Piece:
        """f32(x)"""
        return f"{node.dtype.short}({self._exact(node.src[0], 0)})", ATOM

    def bitcast(self, node: UOp) -> Piece:
        """bitcast(x, i32)"""
        return f"bitcast({self._operand(node.src[0], 0, None)}, {node.dtype.short})", ATOM

    def where(self, node: UOp) -> Piece:
        """where(c, a, b)"""
        condition = self._operand(node.src[0], 0, None)
        return f"where({condition}, {', '.join(self._arguments(node.src[1:]))})", ATOM

    def index_node(self, node: UOp) -> Piece:
        """index(i + 3)"""
        kind = "" if node.dtype is dtypes.int32 else f", {node.dtype.short}"
        return f"index({self.index(node.arg)}{kind})", ATOM

    def mask_node(self, node: UOp) -> Piece:
        """i >= n, or mask(i >= n, j < 4)"""
        text = self._conditions(node.arg)
        return (text, COMPARE) if len(node.arg) == 1 else (f"mask({text})", ATOM)


def _operands(node: UOp) -> tuple[UOp, ...]:
    return () if node.op in (Ops.LET, Ops.LOAD, Ops.BUFFER) else node.src


def _constant(node: UOp, dtype: DType | None) -> str:
    bare = node.dtype is dtype or node.dtype.kind == "b"
    bare = bare or (dtype is None and node.dtype is dtypes.float32)
    return _number(node.arg) if bare else _typed(node)


def _typed(node: UOp) -> str:
    text = _number(node.arg)
    return text if node.dtype.kind == "b" else f"{node.dtype.short}({text})"


def _number(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _variable(node: UOp) -> str:
    name, lo, hi = node.arg
    kind = "" if node.dtype is dtypes.int32 else f" {node.dtype.short}"
    return f"{name}{kind} in {lo}..{hi}"


def _launch(launch: Launch) -> str:
    return f"{launch.name}({', '.join(launch.buffers)})"


_STATEMENTS: dict[Ops, Callable[[Printer, UOp], str]] = {
    Ops.LOOP: Printer.loop,
    Ops.BUFFER: Printer.buffer,
    Ops.LET: Printer.let,
    Ops.STORE: Printer.store,
    Ops.COPY: Printer.copy,
    Ops.WAIT: Printer.slots,
    Ops.FREE: Printer.slots,
    Ops.MMA: Printer.mma,
    Ops.BLOCK: Printer.block,
    Ops.IF: lambda printer, node: f"if {printer.mask(node.arg)}",
    Ops.BARRIER: lambda printer, node: "barrier",
}
_VALUES: dict[Ops, Callable[[Printer, UOp], Piece]] = {
    Ops.CONST: lambda printer, node: (_constant(node, None), ATOM),
    Ops.LET: lambda printer, node: (node.arg, ATOM),
    Ops.LOAD: lambda printer, node: (printer._place(node.src[0], node.arg), ATOM),
    Ops.VARIABLE: lambda printer, node: (node.arg[0], ATOM),
    Ops.INDEX: Printer.index_node,
    Ops.MASK: Printer.mask_node,
    Ops.ADD: Printer.add,
    Ops.MUL: Printer.multiply,
    Ops.RECIP: Printer.reciprocal,
    Ops.NEG: Printer.negate,
    Ops.CAST: Printer.cast,
    Ops.BITCAST: Printer.bitcast,
    Ops.WHERE: Printer.where,
}
