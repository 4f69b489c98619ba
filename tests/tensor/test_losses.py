"""Losses agree with their formulas and with PyTorch's conventions."""

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tests.tensor.differences import check_gradient
from tinycore.errors import ArgumentError, ShapeError
from tinycore.tensor import Tensor

rng = np.random.default_rng(10)
X = rng.standard_normal((4, 3)).astype(np.float32)
Y = np.array([2, 0, 1, 2])
LOGS = X - np.log(np.exp(X).sum(1, keepdims=True))
PICKED = -LOGS[np.arange(4), Y]


def test_cross_entropy_of_class_numbers() -> None:
    same(Tensor(X).cross_entropy(Tensor(Y)), PICKED.mean())
    same(Tensor(X).cross_entropy(Tensor(Y), reduction="sum"), PICKED.sum())
    same(Tensor(X).cross_entropy(Tensor(Y), reduction="none"), PICKED)
    same(Tensor(X[0]).cross_entropy(Tensor(2)), PICKED[0])


def test_cross_entropy_of_probabilities() -> None:
    p = np.abs(rng.standard_normal((4, 3))).astype(np.float32)
    p /= p.sum(1, keepdims=True)
    same(Tensor(X).cross_entropy(Tensor(p)), -(LOGS * p).sum(1).mean())


def test_cross_entropy_with_smoothed_labels() -> None:
    smoothed = 0.9 * PICKED - 0.1 * LOGS.mean(1)
    same(Tensor(X).cross_entropy(Tensor(Y), label_smoothing=0.1), smoothed.mean())
    same(Tensor(X).sparse_categorical_crossentropy(Tensor(Y), label_smoothing=0.1), smoothed.mean())


def test_cross_entropy_over_space_has_classes_on_axis_one() -> None:
    x = rng.standard_normal((2, 3, 5)).astype(np.float32)
    y = rng.integers(0, 3, (2, 5))
    logs = x - np.log(np.exp(x).sum(1, keepdims=True))
    wanted = -np.take_along_axis(logs, y[:, None], 1)[:, 0]
    same(Tensor(x).cross_entropy(Tensor(y), reduction="none"), wanted)


def test_a_class_that_cannot_be_costs_nothing_elsewhere() -> None:
    x = Tensor([[0.0, -np.inf, 0.0]])
    same(x.cross_entropy(Tensor([0])), np.log(2))


def test_targets_to_ignore_do_not_count() -> None:
    y = Tensor([2, -1, 1, -1])
    same(Tensor(X).sparse_categorical_crossentropy(y), PICKED[[0, 2]].mean())
    got = Tensor(X).sparse_categorical_crossentropy(y, reduction="none")
    same(got, PICKED * [1, 0, 1, 0])


def test_nll_loss_takes_weights() -> None:
    w = np.array([1.0, 2.0, 0.5], np.float32)
    logs = Tensor(X).log_softmax()
    same(logs.nll_loss(Tensor(Y)), PICKED.mean())
    same(logs.nll_loss(Tensor(Y), Tensor(w)), (PICKED * w[Y]).sum() / w[Y].sum())
    same(logs.nll_loss(Tensor(Y), ignore_index=2), PICKED[[1, 2]].mean())
    same(logs.nll_loss(Tensor(Y), Tensor(w), reduction="none"), PICKED * w[Y])


def test_binary_crossentropy_of_probabilities_and_logits() -> None:
    y = np.array([0.0, 1.0, 0.3, 1.0], np.float32)
    p = 1 / (1 + np.exp(-X[:, 0]))
    wanted = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    same(Tensor(p).binary_crossentropy(Tensor(y)), wanted.mean())
    same(Tensor(X[:, 0]).binary_crossentropy_logits(Tensor(y)), wanted.mean())
    got = Tensor(X[:, 0]).binary_crossentropy_logits(Tensor(y), pos_weight=Tensor([3.0]))
    same(got, -(3 * y * np.log(p) + (1 - y) * np.log(1 - p)).mean())


def test_binary_crossentropy_at_the_ends_is_finite() -> None:
    same(Tensor([0.0, 1.0]).binary_crossentropy(Tensor([1.0, 1.0])), 50)
    same(Tensor([-1000.0]).binary_crossentropy_logits(Tensor([1.0])), 1000)


def test_gradients_are_slopes() -> None:
    y = Tensor([1, 0, 2])
    check_gradient(lambda x: x.cross_entropy(y, reduction="none"), (3, 4))
    check_gradient(lambda x: x.cross_entropy(y, label_smoothing=0.1).reshape(1), (3, 4))
    check_gradient(lambda x: x.log_softmax().nll_loss(y).reshape(1), (3, 4))
    bits = Tensor([1.0, 0.0, 0.5])
    check_gradient(lambda x: x.binary_crossentropy_logits(bits, reduction="none"), (3,))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "sparse_categorical_crossentropy"])
def test_targets_of_another_shape_are_refused(name: str) -> None:
    assert message(ShapeError, lambda: getattr(Tensor(X), name)(Tensor([1, 2]))) == (
        f"{name}: targets of shape (2,) do not fit predictions (4, 3); expected class numbers of "
        "shape (4,). Squeeze or reshape them"
    )


@pytest.mark.parametrize(
    "name",
    [
        "cross_entropy",
        "nll_loss",
        "sparse_categorical_crossentropy",
    ],
)
def test_an_unknown_reduction_is_refused(name: str) -> None:
    action = getattr(Tensor(X), name)
    assert message(ArgumentError, lambda: action(Tensor(Y), reduction="avg")) == (
        f"{name}: reduction is 'avg'; expected one of 'mean', 'sum', 'none'. Pass one"
    )
