"""Elementary functions agree with the real functions: near zero, far out, and in their slopes."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tests.tensor.differences import check_gradient
from tinycore.errors import DTypeError
from tinycore.tensor import Tensor

FAR = [-1e30, -1000.0, -89.0, -20.0, -3.0, -1.0]
NEAR = [-0.6, -0.5, -0.3, -1e-3, -1e-8, 0.0, 1e-8, 1e-3, 0.3, 0.49, 0.5, 0.6]
POINTS = np.array([*FAR, *NEAR, *[-x for x in FAR]], np.float32)
EXACT = POINTS.astype(np.float64)
erf = np.vectorize(math.erf)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, 0)


@pytest.mark.parametrize(
    ("name", "exact", "bound"),
    [
        ("tanh", np.tanh, 3e-7),
        ("softplus", softplus, 3e-7),
        ("logsigmoid", lambda x: -softplus(-x), 3e-7),
        ("erf", erf, 6e-7),
        ("elu", lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), 3e-7),
    ],
)
def test_a_function_is_close_everywhere(
    name: str, exact: Callable[[np.ndarray], np.ndarray], bound: float
) -> None:
    """The bound is relative, so that it holds near zero too."""
    wanted = exact(EXACT)
    got = getattr(Tensor(POINTS), name)().numpy().astype(np.float64)
    visible = np.abs(wanted) > 1e-37
    assert np.abs(got[visible] / wanted[visible] - 1).max() < bound
    assert np.abs(got[~visible]).max() < 1e-37


@pytest.mark.parametrize(
    ("name", "exact"),
    [("tanh", np.tanh), ("softplus", softplus), ("expm1", np.expm1), ("log1p", np.log1p)],
)
def test_a_function_of_doubles_is_as_close_as_doubles_are(
    name: str, exact: Callable[[np.ndarray], np.ndarray]
) -> None:
    x = np.linspace(-0.9, 30, 400)
    got = getattr(Tensor(x), name)().numpy()
    np.testing.assert_allclose(got, exact(x), rtol=2e-15)


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_angles_are_numpys_for_large_numbers_too(name: str) -> None:
    x = np.concatenate([np.linspace(-50, 50, 301), [1000.0, 12345.0]]).astype(np.float32)
    wanted = getattr(np, name)(x.astype(np.float64))
    near_a_pole = 3e-5 if name == "tan" else 1e-6
    got = getattr(Tensor(x), name)().numpy()
    np.testing.assert_allclose(got, wanted, rtol=near_a_pole, atol=3e-7)


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "exp2", "log2", "log10", "sinh", "cosh"])
def test_a_function_is_numpys(name: str) -> None:
    x = np.linspace(0.01, 20, 101).astype(np.float32)
    wanted = getattr(np, name)(x.astype(np.float64))
    np.testing.assert_allclose(getattr(Tensor(x), name)().numpy(), wanted, rtol=1e-6, atol=1e-6)


def test_powers_are_numpys() -> None:
    x = np.array([0, 0, 0, 1, -2, -2, 2, 3, -8, 4], np.float32)
    y = np.array([0, 2, -1, 5, 3, -3, 0.5, -1.5, 1 / 3, 1.5], np.float32)
    with np.errstate(all="ignore"):
        same(Tensor(x) ** Tensor(y), x**y, 5e-6)
    same(2.0 ** Tensor(y), 2.0**y)
    same(Tensor([2, 3, -4]) ** Tensor([3, 4, 3]), [8, 81, -64])
    same(Tensor([2.0, -3.0]) ** -2, [0.25, 1 / 9])
    same(Tensor([0.0, 5.0]) ** 0, [1, 1])
    same(Tensor([4.0, 9.0]) ** 0.5, [2, 3])
    same(Tensor([4.0, 9.0]) ** -0.5, [0.5, 1 / 3])


def test_an_integer_power_of_an_integer_is_exact() -> None:
    assert (Tensor([3]) ** 19).item() == 3**19


def test_an_integer_to_a_negative_power_is_refused() -> None:
    assert message(DTypeError, lambda: Tensor([2]) ** -1) == (
        "pow: integers of type dtypes.int32 to the power -1; expected a power of 0 or more. "
        "Cast to a floating-point type"
    )


def test_halves_round_to_even() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997, 3.2, -3.7], np.float32)
    same(Tensor(x).round(), np.round(x))
    same(Tensor(x).ceil(), np.ceil(x))
    same(Tensor(x).floor(), np.floor(x))
    same(Tensor(x).trunc(), np.trunc(x))


def test_logaddexp_takes_infinities() -> None:
    x = np.array([0.0, -1000.0, np.inf, -np.inf, -np.inf], np.float32)
    y = np.array([1.0, 1000.0, np.inf, -np.inf, 2.0], np.float32)
    same(Tensor(x).logaddexp(Tensor(y)), np.logaddexp(x, y))


@pytest.mark.parametrize("name", ["tanh", "erf", "exp", "sin", "cos", "tan", "sinh", "cosh"])
@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_slopes_are_gradients(name: str, shift: float) -> None:
    check_gradient(lambda x: getattr(x + shift, name)(), (3, 4))


@pytest.mark.parametrize("name", ["log", "sqrt", "rsqrt", "reciprocal", "log1p", "square"])
def test_slopes_of_functions_of_positive_numbers_are_gradients(name: str) -> None:
    check_gradient(lambda x: getattr(x, name)(), (3, 4), positive=True)


def test_slopes_of_powers_are_gradients() -> None:
    check_gradient(lambda x, y: x**y, (3, 4), (4,), positive=True)
    check_gradient(lambda x: x**3 + x**-2, (3, 4), positive=True)
    check_gradient(lambda x, y: x.logaddexp(y), (3,), (3,))


@pytest.mark.parametrize(
    "name", ["tanh", "sigmoid", "softplus", "silu", "elu", "logsigmoid", "mish", "erf", "relu"]
)
def test_no_gradient_is_nan_far_out(name: str) -> None:
    x = Tensor(POINTS)
    (grad,) = getattr(x, name)().sum().gradient(x)
    assert np.isfinite(grad.numpy()).all()


def test_angles_of_any_size_have_a_sine_and_a_cosine() -> None:
    x = np.array([1e8, 1e15, -1e20, 3e38], np.float32)
    exact = x.astype(np.float64)
    same(Tensor(x).sin(), np.sin(exact))
    same(Tensor(x).cos(), np.cos(exact))
    same(Tensor(x).tan(), np.tan(exact), 1e-5)


def test_powers_of_and_to_infinities_and_nan_are_numpys() -> None:
    sides = [0.0, 1.0, -1.0, 2.5, -2.5, 3.0, 0.5, np.inf, -np.inf, np.nan]
    x, y = (side.astype(np.float32).ravel() for side in np.meshgrid(sides, sides))
    with np.errstate(all="ignore"):
        wanted = np.power(x, y)
    same(Tensor(x) ** Tensor(y), wanted)
