"""Element types in numpy: how each is stored, what it is computed in, and how it rounds.

In: a `DType` and arrays. Out: arrays. A type that numpy lacks is stored as its bits and computed
in float32, where every value of it is exact. Next file: machine.py.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

from tinycore.dtype import COMPUTE, DType, dtypes
from tinycore.uop.ops import Scalar
from tinycore.uop.table import MONOIDS
from tinycore.util import np

Array = Any  # a numpy array or a numpy scalar: numpy is loaded late


class Narrow(NamedTuple):
    """A float stored as bits: explicit mantissa bits, least normal exponent, and largest value.

    Source: IEEE 754 with 8 exponent bits for bfloat16; OCP 8-bit Floating Point Specification 1.0,
    table 1, for the others. `infinity` 0 means there is none: what is too large becomes NaN.
    """

    mantissa: int
    exponent: int
    largest: float
    infinity: int
    nan: int


NARROW = {
    dtypes.bfloat16: Narrow(7, -126, 255 * 2.0**120, 0x7F80, 0x7FC0),
    dtypes.fp8e4m3: Narrow(3, -6, 448.0, 0, 0x7F),
    dtypes.fp8e5m2: Narrow(2, -14, 57344.0, 0x7C, 0x7E),
}


@cache
def storage(dtype: DType) -> Any:
    """The numpy type of an element in memory; unsigned bits where numpy has no such type."""
    if dtype in NARROW:
        return np().dtype(f"uint{8 * dtype.itemsize}")
    return np().dtype(dtype.name)


@cache
def computed(dtype: DType) -> Any:
    """The numpy type in which values of `dtype` are held between operations."""
    return storage(COMPUTE.get(dtype, dtype))


def decode(stored: Array, dtype: DType) -> Array:
    """Elements of memory as values."""
    if dtype in NARROW:
        return _values(dtype)[stored]
    return stored.astype(computed(dtype), copy=False)


def encode(values: Array, dtype: DType) -> Array:
    """Values as elements of memory: rounded to nearest, ties to even; integers wrap."""
    if dtype.kind == "b":
        return np().not_equal(values, 0)
    if dtype in NARROW:
        return _bits(np().asarray(values), dtype)
    return np().asarray(values).astype(storage(dtype), copy=False)


def rounded(values: Array, dtype: DType) -> Array:
    """Values after an operation, as precise as `dtype` is."""
    return decode(encode(values, dtype), dtype) if dtype in COMPUTE else values


def convert(values: Array, dtype: DType) -> Array:
    """Values of any type as values of `dtype`."""
    return decode(encode(values, dtype), dtype)


def reinterpret(values: Array, source: DType, target: DType) -> Array:
    """Values with the same bits in another type of the same size."""
    bits = np().ascontiguousarray(encode(values, source)).reshape(np().shape(values))
    return decode(bits.view(storage(target)), target)


def constant(value: Scalar, dtype: DType) -> Array:
    """A Python number as a value of `dtype`."""
    return rounded(computed(dtype).type(dtype.cast(value)), dtype)


@cache
def identity(combine: str, dtype: DType) -> Array:
    """The value that `combine` leaves alone."""
    value = MONOIDS[combine].identity
    if math.isinf(value) and not dtype.is_float:
        value = dtype.min if value < 0 else dtype.max
    return constant(value, dtype)


@cache
def poison(dtype: DType) -> Array:
    """An element of memory that was never written: NaN, or the least integer."""
    return encode(constant(math.nan if dtype.is_float else dtype.min, dtype), dtype)[()]


@cache
def _values(dtype: DType) -> Array:
    """The value of every bit pattern."""
    xp = np()
    row = NARROW[dtype]
    bits = xp.arange(1 << dtype.bits, dtype=xp.int64)
    magnitude = bits & ((1 << (dtype.bits - 1)) - 1)
    field = magnitude >> row.mantissa
    fraction = magnitude & ((1 << row.mantissa) - 1)
    whole = xp.where(field > 0, fraction + (1 << row.mantissa), fraction)
    scale = xp.maximum(field, 1) - 1 + row.exponent - row.mantissa
    values = xp.ldexp(whole.astype(xp.float64), scale)
    values = xp.where(values > row.largest, xp.nan, values)
    if row.infinity:
        values = xp.where(magnitude == row.infinity, xp.inf, values)
    return xp.where(bits == magnitude, values, -values).astype(xp.float32)


def _bits(values: Array, dtype: DType) -> Array:
    """The bit pattern nearest to each value."""
    xp = np()
    row = NARROW[dtype]
    exact = xp.abs(values.astype(xp.float64))
    exponent = xp.maximum(xp.frexp(exact)[1] - 1, row.exponent)
    spacing = exponent - row.mantissa
    nearest = xp.ldexp(xp.rint(xp.ldexp(exact, -spacing)), spacing)
    ordered = _values(dtype)[: row.infinity or row.nan]
    bits = xp.searchsorted(ordered, nearest)
    bits = xp.where(nearest > row.largest, row.infinity or row.nan, bits)
    bits = xp.where(xp.isnan(exact), row.nan, bits)
    sign = xp.signbit(values).astype(xp.int64) << (dtype.bits - 1)
    return (bits | sign).astype(storage(dtype))
