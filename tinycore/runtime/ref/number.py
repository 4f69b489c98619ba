"""Element types in numpy: how each is stored, what it is computed in, and how it rounds.

In: a `DType` and arrays. Out: arrays. A type that numpy lacks is stored as its bits and computed
in float32, where every value of it is exact. Next file: memory.py.
"""

import math
from functools import cache
from typing import Any

from tinycore import util
from tinycore.dtype import COMPUTE, NARROW, DType, dtypes, from_bits, to_bits
from tinycore.uop.monoids import MONOIDS
from tinycore.uop.ops import Scalar

np = util.np()  # REF is loaded late as a whole
Array = Any  # a numpy array or a numpy scalar


AS_BITS = NARROW.keys() - {dtypes.float16}  # types that numpy lacks


@cache
def storage(dtype: DType) -> Any:
    """The numpy type of an element in memory; unsigned bits where numpy has no such type."""
    return np.dtype(f"uint{dtype.bits}" if dtype in AS_BITS else dtype.name)


def decode(stored: Array, dtype: DType) -> Array:
    """Elements of memory as values."""
    if dtype in AS_BITS:
        return from_bits(stored, dtype)
    return stored.astype(storage(COMPUTE.get(dtype, dtype)), copy=False)


def encode(values: Array, dtype: DType) -> Array:
    """Values as elements of memory: rounded to nearest, ties to even; integers wrap."""
    if dtype in AS_BITS:
        return to_bits(values, dtype)
    return np.asarray(values).astype(storage(dtype), copy=False)


def convert(values: Array, dtype: DType) -> Array:
    """Values of any type as values of `dtype`, as precise as it is."""
    return decode(encode(values, dtype), dtype)


def constant(value: Scalar, dtype: DType) -> Array:
    """A Python number as a value of `dtype`."""
    return convert(dtype.cast(value), dtype)


@cache
def initial(combine: str, dtype: DType) -> Array:
    """An element of memory that `combine` leaves alone; without one, NaN or the least integer."""
    if combine:
        return encode(dtype.cast(MONOIDS[combine].identity), dtype)
    return encode(math.nan if dtype.is_float else dtype.min, dtype)
