"""PyTorch eager as a contender."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.cases import Arrays

Sets = Sequence[Arrays]
Run = Callable[[int], torch.Tensor]


def version() -> str:
    """What ran."""
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads"


def matmul(sets: Sets) -> Run:
    """a @ b."""
    data = [(torch.from_numpy(d["a"]), torch.from_numpy(d["b"])) for d in sets]
    return lambda k: data[k][0] @ data[k][1]


def softmax(sets: Sets) -> Run:
    """softmax of the rows."""
    data = [torch.from_numpy(d["x"]) for d in sets]
    return lambda k: data[k].softmax(1)


def layernorm(sets: Sets) -> Run:
    """layer normalisation of the rows, without weights."""
    data = [torch.from_numpy(d["x"]) for d in sets]
    return lambda k: nn.functional.layer_norm(data[k], data[k].shape[1:])


def mnist_step(sets: Sets) -> Run:
    """One Adam step of the demo's net."""
    net = nn.Sequential(
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
    optimizer = torch.optim.Adam(net.parameters())
    data = [(torch.from_numpy(d["x"]), torch.from_numpy(d["y"]).long()) for d in sets]

    def step(k: int) -> torch.Tensor:
        images, labels = data[k]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def to_numpy(value: torch.Tensor) -> NDArray[np.float32]:
    """The values of an output."""
    return np.asarray(value.numpy(), np.float32)
