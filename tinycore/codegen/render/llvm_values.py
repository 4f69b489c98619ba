"""Scalar ops and shuffles in LLVM IR.

Comes in: a node whose sources have names. Goes out: its name, after one instruction or a few.
"""

from __future__ import annotations

from collections.abc import Callable

from tinycore.codegen.render.llvm_text import Text, literal, number, register_type, suffix
from tinycore.dtype import DType
from tinycore.runtime.errors import Unsupported
from tinycore.uop.ops import Ops, UOp

FLOAT = {Ops.ADD: "fadd", Ops.MUL: "fmul", Ops.LT: "fcmp olt", Ops.EQ: "fcmp oeq"}
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
INFIX = {"f": FLOAT, "i": SIGNED, "u": UNSIGNED, "b": BOOL}
"""Two operands of one type, by kind of that type."""


def scalar(text: Text, node: UOp) -> str:
    """A scalar op on scalars or, lane by lane, on vectors. Raises: Unsupported."""
    first = node.src[0].dtype
    infix = INFIX[first.kind].get(node.op)
    if infix is not None:
        left, right = text.name(node.src[0]), text.name(node.src[1])
        return text.new(f"{infix} {register_type(first)} {left}, {right}")
    write = WRITERS.get(node.op)
    if write is None:
        raise Unsupported(f"render: {node.op.name} on {first!r} has no spelling in LLVM IR")
    return write(text, node)


def _negated(text: Text, node: UOp) -> str:
    kind, value = register_type(node.dtype), text.name(node.src[0])
    if node.dtype.is_float:
        return text.new(f"fneg {kind} {value}")
    return text.new(f"sub {kind} {literal(0, node.dtype)}, {value}")


def _reciprocal(text: Text, node: UOp) -> str:
    one = literal(1.0, node.dtype)
    return text.new(f"fdiv {register_type(node.dtype)} {one}, {text.name(node.src[0])}")


def _where(text: Text, node: UOp) -> str:
    test, yes, no = node.src
    kind = register_type(node.dtype)
    given = f"{register_type(test.dtype)} {text.name(test)}"
    return text.new(f"select {given}, {kind} {text.name(yes)}, {kind} {text.name(no)}")


def _intrinsic(text: Text, node: UOp) -> str:
    if not node.dtype.is_float:
        return text.name(node.src[0])
    kind = register_type(node.dtype)
    arguments = [(kind, text.name(source)) for source in node.src]
    function = f"{_FUNCTIONS[node.op]}.{suffix(node.dtype)}"
    return text.new(text.intrinsic(function, kind, arguments))


_FUNCTIONS = {Ops.SQRT: "sqrt", Ops.TRUNC: "trunc", Ops.FMA: "fmuladd"}


def _cast(text: Text, node: UOp) -> str:
    source = node.src[0]
    value, old, new = text.name(source), source.dtype, node.dtype
    if new.kind == "b":
        compare = "fcmp une" if old.is_float else "icmp ne"
        return text.new(f"{compare} {register_type(old)} {value}, {literal(0, old)}")
    word = _conversion(old, new)
    if not word:
        return value
    return text.new(f"{word} {register_type(old)} {value} to {register_type(new)}")


def _conversion(old: DType, new: DType) -> str:
    """The instruction that converts; empty where both are the same bits."""
    if old.is_float and new.is_float:
        return "fpext" if new.bits > old.bits else "fptrunc"
    if old.is_float:
        return "fptosi" if new.kind == "i" else "fptoui"
    if new.is_float:
        return "sitofp" if old.kind == "i" else "uitofp"
    if new.bits == old.bits:
        return ""
    if new.bits < old.bits:
        return "trunc"
    return "sext" if old.kind == "i" else "zext"


def _bitcast(text: Text, node: UOp) -> str:
    source = node.src[0]
    value = text.name(source)
    old, new = register_type(source.dtype), register_type(node.dtype)
    return value if old == new else text.new(f"bitcast {old} {value} to {new}")


WRITERS: dict[Ops, Callable[[Text, UOp], str]] = {
    Ops.NEG: _negated,
    Ops.RECIP: _reciprocal,
    Ops.WHERE: _where,
    Ops.SQRT: _intrinsic,
    Ops.TRUNC: _intrinsic,
    Ops.FMA: _intrinsic,
    Ops.CAST: _cast,
    Ops.BITCAST: _bitcast,
}
SPELLED = frozenset({*WRITERS, *FLOAT, *SIGNED})
"""The scalar ops there are spellings for."""


