"""torch.compile as a contender."""

from __future__ import annotations

import torch

from benchmarks import contender_torch
from benchmarks.contender_torch import Run, Sets, to_numpy as to_numpy


def version() -> str:
    """What ran."""
    return f"compiled by {contender_torch.version()}"


def prepare(name: str, sets: Sets) -> Run:
    """A case of PyTorch, compiled for its shapes."""
    return contender_torch.prepare(name, sets, lambda f: torch.compile(f, dynamic=False))
