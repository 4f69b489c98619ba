"""Tests of the interpreter, and how they run a kernel's text."""

from collections.abc import Callable
from typing import Any

from tinycore.runtime.ref import check_kernel, run_kernel
from tinycore.uop.parser import parse
from tinycore.uop.tree import Kernel

ENTRIES: tuple[Callable[..., None], ...] = (run_kernel, check_kernel)


def kernel_of(text: str, **sizes: int) -> Kernel:
    """The one kernel of a text."""
    (unit,) = parse(text, **sizes).values()
    assert isinstance(unit, Kernel)
    return unit


def run(entry: Callable[..., None], text: str, *arrays: Any, **variables: int) -> None:
    """Runs the kernel of `text` on arrays by one entry."""
    entry(kernel_of(text), list(arrays), variables)


def checked(text: str, *arrays: Any, **variables: int) -> None:
    """Runs the kernel of `text` by the checked entry, in three random orders."""
    for seed in range(3):
        copies = [array.copy() for array in arrays]
        check_kernel(kernel_of(text), copies, variables, seed)
    check_kernel(kernel_of(text), list(arrays), variables)
