"""What each formula is: the shapes it takes and gives, its work, and its values in float64.

Comes in: sizes, and float64 arrays. Goes out: shapes, operations, results and gradients, by numpy
alone, so that they share nothing with what they check. Next file: models.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Sizes = tuple[int, ...]
Shapes = tuple[Sizes, ...]

LAUNCHES = 100  # of tiny kernels, each of which reads what the one before wrote


def no_weights(*sizes: int) -> Shapes:
    """The formula has nothing that stays from call to call."""
    return ()


@dataclass(frozen=True)
class Formula:
    """A function of arrays, told apart from the types and sizes it is timed at.

    `shapes`, `weights` and `result` make shapes of the sizes: of inputs that change from call to
    call, of inputs that stay, and of the output. `exact` takes inputs, then weights; `gradient`
    those and the output's gradient. `operations` counts one call's; without it bytes count.
    `is_sum` says that the gradient follows from the output's alone.
    Units: `backward` is the work of the gradients, in calls of the formula.
    """

    shapes: Callable[..., Shapes]
    result: Callable[..., Sizes]
    exact: Callable[..., Any]
    gradient: Callable[..., Any] | None = None
    operations: Callable[..., float] | None = None
    weights: Callable[..., Shapes] = no_weights
    backward: float = 2.0
    unit: str = "GB/s"
    learns: bool = False
    is_sum: bool = False


def softmax(x: Any) -> Any:
    """exp(x) / sum(exp(x)) along the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def layernorm(x: Any) -> Any:
    """Mean 0 and variance 1 along the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(_variance(x) + 1e-5)


def _variance(x: Any) -> Any:
    return x.var(-1, keepdims=True)


def _chain(x: Any, y: Any) -> Any:
    return np.tanh(np.maximum(2 * x + 1, 0) * y + np.exp(x) / 2)


def _windows(x: Any) -> Any:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))


def _convolution(x: Any, w: Any) -> Any:
    if w.shape[1] == 1:
        return np.einsum("nchwyx,cyx->nchw", _windows(x), w[:, 0], optimize=True)
    return np.einsum("nchwyx,dcyx->ndhw", _windows(x), w, optimize=True)


def _attention(q: Any, k: Any, v: Any) -> Any:
    return softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])) @ v


# gradients: inputs, then the output's gradient


def _chain_gradient(x: Any, y: Any, g: Any) -> Any:
    line = 2 * x + 1
    slope = g * (1 - _chain(x, y) ** 2)
    return slope * (2 * y * (line > 0) + np.exp(x) / 2), slope * np.maximum(line, 0)


def _softmax_gradient(x: Any, g: Any) -> Any:
    weights = softmax(x)
    mean = (g * weights).sum(-1, keepdims=True)
    return (weights * (g - mean),)


def _layernorm_gradient(x: Any, g: Any) -> Any:
    normal = layernorm(x)
    along = normal * (g * normal).mean(-1, keepdims=True)
    return ((g - g.mean(-1, keepdims=True) - along) / np.sqrt(_variance(x) + 1e-5),)


def _convolution_gradient(x: Any, w: Any, g: Any) -> Any:
    turned = w[:, :, ::-1, ::-1]
    if w.shape[1] == 1:
        by_weight = np.einsum("nchwyx,nchw->cyx", _windows(x), g, optimize=True)
        return _convolution(g, turned), by_weight[:, None]
    by_weight = np.einsum("nchwyx,ndhw->dcyx", _windows(x), g, optimize=True)
    return _convolution(g, turned.swapaxes(0, 1)), by_weight


def _attention_gradient(q: Any, k: Any, v: Any, g: Any) -> Any:
    scale = 1 / np.sqrt(q.shape[-1])
    weights = softmax(q @ k.swapaxes(-1, -2) * scale)
    by_weight = g @ v.swapaxes(-1, -2)
    by_score = weights * (by_weight - (by_weight * weights).sum(-1, keepdims=True)) * scale
    return by_score @ k, by_score.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ g


# the table


def _same(*shape: int) -> Shapes:
    return (shape,)


def _shape(*shape: int) -> Sizes:
    return shape


def _product(m: int, n: int, k: int) -> float:
    return 2.0 * m * n * k


def _rows(m: int, n: int, k: int) -> Sizes:
    return m, n


FORMULAS = {
    "matmul": Formula(
        shapes=lambda m, n, k: ((m, k), (k, n)),
        result=_rows,
        exact=np.matmul,
        gradient=lambda a, b, g: (g @ b.T, a.T @ g),
        operations=_product,
        unit="GFLOP/s",
    ),
    "linear": Formula(
        shapes=lambda m, n, k: ((m, k), (n, k)),
        result=_rows,
        exact=lambda x, w: x @ w.T,
        gradient=lambda x, w, g: (g @ w, g.T @ x),
        operations=_product,
        unit="GFLOP/s",
    ),
    "gemv": Formula(
        shapes=lambda m, k: ((m, k), (k,)),
        result=lambda m, k: (m,),
        exact=np.matmul,
        gradient=lambda a, x, g: (np.outer(g, x), a.T @ g),
    ),
    "chain": Formula(
        shapes=lambda n: ((n,), (n,)),
        result=_shape,
        exact=_chain,
        gradient=_chain_gradient,
    ),
    "sum": Formula(
        shapes=_same,
        result=lambda n: (),
        exact=np.sum,
        gradient=lambda x, g: (np.broadcast_to(g, x.shape),),
        is_sum=True,
    ),
    "row_sums": Formula(
        shapes=_same,
        result=lambda m, n: (m,),
        exact=lambda x: x.sum(1),
        gradient=lambda x, g: (np.broadcast_to(g[:, None], x.shape),),
        is_sum=True,
    ),
    "softmax": Formula(_same, _shape, softmax, _softmax_gradient),
    "layernorm": Formula(_same, _shape, layernorm, _layernorm_gradient),
    "convolution": Formula(
        shapes=lambda n, c, h, w: ((n, c, h, w), (c, c, 3, 3)),
        result=_shape,
        exact=_convolution,
        gradient=_convolution_gradient,
        operations=lambda n, c, h, w: 2.0 * 9 * c * n * c * h * w,
        unit="GFLOP/s",
    ),
    "depthwise": Formula(
        shapes=lambda n, c, h, w: ((n, c, h, w), (c, 1, 3, 3)),
        result=_shape,
        exact=_convolution,
        gradient=_convolution_gradient,
    ),
    "attention": Formula(
        shapes=lambda heads, d, n: ((1, heads, n, d),) * 3,
        result=lambda heads, d, n: (1, heads, n, d),
        exact=_attention,
        gradient=_attention_gradient,
        operations=lambda heads, d, n: 4.0 * heads * n * n * d,
        backward=2.5,  # five products, two of them to know the weights again
        unit="GFLOP/s",
    ),
    "launches": Formula(
        shapes=lambda count, n: ((n,),),
        result=lambda count, n: (n,),
        exact=lambda x: x * 1.01**LAUNCHES,
        operations=lambda count, n: count,
        unit="launches/ms",
    ),
}
