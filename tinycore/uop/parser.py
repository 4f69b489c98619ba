"""Reads text in the notation of docs/ir.md as kernels and plans.

Comes in: text, and integers for its capital letters. Goes out: the nodes that uop/printer.py
printed. It also reads several loops on a line, a body after ':' and ';'.
"""

from collections.abc import Callable, Iterator
from typing import Any

from tinycore.dtype import dtypes
from tinycore.uop import tree
from tinycore.uop.index import Index, as_index, variable
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.reader import TYPES, Reader
from tinycore.uop.tree import DEPENDENT, MONOIDS, Kernel, Launch, Nodes, Plan

Unit = Kernel | Plan

COMBINES = {"=": ""} | {row.text: name for name, row in MONOIDS.items()}
SPACES = ("reg", "packed", "warp", "group", "global", "image")


def parse(text: str, **sizes: int) -> dict[str, Unit]:
    """The kernels and plans of `text` by name, in order; `sizes` are its capital letters.

    Raises: ParseError with the line, what was found and what was expected.
    """
    parser = Parser(text)
    parser.units = {}
    while parser.lines[1:]:
        parser.names = {name: as_index(size) for name, size in sizes.items()}
        unit = parser.unit()
        parser.units[unit.name] = unit
    return parser.units


class Parser(Reader):
    """A reader of statements."""

    units: dict[str, Any]

    # units

    def unit(self) -> Unit:
        """One kernel or plan."""
        self.open()
        word = self.one_of(("kernel", "plan"))
        name = self.name("a name")
        nodes = self.group(self.parameter)
        kinds = (Ops.BUFFER, Ops.VARIABLE)
        params, variables = [tuple(node for node in nodes if node.op is op) for op in kinds]
        if word == "plan":
            return Plan(name, params, variables, *self.steps())
        spmd = self.accept("spmd")
        return Kernel(name, params, variables, self.body(), spmd)

    def parameter(self) -> UOp:
        """n in 1..8, or X f32[n]"""
        name = self.name("a parameter")
        if not self.accept("in"):
            return self.declared(name)
        lo = self.integer()
        self.expect("..")
        hi = self.integer()
        self.names[name] = variable(name, lo, hi)
        return UOp(Ops.VARIABLE, dtypes.int32, (), (name, lo, hi))

    def steps(self) -> tuple[Nodes, tuple[Launch, ...]]:
        """The temporaries and the launches of a plan."""
        temps: Nodes = ()
        launches: tuple[Launch, ...] = ()
        for _ in self.deeper():
            if self.one_of(("temp", "launch")) == "temp":
                temps += (self.declared(self.name("a buffer")),)
                continue
            name = self.name("the name of a kernel or of a vendor's call")
            buffers = [buffer.name for buffer in self.group(self.buffer)]
            launches += (Launch(name, tuple(buffers), self.units.get(name)),)
        return temps, launches

    # statements

    def deeper(self) -> Iterator[None]:
        """Opens the deeper lines, all equally deep, one after another."""
        self.end()
        outer, depth = self.line.indent, self.lines[-1].indent
        while self.lines[-1].indent > outer:
            self.open()
            if self.line.indent != depth:
                self.refuse(f"indented by {self.line.indent}; expected {depth} spaces.")
            yield
            self.end()

    def body(self) -> Nodes:
        """Statements after ':' or on deeper lines."""
        if self.accept(":"):
            return self.statements()
        return tuple(statement for _ in self.deeper() for statement in self.statements())

    def statements(self) -> Nodes:
        """Statements joined by ';'."""
        found = self.statement()
        while self.accept(";"):
            found += self.statement()
        return found

    def statement(self) -> Nodes:
        """One statement, whose axes then go out of scope; none for a name of an index."""
        read = _STATEMENTS.get(self.token)
        if not read:
            return self.assignment()
        names = self.names
        self.names = dict(names)
        node = read(self, self.advance())
        self.names = names
        if node.is_buffer:
            names[node.name] = node
        return (node,)

    def loop(self, kind: str) -> UOp:
        """par i:4 @reg"""
        name, extent = self.axis()
        place = self.after_at()
        body = (self.loop(kind),) if self.accept(",") else self.body()
        return tree.loop(kind, name, extent, body, place)

    def block(self, kind: str) -> UOp:
        """roles, seq, or role math w:2"""
        name = self.name("the name of a role") if kind == "role" else ""
        axis = self.axis() if self.token not in ("", ":") else ()
        arg = tree.BlockArg(kind, name, *axis)
        return _statement(Ops.BLOCK, arg, *self.body())

    def slots(self, word: str) -> UOp:
        """wait As[k], Bs[k], Qs"""
        buffers, places = zip(*self.listed(self.place), strict=True)
        numbers = [(*place.indices, None)[0] for place in places]
        return _statement(Ops[word.upper()], tuple(numbers), *buffers)

    def after_at(self) -> str:
        """@reg"""
        return self.name("a name after '@'") if self.accept("@") else ""

    # buffers

    def declared(self, name: str) -> UOp:
        """NAME type[shape] space slots 2 = sum swizzle 3 3 3"""
        dtype = TYPES[self.one_of(TYPES)]
        shape = self.group(self.dimension, "[]")
        space = self.advance() if self.token in SPACES else tree.GLOBAL
        slots = self.integer() if self.accept("slots") else 1
        init = self.one_of(MONOIDS) if self.accept("=") else ""
        swizzle = tuple(self.integer() for _ in range(3)) if self.accept("swizzle") else None
        own = self.own() if self.accept("own") else None
        names = tuple(name for name, _ in shape if name and own)
        extents = tuple(extent for _, extent in shape)
        arg = tree.BufferArg(name, extents, space, slots, init, swizzle, names, own)
        node = self.names[name] = UOp(Ops.BUFFER, dtype, (), arg)
        return node

    def dimension(self) -> tuple[str, Index]:
        """64, or r:64"""
        return self.axis() if self.tokens[-2:-1] == [":"] else ("", self.index())

    def own(self) -> tree.Own:
        """own(t:128) t//4 = r%8"""
        self.group(self.axis)
        lane = self.index()
        self.expect("=")
        return tree.Own(lane, self.index())

    # assignments

    def assignment(self) -> Nodes:
        """A STORE, a LET, or a name for an index value."""
        found = self.names.get(self.token)
        if isinstance(found, UOp) and found.is_buffer:
            return (self.store(),)
        name = self.name("a statement")
        self.expect("=")
        term = self.term()
        if isinstance(term, Index):
            self.names[name] = term
            return ()
        node = self.names[name] = tree.let(name, self.typed(term))
        return (node,)

    def store(self, word: str = "store") -> UOp:
        """n, s += 1.0, x rebase var(M2), or copy(p:2, x:32) P[p, x] = B[p + x] @loop"""
        box = [] if word == "store" else self.group(self.axis)
        buffers, places = zip(*self.listed(self.place), strict=True)
        combine = COMBINES[self.one_of(COMBINES)]
        terms = self.listed(self.term)
        if len(terms) != len(buffers):
            self.refuse(f"{len(terms)} values for {len(buffers)} buffers; expected one for each.")
        values = map(self.typed, terms, [buffer.dtype for buffer in buffers])
        rule = self.one_of(DEPENDENT) if self.accept("rebase") else ""
        moved = self.group(self.buffer) if rule else []
        arg = tree.StoreArg(places, combine, rule, tuple(box), self.after_at())
        return _statement(Ops[word.upper()], arg, *buffers, *values, *moved)


def _statement(op: Ops, arg: Any, *sources: UOp) -> UOp:
    return UOp(op, src=sources, arg=arg)


_READERS: dict[str, Callable[[Parser, str], UOp]] = {
    "par red ser": Parser.loop,
    "roles seq role": Parser.block,
    "wait free": Parser.slots,
    "if": lambda parser, word: _statement(Ops.IF, parser.mask(), *parser.body()),
    "buf": lambda parser, word: parser.declared(parser.name("a buffer")),
    "copy mma": Parser.store,
    "barrier": lambda parser, word: _statement(Ops.BARRIER, None),
}
_STATEMENTS = {word: read for words, read in _READERS.items() for word in words.split()}
