"""The cases as a framework spells them whose tensors have methods: tinycore's and tinygrad's.

Comes in: tensors of either. Goes out: a result. Next files: contender_tinycore.py,
contender_tinygrad.py.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.formulas import LAUNCHES
from benchmarks.models import HEAD, Block, blocks

Call = Callable[..., Any]


def _many(x: Any) -> Any:
    for _ in range(LAUNCHES):
        x = (x * 1.01).contiguous()
    return x


def _heads(x: Any) -> Any:
    return x.reshape(x.shape[0], -1, HEAD).transpose(0, 1)


def block_of(x: Any, by: Block, attend: Call) -> Any:
    """A block of a transformer, by how its heads attend."""
    inner = x.layernorm() * by.norm1 + by.shift1
    inner = inner.linear(by.joined.T, by.joined_bias)
    query, key, value = map(_heads, inner.chunk(3, 1))
    mixed = attend(query, key, value)
    joined = mixed.transpose(0, 1)
    joined = joined.reshape(x.shape)
    x = x + joined.linear(by.out.T, by.out_bias)
    inner = x.layernorm() * by.norm2 + by.shift2
    inner = inner.linear(by.wide.T, by.wide_bias).gelu()
    return x + inner.linear(by.narrow.T, by.narrow_bias)


def _causal(q: Any, k: Any, v: Any) -> Any:
    return q.scaled_dot_product_attention(k, v, is_causal=True)


def _transformer(x: Any, *weights: Any) -> Any:
    for block in blocks(weights):
        x = block_of(x, block, _causal)
    return x


class Perceptron:
    """Two layers of a framework's own kind."""

    def __init__(self, linear: Call) -> None:
        self.first = linear(784, 512)
        self.last = linear(512, 10)

    def __call__(self, x: Any) -> Any:
        hidden = self.first(x).relu()
        return self.last(hidden)


FORMULAS: dict[str, Call] = {
    "matmul": lambda a, b: a @ b,
    "linear": lambda x, w: x @ w.T,
    "gemv": lambda a, x: a @ x,
    "chain": lambda x, y: ((2 * x + 1).relu() * y + x.exp() / 2).tanh(),
    "sum": lambda x: x.sum(),
    "row_sums": lambda x: x.sum(1),
    "softmax": lambda x: x.softmax(1),
    "layernorm": lambda x: x.layernorm(),
    "convolution": lambda x, w: x.conv2d(w, padding=1),
    "depthwise": lambda x, w: x.conv2d(w, padding=1, groups=w.shape[0]),
    "attention": lambda q, k, v: q.scaled_dot_product_attention(k, v),
    "launches": _many,
    "transformer": _transformer,
}
