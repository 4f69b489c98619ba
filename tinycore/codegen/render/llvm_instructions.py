"""Scalar ops, shuffles, loads and stores in LLVM IR.

Comes in: a node whose sources have names. Goes out: its name, after one instruction or a few. A
single load under a false mask reads element 0 of its buffer instead, which is there, and takes the
fill; a single store is jumped over; vectors use the masked intrinsics.
"""

from __future__ import annotations

from tinycore.codegen.render.llvm_text import (
    Text,
    in_memory,
    literal,
    number,
    register_type,
    suffix,
)
from tinycore.dtype import DType
from tinycore.runtime.errors import Unsupported
from tinycore.uop.lowered import FUSED
from tinycore.uop.ops import CASTS, Ops, UOp

FLOAT = {
    Ops.ADD: "fadd",
    Ops.MUL: "fmul",
    Ops.LT: "fcmp olt",
    Ops.EQ: "fcmp oeq",
    Ops.NEG: "fneg",
}
SIGNED = {
    Ops.ADD: "add",
    Ops.MUL: "mul",
    Ops.IDIV: "sdiv",
    Ops.MOD: "srem",
    Ops.LT: "icmp slt",
    Ops.EQ: "icmp eq",
    Ops.AND: "and",
    Ops.OR: "or",
    Ops.XOR: "xor",
    Ops.SHL: "shl",
    Ops.SHR: "ashr",
}
UNSIGNED = SIGNED | {
    Ops.IDIV: "udiv",
    Ops.MOD: "urem",
    Ops.LT: "icmp ult",
    Ops.SHR: "lshr",
}
BOOL = UNSIGNED | {Ops.ADD: "or", Ops.MUL: "and"}
PLAIN = {"f": FLOAT, "i": SIGNED, "u": UNSIGNED, "b": BOOL}
"""Operands of one type, by kind of that type."""

OF_ONE = {Ops.NEG: ("sub", 0), Ops.RECIP: ("fdiv", 1.0)}
"""Ops on a number and the operand."""

FUNCTIONS = {Ops.SQRT: "sqrt", Ops.TRUNC: "trunc"}
SPELLED = frozenset({*FLOAT, *SIGNED, *OF_ONE, *FUNCTIONS, *CASTS, Ops.WHERE})
"""The scalar ops there are spellings for."""

_CONVERSIONS = {"fi": "fptosi", "fu": "fptoui", "if": "sitofp", "uf": "uitofp", "bf": "uitofp"}
_WIDENINGS = {"f": "fpext", "i": "sext", "u": "zext", "b": "zext"}


def scalar(text: Text, node: UOp) -> str:
    """A scalar op on scalars or, lane by lane, on vectors. Raises: Unsupported."""
    op, dtype = node.op, node.src[0].dtype
    kind = register_type(dtype)
    names = [text.name(source) for source in node.src]
    word = PLAIN[dtype.kind].get(op)
    if word is not None:
        word += " contract" if node.tag == FUSED and text.contracts else ""
        return text.new(f"{word} {kind} {', '.join(names)}")
    if op in CASTS:
        return _cast(text, node, names[0])
    if op in OF_ONE:
        word, first = OF_ONE[op]
        return text.new(f"{word} {kind} {literal(first, dtype)}, {names[0]}")
    given = [register_type(source.dtype) for source in node.src]
    pairs = list(zip(given, names, strict=True))
    if op is Ops.WHERE:
        return text.new("select " + ", ".join([f"{one} {name}" for one, name in pairs]))
    if op not in FUNCTIONS:
        raise Unsupported(f"render: {op.name} on {dtype!r} has no spelling in LLVM IR")
    return text.new(text.intrinsic(f"{FUNCTIONS[op]}.{suffix(dtype)}", kind, pairs))


def _cast(text: Text, node: UOp, value: str) -> str:
    old, new = node.src[0].dtype, node.dtype
    if node.op is Ops.CAST:
        return _converted(text, value, old, new)
    first, second = register_type(old), register_type(new)
    return value if first == second else text.new(f"bitcast {first} {value} to {second}")


def _converted(text: Text, value: str, old: DType, new: DType) -> str:
    if old is new:
        return value
    kind = register_type(old)
    if new.kind == "b" and old.kind != "b":
        compare = "fcmp une" if old.is_float else "icmp ne"
        return text.new(f"{compare} {kind} {value}, {literal(0, old)}")
    word = _CONVERSIONS.get(old.kind + new.kind)
    if word is None:
        if new.bits == old.bits:
            return value
        narrower = "fptrunc" if old.is_float else "trunc"
        word = _WIDENINGS[old.kind] if new.bits > old.bits else narrower
    return text.new(f"{word} {kind} {value} to {register_type(new)}")


