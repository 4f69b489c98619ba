"""Floats that are stored in few bits: what the bits mean, and how a number becomes them.

Comes in: nothing, or a Python number. Goes out: rows, or bits. lower/convert.py makes conversions
of them, renderers write constants with them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tinycore.dtype import DType, dtypes


class Narrow(NamedTuple):
    """Explicit mantissa bits, the exponent of the least normal number, the bits of infinity (0:
    there is none, what is too large becomes NaN) and of a NaN.

    Source: IEEE 754-2019 table 3.5 for float16, its layout with 8 exponent bits for bfloat16; OCP
    8-bit Floating Point Specification 1.0, table 1, for the others.
    """

    mantissa: int
    exponent: int
    infinity: int
    nan: int

    @property
    def beyond(self) -> int:
        """What numbers too large become: the bits after those of the largest."""
        return self.infinity or self.nan


NARROW = {
    dtypes.float16: Narrow(10, -14, 0x7C00, 0x7E00),
    dtypes.bfloat16: Narrow(7, -126, 0x7F80, 0x7FC0),
    dtypes.fp8e4m3: Narrow(3, -6, 0, 0x7F),
    dtypes.fp8e5m2: Narrow(2, -14, 0x7C, 0x7E),
}


def narrow_bits(value: float, dtype: DType) -> int:
    """The bits of the nearest number of a narrow type, ties to even."""
    row = NARROW[dtype.scalar]
    sign = 1 << (dtype.bits - 1) if math.copysign(1.0, value) < 0 else 0
    if not math.isfinite(value):
        return sign | (row.nan if math.isnan(value) else row.beyond)
    exponent = max(math.frexp(value)[1] - 1, row.exponent) if value else row.exponent
    steps = round(math.ldexp(abs(value), row.mantissa - exponent))
    return sign | min(((exponent - row.exponent) << row.mantissa) + steps, row.beyond)


def narrowed(value: float, dtype: DType) -> float:
    """A Python number as precise as a narrow type is."""
    row = NARROW[dtype.scalar]
    size = narrow_bits(abs(value), dtype)
    if size >= row.beyond:
        return math.copysign(math.inf if size == row.infinity else math.nan, value)
    field, fraction = divmod(size, 1 << row.mantissa)
    whole = fraction + (1 << row.mantissa if field else 0)
    exponent = max(field, 1) - 1 + row.exponent - row.mantissa
    return math.copysign(math.ldexp(whole, exponent), value)
