"""tinycore as a contender: every case is a TinyJit, as a user would write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

import tinycore
from benchmarks.cases import Arrays, labels
from tinycore import Device, Tensor, TinyJit
from tinycore.nn import Linear
from tinycore.nn.demo import Net
from tinycore.nn.optim import Adam
from tinycore.nn.state import get_parameters

Sets = Sequence[Arrays]
Run = Callable[[int], Tensor]

FORMULAS: dict[str, Callable[..., Tensor]] = {
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
}


class Perceptron:
    """Two layers."""

    def __init__(self) -> None:
        self.first, self.last = Linear(784, 512), Linear(512, 10)

    def __call__(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu())


NETS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "mlp_step": Perceptron,
    "mnist_step": Net,
}


def version() -> str:
    """What ran."""
    return f"tinycore {tinycore.__version__} on {Device.DEFAULT}"


def prepare(name: str, sets: Sets) -> Run:
    """A case: a formula, or an Adam step of a net."""
    if name in NETS:
        return _step(NETS[name](), sets)
    formula = FORMULAS[name]
    fast = TinyJit(lambda *arguments: formula(*arguments).realize())
    inputs = [[Tensor(array).realize() for array in arrays] for arrays in sets]
    return lambda k: fast(*inputs[k])


def _step(net: Callable[[Tensor], Tensor], sets: Sets) -> Run:
    optimizer = Adam(get_parameters(net))

    @TinyJit
    @Tensor.train()
    def step(images: Tensor, wanted: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = net(images).cross_entropy(wanted)
        loss.backward()
        return loss.realize(*optimizer.schedule_step())

    inputs = [(Tensor(x), Tensor(labels(marks).astype(np.int32))) for x, marks in sets]
    return lambda k: step(*inputs[k])


def to_numpy(value: Tensor) -> NDArray[np.float32]:
    """The values of an output."""
    return np.asarray(value.numpy(), np.float32)
