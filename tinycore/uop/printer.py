"""The text of kernels, plans and values, in the notation of docs/ir.md.

Comes in: a `Kernel`, a `Plan` or a node. Goes out: text that uop/parser.py reads back as the same
nodes; equal kernels print equally. Caches key on `kernel_key`. Next file: spec.py.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from hashlib import blake2b

from tinycore.dtype import dtypes
from tinycore.uop import tree
from tinycore.uop.index import Atom, Index, Mask, atoms, make
from tinycore.uop.ops import Ops, UOp, postorder
from tinycore.uop.parser import parse
from tinycore.uop.reader import ATOM, LEVELS
from tinycore.uop.tree import GLOBAL, MONOIDS, Access, Box, Kernel, Own, Plan, operands

LONG = 4096
Piece = tuple[str, int]  # text, and how tightly its sign binds


def show(what: Kernel | Plan | UOp) -> str:
    """The text of a kernel, of a plan after its kernels, of a value or of a statement's head."""
    printer = Printer()
    if isinstance(what, UOp):
        return printer.statement(what)
    return printer.kernel(what) if isinstance(what, Kernel) else printer.plan(what)


def canonical(kernel: Kernel) -> Kernel:
    """`kernel` with its axes, buffers and values numbered by first appearance.

    Axes keep their history: i0.0 comes from a SPLIT of i0, i0_i1 from a FUSE, a prime from a PEEL.
    Variables keep their names, by which a launch binds them.
    """
    found = parse(canonical_text(kernel))["k"]
    assert isinstance(found, Kernel), "canonical: a kernel is read as a plan"
    return found


def canonical_text(kernel: Kernel, limit: float = math.inf) -> str:
    """The text of the canonical kernel; an expression longer than `limit` becomes a digest."""
    return _Renamed(kernel, limit).kernel(kernel._replace(name="k"))


def kernel_key(kernel: Kernel) -> str:
    """A hash of what the kernel does: two spellings of one program have the same."""
    return _digest(canonical_text(kernel, LONG))


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=20).hexdigest()


