"""Elements keep their bits, and buffers start from identities or poison."""

import numpy as np

from tests.runtime.ref import kernel_of
from tinycore.dtype import dtypes
from tinycore.runtime.ref import run_kernel
from tinycore.runtime.ref.memory import initial


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
