"""tinycore as a contender: every case is a TinyJit, as a user would write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

import tinycore
from benchmarks.cases import Arrays
from tinycore import Device, Tensor, TinyJit
from tinycore.nn.demo import Net
from tinycore.nn.optim import Adam
from tinycore.nn.state import get_parameters

Sets = Sequence[Arrays]
Run = Callable[[int], Tensor]


def version() -> str:
    """What ran."""
    return f"tinycore {tinycore.__version__} on {Device.DEFAULT}"


def _jitted(function: Callable[..., Tensor], inputs: list[tuple[Tensor, ...]]) -> Run:
    fast = TinyJit(function)
    for arguments in inputs:
        for tensor in arguments:
            tensor.realize()
    return lambda k: fast(*inputs[k])


def matmul(sets: Sets) -> Run:
    """a @ b."""
    inputs = [(Tensor(d["a"]), Tensor(d["b"])) for d in sets]
    return _jitted(lambda a, b: (a @ b).realize(), inputs)


def softmax(sets: Sets) -> Run:
    """softmax of the rows."""
    return _jitted(lambda x: x.softmax(1).realize(), [(Tensor(d["x"]),) for d in sets])


def layernorm(sets: Sets) -> Run:
    """layer normalisation of the rows, without weights."""
    return _jitted(lambda x: x.layernorm().realize(), [(Tensor(d["x"]),) for d in sets])


def mnist_step(sets: Sets) -> Run:
    """One Adam step of the demo's net."""
    net = Net()
    optimizer = Adam(get_parameters(net))

    @TinyJit
    @Tensor.train()
    def step(images: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = net(images).cross_entropy(labels)
        loss.backward()
        return loss.realize(*optimizer.schedule_step())

    inputs = [(Tensor(d["x"]), Tensor(d["y"].astype(np.int32))) for d in sets]
    return lambda k: step(*inputs[k])


def to_numpy(value: Tensor) -> NDArray[np.float32]:
    """The values of an output."""
    return np.asarray(value.numpy(), np.float32)
