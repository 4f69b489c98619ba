"""Constants round as the types do."""

import itertools
import math

import numpy as np
import pytest

from tinycore.dtype import DType, dtypes
from tinycore.uop import Ops, UOp
from tinycore.uop.fold import FORMATS, fold, fold_bitcast, fold_cast, number
from tinycore.uop.ops import Scalar, const


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.float32, dtypes.float64])
def test_numbers_round_as_numpy_rounds(dtype: DType) -> None:
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype.name).type
    values = [float(v) for v in rng.normal(size=300) * 10.0 ** rng.integers(-50, 45, size=300)]
    values += [0.0, -0.0, math.inf, -math.inf, 65519.99, 65520.0, -65520.0, 6e-8, 2.9e-8, 1e-45]
    with np.errstate(all="ignore"):
        for value in values:
            assert number(value, dtype) == float(kind(value))
            assert math.copysign(1, number(value, dtype)) == math.copysign(1, value)
    assert math.isnan(number(math.nan, dtype))


def eight_bit_values(exponent_bits: int) -> list[float]:
    """Every finite number of an 8-bit format; source: OCP 8-bit Floating Point Specification."""
    mantissa_bits = 7 - exponent_bits
    bias = (1 << (exponent_bits - 1)) - 1
    found = []
    for exponent, mantissa in itertools.product(
        range(1 << exponent_bits), range(1 << mantissa_bits)
    ):
        fraction = mantissa / (1 << mantissa_bits)
        scale = max(exponent, 1) - bias
        found.append((fraction + (exponent > 0)) * 2.0**scale)
    return found[:-1] if exponent_bits == 4 else found[: -(1 << mantissa_bits)]


@pytest.mark.parametrize(("dtype", "bits"), [(dtypes.fp8e4m3, 4), (dtypes.fp8e5m2, 5)])
def test_eight_bit_numbers_go_to_the_nearest_and_halves_to_even(dtype: DType, bits: int) -> None:
    values = eight_bit_values(bits)
    assert values[-1] == FORMATS[dtype.name].greatest
    for value in values:
        assert number(value, dtype) == value
        assert number(-value, dtype) == -value
    for place, (low, high) in enumerate(itertools.pairwise(values)):
        middle = (low + high) / 2
        assert number(middle, dtype) == (high if place % 2 else low)
        assert number(math.nextafter(middle, 0), dtype) == low
        assert number(math.nextafter(middle, INF), dtype) == high


INF = math.inf


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    rng = np.random.default_rng(1)
    for value in rng.normal(size=300).astype(np.float32):
        bits = int(value.view(np.uint32))
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
        expected = np.array([rounded], dtype=np.uint32).view(np.float32)[0]
        assert number(float(value), dtypes.bfloat16) == float(expected)


def test_beyond_the_greatest_number_lies_infinity_or_nan() -> None:
    assert number(1e39, dtypes.bfloat16) == INF
    assert number(-1e6, dtypes.fp8e5m2) == -INF
    assert math.isnan(number(500, dtypes.fp8e4m3))


def test_integers_wrap() -> None:
    assert number(300, dtypes.uint8) == 44
    assert number(2**31, dtypes.int32) == -(2**31)


def node(op: Ops, dtype: DType, *values: tuple[Scalar, DType]) -> UOp:
    """An op of constants, not folded."""
    return UOp(op, dtype, tuple([const(value, kind) for value, kind in values]))


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (3.99, dtypes.float32, dtypes.int32, 3),
        (-3.99, dtypes.float32, dtypes.int32, -3),
        (300, dtypes.int32, dtypes.uint8, 44),
        (-1, dtypes.int32, dtypes.uint64, 2**64 - 1),
        (0.1, dtypes.float32, dtypes.float64, float(np.float32(0.1))),
        (0.1, dtypes.float32, dtypes.float16, float(np.float16(np.float32(0.1)))),
        (16_777_217, dtypes.int64, dtypes.float64, 16_777_217.0),
        (2.5, dtypes.float32, dtypes.bool, True),
        (math.inf, dtypes.float64, dtypes.float16, math.inf),
        (1e300, dtypes.float64, dtypes.float32, None),
        (0.1, dtypes.float64, dtypes.float16, None),
        (16_777_217, dtypes.int64, dtypes.float32, None),
        (3e9, dtypes.float32, dtypes.int32, None),
        (math.nan, dtypes.float32, dtypes.int32, None),
        (math.inf, dtypes.float32, dtypes.int32, None),
        (-1.0, dtypes.float32, dtypes.uint32, None),
        (500.0, dtypes.float32, dtypes.fp8e4m3, None),
    ],
)
def test_conversions_fold_where_every_device_must_agree(
    value: Scalar, source: DType, target: DType, expected: Scalar | None
) -> None:
    found = fold_cast(node(Ops.CAST, target, (value, source)))
    assert (None if found is None else found.arg) == expected


def test_a_nan_stays_a_nan_through_a_conversion() -> None:
    found = fold_cast(node(Ops.CAST, dtypes.float16, (math.nan, dtypes.float64)))
    assert found is const(math.nan, dtypes.float16)


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (1.0, dtypes.float32, dtypes.int32, 0x3F800000),
        (-1, dtypes.int8, dtypes.uint8, 255),
        (0x3C00, dtypes.uint16, dtypes.float16, 1.0),
        (math.nan, dtypes.float32, dtypes.int32, None),
        (1.0, dtypes.bfloat16, dtypes.int16, None),
        (1, dtypes.uint8, dtypes.bool, None),
    ],
)
def test_bits_fold_between_types_that_numpy_has(
    value: Scalar, source: DType, target: DType, expected: Scalar | None
) -> None:
    found = fold_bitcast(node(Ops.BITCAST, target, (value, source)))
    assert (None if found is None else found.arg) == expected


def test_a_shift_by_the_width_is_left_to_the_device() -> None:
    i32 = dtypes.int32
    assert fold(node(Ops.SHL, i32, (1, i32), (32, i32))) is None
    assert fold(node(Ops.SHR, i32, (1, i32), (-1, i32))) is None
    assert fold(node(Ops.SHL, i32, (1, i32), (31, i32))) is const(-(2**31), i32)


def test_an_op_without_a_reference_is_not_folded() -> None:
    assert fold(node(Ops.BARRIER, dtypes.void)) is None


def test_signed_zero_and_infinity_come_out_as_devices_give_them() -> None:
    f32 = dtypes.float32
    assert fold(node(Ops.RECIP, f32, (-0.0, f32))) is const(-math.inf, f32)
    assert fold(node(Ops.MUL, f32, (-1.0, f32), (0.0, f32))) is const(-0.0, f32)
    assert fold(node(Ops.MUL, f32, (3e38, f32), (10.0, f32))) is const(math.inf, f32)
    assert fold(node(Ops.FIN, f32, (-math.inf, f32))) is const(0.0, f32)
