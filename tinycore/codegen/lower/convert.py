"""Conversions to and from floats of few bits, by integer arithmetic or by the target.

Comes in: a value. Goes out: the value in another type. A type that the target calls emulated is
taken apart here; others are cast by the target. decompose.py uses these around every op.
Legend: a narrow float is sign, exponent field, mantissa; float32 has 23 mantissa bits, bias 127.
"""

from __future__ import annotations

import math

from tinycore.codegen.lower.transcendental import absolute, bits, number
from tinycore.dtype import NARROW, DType, dtypes, to_dtype
from tinycore.uop.ops import UOp

_INFINITY = 0x7F800000
_SIGN, _SIZE = 0x80000000, 0x7FFFFFFF


def widen(x: UOp) -> UOp:
    """A narrow float as float32, exactly, by integer arithmetic."""
    row, width = NARROW[x.dtype], x.dtype.bits
    stored = number(x, to_dtype(f"uint{width}")).cast(dtypes.uint32)
    if x.dtype is dtypes.bfloat16:
        return number(stored << 16, dtypes.float32)
    half = 1 << (width - 1)
    size = stored & (half - 1)
    # The field read as float32's is too small by a power of two; the product repairs it,
    # and normalises subnormal numbers.
    shifted = size << (23 - row.mantissa)
    found = number(shifted, dtypes.float32) * 2.0 ** (126 + row.exponent)
    first_nan = row.beyond + (row.beyond < row.nan)
    found = (size < row.beyond).where(found, math.inf)
    found = (size < first_nan).where(found, math.nan)
    sign = (stored & half) << (32 - width)
    signed = number(found, dtypes.uint32) | sign
    return number(signed, dtypes.float32)


def narrow(x: UOp, dtype: DType) -> UOp:
    """A float32 rounded to a narrow type, ties to even, by integer arithmetic."""
    row = NARROW[dtype]
    whole = number(x, dtypes.uint32)
    size = whole & _SIZE
    # Round the mantissa to fewer bits; a carry moves on into the exponent.
    drop = 23 - row.mantissa
    odd = (size >> drop) & 1
    half = (1 << (drop - 1)) - 1
    bias = (row.exponent + 126) << row.mantissa
    found = ((size + odd + half) >> drop) + -bias
    if row.exponent > -126:
        # Adding a power of two leaves as last bit what is the last bit of a subnormal number.
        exponent = row.exponent + drop
        shifted = number(size, dtypes.float32) + 2.0**exponent
        subnormal = number(shifted, dtypes.uint32) + -((127 + exponent) << 23)
        least = (row.exponent + 127) << 23
        found = (size < least).where(subnormal, found)
    found = (found < row.beyond).where(found, row.beyond)
    found = (size < _INFINITY + 1).where(found, row.nan)
    sign = (whole & _SIGN) >> (32 - dtype.bits)
    stored = (found | sign).cast(to_dtype(f"uint{dtype.bits}"))
    return number(stored, dtype)


def to_odd(x: UOp) -> UOp:
    """A float64 as float32 such that rounding once more is rounding once.

    What is inexact is rounded to the neighbour with an odd last bit. Source: Boldo and Melquiond,
    Emulation of a FMA and Correctly Rounded Sums, IEEE Transactions on Computers 57, 2008.
    """
    nearest = x.cast(dtypes.float32)
    back = nearest.cast(dtypes.float64)
    whole = bits(nearest)
    toward_zero = (absolute(x) < absolute(back)).where(whole + -1, whole)
    odd = number(toward_zero | 1, dtypes.float32)
    return back.eq(x).where(nearest, odd)
