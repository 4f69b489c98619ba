"""Exact values on disk, so that they are computed once for all contenders of a row.

Comes in: a case and a folder. Goes out: files, read again by every contender's process, and the
error of what it computed. Next file: worker.py.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Arrays, Case

MARK_BYTES = 1 << 16
LINE_BYTES = 64


def save(case: Case, folder: Path) -> None:
    """Write the exact values of every set."""
    for k, arrays in enumerate(case.inputs()):
        for number, array in enumerate(case.exact(arrays)):
            np.save(folder / f"{k}_{number:03}.npy", array)


def loaded(folder: Path, k: int) -> Arrays:
    """The exact values of a set."""
    return [np.load(path, mmap_mode="r") for path in sorted(folder.glob(f"{k}_*.npy"))]


def relative_error(found: NDArray[Any], exact: NDArray[Any]) -> float:
    """The largest difference, relative to the largest number; NaN if either has one.

    Raises: ArithmeticError if the shapes differ.
    """
    if found.shape != exact.shape:
        raise ArithmeticError(f"a result of shape {found.shape}; expected {exact.shape}")
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def worst(errors: Sequence[float]) -> float:
    """The largest error; NaN, which compares with nothing, if there is one."""
    return float(np.max(errors))


def overwrite(memory: Any) -> None:
    """Put NaN, or -1, into the memory of an output: all of a small one, a line in each MARK_BYTES.

    Overwriting all of a large one would leave it in the caches, where no user's output is.
    """
    whole = np.frombuffer(memory, np.uint8)
    if whole.size <= 4 * MARK_BYTES:
        whole[:] = 0xFF
        return
    for begin in range(0, whole.size, MARK_BYTES):
        whole[begin : begin + LINE_BYTES] = 0xFF


def memory_at(address: int, size_bytes: int) -> Any:
    """The memory at an address, to be overwritten."""
    return (ctypes.c_char * size_bytes).from_address(address)
