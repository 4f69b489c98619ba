"""Constants computed at compile time, bit by bit as a device would.

Comes in: an op and the constants it is applied to. Goes out: the constant it gives, by the numpy
reference of uop/table.py, rounded to its type; None where the result is unspecified.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tinycore.dtype import COMPUTE, DType, dtypes
from tinycore.uop.ops import Ops, Scalar, UOp, const
from tinycore.uop.table import TABLE
from tinycore.util import np


class Float(NamedTuple):
    """A binary floating-point format: significant bits, exponent of its least normal number as
    math.frexp counts, greatest number, and what lies beyond it."""

    bits: int
    least: int
    greatest: float
    beyond: float = math.inf


# Source: IEEE 754-2019 table 3.5 for 16, 32, 64 bits; bfloat16 is the upper half of a float32;
# OCP 8-bit Floating Point Specification 1.0, table 1: E4M3 has no infinity.
FORMATS = {
    "float64": Float(53, -1021, 1.7976931348623157e308),
    "float32": Float(24, -125, 3.4028234663852886e38),
    "bfloat16": Float(8, -125, 3.3895313892515355e38),
    "float16": Float(11, -13, 65504.0),
    "fp8e5m2": Float(3, -13, 57344.0),
    "fp8e4m3": Float(4, -5, 448.0, math.nan),
}


def number(value: Scalar, dtype: DType) -> Scalar:
    """The number that a constant of `dtype` made from `value` really is."""
    if not dtype.is_float:
        return dtype.cast(value)
    value = float(value)
    row = FORMATS[dtype.name]
    if value == 0 or not math.isfinite(value) or row.bits == 53:
        return value
    scale = max(math.frexp(value)[1], row.least) - row.bits
    # round() takes halves to even, and scaling by a power of two is exact
    rounded = math.copysign(math.ldexp(round(math.ldexp(value, -scale)), scale), value)
    return math.copysign(row.beyond, value) if abs(rounded) > row.greatest else rounded


def fold(node: UOp) -> UOp | None:
    """The constant that a scalar op of constants is; None where no device must agree on it."""
    reference = TABLE[node.op].reference
    if reference is None or _unspecified(node):
        return None
    numpy = np()
    with numpy.errstate(all="ignore"):
        result = reference(numpy, *[_operand(source) for source in node.src])
    return _result(result.item(), node.dtype)


def _unspecified(node: UOp) -> bool:
    """True for a shift by the width or more."""
    if node.op not in (Ops.SHL, Ops.SHR):
        return False
    return not 0 <= node.src[1].arg < node.src[0].dtype.bits


def _operand(source: UOp) -> Any:
    kind = COMPUTE.get(source.dtype.scalar, source.dtype.scalar)
    return np().asarray(number(source.arg, source.dtype), dtype=kind.name)


def _result(value: Any, dtype: DType) -> UOp | None:
    rounded = number(value, dtype)
    overflow = dtype.name == "fp8e4m3" and rounded != rounded and value == value
    return None if overflow else const(rounded, dtype)


def fold_cast(node: UOp) -> UOp | None:
    """The constant that a CAST of a constant is; None where devices may round it differently."""
    source, target = node.src[0], node.dtype
    value = number(source.arg, source.dtype)
    if target.is_float and number(value, target) != value and not _rounds_once(source, value):
        return None
    if source.dtype.is_float and target.is_int and not _inside(value, target):
        return None
    return _result(value, target)


def _inside(value: Scalar, dtype: DType) -> bool:
    return math.isfinite(value) and dtype.min <= int(value) <= dtype.max


def _rounds_once(source: UOp, value: Scalar) -> bool:
    """True if a step through float32 on the way would change nothing."""
    if value != value:
        return True
    return source.dtype.itemsize < 8 if source.dtype.is_float else abs(value) <= 1 << 24


def fold_bitcast(node: UOp) -> UOp | None:
    """The constant with the bits of a constant, between types of one size that numpy has."""
    source, target = node.src[0], node.dtype
    kinds = {source.dtype.scalar, target.scalar}
    if (
        kinds & _NOT_IN_NUMPY
        or source.dtype.itemsize != target.itemsize
        or source.arg != source.arg
    ):
        return None
    value = np().asarray(number(source.arg, source.dtype), dtype=source.dtype.name)
    return const(value.view(target.name).item(), target)


_NOT_IN_NUMPY = {dtypes.bfloat16, dtypes.fp8e4m3, dtypes.fp8e5m2, dtypes.bool}
