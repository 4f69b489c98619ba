"""Convolution and pooling agree with plain loops in numpy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tests.tensor.differences import check_gradient
from tinycore.errors import ArgumentError, ShapeError
from tinycore.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]
rng = np.random.default_rng(6)


def normal(*shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def correlated(
    x: Array,
    w: Array,
    groups: int = 1,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
) -> Array:
    """The sum over each window, window by window."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    reach = [dilation[k] * (w.shape[2 + k] - 1) + 1 for k in range(2)]
    places = [(x.shape[2 + k] - reach[k]) // stride[k] + 1 for k in range(2)]
    out = np.zeros((len(x), len(w), *places))
    width, share = w.shape[1], len(w) // groups
    for o, i, j in np.ndindex(len(w), *places):
        channels = slice(o // share * width, (o // share + 1) * width)
        rows = slice(i * stride[0], i * stride[0] + reach[0], dilation[0])
        columns = slice(j * stride[1], j * stride[1] + reach[1], dilation[1])
        out[:, o, i, j] = (x[:, channels, rows, columns] * w[o]).sum((1, 2, 3))
    return out


@pytest.mark.parametrize(
    ("groups", "stride", "dilation", "padding"),
    [
        (1, (1, 1), (1, 1), (0, 0)),
        (2, (2, 1), (1, 1), (1, 2)),
        (1, (2, 2), (2, 1), (1, 1)),
        (4, (1, 1), (1, 1), (1, 1)),
        (1, (3, 3), (1, 1), (0, 0)),
        (1, (1, 1), (1, 1), (3, 3)),
    ],
)
def test_a_convolution_is_its_sum(
    groups: int, stride: tuple[int, int], dilation: tuple[int, int], padding: tuple[int, int]
) -> None:
    x, w, b = normal(2, 4, 9, 8), normal(8, 4 // groups, 3, 3), normal(8)
    wanted = correlated(x, w, groups, stride, dilation, padding) + b.reshape(1, -1, 1, 1)
    got = Tensor(x).conv2d(Tensor(w), Tensor(b), groups, stride, dilation, padding)
    same(got, wanted, 1e-5)


def test_padding_may_differ_on_each_side() -> None:
    x, w = normal(1, 1, 5, 6), normal(1, 1, 2, 2)
    wanted = correlated(np.pad(x, ((0, 0), (0, 0), (2, 0), (1, 3))), w)
    same(Tensor(x).conv2d(Tensor(w), padding=(1, 3, 2, 0)), wanted, 1e-5)


def test_one_and_three_axes_of_space() -> None:
    x, w = normal(2, 3, 7), normal(4, 3, 3)
    wanted = correlated(x[..., None], w[..., None])[..., 0]
    same(Tensor(x).conv2d(Tensor(w)), wanted, 1e-5)
    cube = Tensor.ones(1, 2, 3, 3, 3).conv2d(Tensor.ones(1, 2, 2, 2, 2))
    same(cube, np.full((1, 1, 2, 2, 2), 16))


def pooled(x: Array, size: int, stride: int, how: Callable[..., Array]) -> Array:
    places = [(n - size) // stride + 1 for n in x.shape[2:]]
    out = np.zeros((*x.shape[:2], *places))
    for i, j in np.ndindex(*places):
        rows = slice(i * stride, i * stride + size)
        columns = slice(j * stride, j * stride + size)
        out[:, :, i, j] = how(x[:, :, rows, columns], axis=(2, 3))
    return out


def padded(x: Array, width: int, fill: float) -> Array:
    return np.pad(x, ((0, 0), (0, 0), (width, width), (width, width)), constant_values=fill)


X = normal(2, 3, 9, 8)


@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 2), (2, 3), (3, 1)])
def test_pools_are_numpys(size: int, stride: int | None) -> None:
    same(Tensor(X).max_pool2d(size, stride), pooled(X, size, stride or size, np.max))
    same(Tensor(X).avg_pool2d(size, stride), pooled(X, size, stride or size, np.mean), 1e-5)


def test_pools_are_padded_so_that_padding_never_wins() -> None:
    low = padded(X, 1, -np.inf)
    same(Tensor(X - 9).max_pool2d(3, 2, padding=1), pooled(low, 3, 2, np.max) - 9, 1e-5)
    total = pooled(padded(X, 1, 0), 3, 2, np.sum)
    counts = pooled(padded(np.ones_like(X), 1, 0), 3, 2, np.sum)
    same(Tensor(X).avg_pool2d(3, 2, padding=1), total / 9, 1e-5)
    same(Tensor(X).avg_pool2d(3, 2, padding=1, count_include_pad=False), total / counts, 1e-5)


def test_a_last_window_may_overhang() -> None:
    x = np.arange(1.0, 6.0, dtype=np.float32).reshape(1, 1, 1, 5)
    same(Tensor(x).max_pool2d((1, 2), ceil_mode=True), [[[[2, 4, 5]]]])
    same(Tensor(x).avg_pool2d((1, 2), ceil_mode=True), [[[[1.5, 3.5, 5]]]])
    assert Tensor(X).max_pool2d(3, 2, padding=1, ceil_mode=True).shape == (2, 3, 5, 5)


def test_a_pool_tells_where_it_found_the_largest() -> None:
    values, places = Tensor(X).max_pool2d(2, return_indices=True)
    flat = X.reshape(2, 3, -1)
    found = np.take_along_axis(flat, places.numpy().reshape(2, 3, -1), 2)
    same(values, found.reshape(values.shape))


def test_gradients_are_slopes() -> None:
    check_gradient(
        lambda x, w, b: x.conv2d(w, b, stride=2, padding=1), (2, 3, 5, 5), (4, 3, 3, 3), (4,)
    )
    check_gradient(lambda x, w: x.conv2d(w, groups=2, dilation=2), (1, 4, 6, 6), (4, 2, 2, 2))
    check_gradient(lambda x: x.max_pool2d(2), (1, 2, 4, 4))
    check_gradient(lambda x: x.max_pool2d(3, 2, padding=1), (1, 2, 5, 5))
    check_gradient(lambda x: x.avg_pool2d(3, 2, padding=1, count_include_pad=False), (1, 1, 5, 5))


# refusals


def test_channels_that_do_not_fit_are_refused() -> None:
    assert message(ShapeError, lambda: Tensor(X).conv2d(Tensor.ones(4, 2, 3, 3))) == (
        "conv2d: input (2, 3, 9, 8) and weight (4, 2, 3, 3) with 1 groups do not fit; expected "
        "(n, groups * c, ..) and (groups * o, c, ..). Check the channels"
    )
    assert message(
        ShapeError, lambda: Tensor(X).conv2d(Tensor.ones(4, 3, 3, 3), Tensor.ones(3))
    ) == (
        "conv2d: bias (3,) does not fit weight (4, 3, 3, 3); expected (4,). "
        "Pass one number an output channel"
    )


def test_a_window_that_does_not_fit_is_refused() -> None:
    assert message(ShapeError, lambda: Tensor(X).max_pool2d(9)) == (
        "max_pool2d: a window that reaches over 9 elements does not fit an axis of 8; expected a "
        "smaller one. Pad the input"
    )


def test_too_many_numbers_are_refused() -> None:
    weight = Tensor.ones(4, 3, 3, 3)
    assert message(ArgumentError, lambda: Tensor(X).conv2d(weight, stride=(1, 1, 1))) == (
        "conv2d: stride has 3 numbers for 2 axes; expected one or 2. Pass stride as one number"
    )


def test_the_convolution_of_no_image_is_empty() -> None:
    assert Tensor.ones(0, 3, 8, 8).conv2d(Tensor.ones(4, 3, 3, 3)).numpy().shape == (0, 4, 6, 6)
