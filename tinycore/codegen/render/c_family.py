"""Writes a lowered program in a language of the C family, in the words of a `Dialect`.

In: `Lowered`. Out: source text with one kernel. Lanes are names: a value of four lanes is four
expressions, arithmetic is written lane by lane, and a SHUFFLE writes nothing; only what is loaded
and stored side by side uses the language's vectors.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tinycore.codegen.render.dialect import Dialect, Memory
from tinycore.dtype import DType
from tinycore.runtime.contract import Caps, Renderer
from tinycore.uop.lowered import FUSED, GROUP, REGISTER, Lowered
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp
from tinycore.util import prod

Lanes = tuple[str, ...]


class CRenderer(Renderer[Lowered]):
    """Renders in a dialect, with vectors of at most `caps.vector_bytes`."""

    def __init__(self, caps: Caps, dialect: Dialect) -> None:
        super().__init__(caps)
        self.dialect = dialect

    def render(self, program: Lowered) -> str:
        """The source of a program. Raises: Unsupported, naming op, dtype or memory."""
        return Source(program, self.dialect, self.caps).text()


class Part(NamedTuple):
    """Neighbouring lanes of an access as one value: its type, the fill or what is stored, and the
    text of the load or store; `test` is the mask of all, if there is one."""

    lanes: int
    type: str
    value: str
    text: str
    test: str


class Source:
    """One program on its way to text."""

    def __init__(self, program: Lowered, dialect: Dialect, caps: Caps) -> None:
        self.program = program
        self.dialect = dialect
        self.caps = caps
        self.lines: list[str] = []
        self.group: list[str] = []
        self.margin = "  "
        self.count = 0
        self.names: dict[UOp | tuple[UOp, int], Lanes] = {}
        self.used = {source for node in program.uops for source in self.operands(node)}
        stores = [node for node in program.uops if node.is_store]
        self.written = {node.source for node in stores}
        self.plain = {node.source for node in stores if not self.is_whole(node)}

    def text(self) -> str:
        """The text of the program."""
        dialect, program = self.dialect, self.program
        parameters = [self.declared(node) for node in (*program.params, *program.variables)]
        seen = {"", *[node.space for node in program.params]}
        for node in program.uops:
            seen |= {node.op.name, *[source.dtype.name for source in node.src]}
            if node.op not in ELEMENTWISE or node in self.used:
                self.names[node] = _WRITERS.get(node.op, Source.scalar)(self, node)
        preamble = [line for name, line in dialect.preamble.items() if name in seen]
        return dialect.kernel.format(
            preamble="\n".join(preamble),
            name=program.name,
            parameters=dialect.separator.join(parameters),
            group="\n".join(self.group),
            threads=prod(extent.hi for extent in program.group),
            body="\n".join(self.lines),
        )

    def line(self, text: str) -> None:
        """One statement, or the head of a block."""
        self.lines += [self.margin + row for row in text.split("\n")]

    def fresh(self, start: str) -> str:
        """A name that nothing else has."""
        self.count += 1
        return f"{start}{self.count}"

    def named(self, template: str, kind: str, value: str) -> str:
        """A declaration; returns its name."""
        name = self.fresh("v")
        self.line(template.format(type=kind, name=name, value=value))
        return name

    def each(self, template: str, dtype: DType, values: Iterable[str]) -> Lanes:
        """A declaration of every lane."""
        kind = self.dialect.type_of(dtype)
        return tuple(self.named(template, kind, value) for value in values)

    # values

    def lanes(self, node: UOp) -> Lanes:
        """The lanes of a source: names or literals."""
        if node.is_const:
            return (self.dialect.literal(node.arg, node.dtype.scalar),) * node.lanes
        return self.names[node]

    def operands(self, node: UOp) -> Sequence[UOp]:
        """The sources of a node; of a sum that is rounded once, those of its product too."""
        if node.op is Ops.ADD and node.tag == FUSED and self.caps.contraction:
            for product, other in zip(node.src, node.src[::-1], strict=True):
                if product.op is Ops.MUL and product.tag == FUSED:
                    return *product.src, other
        return node.src

    def scalar(self, node: UOp) -> Lanes:
        """A scalar op, lane by lane."""
        operands, template = self.operands(node), self.dialect.fma
        if operands is node.src:
            template = self.dialect.spelling(node)
        lanes = [self.lanes(source) for source in operands]
        if template == "{0}":
            return lanes[0]
        texts = [template.format(*column) for column in zip(*lanes, strict=True)]
        return self.each(self.dialect.constant, node.dtype, texts)

    def dot(self, node: UOp) -> Lanes:
        """A sum of products of two vectors."""
        dialect, dtype = self.dialect, node.source.dtype
        kind = dialect.vector.format(type=dialect.type_of(dtype), lanes=dtype.lanes)
        lanes = [", ".join(self.lanes(one)) for one in node.src]
        vectors = [dialect.vector_of.format(type=kind, values=one) for one in lanes]
        text = dialect.spelling(node).format(*vectors)
        return self.each(dialect.constant, node.dtype, [text])

    def shuffle(self, node: UOp) -> Lanes:
        """Lanes in another order."""
        lanes = [name for source in node.src for name in self.lanes(source)]
        return tuple(lanes[number] for number in node.arg)

    # blocks

    def loop(self, node: UOp) -> Lanes:
        """A LOOP; of groups or threads, a guard unless as many as it has are launched."""
        dialect, program, place = self.dialect, self.program, node.map
        kind, [end] = dialect.type_of(node.dtype), self.lanes(node.source)
        if place in dialect.number:
            name = self.named(dialect.constant, kind, dialect.number[place])
            extent = node.extent
            launched = program.group if place == "thread" else program.grid
            is_whole = extent.is_const and launched == (extent,)
            head = "" if is_whole else f"if ({name} < {end}) "
        else:
            name = self.fresh("i")
            head = dialect.loop.format(type=kind, name=name, end=end) + " "
        self.open(head)
        return (name,)

    def open(self, head: str) -> None:
        """Begin a block."""
        self.line(f"{head}{{")
        self.margin += "  "

    def end(self, node: UOp) -> None:
        """End the innermost block."""
        self.margin = self.margin[2:]
        self.line("}")

    # memory

    def memory(self, node: UOp) -> Memory:
        """The words for the memory that a buffer is in."""
        space = "global" if node in self.plain else node.space
        return self.dialect.word(self.dialect.spaces, space)

    def is_whole(self, node: UOp) -> bool:
        """True for a STORE of whole texels, if its memory has any."""
        texel = self.dialect.spaces.get(node.source.space, Memory("")).texel
        _, _, value, *masks = node.src
        return texel == 1 or (node.arg and not masks and value.lanes % texel == 0)

    def declared(self, node: UOp) -> str:
        """The declaration of a buffer or variable, which gets a name."""
        template = self.dialect.variable
        size = 1
        if node.is_buffer:
            memory = self.memory(node)
            constant = "" if node in self.written else memory.constant
            template = constant or memory.declared
            size = node.size
        number, name = len(self.names), self.fresh("b")
        self.names[node] = (name,)
        return template.format(
            type=self.dialect.type_of(node.dtype),
            name=name,
            number=number,
            size=size,
            alignment=self.caps.vector_bytes,
        )

    def buffer(self, node: UOp) -> Lanes:
        """An array, or a variable for each lane of each register."""
        dialect, dtype = self.dialect, node.dtype
        if node.space != REGISTER:
            write = self.group.append if node.space == GROUP else self.line
            write(self.declared(node))
            return self.names[node]
        zeros = [dialect.literal(0, dtype.scalar)] * dtype.lanes
        for place in range(node.arg.shape[0].const):
            self.names[node, place] = self.each(dialect.register, dtype, zeros)
        return ()

    def load(self, node: UOp) -> Lanes:
        """A LOAD: a copy of a register, or of memory; under a mask it overwrites the fill."""
        buffer, offset, *masked = node.src
        dialect, dtype = self.dialect, node.dtype
        if buffer.space == REGISTER:
            return self.each(dialect.constant, dtype, self.names[buffer, offset.arg])
        found: list[str] = []
        for part in self.parts(node, dtype, *map(self.lanes, masked)):
            if part.test:
                name = self.named(dialect.register, part.type, part.value)
                self.under(part, f"{name} = {part.text};")
            else:
                name = self.named(dialect.constant, part.type, part.text)
            lanes = [dialect.lane.format(name=name, lane=lane) for lane in range(part.lanes)]
            found += lanes if part.lanes > 1 else [name]
        return tuple(found)

    def store(self, node: UOp) -> None:
        """A STORE."""
        buffer, offset, value, *masks = node.src
        lanes = self.lanes(value)
        if buffer.space == REGISTER:
            for name, new in zip(self.names[buffer, offset.arg], lanes, strict=True):
                self.line(f"{name} = {new};")
            return
        mask = self.lanes(masks[0]) if masks else ()
        for part in self.parts(node, value.dtype, mask, lanes):
            self.under(part, part.text)

    def under(self, part: Part, text: str) -> None:
        """A statement, for a part whose mask holds."""
        self.line(f"if ({part.test}) {{ {text} }}" if part.test else text)

    def parts(
        self, node: UOp, dtype: DType, mask: Lanes = (), values: Lanes = ()
    ) -> Iterator[Part]:
        """An access in the widest vectors there are, but lane by lane if its mask differs."""
        dialect, first = self.dialect, 0
        memory = self.memory(node.source)
        [buffer], [start] = map(self.lanes, node.src[:2])
        most = self.caps.vector_bytes // dtype.itemsize if len({*mask}) < 2 else 1
        while first < dtype.lanes:
            count, reach, kind = 1, memory.one, dialect.type_of(dtype)
            for width in dialect.widths:
                is_aligned = node.arg and not dtype.lanes % width and not first % width
                found = memory.aligned if is_aligned else memory.unaligned
                if found and width <= min(most, dtype.lanes - first):
                    count, reach = width, found
            value = ", ".join(values[first : first + count])
            if count > 1:
                kind = dialect.vector.format(type=kind, lanes=count)
                value = dialect.vector_of.format(type=kind, values=value)
            offset = f"{start} + {first}" if first else start
            form = reach.load if node.is_load else reach.store
            text = form.format(buffer=buffer, offset=offset, type=kind, lanes=count, value=value)
            yield Part(count, kind, value, text, mask[first] if mask else "")
            first += count


_WRITERS: dict[Ops, Callable[[Source, UOp], Any]] = {
    Ops.BUFFER: Source.buffer,
    Ops.LOAD: Source.load,
    Ops.STORE: Source.store,
    Ops.DOT: Source.dot,
    Ops.SHUFFLE: Source.shuffle,
    Ops.LOOP: Source.loop,
    Ops.IF: lambda source, node: source.open(f"if ({source.lanes(node.source)[0]}) "),
    Ops.END: Source.end,
    Ops.BARRIER: lambda source, node: source.line(source.dialect.barrier),
}
