"""tinycore as a contender: every case is a TinyJit, as a user would write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

import tinycore
from benchmarks.cases import Arrays
from tinycore import Device, Tensor, TinyJit
from tinycore.nn.demo import Net, training_step
from tinycore.nn.optim import Adam
from tinycore.nn.state import get_parameters


def version() -> str:
    """What ran."""
    return f"tinycore {tinycore.__version__} on {Device.DEFAULT}"


def _jitted(
    function: Callable[..., Tensor], inputs: list[tuple[Tensor, ...]]
) -> Callable[[int], Tensor]:
    fast = TinyJit(function)
    for arguments in inputs:
        for tensor in arguments:
            tensor.realize()
    return lambda k: fast(*inputs[k])


def matmul(sets: Sequence[Arrays]) -> Callable[[int], Tensor]:
    """a @ b."""
    inputs = [(Tensor(d["a"]), Tensor(d["b"])) for d in sets]
    return _jitted(lambda a, b: (a @ b).realize(), inputs)


def softmax(sets: Sequence[Arrays]) -> Callable[[int], Tensor]:
    """softmax of the rows."""
    return _jitted(lambda x: x.softmax(1).realize(), [(Tensor(d["x"]),) for d in sets])


def layernorm(sets: Sequence[Arrays]) -> Callable[[int], Tensor]:
    """layer normalisation of the rows, without weights."""
    return _jitted(lambda x: x.layernorm().realize(), [(Tensor(d["x"]),) for d in sets])


def mnist_step(sets: Sequence[Arrays]) -> Callable[[int], Tensor]:
    """One Adam step of the demo's net."""
    net = Net()
    optimizer = Adam(get_parameters(net))
    step = training_step(net, optimizer)
    inputs = [(Tensor(d["x"]), Tensor(d["y"].astype(np.int32))) for d in sets]
    return lambda k: step(*inputs[k])


def to_numpy(value: Tensor) -> np.ndarray:
    """The values of an output."""
    return value.numpy()
