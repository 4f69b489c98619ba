"""PyTorch eager as a contender."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from benchmarks.cases import Arrays, labels

Sets = Sequence[Arrays]
Run = Callable[[int], torch.Tensor]
Formula = Callable[..., torch.Tensor]

FORMULAS: dict[str, Formula] = {
    "matmul": lambda a, b: a @ b,
    "linear": lambda x, w: x @ w.T,
    "gemv": lambda a, x: a @ x,
    "chain": lambda x, y: ((2 * x + 1).relu() * y + x.exp() / 2).tanh(),
    "sum": lambda x: x.sum(),
    "row_sums": lambda x: x.sum(1),
    "softmax": lambda x: x.softmax(1),
    "layernorm": lambda x: functional.layer_norm(x, x.shape[1:]),
    "convolution": lambda x, w: functional.conv2d(x, w, padding=1),
    "depthwise": lambda x, w: functional.conv2d(x, w, padding=1, groups=w.shape[0]),
    "attention": functional.scaled_dot_product_attention,
}


def version() -> str:
    """What ran."""
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads"


def prepare(name: str, sets: Sets, faster: Callable[[Formula], Formula] = lambda f: f) -> Run:
    """A case: a formula, or an Adam step of a net."""
    if name in NETS:
        return _step(NETS[name](), sets, faster)
    formula = faster(FORMULAS[name])
    inputs = [[torch.from_numpy(array) for array in arrays] for arrays in sets]
    return lambda k: formula(*inputs[k])


def _perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))


def _net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 5),
        nn.ReLU(),
        nn.Conv2d(32, 32, 5),
        nn.ReLU(),
        nn.BatchNorm2d(32),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        nn.BatchNorm2d(64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(576, 10),
    )


NETS = {"mlp_step": _perceptron, "mnist_step": _net}


def _step(net: nn.Module, sets: Sets, faster: Callable[[Formula], Formula]) -> Run:
    optimizer = torch.optim.Adam(net.parameters())
    inputs = [(torch.from_numpy(x), torch.from_numpy(labels(marks))) for x, marks in sets]
    loss_of = faster(lambda x, wanted: functional.cross_entropy(net(x), wanted))

    def step(k: int) -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(*inputs[k])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    return step


def to_numpy(value: torch.Tensor) -> NDArray[np.float32]:
    """The values of an output."""
    return np.asarray(value.numpy(), np.float32)
