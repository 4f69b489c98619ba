"""torch.compile as a contender."""

from __future__ import annotations

from typing import Any

import torch
from torch._functorch import config

from benchmarks import contender_torch
from benchmarks.cases import Case, LeftOut, Sets
from benchmarks.contender_torch import poison as poison, to_numpy as to_numpy

config.donated_buffer = False  # a gradient is asked for again and again


def version() -> str:
    """What ran."""
    return f"compiled by {contender_torch.version()}"


def prepare(case: Case, sets: Sets) -> Any:
    """A case of PyTorch, compiled for its shapes."""
    if case.formula == "launches":
        raise LeftOut("one program would be compiled of all launches")
    torch._dynamo.reset()
    return contender_torch.prepare(case, sets, lambda f: torch.compile(f, dynamic=False))