class Printer:
    """Writes the lines of kernels and plans; the text of a value is made once."""

    def __init__(self) -> None:
        self.pieces: dict[UOp, Piece] = {}

    # units

    def kernel(self, kernel: Kernel) -> str:
        """The lines of a kernel."""
        text = self.head("kernel", kernel) + (" spmd" if kernel.spmd else "")
        return text + self.body(kernel.body) + "\n"

    def plan(self, plan: Plan) -> str:
        """The lines of a plan, after those of its kernels."""
        kernels = dict.fromkeys([step.kernel for step in plan.launches if step.kernel])
        text = "".join(map(self.kernel, kernels)) + self.head("plan", plan)
        for temp in plan.temps:
            text += f"\n  temp {self.declaration(temp)}"
        for step in plan.launches:
            text += f"\n  launch {step.name}({', '.join(step.buffers)})"
        return f"{text}\n"

    def head(self, word: str, unit: Kernel | Plan) -> str:
        """kernel NAME(n in 1..8, X f32[n])"""
        params = ["{} in {}..{}".format(*variable.arg) for variable in unit.variables]
        params += [self.declaration(param) for param in unit.params]
        return f"{word} {unit.name}({', '.join(params)})"

    def body(self, statements: Iterable[UOp], margin: str = "\n  ") -> str:
        """Statements with their children indented."""
        text = ""
        for statement in statements:
            text += margin + self.statement(statement)
            if statement.op in tree.BODIES:
                text += self.body(statement.src, margin + "  ")
        return text

    # statements

    def statement(self, node: UOp) -> str:
        """The line of a statement, without its children."""
        arg, word = node.arg, node.op.name.lower()
        match node.op:
            case Ops.LOOP:
                return f"{arg.kind} {self.axis(arg.axis)}:{self.index(arg.extent)}{_at(arg.map)}"
            case Ops.BLOCK:
                axis = f"{self.axis(arg.axis)}:{self.index(arg.extent)}" if arg.axis else ""
                return f"{arg.kind} {arg.name} {axis}".rstrip()
            case Ops.BUFFER:
                return f"buf {self.declaration(node)}"
            case Ops.LET:
                return f"{self.name(node)} = {self.value(node.source)}"
            case Ops.STORE:
                return self.store(node)
            case Ops.COPY | Ops.MMA:
                return f"{word}({self.box(arg.box)}) {self.store(node)}"
            case Ops.WAIT | Ops.FREE:
                slots = [Access(() if number is None else (number,)) for number in arg]
                return f"{word} {', '.join(map(self.place, node.src, slots))}"
            case Ops.IF:
                return f"if {self.mask(arg)}"
            case Ops.BARRIER:
                return word
        return self.value(node)

    def store(self, node: UOp) -> str:
        """n, s += 1.0, x rebase var(M2)"""
        arg = node.arg
        places = ", ".join(map(self.place, node.src, arg.places))
        sign = MONOIDS[arg.combine].text if arg.combine else "="
        text = f"{places} {sign} {', '.join(map(self.value, tree.values(node)))}"
        if arg.rebase:
            text += f" rebase {arg.rebase}({', '.join(map(self.name, tree.dependents(node)))})"
        return text + _at(arg.engine)

    # buffers and names

    def declaration(self, node: UOp) -> str:
        """acc f32[12, 16] reg = sum"""
        arg = node.arg
        shape = ", ".join(map(self.index, arg.shape))
        if arg.names:
            shape = self.box(tuple(zip(arg.names, arg.shape, strict=False)))
        text = f"{self.name(node)} {node.dtype.short}[{shape}]"
        text += f" {arg.space}" if arg.space != GLOBAL else ""
        text += f" slots {arg.slots}" if arg.slots != 1 else ""
        text += f" = {arg.init}" if arg.init else ""
        text += " swizzle {} {} {}".format(*arg.swizzle) if arg.swizzle else ""
        return text + (self.own(arg.own) if arg.own else "")

    def own(self, own: Own) -> str:
        """own(t:128) t//4 = 8*(r//16) + r%8"""
        lanes = [(atom.name, make(atom.hi + 1)) for atom in atoms(own.lane)]
        box = self.box(tuple(sorted(lanes)))
        return f" own({box}) {self.index(own.lane)} = {self.index(own.element)}"

    def box(self, axes: Box) -> str:
        """r:64, c:32"""
        return ", ".join(f"{self.axis(name)}:{self.index(extent)}" for name, extent in axes)

    def axis(self, name: str) -> str:
        """The name of an axis."""
        return name

    def name(self, node: UOp) -> str:
        """The name of a buffer or value."""
        return node.name

    def place(self, buffer: UOp, access: Access) -> str:
        """P[k; i, j | i < 4 else 1.0]"""
        inside = ", ".join(map(self.index, access.indices))
        if access.sequence:
            inside = f"{self.index(access.sequence)}; {inside}"
        if access.mask:
            inside += f" | {self.mask(access.mask)}"
        if access.fill:
            inside += f" else {_number(access.fill)}"
        return self.name(buffer) + (f"[{inside.strip()}]" if inside else "")

    # index values and masks

    def index(self, value: Index) -> str:
        """An index value, its terms sorted by coefficient, then by name."""
        value = value.unalias()
        terms = sorted((c < 0, -abs(c), self.atom(atom), c) for atom, c in value.terms)
        alone = len(terms) == 1 and value.const == 0
        texts = []
        for _, _, text, c in terms:
            if c != 1 or (" in " in text and not alone):
                text = _TIMES.get(c, f"{c}*") + _grouped(text)
            texts.append(text)
        if value.const or not texts:
            texts.append(str(value.const))
        return " + ".join(texts).replace("+ -", "- ")

    def atom(self, atom: Atom) -> str:
        """An axis, a variable, a gathered index, a digit or a product."""
        if atom.kind == "gather":
            self.value(atom.node)
            return f"{self.operand(atom.node, LEVELS['in'])} in {atom.hi + 1}"
        if not atom.parts:
            return self.axis(atom.name) if atom.kind == "axis" else atom.name
        text = "*".join(sorted(_grouped(self.index(part)) for part in atom.parts))
        text += f"//{atom.divisor}" if atom.divisor != 1 else ""
        return text + (f"%{atom.modulus}" if atom.modulus else "")

    def mask(self, mask: Mask) -> str:
        """Comparisons, sorted by their text."""
        return ", ".join(sorted(map(self.comparison, mask))) or "true"

    def comparison(self, value: Index) -> str:
        """The constraint value >= 0, with what is negative on the other side."""
        more = make(0, tuple(term for term in value.terms if term[1] > 0))
        less = more - value + value.const
        if not value.terms:
            return _number(value.const >= 0)
        if not less.terms or (more.terms and value.const >= 0):
            return f"{self.index(more)} >= {self.index(less - value.const)}"
        return f"{self.index(less)} < {self.index(more + value.const + 1)}"

    # values

    def value(self, node: UOp) -> str:
        """An expression, written without recursion: it may be deeper than Python's stack."""
        for inner in postorder([node], operands, self.pieces):
            self.pieces[inner] = self.piece(inner)
        return self.pieces[node][0]

    def piece(self, node: UOp) -> Piece:
        """The text of a node whose sources have theirs."""
        arg = node.arg
        match node.op:
            case Ops.LET:
                return self.name(node), ATOM
            case Ops.LOAD:
                return self.place(node.source, arg), ATOM
            case Ops.CONST:
                return _number(arg) if node.dtype is dtypes.float32 else _typed(node), ATOM
            case Ops.INDEX:
                return f"{node.dtype.short}({self.index(arg)})", ATOM
            case Ops.MASK:
                text = self.mask(arg)
                return (text, LEVELS["<"]) if len(arg) == 1 else (f"mask({text})", ATOM)
            case Ops.NEG:
                return f"-{self.exact(node.source, ATOM - 1)}", ATOM
            case Ops.CAST:
                return f"{node.dtype.short}({self.exact(node.source)})", ATOM
        if node.op.row.text in LEVELS and len(node.src) == 2:
            return self.infix(node)
        kind = f".{node.dtype.short}" if node.op is Ops.BITCAST else ""
        arguments = ", ".join(map(self.operand, node.src))
        return f"{node.op.name.lower()}{kind}({arguments})", ATOM

    def operand(self, node: UOp, above: int = 0) -> str:
        """The text of a source, in brackets unless it binds more tightly than `above`."""
        text, level = self.pieces[node]
        return text if level > above else f"({text})"

    def exact(self, node: UOp, above: int = 0) -> str:
        """The text of a source where nothing beside it tells the type of a number."""
        return _typed(node) if node.is_const else self.operand(node, above)

    def infix(self, node: UOp) -> Piece:
        """a + b; a - b for a plus -b, a / b for a times 1/b."""
        left, right = node.src
        sign = node.op.row.text
        inverse = _INVERSES.get((node.op, right.op))
        if inverse and not right.source.is_const:
            sign, right = inverse, right.source
        level = LEVELS[sign]
        text = self.operand(right, level)
        if sign == "+" and right.is_const and text[0] == "-":
            sign, text = "-", text[1:]
        return f"{self.operand(left, level - 1)} {sign} {text}", level


