"""The LLVM IR text of one module as it grows: lines, names of values, declarations.

Comes in: instructions. Goes out: their names; at the end, lines. llvm_values.py writes
instructions here, llvm.py the control flow between them. Types and numbers are spelled here:
bool is i1 in registers and i8 in memory; floats that LLVM would compute by calls are their bits.
Source: LLVM 22 Language Reference, https://llvm.org/docs/LangRef.html.
"""

from __future__ import annotations

import struct
from ctypes import c_float
from functools import cache

from tinycore.dtype import NARROW, DType, dtypes, to_bits
from tinycore.uop.ops import Ops, Scalar, UOp

_FLOATS = {"float16": "half", "float32": "float", "float64": "double"}


@cache
def register_type(dtype: DType) -> str:
    """The type of a value in a register."""
    one = _FLOATS.get(dtype.name) or f"i{dtype.bits}"
    return one if dtype.lanes == 1 else f"<{dtype.lanes} x {one}>"


@cache
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
    """A constant; the same in every lane of a vector type."""
    if dtype.lanes == 1:
        return number(value, dtype)
    return f"splat ({register_type(dtype.scalar)} {number(value, dtype.scalar)})"


def number(value: Scalar, dtype: DType) -> str:
    """One number as LLVM reads it, exactly: floats by their bits."""
    if dtype is dtypes.float16:
        return f"0xH{int(to_bits(value, dtype)):04X}"
    if dtype in NARROW:
        return str(to_bits(value, dtype))
    if dtype.is_float:
        exact = float(value) if dtype is dtypes.float64 else c_float(value).value
        return "0x" + struct.pack(">d", exact).hex().upper()
    return ("true" if value else "false") if dtype.kind == "b" else str(int(value))


class Text:
    """The lines of a function, the names of its values and the intrinsics it calls."""

    def __init__(self, contracts: bool) -> None:
        self.contracts = contracts
        self.lines: list[str] = []
        self.names: dict[UOp, str] = {}
        self.declared: dict[str, None] = {}
        self.count = 0
        self.label = "entry"

    def line(self, text: str) -> None:
        """One instruction without a result."""
        self.lines.append("  " + text)

    def new(self, text: str) -> str:
        """One instruction; returns the name of its result."""
        self.count += 1
        name = f"%v{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def fresh(self, start: str) -> str:
        """A name that no other value or label has."""
        self.count += 1
        return f"{start}{self.count}"

    def name(self, node: UOp) -> str:
        """What a source is called: its name, or its literal."""
        if node.op is Ops.CONST:
            return literal(node.arg, node.dtype)
        return self.names[node]

    def block(self, label: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{label}:")
        self.label = label

    def branch(self, test: str, yes: str, no: str) -> None:
        """Go to one of two blocks."""
        self.line(f"br i1 {test}, label %{yes}, label %{no}")

    def intrinsic(self, name: str, result: str, arguments: list[tuple[str, str]]) -> str:
        """The call of an intrinsic on (type, value) pairs, which is declared."""
        kinds = ", ".join([kind for kind, _ in arguments])
        given = ", ".join([f"{kind} {value}" for kind, value in arguments])
        self.declared[f"declare {result} @llvm.{name}({kinds})"] = None
        return f"call {result} @llvm.{name}({given})"
