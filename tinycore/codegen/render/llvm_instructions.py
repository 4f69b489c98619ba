"""The LLVM IR of one instruction after another: scalar ops, shuffles, loads and stores.

In: a node whose sources have names. Out: its name; at the end, lines. A bool is i1 in registers and
i8 in memory. Next file: llvm.py.
Source: LLVM 22 Language Reference, https://llvm.org/docs/LangRef.html.
"""

import struct
from ctypes import c_float
from functools import cache

from tinycore.dtype import NARROW, DType, Scalar, dtypes
from tinycore.runtime.contract import Unsupported
from tinycore.uop.lowered import FUSED, REGISTER
from tinycore.uop.ops import CASTS, Ops, UOp

FLOAT = {Ops.ADD: "fadd", Ops.MUL: "fmul", Ops.NEG: "fneg", Ops.RECIP: "fdiv"}
FLOAT |= {Ops.LT: "fcmp olt", Ops.EQ: "fcmp oeq"}
_INTEGER = (Ops.ADD, Ops.MUL, Ops.AND, Ops.OR, Ops.XOR, Ops.SHL)  # spelled as they are named
SIGNED = {op: op.name.lower() for op in _INTEGER} | {Ops.NEG: "sub", Ops.SHR: "ashr"}
SIGNED |= {Ops.IDIV: "sdiv", Ops.MOD: "srem", Ops.LT: "icmp slt", Ops.EQ: "icmp eq"}
UNSIGNED = SIGNED | {Ops.IDIV: "udiv", Ops.MOD: "urem", Ops.LT: "icmp ult", Ops.SHR: "lshr"}
BOOL = UNSIGNED | {Ops.ADD: "or", Ops.MUL: "and"}
PLAIN = {"f": FLOAT, "i": SIGNED, "u": UNSIGNED, "b": BOOL}
"""Ops whose operands have one type, by the kind of that type."""

FIRST = {"sub": 0, "fdiv": 1.0}
"""The number that comes before the operand of NEG and RECIP."""

FUNCTIONS = {Ops.SQRT: "sqrt", Ops.TRUNC: "trunc"}
OPS = tuple(sorted(op.name for op in {*FLOAT, *SIGNED, *FUNCTIONS, *CASTS, Ops.WHERE}))
"""The scalar ops that have a spelling here, for `Caps.ops`."""

Register = tuple[UOp, int]  # a register buffer and a place in it

_CONVERSIONS = {"fi": "fptosi", "fu": "fptoui", "if": "sitofp", "uf": "uitofp", "bf": "uitofp"}
_NARROWER = {"f": "fptrunc", "i": "trunc", "u": "trunc"}
_WIDER = {"f": "fpext", "i": "sext", "u": "zext", "b": "zext"}
_FLOATS = {"float16": "half", "float32": "float", "float64": "double"}


@cache
def register_type(dtype: DType) -> str:
    """The type of a value in a register."""
    one = _FLOATS.get(dtype.name) or f"i{dtype.bits}"
    return one if dtype.lanes == 1 else f"<{dtype.lanes} x {one}>"


def in_memory(dtype: DType) -> DType:
    """The type a value has in memory, where a bool takes a byte."""
    return dtypes.uint8.vec(dtype.lanes) if dtype.kind == "b" else dtype


@cache
def suffix(dtype: DType) -> str:
    """The end of an intrinsic's name for a type: v16f32, i64."""
    kind = "f" if dtype.name in _FLOATS else "i"
    lanes = "" if dtype.lanes == 1 else f"v{dtype.lanes}"
    return f"{lanes}{kind}{dtype.bits}"


def literal(value: Scalar, dtype: DType) -> str:
    """A constant, exactly: floats by their bits; the same in every lane of a vector type."""
    if dtype.lanes > 1:
        return f"splat ({register_type(dtype.scalar)} {literal(value, dtype.scalar)})"
    if dtype is dtypes.float16:
        return f"0xH{int(dtype.to_bits(value)):04X}"
    if dtype in NARROW:
        return str(dtype.to_bits(value))
    if dtype.is_float:
        exact = float(value) if dtype is dtypes.float64 else c_float(value).value
        return "0x" + struct.pack(">d", exact).hex().upper()
    return str(value).lower()


