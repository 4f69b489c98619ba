"""Gradients compared with central differences in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinycore.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]
STEP = 1e-5
rng = np.random.default_rng(5)


def check_gradient(
    function: Callable[..., Tensor], *shapes: tuple[int, ...], positive: bool = False
) -> None:
    """Compare the gradient of a weighted sum of `function` by each argument, in some directions."""
    arrays = [rng.standard_normal(shape) for shape in shapes]
    if positive:
        arrays = [np.abs(array) + 0.5 for array in arrays]
    weights = rng.standard_normal(function(*[Tensor(array) for array in arrays]).shape)

    def value(*points: Array) -> float:
        return float((function(*[Tensor(p) for p in points]).numpy() * weights).sum())

    tensors = [Tensor(array) for array in arrays]
    loss = (function(*tensors) * Tensor(weights)).sum()
    grads = loss.gradient(*tensors)
    tensors[0].realize(*grads)
    for number, grad in enumerate(grads):
        direction = rng.standard_normal(arrays[number].shape)
        slope = _slope(value, arrays, number, direction)
        np.testing.assert_allclose((grad.numpy() * direction).sum(), slope, rtol=1e-6, atol=1e-6)


def _slope(
    value: Callable[..., float], arrays: Sequence[Array], number: int, direction: Array
) -> float:
    ahead, behind = list(arrays), list(arrays)
    ahead[number] = arrays[number] + STEP * direction
    behind[number] = arrays[number] - STEP * direction
    return (value(*ahead) - value(*behind)) / (2 * STEP)
