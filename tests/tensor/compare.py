"""What the tests of tensor/ share: comparing values, and asking for the text of an error."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinycore.errors import TinycoreError
from tinycore.tensor import Tensor


def same(tensor: Tensor, wanted: Any, tolerance: float = 1e-6) -> None:
    """Compare values and shape."""
    got = tensor.numpy()
    wanted = np.asarray(wanted)
    assert got.shape == wanted.shape, f"shape {got.shape}; expected {wanted.shape}"
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def message(kind: type[TinycoreError], action: Callable[[], Any]) -> str:
    """The text of the error that an action raises at once."""
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)
