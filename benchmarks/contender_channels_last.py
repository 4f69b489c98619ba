"""PyTorch's convolutions in channels_last, its faster layout on many machines, as a contender."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks import contender_torch
from benchmarks.cases import Case, LeftOut, Sets
from benchmarks.contender_torch import poison as poison, to_numpy as to_numpy


def version() -> str:
    """What ran."""
    return f"channels_last of {contender_torch.version()}"


def prepare(case: Case, sets: Sets) -> Any:
    """A convolution whose images, weights and results have channels last. Raises: LeftOut."""
    if case.formula not in ("convolution", "depthwise"):
        raise LeftOut("no convolution")
    return contender_torch.prepare(case, sets, layout=torch.channels_last)
