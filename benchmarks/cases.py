"""The cases that are timed: sizes, the work in one call, and inputs made from a seed.

Comes in: the name of a case and a scale. Goes out: numpy inputs that every contender gets alike, in
order, and the function of them that checks an output against float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sizes = tuple[int, ...]
Arrays = list[NDArray[np.float32]]
SETS = 3  # inputs are rotated, so that no call finds its own data in the nearest cache


@dataclass(frozen=True)
class Case:
    """One thing to time.

    `sizes` are its extents, `shapes` makes those of its inputs of them, `fixed` says how many of
    the first sizes no variant changes. Units: `work` counts operations ("GFLOP/s") or bytes
    ("GB/s") of one call.
    """

    name: str
    sizes: Sizes
    shapes: Callable[..., tuple[Sizes, ...]]
    exact: Callable[..., Any] | None
    work: Callable[..., float]
    unit: str
    fixed: int = 0

    def variants(self) -> list[Sizes]:
        """The sizes, and the same at one less, one more and 7 % more."""
        changes: list[Callable[[int], int]] = [
            lambda n: n,
            lambda n: n - 1,
            lambda n: n + 1,
            lambda n: n + n * 7 // 100,
        ]
        kept, moved = self.sizes[: self.fixed], self.sizes[self.fixed :]
        return [(*kept, *map(change, moved)) for change in changes]

    def inputs(self, rng: np.random.Generator, sizes: Sizes) -> Arrays:
        """Normal numbers, in the order in which contenders take them."""
        return [rng.standard_normal(shape, dtype=np.float32) for shape in self.shapes(*sizes)]


def labels(marks: NDArray[np.float32]) -> NDArray[np.int64]:
    """Digits of random numbers, for what a net should learn."""
    return np.abs(1000 * marks).astype(np.int64) % 10


def _softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _layernorm(x: Any) -> Any:
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)


def _chain(x: Any, y: Any) -> Any:
    return np.tanh(np.maximum(2 * x + 1, 0) * y + np.exp(x) / 2)


def _convolution(x: Any, w: Any) -> Any:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    if w.shape[1] == 1:
        return np.einsum("nchwyx,cyx->nchw", windows, w[:, 0], optimize=True)
    return np.einsum("nchwyx,dcyx->ndhw", windows, w, optimize=True)


def _attention(q: Any, k: Any, v: Any) -> Any:
    return _softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])) @ v


def _net_work(batch: int) -> float:
    """Multiplications and additions of the demo net's convolutions, forward and backward."""
    forward = 24 * 24 * 32 * 25 + 20 * 20 * 32 * 32 * 25 + 8 * 8 * 32 * 64 * 9 + 6 * 6 * 64 * 64 * 9
    return 6.0 * batch * forward


def _same(*shape: int) -> tuple[Sizes, ...]:
    return (shape,)


def _product(m: int, n: int, k: int) -> float:
    return 2.0 * m * n * k


def _moved(arrays: float) -> Callable[..., float]:
    """The bytes of so many arrays of the case's sizes."""
    return lambda *sizes: 4.0 * arrays * prod(sizes)


_ROWS = 2048, 2048
_LONG = (1 << 24,)
_IMAGES = 8, 64, 56, 56
_CASES = (
    Case("matmul", (1024,) * 3, lambda m, n, k: ((m, k), (k, n)), np.matmul, _product, "GFLOP/s"),
    Case(
        "linear",
        (1024,) * 3,
        lambda m, n, k: ((m, k), (n, k)),
        lambda x, w: x @ w.T,
        _product,
        "GFLOP/s",
    ),
    Case("gemv", (4096, 4096), lambda m, k: ((m, k), (k,)), np.matmul, _moved(1), "GB/s"),
    Case("chain", _LONG, lambda n: ((n,), (n,)), _chain, _moved(3), "GB/s"),
    Case("sum", _LONG, _same, np.sum, _moved(1), "GB/s"),
    Case("row_sums", (4096, 4096), _same, lambda x: x.sum(1), _moved(1), "GB/s"),
    Case("softmax", _ROWS, _same, _softmax, _moved(2), "GB/s"),
    Case("layernorm", _ROWS, _same, _layernorm, _moved(2), "GB/s"),
    Case(
        "convolution",
        _IMAGES,
        lambda n, c, h, w: ((n, c, h, w), (64, c, 3, 3)),
        _convolution,
        lambda n, c, h, w: 2.0 * 9 * 64 * n * c * h * w,
        "GFLOP/s",
        fixed=2,
    ),
    Case(
        "depthwise",
        _IMAGES,
        lambda n, c, h, w: ((n, c, h, w), (c, 1, 3, 3)),
        _convolution,
        _moved(2),
        "GB/s",
        fixed=2,
    ),
    Case(
        "attention",
        (8, 64, 512),
        lambda heads, d, n: ((1, heads, n, d),) * 3,
        _attention,
        lambda heads, d, n: 4.0 * heads * n * n * d,
        "GFLOP/s",
        fixed=2,
    ),
    Case(
        "mlp_step",
        (784, 512, 10, 128),
        lambda i, hidden, o, batch: ((batch, i), (batch,)),
        None,
        lambda i, hidden, o, batch: 6.0 * batch * (i * hidden + hidden * o),
        "GFLOP/s",
        fixed=3,
    ),
    Case(
        "mnist_step",
        (128,),
        lambda batch: ((batch, 1, 28, 28), (batch,)),
        None,
        _net_work,
        "GFLOP/s",
    ),
)
CASES = {case.name: case for case in _CASES}
