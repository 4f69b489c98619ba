"""The CPU device of tinycore: LLVM IR with explicit vectors, compiled in the process by llvmlite.

In: the hook the core calls when the name CPU is used. Out: a `Backend`. Nothing is imported
before that. Next: backend.py.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tinycore.backend import Backend

__version__ = "0.1.0"


def tinycore_backend(core_api: tuple[int, int]) -> Backend:
    """Describe the CPU to a core that speaks `core_api`; opens nothing."""
    backend = importlib.import_module("tinycore_cpu.backend")
    return cast("Backend", backend.CPUBackend())
