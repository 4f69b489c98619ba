"""JAX as a contender: each formula under `jit`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax, nn, numpy as jnp
from numpy.typing import NDArray

from benchmarks.cases import Case, Sets, converted
from benchmarks.checks import memory_at, overwrite
from benchmarks.formulas import LAUNCHES
from benchmarks.models import HEAD, Block, blocks, labels, place

Call = Callable[..., Any]


def _convolution(
    x: Any,
    w: Any,
    groups: int = 1,
    padding: str = "SAME",
) -> Any:
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=(1, 1),
        padding=padding,
        feature_group_count=groups,
    )


def _layernorm(x: Any) -> Any:
    centred = x - x.mean(1, keepdims=True)
    variance = (centred**2).mean(1, keepdims=True)
    return centred * lax.rsqrt(variance + 1e-5)


def _attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = True,
) -> Any:
    scores = q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5
    held = jnp.where(mask, scores, -jnp.inf)
    return nn.softmax(held) @ v


def _chain(x: Any, y: Any) -> Any:
    first = nn.relu(2 * x + 1) * y
    second = jnp.exp(x) / 2
    return jnp.tanh(first + second)


def _many(x: Any) -> Any:
    for _ in range(LAUNCHES):
        x = x * 1.01
    return x


def _heads(x: Any) -> Any:
    return x.reshape(x.shape[0], -1, HEAD).swapaxes(0, 1)


def _block(x: Any, by: Block, attend: Call) -> Any:
    inner = _layernorm(x) * by.norm1 + by.shift1
    parts = jnp.split(inner @ by.joined.T + by.joined_bias, 3, 1)
    mixed = attend(*map(_heads, parts))
    joined = mixed.swapaxes(0, 1).reshape(x.shape)
    x = x + joined @ by.out.T + by.out_bias
    inner = _layernorm(x) * by.norm2 + by.shift2
    inner = nn.gelu(inner @ by.wide.T + by.wide_bias, approximate=True)
    return x + inner @ by.narrow.T + by.narrow_bias


def _transformer(x: Any, *weights: Any) -> Any:
    mask = jnp.tril(jnp.ones((x.shape[0], x.shape[0]), bool))
    for block in blocks(weights):
        x = _block(x, block, partial(_attention, mask=mask))
    return x


def _decode(x: Any, at: Any, caches: Any, *weights: Any) -> Any:
    mask = jnp.arange(caches[0].shape[-2]) <= at
    kept = []
    for number, block in enumerate(blocks(weights)):

        def attend(q: Any, k: Any, v: Any, cache: Any = caches[number]) -> Any:
            new = jnp.stack([k, v])
            cache = lax.dynamic_update_slice(cache, new, (0, 0, at, 0))
            kept.append(cache)
            return _attention(q, cache[0], cache[1], mask)

        x = _block(x, block, attend)
    return x, kept


FORMULAS: dict[str, Call] = {
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
    "transformer": _transformer,
}


def version() -> str:
    """What ran."""
    return f"jax {jax.__version__} on {jax.default_backend()}"


def prepare(case: Case, sets: Sets) -> Any:
    """A formula, its gradient, a token, a hundred launches, or an Adam step of a net."""
    is_wide = case.dtype == "float64"
    jax.config.update("jax_enable_x64", is_wide)  # type: ignore[no-untyped-call]
    if case.facts.learns:
        return _step(case, sets)
    inputs = converted(sets, partial(jnp.asarray, dtype=case.dtype))
    if case.formula == "launches":  # not under jit, which would make one program of them
        return lambda k: _done(_many(*inputs[k]))
    if case.formula == "decode":
        return _token(inputs)
    formula = FORMULAS[case.formula]
    if case.dtype == "int8":
        formula = partial(lax.dot, preferred_element_type=jnp.int32)
    fast = jax.jit(partial(_gradients, formula) if case.is_backward else formula)
    return lambda k: _done(fast(*inputs[k]))


def _gradients(formula: Call, *given: Any) -> Any:
    *targets, gradient = given
    return jax.vjp(formula, *targets)[1](gradient)


def _token(inputs: list[list[Any]]) -> Any:
    _, *weights, stored = inputs[0]
    at, caches = place(stored.shape[-2]), list(stored)
    step = jax.jit(_decode, donate_argnums=2)

    def run(k: int) -> Any:
        nonlocal caches
        result, caches = _done(step(inputs[k][0], at, caches, *weights))
        return result

    return run


def _done(value: Any) -> Any:
    return jax.block_until_ready(value)  # type: ignore[no-untyped-call]


# training


def _perceptron(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    hidden = nn.relu(x @ w1.T + b1)
    return hidden @ w2.T + b2


def _net(x: Any, *weights: Any) -> Any:
    x = x / 255
    for at in (0, 6):
        x = _correlated(x, *weights[at : at + 2])
        x = _correlated(x, *weights[at + 2 : at + 4])
        x = _pooled(x, *weights[at + 4 : at + 6])
    last, bias = weights[12:]
    return x.reshape(len(x), -1) @ last.T + bias


def _correlated(x: Any, w: Any, b: Any) -> Any:
    result = _convolution(x, w, padding="VALID")
    return nn.relu(result + b[:, None, None])


def _pooled(x: Any, scale: Any, shift: Any) -> Any:
    mean = x.mean((0, 2, 3), keepdims=True)
    variance = x.var((0, 2, 3), keepdims=True)
    x = (x - mean) * lax.rsqrt(variance + 1e-5)
    x = x * scale[:, None, None] + shift[:, None, None]
    window = 1, 1, 2, 2
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


NETS: dict[str, Call] = {"mlp_step": _perceptron, "mnist_step": _net}


def _step(case: Case, sets: Sets) -> Any:
    net = NETS[case.formula]

    def loss_of(weights: Any, x: Any, wanted: Any) -> Any:
        logs = nn.log_softmax(net(x, *weights))
        return -logs[jnp.arange(len(wanted)), wanted].mean()

    def adam(state: Any, x: Any, wanted: Any) -> Any:
        count, weights, *moments = state
        loss, gradients = jax.value_and_grad(loss_of)(weights, x, wanted)
        count = count + 1
        parts = zip(weights, gradients, *moments, strict=True)
        moved = [_moved(count, *part) for part in parts]
        return loss, (count, *map(list, zip(*moved, strict=True)))

    step = jax.jit(adam, donate_argnums=0)
    weights = list(map(jnp.asarray, sets[0][2:]))
    state: Any = (
        jnp.zeros(()),
        weights,
        list(map(jnp.zeros_like, weights)),
        list(map(jnp.zeros_like, weights)),
    )
    inputs = [(jnp.asarray(x), jnp.asarray(labels(marks), "int32")) for x, marks, *_ in sets]

    def run(k: int) -> Any:
        nonlocal state
        loss, state = _done(step(state, *inputs[k]))
        return loss

    return run


def _moved(
    count: Any,
    weight: Any,
    gradient: Any,
    mean: Any,
    square: Any,
) -> Any:
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient**2
    direction = mean / (1 - 0.9**count)
    size = jnp.sqrt(square / (1 - 0.999**count)) + 1e-8
    return weight - 0.001 * direction / size, mean, square


def to_numpy(output: Any) -> NDArray[Any]:
    """The values of an output."""
    return np.asarray(output.astype("float32") if output.dtype.itemsize == 2 else output)


def poison(output: Any) -> None:
    """Overwrite an output, of which JAX thinks that nobody can; on a GPU it is left alone."""
    if jax.default_backend() == "cpu":
        overwrite(memory_at(output.unsafe_buffer_pointer(), output.nbytes))
