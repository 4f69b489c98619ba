"""Element types as a table of rows.

Comes in: a name or a Python value. Goes out: a `DType`. Next file: uop/table.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from tinycore.errors import DTypeError
from tinycore.util import np

Scalar = int | float | bool


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class DType:
    """One element type, or `lanes` of them in a vector register; equal types are one object.

    Units: `itemsize` is in bytes, of one lane.
    """

    name: str
    short: str
    itemsize: int
    kind: str  # b bool, i signed, u unsigned, f float, v void
    lanes: int = 1

    def __repr__(self) -> str:
        if self.lanes == 1:
            return f"dtypes.{self.name}"
        return f"dtypes.{self.name}.vec({self.lanes})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _vector, (self.name, self.lanes)

    @property
    def bits(self) -> int:
        """Bits of one lane; a bool counts 1."""
        return 1 if self.kind == "b" else 8 * self.itemsize

    @property
    def is_float(self) -> bool:
        """True for floats."""
        return self.kind == "f"

    @property
    def is_int(self) -> bool:
        """True for integers."""
        return self.kind in "iu"

    @property
    def scalar(self) -> DType:
        """The type of one lane."""
        return self.vec(1)

    def vec(self, lanes: int) -> DType:
        """`lanes` values of this type."""
        return self if lanes == self.lanes else _vector(self.name, lanes)

    @property
    def min(self) -> int | float:
        """The least value, -inf for floats."""
        if self.is_float:
            return -math.inf
        return -(1 << (self.bits - 1)) if self.kind == "i" else 0

    @property
    def max(self) -> int | float:
        """The greatest value, inf for floats."""
        if self.is_float:
            return math.inf
        return (1 << (self.bits - (self.kind == "i"))) - 1

    def holds(self, value: Scalar) -> bool:
        """True if `value` is in range."""
        return self.is_float or self.min <= value <= self.max

    def cast(self, value: Scalar) -> Scalar:
        """A Python number as a constant of this type; integers wrap, but infinities become the
        least or greatest."""
        if self.is_float:
            return float(value)
        if abs(value) == math.inf:
            value = self.max if value > 0 else self.min
        if self.kind == "b":
            return bool(value)
        return (int(value) - self.min) % (1 << self.bits) + self.min

    @property
    def accumulator(self) -> DType:
        """The type of a sum: integers and bool widen to 32 bits, narrow floats to float32."""
        if self.is_float:
            return COMPUTE.get(self, self)
        return promote(self, dtypes.uint32 if self.kind == "u" else dtypes.int32)

    # elements, as numpy has them

    @property
    def storage(self) -> Any:
        """The numpy type of an element in memory; unsigned bits where numpy has none."""
        return np().dtype(f"uint{self.bits}" if self in AS_BITS else self.name)

    def decode(self, stored: Any) -> Any:
        """Elements of memory as the values that are computed with."""
        if self in AS_BITS:
            return _patterns(self)[stored]
        return stored.astype(COMPUTE.get(self, self).storage, copy=False)

    def encode(self, values: Any) -> Any:
        """Values as elements of memory: rounded to nearest, ties to even; integers wrap."""
        if self in AS_BITS:
            return self.to_bits(values)
        return np().asarray(values).astype(self.storage, copy=False)

    def convert(self, values: Any) -> Any:
        """Values of any type as values of this one, as precise as it is."""
        return self.decode(self.encode(values))

    def constant(self, value: Scalar) -> Any:
        """A Python number as a value of this type."""
        return self.convert(self.cast(value))

    def to_bits(self, values: Any) -> Any:
        """The bits of the nearest numbers of a narrow type, ties to even."""
        numpy = np()
        row = NARROW[self.scalar]
        values = numpy.asarray(values, "float64")
        size = abs(values)
        normal = numpy.maximum(size, 2.0**row.exponent)
        exponent = numpy.frexp(normal)[1] - 1
        steps = numpy.ldexp(size, row.mantissa - exponent)
        field = numpy.ldexp(exponent - row.exponent, row.mantissa)
        bits = numpy.minimum(field + numpy.rint(steps), row.beyond)
        bits = numpy.where(numpy.isnan(size), row.nan, bits)
        sign = numpy.ldexp(numpy.signbit(values), self.bits - 1)
        return (bits + sign).astype(f"uint{self.bits}")


@cache
def _vector(name: str, lanes: int) -> DType:
    row = _BY_NAME[name]
    return row if lanes == 1 else replace(row, lanes=lanes)


class dtypes:  # lower case, as in PyTorch and numpy
    """The element types by name: `dtypes.float32`."""

    void = DType("void", "void", 0, "v")
    bool = DType("bool", "bool", 1, "b")
    int8 = char = DType("int8", "i8", 1, "i")
    uint8 = uchar = DType("uint8", "u8", 1, "u")
    int16 = short = DType("int16", "i16", 2, "i")
    uint16 = ushort = DType("uint16", "u16", 2, "u")
    int32 = int = DType("int32", "i32", 4, "i")
    uint32 = uint = DType("uint32", "u32", 4, "u")
    int64 = long = DType("int64", "i64", 8, "i")
    uint64 = ulong = DType("uint64", "u64", 8, "u")
    fp8e4m3 = DType("fp8e4m3", "f8e4", 1, "f")
    fp8e5m2 = DType("fp8e5m2", "f8e5", 1, "f")
    float16 = half = DType("float16", "f16", 2, "f")
    bfloat16 = DType("bfloat16", "bf16", 2, "f")
    float32 = float = DType("float32", "f32", 4, "f")
    float64 = double = DType("float64", "f64", 8, "f")
    ints = (int8, uint8, int16, uint16, int32, uint32, int64, uint64)
    floats = (fp8e4m3, fp8e5m2, float16, bfloat16, float32, float64)
    all = (bool, *ints, *floats)


_BY_NAME = {name: row for name, row in vars(dtypes).items() if isinstance(row, DType)}
_BY_NAME |= {row.short: row for row in dtypes.all}


def to_dtype(value: DType | str) -> DType:
    """The type called `"float32"`, `"f32"` or `"half"`. Raises: DTypeError if there is none."""
    if isinstance(value, DType):
        return value
    if value not in _BY_NAME:
        known = [row.name for row in dtypes.all]
        raise DTypeError(f"dtype: {value!r} is no element type; expected one of {', '.join(known)}")
    return _BY_NAME[value]


@cache
def promote(a: DType, b: DType) -> DType:
    """The type in which `a` and `b` are combined.

    Source: the promotion lattice of the array API standard, extended as JAX does by float16 +
    bfloat16 = float32 and uint64 + signed = float32.
    """
    if a.is_int and b.is_int:
        extremes = (a.min, a.max, b.min, b.max)
        fitting = [row for row in dtypes.ints if all(map(row.holds, extremes))]
        return fitting[0] if fitting else dtypes.float32
    if a is not b and a.is_float and b.is_float and a.itemsize == b.itemsize:
        return dtypes.float16 if a.itemsize == 1 else dtypes.float32
    return max(a, b, key=_standing)


def _standing(dtype: DType) -> tuple[int, int]:
    return "biuf".index(dtype.kind), dtype.itemsize


def of_python(value: Scalar, default_float: DType) -> DType:
    """The type of a Python scalar alone. Raises: DTypeError if it needs more than 64 bits."""
    if isinstance(value, bool):
        return dtypes.bool
    if isinstance(value, float):
        return default_float
    for row in (dtypes.int32, dtypes.int64, dtypes.uint64):
        if row.holds(value):
            return row
    raise DTypeError(f"dtype: {value} needs more than 64 bits; expected less. Use a float")


def weak_dtype(value: Scalar, other: DType, default_float: DType) -> DType:
    """The type of a Python scalar beside `other`, never widened within its kind."""
    if isinstance(value, int) and other.kind != "b":
        return other
    alone = of_python(value, default_float)
    return alone if _standing(other)[0] < _standing(alone)[0] else other


class Narrow(NamedTuple):
    """A float of few bits: its mantissa bits, the exponent of its least normal number, the bits of
    what is too large, and those of a NaN.

    Source: IEEE 754-2019 table 3.5 for float16, with 8 exponent bits for bfloat16; OCP 8-bit
    Floating Point Specification 1.0, table 1, for the others.
    """

    mantissa: int
    exponent: int
    beyond: int
    nan: int


NARROW = {
    dtypes.float16: Narrow(10, -14, 0x7C00, 0x7E00),
    dtypes.bfloat16: Narrow(7, -126, 0x7F80, 0x7FC0),
    dtypes.fp8e4m3: Narrow(3, -6, 0x7F, 0x7F),
    dtypes.fp8e5m2: Narrow(2, -14, 0x7C, 0x7E),
}

COMPUTE = dict.fromkeys(NARROW, dtypes.float32)
"""Types that are computed in a wider one."""


AS_BITS = NARROW.keys() - {dtypes.float16}
"""Types that numpy lacks."""


@cache
def _patterns(dtype: DType) -> Any:
    """Every bit pattern's value: float64 of the same fields, scaled."""
    row = NARROW[dtype]
    fields = np().arange(1 << (dtype.bits - 1), dtype="int64")
    shifted = fields << (52 - row.mantissa)
    values = shifted.view("float64") * 2.0 ** (1022 + row.exponent)
    values[row.beyond] = math.inf
    values[row.beyond + 1 :] = math.nan
    values[row.nan] = math.nan
    return np().concatenate([values, -values]).astype("float32")
