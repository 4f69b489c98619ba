"""Element types in numpy: how each is stored, what it is computed in, and how it rounds.

In: a `DType` and arrays. Out: arrays. A type that numpy lacks is stored as its bits and computed
in float32, where every value of it is exact. Next file: memory.py.
"""

import math
from functools import cache
from typing import Any, NamedTuple

from tinycore import util
from tinycore.dtype import COMPUTE, DType, dtypes
from tinycore.uop.monoids import MONOIDS
from tinycore.uop.ops import Scalar

np = util.np()  # REF is loaded late as a whole
Array = Any  # a numpy array or a numpy scalar


class Narrow(NamedTuple):
    """A float stored as bits: its explicit mantissa bits and least normal exponent; `top` is the
    pattern of what is too large, infinity or else `nan`.

    Source: IEEE 754 with 8 exponent bits for bfloat16; OCP 8-bit Floating Point Specification 1.0,
    table 1, for the others.
    """

    mantissa: int
    exponent: int
    top: int
    nan: int


NARROW = {
    dtypes.bfloat16: Narrow(7, -126, 0x7F80, 0x7FC0),
    dtypes.fp8e4m3: Narrow(3, -6, 0x7F, 0x7F),
    dtypes.fp8e5m2: Narrow(2, -14, 0x7C, 0x7E),
}


@cache
def storage(dtype: DType) -> Any:
    """The numpy type of an element in memory; unsigned bits where numpy has no such type."""
    return np.dtype(f"uint{dtype.bits}" if dtype in NARROW else dtype.name)


def decode(stored: Array, dtype: DType) -> Array:
    """Elements of memory as values."""
    if dtype in NARROW:
        return _patterns(dtype)[stored]
    return stored.astype(storage(COMPUTE.get(dtype, dtype)), copy=False)


def encode(values: Array, dtype: DType) -> Array:
    """Values as elements of memory: rounded to nearest, ties to even; integers wrap."""
    found = np.asarray(values)
    if dtype in NARROW:
        found = _nearest(found, dtype)
    return found.astype(storage(dtype), copy=False)


def convert(values: Array, dtype: DType) -> Array:
    """Values of any type as values of `dtype`, as precise as it is."""
    return decode(encode(values, dtype), dtype)


def constant(value: Scalar, dtype: DType) -> Array:
    """A Python number as a value of `dtype`."""
    return convert(dtype.cast(value), dtype)


@cache
def initial(combine: str, dtype: DType) -> Array:
    """An element of memory that `combine` leaves alone; without one, NaN or the least integer."""
    value = MONOIDS[combine].identity if combine else math.nan
    least = math.nan if dtype.is_float else dtype.min
    limits = {-math.inf: dtype.min, math.inf: dtype.max, math.nan: least}
    return encode(limits.get(value, value), dtype)


@cache
def _patterns(dtype: DType) -> Array:
    """The value of every bit pattern: float64 of the same fields, scaled."""
    row = NARROW[dtype]
    fields = np.arange(1 << (dtype.bits - 1), dtype=np.int64) << (52 - row.mantissa)
    values = fields.view(np.float64) * 2.0 ** (1022 + row.exponent)
    values[row.top] = math.inf
    values[row.top + 1 :] = math.nan
    values[row.nan] = math.nan
    return np.concatenate([values, -values]).astype(np.float32)


def _nearest(values: Array, dtype: DType) -> Array:
    """The bit pattern nearest to each value."""
    row = NARROW[dtype]
    exact = np.abs(values.astype(np.float64))
    _, exponent = np.frexp(np.maximum(exact, 2.0**-200))  # zero has the least one
    exponent = np.maximum(exponent - 1, row.exponent)
    steps = np.rint(np.ldexp(exact, row.mantissa - exponent))
    bits = np.minimum(steps + np.ldexp(exponent - row.exponent, row.mantissa), row.top)
    bits = np.where(np.isnan(exact), row.nan, bits)
    return bits + np.ldexp(np.signbit(values), dtype.bits - 1)
