"""tinygrad as a contender: every case is a TinyJit, on the device that DEV names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version as installed
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Variable, nn
from tinygrad.device import Device
from tinygrad.dtype import dtypes
from tinygrad.engine.jit import TinyJit
from tinygrad.helpers import Context, GlobalCounters
from tinygrad.tensor import Tensor

from benchmarks.cases import Case, Sets, converted
from benchmarks.checks import overwrite
from benchmarks.methods import FORMULAS, Call, Perceptron, block_of
from benchmarks.models import blocks, labels, place


def _decode(x: Any, at: Any, caches: Any, weights: Any) -> Any:
    for number, block in enumerate(blocks(weights)):

        def attend(q: Any, k: Any, v: Any, cache: Any = caches[number]) -> Any:
            cache[:, :, at : at + 1].assign(k.stack(v)).realize()
            keys, values = [cache[part, :, : at + 1] for part in (0, 1)]
            return q.scaled_dot_product_attention(keys, values)

        x = block_of(x, block, attend)
    return x


class Net:
    """The demo's net."""

    def __init__(self) -> None:
        self.layers = [
            *_convolutions(1, 32, 5),
            *_convolutions(32, 64, 3),
            lambda x: x.flatten(1),
            nn.Linear(576, 10),
        ]

    def __call__(self, x: Any) -> Any:
        return (x / 255).sequential(self.layers)


def _convolutions(inputs: int, outputs: int, window: int) -> list[Any]:
    return [
        nn.Conv2d(inputs, outputs, window),
        Tensor.relu,
        nn.Conv2d(outputs, outputs, window),
        Tensor.relu,
        nn.BatchNorm(outputs),
        Tensor.max_pool2d,
    ]


NETS: dict[str, Callable[[], Any]] = {"mlp_step": partial(Perceptron, nn.Linear), "mnist_step": Net}


def version() -> str:
    """What ran."""
    return f"tinygrad {installed('tinygrad')} on {Device.DEFAULT}"


def prepare(case: Case, sets: Sets) -> Any:
    """A formula, its gradient, a token, or an Adam step of a net."""
    if case.facts.learns:
        return _step(case, sets)
    inputs = converted(sets, partial(_tensor, case.dtype))
    changing = len(case.shapes())
    weights = inputs[0][changing:]
    if case.formula == "decode":
        return _token(inputs, weights)
    formula = FORMULAS[case.formula]
    if case.dtype == "int8":
        formula = _bytes_product
    if case.is_backward:
        fast = TinyJit(partial(_gradients, formula))
    else:
        fast = TinyJit(lambda *given: formula(*given, *weights).realize())
    return lambda k: _done(fast(*inputs[k][:changing]))


def _tensor(dtype: str, array: NDArray[Any]) -> Any:
    return Tensor(array).cast(getattr(dtypes, dtype)).clone().realize()


def _bytes_product(a: Any, b: Any) -> Any:
    return a.cast(dtypes.int32) @ b.cast(dtypes.int32)


def _gradients(formula: Call, *given: Any) -> Any:
    *targets, gradient = given
    found = formula(*targets).gradient(*targets, gradient=gradient)
    stored = [one.contiguous() for one in found]
    Tensor.realize(*stored)
    return stored


def _token(inputs: list[list[Any]], weights: list[Any]) -> Any:
    *layers, stored = weights
    capacity = stored.shape[-2]
    caches = [stored[k].contiguous().realize() for k in range(len(stored))]
    position = Variable("position", 0, capacity - 1).bind(place(capacity))
    fast = TinyJit(lambda x, at: _decode(x, at, caches, layers).realize())
    return lambda k: _done(fast(inputs[k][0], position))


def _step(case: Case, sets: Sets) -> Any:
    net = NETS[case.formula]()
    named = nn.state.get_state_dict(net).items()
    trained = [one for name, one in named if name.endswith(("weight", "bias"))]
    for parameter, array in zip(trained, sets[0][2:], strict=True):
        parameter.assign(Tensor(array)).realize()
    optimizer = nn.optim.Adam(trained)

    @TinyJit
    @Context(TRAINING=1)  # type: ignore[no-untyped-call]
    def step(images: Any, wanted: Any) -> Any:
        optimizer.zero_grad()
        loss = net(images).sparse_categorical_crossentropy(wanted).backward()
        return loss.realize(*optimizer.schedule_step())

    inputs = [
        (Tensor(x).realize(), Tensor(labels(marks).astype(np.int32)).realize())
        for x, marks, *_ in sets
    ]
    return lambda k: _done(step(*inputs[k]))


def _done(value: Any) -> Any:
    Device[Device.DEFAULT].synchronize()  # type: ignore[no-untyped-call]
    return value


def to_numpy(output: Any) -> NDArray[Any]:
    """The values of an output."""
    narrow = output.dtype in (dtypes.float16, dtypes.bfloat16)
    return np.asarray((output.float() if narrow else output).numpy())


def poison(output: Any) -> None:
    """Overwrite the memory that the next replay should write."""
    buffer = output.uop.base.realized
    memory = buffer.as_memoryview(allow_zero_copy=True)
    overwrite(memory)
    if Device.DEFAULT != "CPU":  # this was a copy
        _done(buffer.allocator._copyin(buffer._buf, memory))


def counts() -> dict[str, int]:
    """Launches so far, and the bytes that they had to move at least."""
    return {"launches": GlobalCounters.kernel_count, "bytes": int(GlobalCounters.global_mem)}
