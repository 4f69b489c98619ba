"""The cases that are timed: a formula, its sizes and type, and the goal it is held to.

Comes in: the name of a case. Goes out: inputs made from a seed, which every contender gets alike,
the work of one call, and the sizes close by at which it runs too. Next file: worker.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from math import prod, sqrt
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.formulas import FORMULAS, LAUNCHES, Formula, Shapes, Sizes
from benchmarks.models import MODELS

Arrays = list[NDArray[Any]]
Sets = Sequence[Arrays]
T = TypeVar("T")

SETS = 3  # inputs are rotated, so that no call finds its own data in the nearest cache

# The largest error that counts as right, relative to the largest number of a result.
TOLERANCES = {"float64": 1e-10, "float32": 1e-4, "float16": 2e-3, "bfloat16": 2e-2, "int8": 0.0}
BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
UNITS = {"GFLOP/s": 1e9, "GB/s": 1e9, "launches/ms": 1e3}


class LeftOut(Exception):
    """A contender does not take part in a case."""


@dataclass(frozen=True)
class Case:
    """One thing to time.

    `sizes` are those of its formula; `fixed` says how many of the first no variant changes. `goal`
    is our speed over the best peer's, `share` that over the machine's ceiling.
    """

    name: str
    formula: str
    sizes: Sizes
    goal: float
    fixed: int = 0
    dtype: str = "float32"
    is_backward: bool = False
    share: float | None = None

    @property
    def facts(self) -> Formula:
        """Shapes, work and exact values."""
        return {**FORMULAS, **MODELS}[self.formula]

    def at(self, sizes: Sizes) -> Case:
        """The same at other sizes."""
        return replace(self, sizes=sizes)

    def variants(self) -> list[Case]:
        """The case, and the same at one less, one more and 7 % more."""
        changes: list[Callable[[int], int]] = [
            lambda n: n,
            lambda n: n - 1,
            lambda n: n + 1,
            lambda n: n + max(n * 7 // 100, 2),
        ]
        kept, moved = self.sizes[: self.fixed], self.sizes[self.fixed :]
        return [self.at((*kept, *map(change, moved))) for change in changes]

    def shapes(self) -> Shapes:
        """Of the inputs that change from call to call; the last may be the output's gradient."""
        forward = self.facts.shapes(*self.sizes)
        return (*forward, self.facts.result(*self.sizes)) if self.is_backward else forward

    def results(self) -> Shapes:
        """Of the outputs."""
        return (
            self.facts.shapes(*self.sizes)
            if self.is_backward
            else (self.facts.result(*self.sizes),)
        )

    def traffic(self) -> tuple[float, float]:
        """The bytes that one call must at least read, and write."""
        inputs = (*self.shapes(), *self.facts.weights(*self.sizes))
        if self.is_backward and self.facts.is_sum:
            inputs = inputs[-1:]
        wide = 4 if self.dtype == "int8" else BYTES[self.dtype]
        read = BYTES[self.dtype] * sum(map(prod, inputs))
        return float(read), float(wide * sum(map(prod, self.results())))

    def work(self) -> float:
        """Operations of one call, or bytes where the formula counts none."""
        if self.facts.operations is None:
            return sum(self.traffic())
        calls = self.facts.backward if self.is_backward else 1.0
        return calls * self.facts.operations(*self.sizes)

    def inputs(self) -> Sets:
        """SETS times the arrays in the order of the formula; the weights are the same ones."""
        rng = np.random.default_rng(0)
        weights = [
            self._random(rng, shape) / _fan(shape) for shape in self.facts.weights(*self.sizes)
        ]
        shapes = self.shapes()
        return [[*(self._random(rng, shape) for shape in shapes), *weights] for _ in range(SETS)]

    def exact(self, arrays: Arrays) -> Arrays:
        """The outputs in float64."""
        wide = [array.astype(np.float64) for array in arrays]
        if not self.is_backward:
            return [np.asarray(self.facts.exact(*wide))]
        assert self.facts.gradient is not None, f"{self.name}: the formula has no gradient"
        return list(self.facts.gradient(*wide))

    def _random(self, rng: np.random.Generator, shape: Sizes) -> NDArray[Any]:
        """Normal numbers that the type holds; of 16 bits as float32, which numpy has."""
        if self.dtype == "int8":
            return rng.integers(-128, 128, shape, dtype=np.int8)
        if self.dtype == "float64":
            return rng.standard_normal(shape)
        numbers = rng.standard_normal(shape, dtype=np.float32)
        if self.dtype == "float16":
            return numbers.astype(np.float16).astype(np.float32)
        if self.dtype == "bfloat16":
            return (np.asarray(numbers).view(np.uint32) & 0xFFFF0000).view(np.float32)
        return np.asarray(numbers)


