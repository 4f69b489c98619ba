"""JAX as a contender: each formula under `jit`; nets are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import nn, numpy as jnp
from numpy.typing import NDArray

from benchmarks.cases import Arrays


def _convolution(x: Any, w: Any, groups: int = 1) -> Any:
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", feature_group_count=groups)


def _layernorm(x: Any) -> Any:
    centred = x - x.mean(1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(1, keepdims=True) + 1e-5)


def _attention(q: Any, k: Any, v: Any) -> Any:
    scores = q @ k.swapaxes(-1, -2)
    weights = nn.softmax(scores / q.shape[-1] ** 0.5)
    return weights @ v


def _chain(x: Any, y: Any) -> Any:
    first = nn.relu(2 * x + 1) * y
    second = jnp.exp(x) / 2
    return jnp.tanh(first + second)


FORMULAS: dict[str, Callable[..., Any]] = {
    "matmul": lambda a, b: a @ b,
    "linear": lambda x, w: x @ w.T,
    "gemv": lambda a, x: a @ x,
    "chain": _chain,
    "sum": lambda x: x.sum(),
    "row_sums": lambda x: x.sum(1),
    "softmax": lambda x: nn.softmax(x, 1),
    "layernorm": _layernorm,
    "convolution": _convolution,
    "depthwise": lambda x, w: _convolution(x, w, w.shape[0]),
    "attention": _attention,
}


def version() -> str:
    """What ran."""
    return f"jax {jax.__version__}"


def prepare(name: str, sets: Sequence[Arrays]) -> Callable[[int], Any]:
    """A case. Raises: KeyError for a net."""
    formula = jax.jit(FORMULAS[name])
    inputs = [[jnp.asarray(array) for array in arrays] for arrays in sets]
    return lambda k: formula(*inputs[k]).block_until_ready()


def to_numpy(value: Any) -> NDArray[np.float32]:
    """The values of an output."""
    return np.asarray(value, np.float32)
