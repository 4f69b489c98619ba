"""Kernels as the scheduler writes them, at random sizes, and how two trees are compared on REF."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.ir.cases import by_launches
from tinycore.codegen.optimize.actions import apply
from tinycore.runtime.ref import check_kernel, run_kernel
from tinycore.uop.parser import parse
from tinycore.uop.printer import canonical, show
from tinycore.uop.spec import check
from tinycore.uop.tree import Kernel, Plan

Array = NDArray[Any]
TEXT = (Path(__file__).parent / "kernels.ir").read_text()
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVW"


def kernels(**sizes: int) -> dict[str, Kernel]:
    """Every kernel of kernels.ir, in canonical names; letters that are not given are 5."""
    units = parse(TEXT, **{**dict.fromkeys(LETTERS, 5), **sizes})
    return {name: canonical(unit) for name, unit in units.items() if isinstance(unit, Kernel)}


def random_sizes(random: Random) -> dict[str, int]:
    """Sizes with ones, primes and multiples of vectors among them."""
    return {letter: random.choice(SIZES) for letter in LETTERS}


def inputs(kernel: Kernel, seed: int) -> list[Array]:
    """Small whole numbers, so that sums are exact in any order; what is never read is NaN."""
    numbers = np.random.default_rng(seed)
    found: list[Array] = []
    for param in kernel.params:
        shape = tuple([extent.hi for extent in param.arg.shape])
        values = numbers.integers(-3, 4, shape)
        found.append(values.astype(param.dtype.name))
    return found


def assert_same(kernel: Kernel, other: Kernel | Plan, seed: int, tolerance: float = 2e-5) -> None:
    """Both compute the same, `other` under the suspicious entry of REF."""
    wanted = inputs(kernel, seed)
    given = [array.copy() for array in wanted]
    variables = {node.arg[0]: Random(seed).randint(*node.arg[1:]) for node in kernel.variables}
    run_kernel(kernel, wanted, variables)
    by_launches(check_kernel)(other, given, variables, seed)
    for want, found in zip(wanted, given, strict=True):
        np.testing.assert_allclose(found, want, rtol=tolerance, atol=tolerance)


def steps(kernel: Kernel, actions: Sequence[str], seed: int = 0) -> list[Kernel]:
    """The kernel after each action; every one is legal and computes what the first does."""
    found = [kernel]
    for text in actions:
        found.append(apply(found[-1], text))
        check(found[-1], "action")
        assert_same(kernel, found[-1], seed)
    return found


def reads_back(kernel: Kernel) -> bool:
    """True if the text of a kernel is the kernel."""
    return list(parse(show(kernel)).values()) == [kernel]
