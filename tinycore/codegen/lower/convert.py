"""Conversions to and from floats of few bits, by integer arithmetic or by the target.

Comes in: a value. Goes out: the value in another type. A type that the target calls emulated is
taken apart here; others are cast by the target. decompose.py uses these around every op.
Legend: a narrow float is sign, exponent field, mantissa; float32 has 23 mantissa bits, bias 127.
"""

from __future__ import annotations

import math

from tinycore.codegen.lower.transcendental import bits, number, where
from tinycore.codegen.narrow import NARROW, Narrow
from tinycore.dtype import DType, dtypes
from tinycore.uop.ops import Ops, UOp

_UNSIGNED = {1: dtypes.uint8, 2: dtypes.uint16}
_INFINITY = 0x7F800000
_SIGN = 1 << 31


def widen(x: UOp) -> UOp:
    """A narrow float as float32, exactly, by integer arithmetic."""
    row = NARROW[x.dtype]
    stored = UOp(Ops.BITCAST, _UNSIGNED[x.dtype.itemsize], (x,))
    stored = stored.cast(dtypes.uint32)
    if x.dtype is dtypes.bfloat16:
        return number(stored << 16, dtypes.float32)
    half = 1 << (x.dtype.bits - 1)
    sign = (stored & half) << (32 - x.dtype.bits)
    size = stored & (half - 1)
    # The field read as float32's is too small by a power of two; the product repairs it,
    # and normalises subnormal numbers.
    shifted = size << (23 - row.mantissa)
    found = number(shifted, dtypes.float32) * 2.0 ** (126 + row.exponent)
    first_nan = row.infinity + 1 if row.infinity else row.nan
    nan = found.const_like(math.nan)
    found = where(_at_least(size, first_nan), nan, found)
    if row.infinity:
        infinite = size.alu(Ops.EQ, row.infinity)
        found = where(infinite, found.const_like(math.inf), found)
    return number(_unsigned(found) | sign, dtypes.float32)


def narrow(x: UOp, dtype: DType) -> UOp:
    """A float32 rounded to a narrow type, ties to even, by integer arithmetic."""
    row = NARROW[dtype]
    whole = _unsigned(x)
    sign = (whole & _SIGN) >> (32 - dtype.bits)
    size = whole & (_SIGN - 1)
    least = (row.exponent + 127) << 23
    is_normal = _at_least(size, least)
    found = where(is_normal, _normal(size, row), _subnormal(size, row))
    beyond = size.const_like(row.infinity or row.nan)
    found = where(_at_least(size, _overflow(row)), beyond, found)
    nan = size.const_like(row.nan)
    found = where(_at_least(size, _INFINITY + 1), nan, found)
    kept = (found | sign).cast(_UNSIGNED[dtype.itemsize])
    return UOp(Ops.BITCAST, dtype, (kept,))


def to_odd(x: UOp) -> UOp:
    """A float64 as float32 such that rounding once more is rounding once.

    What is inexact is rounded to the neighbour with an odd last bit. Source: Boldo and Melquiond,
    Emulation of a FMA and Correctly Rounded Sums, IEEE Transactions on Computers 57, 2008.
    """
    nearest = x.cast(dtypes.float32)
    back = nearest.cast(dtypes.float64)
    farther = _absolute(x) < _absolute(back)
    whole = bits(nearest)
    toward_zero = where(farther, whole + -1, whole)
    same = back.alu(Ops.EQ, x)
    odd = number(where(same, whole, toward_zero | 1), dtypes.float32)
    is_number = x.alu(Ops.EQ, x)
    return where(is_number, odd, nearest)


def _normal(size: UOp, row: Narrow) -> UOp:
    """Round the mantissa to fewer bits; a carry moves on into the exponent."""
    drop = 23 - row.mantissa
    tie = (size >> drop) & 1
    half = (1 << (drop - 1)) - 1
    bias = (row.exponent + 126) << row.mantissa
    return ((size + tie + half) >> drop) + -bias


def _subnormal(size: UOp, row: Narrow) -> UOp:
    """Adding a power of two leaves as last bit what is the last bit of the narrow type."""
    if row.exponent == -126:
        return _normal(size, row)
    exponent = row.exponent - row.mantissa + 23
    shifted = number(size, dtypes.float32) + 2.0**exponent
    field = (127 + exponent) << 23
    return _unsigned(shifted) + -field


def _overflow(row: Narrow) -> int:
    """The bits of the least float32 that rounds beyond the largest number."""
    mantissa, exponent = math.frexp(row.largest)
    steps = round(math.ldexp(mantissa, row.mantissa + 1))
    half_above = math.ldexp(steps + 0.5, exponent - row.mantissa - 1)
    mantissa, exponent = math.frexp(half_above)
    field = (exponent + 126) << 23
    # A tie goes to the even number: beyond, if the largest is odd.
    return field + round((mantissa * 2 - 1) * 2**23) + (steps + 1) % 2


def _unsigned(x: UOp) -> UOp:
    return UOp(Ops.BITCAST, dtypes.uint32, (x,))


def _at_least(x: UOp, bound: int) -> UOp:
    return x.const_like(bound - 1) < x


def _absolute(x: UOp) -> UOp:
    return where(x < 0.0, -x, x)
