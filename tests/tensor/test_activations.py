"""Activations agree with their formulas, and with PyTorch at their kinks."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tests.tensor.differences import check_gradient
from tinycore.errors import ArgumentError
from tinycore.tensor import Tensor

X = np.concatenate([np.linspace(-8, 8, 65), [-100.0, 100.0]])
erf = np.vectorize(math.erf)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "sigmoid": sigmoid,
    "softsign": lambda x: x / (1 + abs(x)),
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "celu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: 1.0507 * np.where(x > 0, x, 1.67326 * np.expm1(np.minimum(x, 0))),
    "hardsigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_an_activation_is_its_formula(name: str) -> None:
    same(getattr(Tensor(X), name)(), FORMULAS[name](X), 1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_the_gradient_is_the_slope(name: str) -> None:
    check_gradient(lambda x: getattr(x, name)(), (3, 5))


def test_gelu_without_approximation_is_the_normal_distribution() -> None:
    same(Tensor(X).gelu(approximate="none"), X * 0.5 * (1 + erf(X / math.sqrt(2))), 1e-6)
    check_gradient(lambda x: x.gelu("none"), (7,))


def test_parameters_change_the_shape() -> None:
    same(Tensor([-2.0]).elu(alpha=2.0), [2 * np.expm1(-2)])
    same(Tensor([-2.0]).celu(alpha=2.0), [2 * np.expm1(-1)])
    same(Tensor([-2.0]).leaky_relu(negative_slope=0.5), [-1.0])
    same(Tensor([1.0]).softplus(beta=2.0), [np.logaddexp(2, 0) / 2])


def test_kinks_have_pytorchs_gradient() -> None:
    x = Tensor([-1.0, 0.0, 1.0, 6.0])
    kinks = {"relu": [0, 0, 1, 1], "relu6": [0, 0, 1, 0], "hardtanh": [0, 1, 0, 0]}
    for name, wanted in kinks.items():
        assert getattr(x, name)().sum().gradient(x)[0].tolist() == wanted, name


def test_nan_stays_nan() -> None:
    for name in FORMULAS:
        assert np.isnan(getattr(Tensor([np.nan]), name)().item()), name


def test_an_unknown_approximation_is_refused() -> None:
    assert message(ArgumentError, lambda: Tensor([1.0]).gelu("exact")) == (
        "gelu: approximate is 'exact'; expected one of 'tanh', 'none'. Pass one"
    )