# shuffles


def shuffle(text: Text, node: UOp) -> str:
    """Lanes of one or more sources: constants, a shufflevector, or one by one."""
    first, *others = node.src
    same = all(source.dtype is first.dtype for source in others)
    if node.dtype.lanes == 1 or len(others) > 1 or not same:
        return _one_by_one(text, node)
    kind, value = register_type(first.dtype), text.name(first)
    if first.dtype.lanes == 1:
        if others:
            return _one_by_one(text, node)
        one, kind = kind, register_type(node.dtype)
        value = text.new(f"insertelement {kind} poison, {one} {value}, i64 0")
    second = text.name(others[0]) if others else "poison"
    order = "zeroinitializer"
    if any(node.arg):
        order = f"<{', '.join([f'i32 {lane}' for lane in node.arg])}>"
    mask = f"<{node.dtype.lanes} x i32> {order}"
    return text.new(f"shufflevector {kind} {value}, {kind} {second}, {mask}")


def _one_by_one(text: Text, node: UOp) -> str:
    kind, one = register_type(node.dtype), register_type(node.dtype.scalar)
    lanes = [(source, k) for source in node.src for k in range(source.dtype.lanes)]
    picked = [lanes[number] for number in node.arg]
    if node.dtype.lanes > 1 and all(source.op is Ops.CONST for source, _ in picked):
        numbers = [f"{one} {number(source.arg, node.dtype.scalar)}" for source, _ in picked]
        return f"<{', '.join(numbers)}>"
    found = "poison"
    for place, (source, k) in enumerate(picked):
        part = text.name(source)
        if source.dtype.lanes > 1:
            part = text.new(f"extractelement {register_type(source.dtype)} {part}, i64 {k}")
        if node.dtype.lanes == 1:
            return part
        found = text.new(f"insertelement {kind} {found}, {one} {part}, i64 {place}")
    return found


# memory


def load(text: Text, node: UOp) -> str:
    """The name of what a LOAD reads."""
    dtype, stored = node.dtype, in_memory(node.dtype)
    kind, offset = register_type(stored), text.name(node.src[1])
    mask, fill = [text.name(source) for source in node.src[2:]] or ("", "")
    if mask and dtype.lanes == 1:
        offset = text.new(f"select i1 {mask}, i64 {offset}, i64 0")
    place = _place(text, node.src[0], offset)
    read = f"load {kind}, ptr {place}, align {dtype.itemsize}"
    if mask and dtype.lanes > 1:
        given = (kind, _converted(text, fill, dtype, stored))
        arguments = [*_masked(place, mask, dtype), given]
        read = text.intrinsic(f"masked.load.{suffix(stored)}.p0", kind, arguments)
    value = _converted(text, text.new(read), stored, dtype)
    if not mask or dtype.lanes > 1:
        return value
    kind = register_type(dtype)
    return text.new(f"select i1 {mask}, {kind} {value}, {kind} {fill}")


def store(text: Text, node: UOp) -> None:
    """The instructions of a STORE."""
    dtype = node.src[2].dtype
    stored = in_memory(dtype)
    kind = register_type(stored)
    value = _converted(text, text.name(node.src[2]), dtype, stored)
    place = _place(text, node.src[0], text.name(node.src[1]))
    write = f"store {kind} {value}, ptr {place}, align {dtype.itemsize}"
    if len(node.src) == 3:
        text.line(write)
        return
    mask = text.name(node.src[3])
    if dtype.lanes > 1:
        arguments = [(kind, value), *_masked(place, mask, dtype)]
        text.line(text.intrinsic(f"masked.store.{suffix(stored)}.p0", "void", arguments))
        return
    label = text.fresh("s")
    text.branch(mask, label, f"{label}.end")
    text.block(label)
    text.line(write)
    text.line(f"br label %{label}.end")
    text.block(f"{label}.end")


def _masked(place: str, mask: str, dtype: DType) -> list[tuple[str, str]]:
    """What the masked intrinsics are told of a place: type and value of each argument."""
    tests = f"<{dtype.lanes} x i1>"
    return [("ptr", place), ("i32", str(dtype.itemsize)), (tests, mask)]


def _place(text: Text, buffer: UOp, offset: str) -> str:
    base = text.names[buffer]
    if offset == "0":
        return base
    kind = register_type(in_memory(buffer.dtype))
    return text.new(f"getelementptr inbounds {kind}, ptr {base}, i64 {offset}")
