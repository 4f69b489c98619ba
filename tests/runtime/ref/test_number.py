"""Types that numpy lacks are stored as their bits and round to nearest even."""

import math

import numpy as np
import pytest

from tests.runtime.ref import kernel_of
from tinycore.dtype import COMPUTE, DType, constant, convert, decode, dtypes, encode, storage
from tinycore.runtime.ref import run_kernel
from tinycore.runtime.ref.memory import initial

NARROW = [dtypes.bfloat16, dtypes.fp8e4m3, dtypes.fp8e5m2]


def all_bits(dtype: DType) -> np.ndarray:
    """Every bit pattern of a narrow type."""
    return np.arange(1 << dtype.bits).astype(storage(dtype))


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_every_bit_pattern_survives_decode_and_encode(dtype: DType) -> None:
    bits = all_bits(dtype)
    values = decode(bits, dtype)
    numbers = ~np.isnan(values)
    assert (encode(values, dtype)[numbers] == bits[numbers]).all()
    assert np.isnan(decode(encode(values, dtype), dtype))[~numbers].all()


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_halfway_rounds_to_even_and_less_or_more_to_the_nearer(dtype: DType) -> None:
    values = decode(all_bits(dtype), dtype).astype(np.float64)
    ordered = np.unique(values[np.isfinite(values)])
    low, high = ordered[:-1], ordered[1:]
    middle = (low + high) / 2
    even = np.where(encode(low, dtype) % 2 == 0, low, high)
    below, above = np.nextafter(middle, -math.inf), np.nextafter(middle, math.inf)
    for given, expected in ((middle, even), (below, low), (above, high)):
        assert (decode(encode(given, dtype), dtype) == expected).all()


def test_bfloat16_rounds_as_its_bits_say() -> None:
    values = np.random.default_rng(0).integers(0, 1 << 32, 20000, np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    bits = values.view(np.uint32)
    expected = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    assert (encode(values, dtypes.bfloat16) == expected).all()


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
    assert decode(encode(np.float64(largest), dtype), dtype) == largest
    assert encode(np.float64(beyond), dtype) == stored
    assert encode(np.float64(-math.inf), dtype) == stored | 1 << (dtype.bits - 1)


def test_minus_zero_keeps_its_sign() -> None:
    for dtype in (*NARROW, dtypes.float16, dtypes.float32):
        assert np.signbit(constant(-0.0, dtype))
        assert np.signbit(decode(encode(np.float32(-0.0), dtype), dtype))


@pytest.mark.parametrize("dtype", COMPUTE, ids=str)
def test_values_of_narrow_types_are_computed_in_float32(dtype: DType) -> None:
    third = constant(1 / 3, dtype)
    assert third.dtype == np.float32
    assert third == convert(third, dtype) != np.float32(1 / 3)


def test_casts_to_integers_truncate_and_wrap() -> None:
    assert convert(np.float32(-2.9), dtypes.int32) == -2
    assert convert(np.int32(300), dtypes.uint8) == 44
    assert convert(np.int32(200), dtypes.int8) == -56
    assert convert(np.float32(math.nan), dtypes.bool)


def test_a_bitcast_keeps_the_bits() -> None:
    text = """
kernel k(X bf16[1], H u16[1], Y u16[1], Z f16[1])
  par i:1
    Y[i] = bitcast.u16(X[i])
    Z[i] = bitcast.f16(H[i])
"""
    one, half = np.array([0x3F80], np.uint16), np.array([0x3800], np.uint16)
    y, z = np.zeros(1, np.uint16), np.zeros(1, np.float16)
    run_kernel(kernel_of(text), [one, half, y, z])
    assert y[0] == 0x3F80
    assert z[0] == 0.5


def test_identities_of_integers_are_their_bounds() -> None:
    assert initial("max", dtypes.int8) == -128
    assert initial("min", dtypes.uint8) == 255
    assert not initial("max", dtypes.bool)
    assert initial("max", dtypes.bfloat16) == 0xFF80
    assert initial("prod", dtypes.int64) == 1


def test_poison_is_nan_or_the_least_integer() -> None:
    assert np.isnan(initial("", dtypes.float16))
    assert initial("", dtypes.bfloat16) == 0x7FC0
    assert initial("", dtypes.int16) == -(2**15)