def _fan(shape: Sizes) -> np.float32:
    """What keeps sums over a weight's inputs near 1."""
    return np.float32(sqrt(prod(shape[1:])) if len(shape) in (2, 4) else 1.0)


def converted(sets: Sets, convert: Callable[[NDArray[Any]], T]) -> list[list[T]]:
    """The sets in a contender's own type; arrays that they share are converted once."""
    unique = {id(array): array for arrays in sets for array in arrays}
    made = {number: convert(array) for number, array in unique.items()}
    return [[made[id(array)] for array in arrays] for arrays in sets]


def chosen(patterns: Sequence[str]) -> list[Case]:
    """The cases that fit any of some names or patterns; all without one. Raises: ValueError."""
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in CASES):
            raise ValueError(f"no case fits {pattern!r}; there are {', '.join(CASES)}")
    asked = patterns or ["*"]
    return [case for case in _CASES if any(fnmatch(case.name, one) for one in asked)]


_SQUARE = 1024, 1024, 1024
_SHARE = 0.85
_FORWARD = (
    Case("matmul", "matmul", _SQUARE, 1.03, share=_SHARE),
    Case("linear", "linear", _SQUARE, 1.0, share=_SHARE),
    Case("gemv", "gemv", (4096, 4096), 1.6),
    Case("chain", "chain", (1 << 24,), 5.0),
    Case("sum", "sum", (1 << 24,), 1.0),
    Case("row_sums", "row_sums", (4096, 4096), 1.0),
    Case("softmax", "softmax", (2048, 2048), 1.2),
    Case("layernorm", "layernorm", (2048, 2048), 1.2),
    Case("convolution", "convolution", (8, 64, 56, 56), 1.0, fixed=2),
    Case("depthwise", "depthwise", (8, 64, 56, 56), 4.0, fixed=2),
    Case("attention", "attention", (8, 64, 512), 1.5, fixed=2),
)
_BACKWARD = tuple(
    Case(f"{one.name}_backward", one.formula, one.sizes, one.goal, one.fixed, is_backward=True)
    for one in _FORWARD
)
_MODELS = (
    Case("mlp_step", "mlp_step", (784, 512, 10, 128), 1.5, fixed=3),
    Case("mnist_step", "mnist_step", (128,), 1.3),
    Case("transformer", "transformer", (512, 4, 128), 1.7, fixed=2),
    Case("decode", "decode", (512, 4, 128), 1.3, fixed=2),
    Case("launches", "launches", (LAUNCHES, 256), 20.0, fixed=1),
)
_SHAPED = (
    Case("matmul_odd", "matmul", (1000, 1100, 900), 1.15, share=_SHARE),
    Case("matmul_8", "matmul", (8, 1024, 1024), 1.03, fixed=1),
    Case("matmul_64", "matmul", (64, 1024, 1024), 1.03, fixed=1),
    Case("convolution_28", "convolution", (8, 128, 28, 28), 1.0, fixed=2),
    Case("convolution_14", "convolution", (8, 256, 14, 14), 1.0, fixed=2),
    Case("convolution_7", "convolution", (8, 512, 7, 7), 1.0, fixed=2),
)
_TYPED = tuple(
    Case(f"matmul_{dtype}", "matmul", _SQUARE, 1.03, dtype=dtype, share=share)
    for dtype, share in (("float64", _SHARE), ("float16", None), ("bfloat16", None), ("int8", None))
)
_CASES = (*_FORWARD, *_MODELS, *_SHAPED, *_TYPED, *_BACKWARD)
CASES = {case.name: case for case in _CASES}
