"""PyTorch as a contender, eager; contender_compile.py and contender_channels_last.py build on it.

Comes in: a case and its inputs. Goes out: a call. A gradient is timed alone: what it needs of the
function's own run was kept before, which is PyTorch's advantage here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from benchmarks.cases import Case, Sets, converted
from benchmarks.checks import memory_at, overwrite
from benchmarks.formulas import LAUNCHES
from benchmarks.models import HEAD, Block, blocks, labels, place

Call = Callable[..., Any]
Faster = Callable[[Call], Call]

DEVICE = os.getenv("BENCH_DEVICE", "cpu")
# Matrices in float32 are products of float32; no TF32.
torch.backends.cuda.matmul.allow_tf32 = False


def _many(x: Any) -> Any:
    for _ in range(LAUNCHES):
        x = x * 1.01
    return x


def _heads(x: Any) -> Any:
    return x.view(x.shape[0], -1, HEAD).transpose(0, 1)


def _block(x: Any, by: Block, attend: Call) -> Any:
    size = x.shape[1:]
    inner = functional.layer_norm(x, size, by.norm1, by.shift1)
    inner = functional.linear(inner, by.joined, by.joined_bias)
    mixed = attend(*map(_heads, inner.chunk(3, 1)))
    joined = mixed.transpose(0, 1).reshape(x.shape)
    x = x + functional.linear(joined, by.out, by.out_bias)
    inner = functional.layer_norm(x, size, by.norm2, by.shift2)
    inner = functional.linear(inner, by.wide, by.wide_bias)
    inner = functional.gelu(inner, approximate="tanh")
    return x + functional.linear(inner, by.narrow, by.narrow_bias)


def _causal(q: Any, k: Any, v: Any) -> Any:
    return functional.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]


def _transformer(x: Any, *weights: Any) -> Any:
    for block in blocks(weights):
        x = _block(x, block, _causal)
    return x


def _decode(x: Any, *weights: Any) -> Any:
    caches = weights[-1]
    at = place(caches.shape[-2])
    for number, block in enumerate(blocks(weights)):

        def attend(q: Any, k: Any, v: Any, cache: Any = caches[number]) -> Any:
            cache[0, :, at : at + 1] = k
            cache[1, :, at : at + 1] = v
            keys, values = cache[:, None, :, : at + 1]
            return functional.scaled_dot_product_attention(q[None], keys, values)[0]

        x = _block(x, block, attend)
    return x


FORMULAS: dict[str, Call] = {
    "matmul": lambda a, b: a @ b,
    "linear": functional.linear,
    "gemv": lambda a, x: a @ x,
    "chain": lambda x, y: ((2 * x + 1).relu() * y + x.exp() / 2).tanh(),
    "sum": lambda x: x.sum(),
    "row_sums": lambda x: x.sum(1),
    "softmax": lambda x: x.softmax(1),
    "layernorm": lambda x: functional.layer_norm(x, x.shape[1:]),
    "convolution": lambda x, w: functional.conv2d(x, w, padding=1),
    "depthwise": lambda x, w: functional.conv2d(x, w, padding=1, groups=w.shape[0]),
    "attention": functional.scaled_dot_product_attention,
    "launches": _many,
    "transformer": _transformer,
    "decode": _decode,
}


def version() -> str:
    """What ran."""
    return f"torch {torch.__version__} on {DEVICE}, {torch.get_num_threads()} threads"


def prepare(case: Case, sets: Sets, faster: Faster = lambda f: f, layout: Any = None) -> Any:
    """A formula, its gradient, or an Adam step of a net; `layout` is a memory format."""
    if case.facts.learns:
        return _step(case, sets, faster)
    formula = FORMULAS[case.formula]
    if case.dtype == "int8":
        formula = torch._int_mm  # the product of bytes, added in int32
    inputs = converted(sets, partial(_tensor, case.dtype, layout))
    if case.is_backward:
        return _gradients(faster(formula), inputs)
    fast = faster(formula)

    @torch.inference_mode()
    def run(k: int) -> Any:
        return _done(fast(*inputs[k]))

    return run


def _tensor(dtype: str, layout: Any, array: NDArray[Any]) -> torch.Tensor:
    tensor = torch.tensor(array).to(DEVICE, getattr(torch, dtype))
    return tensor.contiguous(memory_format=layout) if layout and array.ndim == 4 else tensor


def _done(value: Any) -> Any:
    if DEVICE != "cpu":
        torch.cuda.synchronize()
    return value


def _gradients(formula: Call, inputs: list[list[torch.Tensor]]) -> Any:
    results = [formula(*(x.requires_grad_() for x in arrays[:-1])) for arrays in inputs]

    def run(k: int) -> Any:
        *targets, gradient = inputs[k]
        found = torch.autograd.grad(results[k], targets, gradient, retain_graph=True)
        # A repeated number is stored as often as it is asked for: others do that too.
        stored = [one.contiguous() if 0 in one.stride() else one for one in found]
        return _done(stored)

    return run


class Perceptron(nn.Sequential):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))


class Net(nn.Sequential):
    """The demo's net."""

    def __init__(self) -> None:
        first = _convolutions(1, 32, 5)
        second = _convolutions(32, 64, 3)
        super().__init__(*first, *second, nn.Flatten(), nn.Linear(576, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of bytes of brightness."""
        scores: torch.Tensor = super().forward(x / 255)  # type: ignore[no-untyped-call]
        return scores


def _convolutions(inputs: int, outputs: int, window: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, window),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, window),
        nn.ReLU(),
        nn.BatchNorm2d(outputs),
        nn.MaxPool2d(2),
    ]


NETS: dict[str, Callable[[], nn.Module]] = {"mlp_step": Perceptron, "mnist_step": Net}


def _step(case: Case, sets: Sets, faster: Faster) -> Any:
    net = NETS[case.formula]().to(DEVICE)
    with torch.no_grad():
        for parameter, array in zip(net.parameters(), sets[0][2:], strict=True):
            parameter.copy_(torch.from_numpy(array))
    optimizer = torch.optim.Adam(net.parameters())
    inputs = [
        (torch.from_numpy(x).to(DEVICE), torch.from_numpy(labels(marks)).to(DEVICE))
        for x, marks, *_ in sets
    ]
    loss_of = faster(lambda x, wanted: functional.cross_entropy(net(x), wanted))

    def step(k: int) -> Any:
        optimizer.zero_grad()
        loss = loss_of(*inputs[k])
        loss.backward()
        optimizer.step()
        _done(loss)
        return loss.detach()

    return step


def to_numpy(output: torch.Tensor) -> NDArray[Any]:
    """The values of an output."""
    wide = output.float() if output.dtype in (torch.float16, torch.bfloat16) else output
    return np.asarray(wide.cpu().numpy())


@torch.inference_mode()
def poison(output: torch.Tensor) -> None:
    """Overwrite an output."""
    if DEVICE == "cpu":
        overwrite(memory_at(output.data_ptr(), output.nbytes))
    else:
        output.fill_(float("nan") if output.is_floating_point() else -1)
