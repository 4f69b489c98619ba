"""Tensors without elements: nothing is computed of them, what is reduced over them is neutral."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinycore import Context, Tensor


def nothing(*shape: int) -> Tensor:
    return Tensor(np.zeros(shape, np.float32), requires_grad=True)


CASES: dict[str, tuple[Callable[[], Tensor], Any]] = {
    "constant": (lambda: Tensor.zeros(3, 0), np.zeros((3, 0))),
    "stored": (lambda: nothing(0, 3) + 1, np.zeros((0, 3))),
    "reshaped": (lambda: Tensor.zeros(2, 0).reshape(0, 5), np.zeros((0, 5))),
    "shrunk": (lambda: Tensor.ones(3, 4)[:, 2:2].sum(), 0.0),
    "assigned": (
        lambda: nothing(0, 3).detach().contiguous().realize().assign(Tensor.ones(0, 3)),
        np.zeros((0, 3)),
    ),
    "sum": (lambda: nothing(2, 0).sum(1), np.zeros(2)),
    "product": (lambda: nothing(0).prod(), 1.0),
    "mean": (lambda: nothing(3, 0).mean(0), np.zeros(0)),
    "mean of nothing": (lambda: nothing(3, 0).mean(), np.nan),
    "matmul": (lambda: nothing(3, 0) @ nothing(0, 4), np.zeros((3, 4))),
    "softmax": (lambda: nothing(0, 3).softmax(), np.zeros((0, 3))),
    "layernorm": (lambda: nothing(0, 3).layernorm(), np.zeros((0, 3))),
    "variance": (lambda: nothing(0, 3).var(1), np.zeros(0)),
    "pad": (lambda: nothing(0, 3).pad(((1, 1), (0, 0)), value=2), np.full((2, 3), 2.0)),
    "pad of a sum": (lambda: nothing(0, 3).sum(1).pad(((1, 1),)).exp(), np.ones(2)),
    "cat": (lambda: Tensor.ones(2, 3).cat(nothing(0, 3)), np.ones((2, 3))),
    "no index": (lambda: Tensor([1.0])[Tensor(np.zeros(0, np.int32))], np.zeros(0)),
    "nothing scattered": (
        lambda: Tensor([1.0]).scatter(0, Tensor(np.zeros(0, np.int32)), nothing(0), "add"),
        np.ones(1),
    ),
    "loss": (
        lambda: nothing(0, 5).cross_entropy(Tensor(np.zeros(0, np.int64))),
        np.nan,
    ),
}


@pytest.mark.parametrize("device", ["CPU", "REF"])
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_computed_of_nothing(name: str, device: str) -> None:
    make, wanted = CASES[name]
    with Context(DEV=device):
        np.testing.assert_array_equal(make().numpy(), wanted)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: (x @ Tensor.ones(0, 4)).sum(),
        lambda x: x.prod(),
        lambda x: x.softmax(0).sum(),
        lambda x: (x.cat(Tensor.ones(3, 2), dim=1) * 2).sum(),
    ],
)
def test_the_gradient_of_nothing_is_nothing(loss: Callable[[Tensor], Tensor]) -> None:
    x = nothing(3, 0)
    loss(x).backward()
    assert x.grad is not None
    assert x.grad.numpy().shape == (3, 0)


def test_what_is_stored_beside_nothing_is_stored() -> None:
    x, y = nothing(0, 3) * 2, Tensor.ones(4) * 3
    total = x.sum(1)
    Tensor.realize(x, y, total)
    assert (y.tolist(), total.shape) == ([3.0] * 4, (0,))
