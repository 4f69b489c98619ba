"""Types that numpy lacks are stored as their bits and round to nearest even."""

import math

import numpy as np
import pytest

from tinycore.dtype import COMPUTE, DType, dtypes

NARROW = [dtypes.bfloat16, dtypes.fp8e4m3, dtypes.fp8e5m2]


def all_bits(dtype: DType) -> np.ndarray:
    """Every bit pattern of a narrow type."""
    return np.arange(1 << dtype.bits).astype(dtype.storage)


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_every_bit_pattern_survives_decode_and_encode(dtype: DType) -> None:
    bits = all_bits(dtype)
    values = dtype.decode(bits)
    numbers = ~np.isnan(values)
    assert (dtype.encode(values)[numbers] == bits[numbers]).all()
    assert np.isnan(dtype.decode(dtype.encode(values)))[~numbers].all()


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_halfway_rounds_to_even_and_less_or_more_to_the_nearer(dtype: DType) -> None:
    values = dtype.decode(all_bits(dtype)).astype(np.float64)
    ordered = np.unique(values[np.isfinite(values)])
    low, high = ordered[:-1], ordered[1:]
    middle = (low + high) / 2
    even = np.where(dtype.encode(low) % 2 == 0, low, high)
    below, above = np.nextafter(middle, -math.inf), np.nextafter(middle, math.inf)
    for given, expected in ((middle, even), (below, low), (above, high)):
        assert (dtype.decode(dtype.encode(given)) == expected).all()


def test_bfloat16_rounds_as_its_bits_say() -> None:
    values = np.random.default_rng(0).integers(0, 1 << 32, 20000, np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    bits = values.view(np.uint32)
    expected = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    assert (dtypes.bfloat16.encode(values) == expected).all()


@pytest.mark.parametrize(
    ("dtype", "largest", "beyond", "stored"),
    [
        (dtypes.fp8e4m3, 448.0, 465.0, 0x7F),
        (dtypes.fp8e5m2, 57344.0, 61440.0, 0x7C),
        (dtypes.bfloat16, 3.3895313892515355e38, 3.4e38, 0x7F80),
    ],
    ids=str,
)
def test_what_is_too_large_is_infinite_or_nan(
    dtype: DType, largest: float, beyond: float, stored: int
) -> None:
    assert dtype.decode(dtype.encode(np.float64(largest))) == largest
    assert dtype.encode(np.float64(beyond)) == stored
    assert dtype.encode(np.float64(-math.inf)) == stored | 1 << (dtype.bits - 1)


def test_minus_zero_keeps_its_sign() -> None:
    for dtype in (*NARROW, dtypes.float16, dtypes.float32):
        assert np.signbit(dtype.constant(-0.0))
        assert np.signbit(dtype.decode(dtype.encode(np.float32(-0.0))))


@pytest.mark.parametrize("dtype", COMPUTE, ids=str)
def test_values_of_narrow_types_are_computed_in_float32(dtype: DType) -> None:
    third = dtype.constant(1 / 3)
    assert third.dtype == np.float32
    assert third == dtype.convert(third) != np.float32(1 / 3)


def test_casts_to_integers_truncate_and_wrap() -> None:
    assert dtypes.int32.convert(np.float32(-2.9)) == -2
    assert dtypes.uint8.convert(np.int32(300)) == 44
    assert dtypes.int8.convert(np.int32(200)) == -56
    assert dtypes.bool.convert(np.float32(math.nan))
