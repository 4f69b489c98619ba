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
from benchmarks.formulas import LAUNCHES
from benchmarks.models import HEAD, Block, blocks, labels, place
from tinycore import Device, GlobalCounters, Tensor, TinyJit, Variable
from tinycore.engine.cell import buffer_of
from tinycore.nn import Linear
from tinycore.nn.demo import Net
from tinycore.nn.optim import Adam
from tinycore.nn.state import get_parameters

Call = Callable[..., Any]


def _many(x: Tensor) -> Tensor:
    for _ in range(LAUNCHES):
        x = (x * 1.01).contiguous()
    return x


def _heads(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], -1, HEAD).transpose(0, 1)


def _block(x: Tensor, by: Block, attend: Call) -> Any:
    inner = x.layernorm() * by.norm1 + by.shift1
    inner = inner.linear(by.joined.T, by.joined_bias)
    mixed = attend(*map(_heads, inner.chunk(3, 1)))
    joined = mixed.transpose(0, 1).reshape(x.shape)
    x = x + joined.linear(by.out.T, by.out_bias)
    inner = x.layernorm() * by.norm2 + by.shift2
    inner = inner.linear(by.wide.T, by.wide_bias).gelu()
    return x + inner.linear(by.narrow.T, by.narrow_bias)


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q.scaled_dot_product_attention(k, v, is_causal=True)


def _transformer(x: Tensor, *weights: Tensor) -> Tensor:
    for block in blocks(weights):
        x = _block(x, block, _causal)
    return x


def _decode(x: Tensor, at: Any, *weights: Tensor) -> Tensor:
    caches = weights[-1]
    for number, block in enumerate(blocks(weights)):

        def attend(q: Tensor, k: Tensor, v: Tensor, number: int = number) -> Tensor:
            caches[number, 0, :, at : at + 1].assign(k)
            caches[number, 1, :, at : at + 1].assign(v)
            keys, values = [caches[number, part, :, : at + 1] for part in (0, 1)]
            return q.scaled_dot_product_attention(keys, values)

        x = _block(x, block, attend)
    return x


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