class Text:
    """The lines of a function, the names of its values and the intrinsics it calls."""

    def __init__(self, contracts: bool) -> None:
        self.contracts = contracts
        self.lines: list[str] = []
        self.names: dict[UOp, str] = {}
        self.registers: dict[Register, str] = {}
        self.declared: dict[str, None] = {}
        self.count = 0
        self.label = "entry"

    def line(self, text: str) -> None:
        """One instruction without a result."""
        self.lines.append("  " + text)

    def new(self, text: str) -> str:
        """One instruction; returns the name of its result."""
        name = self.fresh("%v")
        self.line(f"{name} = {text}")
        return name

    def fresh(self, start: str) -> str:
        """A name that no other value or label has."""
        self.count += 1
        return f"{start}{self.count}"

    def name(self, node: UOp) -> str:
        """The name of a source, or its literal."""
        if node.is_const:
            return literal(node.arg, node.dtype)
        return self.names[node]

    def block(self, label: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{label}:")
        self.label = label

    def go_on(self, label: str) -> None:
        """End a basic block and begin the next."""
        self.line(f"br label %{label}")
        self.block(label)

    def branch(self, test: str, yes: str, no: str) -> None:
        """Begin the block `yes`, which runs if a test holds; else `no` comes next."""
        self.line(f"br i1 {test}, label %{yes}, label %{no}")
        self.block(yes)

    def intrinsic(self, name: str, result: str, arguments: list[tuple[str, str]]) -> str:
        """The call of an intrinsic, which is declared, on (type, value) pairs."""
        kinds = ", ".join(kind for kind, _ in arguments)
        given = ", ".join(map(" ".join, arguments))
        self.declared[f"declare {result} @llvm.{name}({kinds})\n"] = None
        return f"call {result} @llvm.{name}({given})"

    # values

    def scalar(self, node: UOp) -> str:
        """A scalar op, lane by lane on vectors. Raises: Unsupported."""
        op, dtype = node.op, node.source.dtype
        kind = register_type(dtype)
        operands = [(register_type(source.dtype), self.name(source)) for source in node.src]
        names = [name for _, name in operands]
        word = PLAIN[dtype.kind].get(op)
        if word:
            if word in FIRST:
                names.insert(0, literal(FIRST[word], dtype))
            word += " contract" if node.tag == FUSED and self.contracts else ""
            return self.new(f"{word} {kind} {', '.join(names)}")
        if op is Ops.CAST:
            return self._converted(names[0], dtype, node.dtype)
        if op is Ops.BITCAST:
            new = register_type(node.dtype)
            return names[0] if kind == new else self.new(f"bitcast {kind} {names[0]} to {new}")
        if op is Ops.WHERE:
            return self.new("select " + ", ".join(map(" ".join, operands)))
        if op not in FUNCTIONS:
            raise Unsupported(f"render: {op.name} on {dtype!r} has no spelling in LLVM IR")
        return self.new(self.intrinsic(f"{FUNCTIONS[op]}.{suffix(dtype)}", kind, operands))

    def _converted(self, value: str, old: DType, new: DType) -> str:
        kind = register_type(old)
        if new.kind == "b" and old.kind != "b":
            compare = "fcmp une" if old.is_float else "icmp ne"
            return self.new(f"{compare} {kind} {value}, {literal(0, old)}")
        word = _CONVERSIONS.get(old.kind + new.kind)
        if not word and new.bits == old.bits:
            return value
        word = word or (_WIDER if new.bits > old.bits else _NARROWER)[old.kind]
        return self.new(f"{word} {kind} {value} to {register_type(new)}")

    def shuffle(self, node: UOp) -> str:
        """Lanes of one or more sources: constants, a shufflevector, or one by one."""
        first, last = node.source, node.src[-1]
        kind, value, second = register_type(first.dtype), self.name(first), "poison"
        is_pair = len(node.src) == 2 and first.lanes > 1 and first.dtype is last.dtype
        if node.lanes == 1 or (len(node.src) > 1 and not is_pair):
            return self._one_by_one(node)
        if is_pair:
            second = self.name(last)
        elif first.lanes == 1:
            one, kind = kind, register_type(node.dtype)
            value = self.new(f"insertelement {kind} poison, {one} {value}, i64 0")
        order = "zeroinitializer"
        if any(node.arg):
            order = f"<{', '.join([f'i32 {lane}' for lane in node.arg])}>"
        mask = f"<{node.lanes} x i32> {order}"
        return self.new(f"shufflevector {kind} {value}, {kind} {second}, {mask}")

    def _one_by_one(self, node: UOp) -> str:
        kind, one = register_type(node.dtype), register_type(node.dtype.scalar)
        lanes = [(source, k) for source in node.src for k in range(source.lanes)]
        picked = [lanes[number] for number in node.arg]
        if node.lanes > 1 and all(source.is_const for source, _ in picked):
            numbers = [f"{one} {literal(source.arg, node.dtype.scalar)}" for source, _ in picked]
            return f"<{', '.join(numbers)}>"
        found = "poison"
        for place, (source, k) in enumerate(picked):
            part = self.name(source)
            if source.lanes > 1:
                part = self.new(f"extractelement {register_type(source.dtype)} {part}, i64 {k}")
            if node.lanes == 1:
                return part
            found = self.new(f"insertelement {kind} {found}, {one} {part}, i64 {place}")
        return found

    # memory

    def load(self, node: UOp) -> str:
        """A LOAD: of a register another name; one under a false mask reads the first element."""
        if node.source.space == REGISTER:
            return self.registers[node.source, node.src[1].arg]
        dtype, stored = node.dtype, in_memory(node.dtype)
        kind = register_type(stored)
        offset, mask, fill = [*map(self.name, node.src[1:]), "", ""][:3]
        is_single = dtype.lanes == 1
        if mask and is_single:
            offset = self.new(f"select i1 {mask}, i64 {offset}, i64 0")
        place = self._place(node.source, offset)
        read = f"load {kind}, ptr {place}, align {dtype.itemsize}"
        if mask and not is_single:
            arguments = [*_masked(place, mask, dtype), (kind, self._converted(fill, dtype, stored))]
            read = self.intrinsic(f"masked.load.{suffix(stored)}.p0", kind, arguments)
        value = self._converted(self.new(read), stored, dtype)
        if mask and is_single:
            kind = register_type(dtype)
            value = self.new(f"select i1 {mask}, {kind} {value}, {kind} {fill}")
        return value

    def store(self, node: UOp) -> None:
        """A STORE: to a register another name; a single one under a mask is jumped over."""
        buffer, offset, source, *masks = node.src
        if buffer.space == REGISTER:
            self.registers[buffer, offset.arg] = self.name(source)
            return
        dtype, stored = source.dtype, in_memory(source.dtype)
        kind = register_type(stored)
        value = self._converted(self.name(source), dtype, stored)
        place = self._place(buffer, self.name(offset))
        write = f"store {kind} {value}, ptr {place}, align {dtype.itemsize}"
        if not masks:
            self.line(write)
            return
        mask = self.name(masks[0])
        if dtype.lanes > 1:
            arguments = [(kind, value), *_masked(place, mask, dtype)]
            self.line(self.intrinsic(f"masked.store.{suffix(stored)}.p0", "void", arguments))
            return
        label = self.fresh("s")
        self.branch(mask, label, f"{label}.end")
        self.line(write)
        self.go_on(f"{label}.end")

    def _place(self, buffer: UOp, offset: str) -> str:
        base = self.names[buffer]
        if offset == "0":
            return base
        kind = register_type(in_memory(buffer.dtype))
        return self.new(f"getelementptr inbounds {kind}, ptr {base}, i64 {offset}")


def _masked(place: str, mask: str, dtype: DType) -> list[tuple[str, str]]:
    return [("ptr", place), ("i32", str(dtype.itemsize)), (f"<{dtype.lanes} x i1>", mask)]
