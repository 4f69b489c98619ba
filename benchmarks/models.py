"""The models that are timed, as formulas: a small GPT, one token of it, and two training steps.

Comes in: sizes, and float64 arrays. Goes out: shapes, operations and exact values, as in
formulas.py. Weights are laid out as PyTorch's Linear has them: (outputs, inputs), then a bias.
Next file: cases.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from benchmarks.formulas import Formula, Shapes, Sizes, layernorm, softmax

Attend = Callable[[Any, Any, Any], Any]

HEAD = 64  # numbers of a head of attention


class Block(NamedTuple):
    """The weights of one block: each layer's matrix and offset, each norm's scale and offset."""

    norm1: Any
    shift1: Any
    joined: Any
    joined_bias: Any
    out: Any
    out_bias: Any
    norm2: Any
    shift2: Any
    wide: Any
    wide_bias: Any
    narrow: Any
    narrow_bias: Any


def block_shapes(d: int) -> Shapes:
    """The shapes of a Block; `joined` gives queries, keys and values."""
    norm = (d,), (d,)
    joined = (3 * d, d), (3 * d,)
    out = (d, d), (d,)
    wide = (4 * d, d), (4 * d,)
    narrow = (d, 4 * d), (d,)
    return (*norm, *joined, *out, *norm, *wide, *narrow)


def blocks(weights: Sequence[Any]) -> Iterator[Block]:
    """The weights of each block in turn; what is left over is not theirs."""
    width = len(Block._fields)
    for at in range(0, len(weights) - width + 1, width):
        yield Block(*weights[at : at + width])


def place(capacity: int) -> int:
    """Where the new token goes in a cache with room for so many."""
    return capacity * 3 // 4


def labels(marks: Any) -> Any:
    """Digits of random numbers, for what a net should learn."""
    return np.abs(1000 * marks).astype(np.int64) % 10


def _gelu(x: Any) -> Any:
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def _heads(x: Any) -> Any:
    """(tokens, d) as (heads, tokens, HEAD)."""
    return x.reshape(len(x), -1, HEAD).swapaxes(0, 1)


def _block(x: Any, by: Block, attend: Attend) -> Any:
    inner = layernorm(x) * by.norm1 + by.shift1
    parts = np.split(inner @ by.joined.T + by.joined_bias, 3, axis=1)
    mixed = attend(*map(_heads, parts))
    joined = mixed.swapaxes(0, 1).reshape(x.shape)
    x = x + joined @ by.out.T + by.out_bias
    inner = layernorm(x) * by.norm2 + by.shift2
    inner = _gelu(inner @ by.wide.T + by.wide_bias)
    return x + inner @ by.narrow.T + by.narrow_bias


def _causal(q: Any, k: Any, v: Any) -> Any:
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(HEAD)
    later = np.triu(np.ones(scores.shape[-2:], bool), 1)
    return softmax(np.where(later, -np.inf, scores)) @ v


def _transformer(x: Any, *weights: Any) -> Any:
    for block in blocks(weights):
        x = _block(x, block, _causal)
    return x


def _decode(x: Any, *weights: Any) -> Any:
    caches = weights[-1]
    for block, cache in zip(blocks(weights), caches, strict=True):
        x = _block(x, block, partial(_remembered, cache))
    return x


def _remembered(cache: Any, q: Any, k: Any, v: Any) -> Any:
    at = place(cache.shape[-2])
    keys = np.concatenate([cache[0, :, :at], k], 1)
    values = np.concatenate([cache[1, :, :at], v], 1)
    scores = q @ keys.swapaxes(-1, -2) / np.sqrt(HEAD)
    return softmax(scores) @ values


def _cross_entropy(scores: Any, wanted: Any) -> Any:
    grown = scores - scores.max(1, keepdims=True)
    total = np.exp(grown).sum(1)
    right = grown[np.arange(len(grown)), wanted]
    return (np.log(total) - right).mean()


def _perceptron(x: Any, marks: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    hidden = np.maximum(x @ w1.T + b1, 0)
    return _cross_entropy(hidden @ w2.T + b2, labels(marks))


def _correlated(x: Any, w: Any, b: Any) -> Any:
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    result = np.einsum("nchwyx,dcyx->ndhw", windows, w, optimize=True)
    return np.maximum(result + b[:, None, None], 0)


def _pooled(x: Any, scale: Any, shift: Any) -> Any:
    centred = x - x.mean((0, 2, 3), keepdims=True)
    variance = x.var((0, 2, 3), keepdims=True)
    normal = centred / np.sqrt(variance + 1e-5)
    result = normal * scale[:, None, None] + shift[:, None, None]
    n, c, h, w = result.shape
    windows = result.reshape(n, c, h // 2, 2, w // 2, 2)
    return windows.max((3, 5))


def _net(x: Any, marks: Any, *weights: Any) -> Any:
    x = x / 255
    for at in (0, 6):
        x = _correlated(x, *weights[at : at + 2])
        x = _correlated(x, *weights[at + 2 : at + 4])
        x = _pooled(x, *weights[at + 4 : at + 6])
    last, bias = weights[12:]
    return _cross_entropy(x.reshape(len(x), -1) @ last.T + bias, labels(marks))


def _net_weights(batch: int) -> Shapes:
    return (
        *_layer_shapes(1, 32, 5),
        *_layer_shapes(32, 64, 3),
        (10, 576),
        (10,),
    )


def _layer_shapes(inputs: int, outputs: int, window: int) -> Shapes:
    """Two convolutions and a norm."""
    space = window, window
    offsets = (outputs,)
    first = outputs, inputs, *space
    second = outputs, outputs, *space
    return first, offsets, second, offsets, offsets, offsets


def _net_work(batch: int) -> float:
    """Multiplications and additions of the demo net's convolutions, forward and backward."""
    side_inputs_outputs_window = (24, 1, 32, 5), (20, 32, 32, 5), (8, 32, 64, 3), (6, 64, 64, 3)
    forward = sum(s**2 * i * o * w**2 for s, i, o, w in side_inputs_outputs_window)
    return 6.0 * batch * forward