class _Renamed(Printer):
    """Names by first appearance; those in `local` belong to one statement."""

    def __init__(self, kernel: Kernel, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.taken = {variable.arg[0] for variable in kernel.variables}
        self.counts = Counter[str]()
        self.bases = defaultdict[str, str](lambda: self.fresh("i"))
        self.local: dict[str, str] = {}
        self.names: dict[UOp, str] = {}

    def fresh(self, letter: str) -> str:
        name = f"{letter}{self.counts[letter]}"
        self.counts[letter] += 1
        return self.fresh(letter) if name in self.taken else name

    def name(self, node: UOp) -> str:
        return self.names[node]

    def axis(self, name: str) -> str:
        return self.local.get(name) or _BASE.sub(lambda found: self.bases[found[0]], name)

    def box(self, axes: Box) -> str:
        self.local |= {name: self.fresh("x") for name, _ in axes}
        return super().box(axes)

    def statement(self, node: UOp) -> str:
        self.local, self.pieces = {}, {}
        self.counts["x"] = 0
        if node.is_let:
            self.names[node] = self.fresh("v")
        return super().statement(node)

    def declaration(self, node: UOp) -> str:
        self.names[node] = self.fresh("b")
        return super().declaration(node)

    def piece(self, node: UOp) -> Piece:
        text, level = super().piece(node)
        return (text, level) if len(text) < self.limit else (f"#{_digest(text)}", ATOM)


def _at(word: str) -> str:
    return f" @{word}" if word else ""


def _grouped(text: str) -> str:
    return text if _NAME.fullmatch(text) else f"({text})"


def _number(value: object) -> str:
    return repr(value).lower()


def _typed(node: UOp) -> str:
    text = _number(node.arg)
    return text if node.dtype is dtypes.bool else f"{node.dtype.short}({text})"


_INVERSES = {(Ops.ADD, Ops.NEG): "-", (Ops.MUL, Ops.RECIP): "/"}
_TIMES = {1: "", -1: "-"}
_NAME = re.compile(r"[\w.']+")
_BASE = re.compile(r"(?<![^_])[^._']+")  # an axis name without its history
