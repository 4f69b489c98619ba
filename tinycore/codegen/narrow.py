"""Floats that are stored in few bits: what the bits mean, and how a number becomes them.

Comes in: nothing, or a Python number. Goes out: rows, or bits. lower/convert.py makes conversions
of them, renderers write constants with them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tinycore.dtype import DType, dtypes


class Narrow(NamedTuple):
    """Explicit mantissa bits, the exponent of the least normal number, the largest number, the
    bits of infinity (0: there is none, what is too large becomes NaN) and of a NaN.

    Source: IEEE 754-2019 table 3.5 for float16, its layout with 8 exponent bits for bfloat16; OCP
    8-bit Floating Point Specification 1.0, table 1, for the others.
    """

    mantissa: int
    exponent: int
    largest: float
    infinity: int
    nan: int


NARROW = {
    dtypes.float16: Narrow(10, -14, 65504.0, 0x7C00, 0x7E00),
    dtypes.bfloat16: Narrow(7, -126, 255 * 2.0**120, 0x7F80, 0x7FC0),
    dtypes.fp8e4m3: Narrow(3, -6, 448.0, 0, 0x7F),
    dtypes.fp8e5m2: Narrow(2, -14, 57344.0, 0x7C, 0x7E),
}


def narrow_bits(value: float, dtype: DType) -> int:
    """The bits of the nearest number of a narrow type, ties to even."""
    row = NARROW[dtype.scalar]
    sign = 1 << (dtype.bits - 1) if math.copysign(1.0, value) < 0 else 0
    if math.isnan(value):
        return sign | row.nan
    beyond = row.infinity or row.nan
    if math.isinf(value):
        return sign | beyond
    size = abs(value)
    exponent = max(math.frexp(size)[1] - 1, row.exponent) if size else row.exponent
    steps = round(math.ldexp(size, row.mantissa - exponent))
    if math.ldexp(steps, exponent - row.mantissa) > row.largest:
        return sign | beyond
    return sign | (((exponent - row.exponent) << row.mantissa) + steps)


def narrowed(value: float, dtype: DType) -> float:
    """A Python number as precise as a narrow type is."""
    stored = narrow_bits(value, dtype)
    row = NARROW[dtype.scalar]
    size = stored & ((1 << (dtype.bits - 1)) - 1)
    if size in (row.nan, row.infinity or row.nan):
        found = math.inf if size == row.infinity else math.nan
        return math.copysign(found, value)
    field = size >> row.mantissa
    fraction = size & ((1 << row.mantissa) - 1)
    whole = fraction + (1 << row.mantissa if field else 0)
    exponent = max(field, 1) - 1 + row.exponent - row.mantissa
    return math.copysign(math.ldexp(whole, exponent), value)