def _tokens(d: int, layers: int, tokens: int) -> Sizes:
    return tokens, d


def _blocks_of(d: int, layers: int, tokens: int) -> Shapes:
    return block_shapes(d) * layers


def _token_weights(d: int, layers: int, capacity: int) -> Shapes:
    caches = layers, 2, d // HEAD, capacity, HEAD
    return (*block_shapes(d) * layers, caches)


def _transformer_work(d: int, layers: int, tokens: int) -> float:
    products = sum(prod(shape) for shape in block_shapes(d) if len(shape) == 2)
    return 2.0 * layers * tokens * (products + 2 * tokens * d)


MODELS = {
    "transformer": Formula(
        shapes=lambda *sizes: (_tokens(*sizes),),
        result=_tokens,
        exact=_transformer,
        operations=_transformer_work,
        weights=_blocks_of,
        unit="GFLOP/s",
    ),
    "decode": Formula(
        shapes=lambda d, layers, capacity: ((1, d),),
        result=lambda d, layers, capacity: (1, d),
        exact=_decode,
        weights=_token_weights,
    ),
    "mlp_step": Formula(
        shapes=lambda i, hidden, o, batch: ((batch, i), (batch,)),
        result=lambda *sizes: (),
        exact=_perceptron,
        operations=lambda i, hidden, o, batch: 6.0 * batch * (i * hidden + hidden * o),
        weights=lambda i, hidden, o, batch: ((hidden, i), (hidden,), (o, hidden), (o,)),
        unit="GFLOP/s",
        learns=True,
    ),
    "mnist_step": Formula(
        shapes=lambda batch: ((batch, 1, 28, 28), (batch,)),
        result=lambda *sizes: (),
        exact=_net,
        operations=_net_work,
        weights=_net_weights,
        unit="GFLOP/s",
        learns=True,
    ),
}
