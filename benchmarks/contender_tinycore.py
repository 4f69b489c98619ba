"""tinycore as a contender: every case is a TinyJit, as a user would write it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinycore
from benchmarks.cases import Case, Sets, converted
from benchmarks.checks import overwrite
from benchmarks.methods import FORMULAS, Call, Perceptron, block_of
from benchmarks.models import blocks, labels, place
from tinycore import Device, GlobalCounters, Tensor, TinyJit, Variable
from tinycore.engine.cell import buffer_of
from tinycore.nn import Linear
from tinycore.nn.demo import Net
from tinycore.nn.optim import Adam
from tinycore.nn.state import get_parameters


def _decode(x: Tensor, at: Any, *weights: Tensor) -> Tensor:
    caches = weights[-1]
    for number, block in enumerate(blocks(weights)):

        def attend(q: Tensor, k: Tensor, v: Tensor, number: int = number) -> Tensor:
            caches[number, 0, :, at : at + 1].assign(k)
            caches[number, 1, :, at : at + 1].assign(v)
            keys, values = [caches[number, part, :, : at + 1] for part in (0, 1)]
            return q.scaled_dot_product_attention(keys, values)

        x = block_of(x, block, attend)
    return x


NETS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "mlp_step": partial(Perceptron, Linear),
    "mnist_step": Net,
}


def version() -> str:
    """What ran."""
    return f"tinycore {tinycore.__version__} on {Device.DEFAULT}"


def prepare(case: Case, sets: Sets) -> Any:
    """A formula, its gradient, a token, or an Adam step of a net."""
    if case.facts.learns:
        return _step(case, sets)
    inputs = converted(sets, lambda array: Tensor(array).cast(case.dtype).contiguous().realize())
    changing = len(case.shapes())
    weights = inputs[0][changing:]
    if case.formula == "decode":
        return _token(case.sizes[-1], inputs, weights)
    formula = FORMULAS[case.formula]
    if case.dtype == "int8":
        formula = partial(Tensor.dot, dtype="int32")
    if case.is_backward:
        fast = TinyJit(partial(_gradients, formula))
    else:
        fast = TinyJit(lambda *given: formula(*given, *weights).realize())
    return lambda k: _done(fast(*inputs[k][:changing]))


def _gradients(formula: Call, *given: Tensor) -> list[Tensor]:
    *targets, gradient = given
    first, *others = formula(*targets).gradient(*targets, gradient=gradient)
    return [first.realize(*others), *others]


def _token(capacity: int, inputs: list[list[Tensor]], weights: list[Tensor]) -> Any:
    position = Variable("position", 0, capacity - 1)
    # Stored with the token: caches that wait would be computed by themselves, once more.
    fast = TinyJit(lambda x, at: _decode(x, at, *weights).realize(weights[-1]))

    def run(k: int) -> Tensor:
        at = position.bind(place(capacity))
        token = fast(inputs[k][0], at)
        _done(token)
        return token

    return run


def _step(case: Case, sets: Sets) -> Any:
    net = NETS[case.formula]()
    parameters = [one for one in get_parameters(net) if one.requires_grad is not False]
    for parameter, array in zip(parameters, sets[0][2:], strict=True):
        parameter.assign(Tensor(array)).realize()
    optimizer = Adam(parameters)

    @TinyJit
    @Tensor.train()
    def step(images: Tensor, wanted: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = net(images).cross_entropy(wanted)
        loss.backward()
        return loss.realize(*optimizer.schedule_step())

    inputs = [(Tensor(x), Tensor(labels(marks).astype(np.int32))) for x, marks, *_ in sets]
    return lambda k: _done(step(*inputs[k]))


def _done(value: Any) -> Any:
    Device[Device.DEFAULT].synchronize()
    return value


def to_numpy(output: Tensor) -> NDArray[Any]:
    """The values of an output."""
    return np.asarray(output.numpy())


def poison(output: Tensor) -> None:
    """Overwrite the memory that the next replay should write."""
    buffer = buffer_of(output.cell.uop)
    buffer.opened.synchronize()
    shared = buffer.opened.memory("view", buffer.handle, buffer.size_bytes)
    if shared is None:
        buffer.copyin(b"\xff" * buffer.size_bytes)
    else:
        overwrite(shared)


def counts() -> dict[str, int]:
    """Launches so far, and the bytes that they had to move at least."""
    return {"launches": GlobalCounters.kernel_count, "bytes": GlobalCounters.global_mem}
