"""Loads and stores in LLVM IR, whole and masked.

Comes in: a LOAD or STORE at memory. Goes out: instructions. A single load under a false mask
reads element 0 of its buffer instead, which is there, and takes the fill; a single store is
jumped over; vectors use the masked intrinsics.
"""

from __future__ import annotations

from tinycore.codegen.render.llvm_text import Text, in_memory, literal, register_type, suffix
from tinycore.dtype import DType
from tinycore.uop.ops import UOp


def load(text: Text, node: UOp) -> str:
    """The name of what a LOAD reads."""
    buffer, offset = node.src[0], text.name(node.src[1])
    if len(node.src) == 2:
        return _whole_load(text, node.dtype, _place(text, buffer, offset))
    mask, fill = text.name(node.src[2]), text.name(node.src[3])
    if node.dtype.lanes > 1:
        return _masked_load(text, node.dtype, _place(text, buffer, offset), mask, fill)
    safe = text.new(f"select i1 {mask}, i64 {offset}, i64 0")
    value = _whole_load(text, node.dtype, _place(text, buffer, safe))
    kind = register_type(node.dtype)
    return text.new(f"select i1 {mask}, {kind} {value}, {kind} {fill}")


def store(text: Text, node: UOp) -> None:
    """The instructions of a STORE."""
    buffer, offset, value = node.src[:3]
    dtype = value.dtype
    stored = _to_memory(text, text.name(value), dtype)
    place = _place(text, buffer, text.name(offset))
    kind = register_type(in_memory(dtype))
    plain = f"store {kind} {stored}, ptr {place}, align {dtype.itemsize}"
    if len(node.src) == 3:
        text.line(plain)
        return
    mask = text.name(node.src[3])
    if dtype.lanes == 1:
        _jumped(text, plain, mask)
        return
    name = f"masked.store.{suffix(in_memory(dtype))}.p0"
    tests = f"<{dtype.lanes} x i1>"
    arguments = [(kind, stored), ("ptr", place), ("i32", str(dtype.itemsize)), (tests, mask)]
    text.line(text.intrinsic(name, "void", arguments))


def _jumped(text: Text, instruction: str, mask: str) -> None:
    label = text.fresh("s")
    text.branch(mask, label, f"{label}.end")
    text.block(label)
    text.line(instruction)
    text.line(f"br label %{label}.end")
    text.block(f"{label}.end")


def _whole_load(text: Text, dtype: DType, place: str) -> str:
    kind = register_type(in_memory(dtype))
    value = text.new(f"load {kind}, ptr {place}, align {dtype.itemsize}")
    return _from_memory(text, value, dtype)


def _masked_load(text: Text, dtype: DType, place: str, mask: str, fill: str) -> str:
    stored = in_memory(dtype)
    kind = register_type(stored)
    tests = f"<{dtype.lanes} x i1>"
    fill = _to_memory(text, fill, dtype)
    arguments = [("ptr", place), ("i32", str(dtype.itemsize)), (tests, mask), (kind, fill)]
    call = text.intrinsic(f"masked.load.{suffix(stored)}.p0", kind, arguments)
    return _from_memory(text, text.new(call), dtype)


def _place(text: Text, buffer: UOp, offset: str) -> str:
    base = text.names[buffer]
    if offset == "0":
        return base
    kind = register_type(in_memory(buffer.dtype))
    return text.new(f"getelementptr inbounds {kind}, ptr {base}, i64 {offset}")


def _from_memory(text: Text, value: str, dtype: DType) -> str:
    stored = in_memory(dtype)
    if stored is dtype:
        return value
    return text.new(f"icmp ne {register_type(stored)} {value}, {literal(0, stored)}")


def _to_memory(text: Text, value: str, dtype: DType) -> str:
    stored = in_memory(dtype)
    if stored is dtype:
        return value
    return text.new(f"zext {register_type(dtype)} {value} to {register_type(stored)}")