# shuffles


def shuffle(text: Text, node: UOp) -> str:
    """Lanes of one or more sources, as constants, inserts, an extract or shufflevectors."""
    sources = node.src
    if all(source.op is Ops.CONST for source in sources):
        return _constants(node)
    if len(sources) == 1:
        return _of_one(text, node)
    if all(source.dtype.lanes == 1 for source in sources):
        return _inserted(text, node)
    return _merged(text, node)


def _constants(node: UOp) -> str:
    one = node.dtype.scalar
    values = [source.arg for source in node.src for _ in range(source.dtype.lanes)]
    numbers = [f"{register_type(one)} {number(values[lane], one)}" for lane in node.arg]
    return f"<{', '.join(numbers)}>" if node.dtype.lanes > 1 else numbers[0].split(" ")[1]


def _of_one(text: Text, node: UOp) -> str:
    source = node.src[0]
    kind, value = register_type(source.dtype), text.name(source)
    if source.dtype.lanes == 1:
        vector = register_type(node.dtype)
        value = text.new(f"insertelement {vector} poison, {kind} {value}, i64 0")
        return _picked(text, vector, value, "poison", (0,) * node.dtype.lanes)
    if node.dtype.lanes == 1:
        return text.new(f"extractelement {kind} {value}, i64 {node.arg[0]}")
    return _picked(text, kind, value, "poison", node.arg)


def _picked(text: Text, kind: str, first: str, second: str, lanes: tuple[int, ...]) -> str:
    """A shufflevector; lane -1 may hold anything."""
    if not any(lanes):
        order = "zeroinitializer"
    else:
        order = f"<{', '.join([f'i32 {k}' if k >= 0 else 'i32 poison' for k in lanes])}>"
    mask = f"<{len(lanes)} x i32> {order}"
    return text.new(f"shufflevector {kind} {first}, {kind} {second}, {mask}")


def _inserted(text: Text, node: UOp) -> str:
    kind, one = register_type(node.dtype), register_type(node.dtype.scalar)
    if node.dtype.lanes == 1:
        return text.name(node.src[node.arg[0]])
    value = "poison"
    for lane, source in enumerate(node.arg):
        part = text.name(node.src[source])
        value = text.new(f"insertelement {kind} {value}, {one} {part}, i64 {lane}")
    return value


def _merged(text: Text, node: UOp) -> str:
    """Lanes of several vectors: two at a time, into a vector as wide as the result."""
    lanes = _places(node)
    used = [k for k in range(len(node.src)) if any(source == k for source, _ in lanes)]
    if node.dtype.lanes == 1:
        only = node.src[lanes[0][0]]
        given = f"{register_type(only.dtype)} {text.name(only)}"
        return text.new(f"extractelement {given}, i64 {lanes[0][1]}")
    first, second = node.src[used[0]], node.src[used[min(1, len(used) - 1)]]
    if len(used) == 2 and first.dtype is second.dtype:
        order = [lane + (first.dtype.lanes if k == used[1] else 0) for k, lane in lanes]
        kind = register_type(first.dtype)
        return _picked(text, kind, text.name(first), text.name(second), tuple(order))
    return _blended(text, node, used, lanes)


def _blended(text: Text, node: UOp, used: list[int], lanes: list[tuple[int, int]]) -> str:
    kind, width = register_type(node.dtype), node.dtype.lanes
    value = ""
    for k in used:
        source = node.src[k]
        own = tuple([lane if part == k else -1 for part, lane in lanes])
        placed = _spread(text, source, own)
        if value:
            order = [width + i if part == k else i for i, (part, _) in enumerate(lanes)]
            placed = _picked(text, kind, value, placed, tuple(order))
        value = placed
    return value


def _spread(text: Text, source: UOp, lanes: tuple[int, ...]) -> str:
    """The lanes of one source where they belong in the result, others open."""
    kind, value = register_type(source.dtype), text.name(source)
    if source.dtype.lanes > 1:
        return _picked(text, kind, value, "poison", lanes)
    vector = register_type(source.dtype.vec(len(lanes)))
    value = text.new(f"insertelement {vector} poison, {kind} {value}, i64 0")
    return _picked(text, vector, value, "poison", lanes)


def _places(node: UOp) -> list[tuple[int, int]]:
    """For each lane of the result, the source and the lane in it."""
    all_lanes = [(k, lane) for k, src in enumerate(node.src) for lane in range(src.dtype.lanes)]
    return [all_lanes[lane] for lane in node.arg]
