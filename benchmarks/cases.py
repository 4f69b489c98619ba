"""The cases that are timed: sizes, the work in one call, and inputs made from a seed.

Comes in: the name of a case and a scale. Goes out: numpy inputs that every contender gets alike,
and the function that checks an output against float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]
SETS = 3  # inputs are rotated, so that no call finds its own data in the nearest cache


@dataclass(frozen=True)
class Case:
    """One thing to time.

    `sizes` are its extents; `near` says which of them the variants at -1, +1 and +7 % change.
    Units: `work` counts operations ("GFLOP/s") or bytes ("GB/s") of one call.
    """

    name: str
    sizes: tuple[int, ...]
    inputs: Callable[[np.random.Generator, tuple[int, ...]], Arrays]
    exact: Callable[[Arrays], NDArray[np.float64]] | None
    work: Callable[[tuple[int, ...]], float]
    unit: str

    def variants(self) -> list[tuple[int, ...]]:
        """The sizes, and the same at one less, one more and 7 % more."""
        changes: list[Callable[[int], int]] = [
            lambda n: n,
            lambda n: n - 1,
            lambda n: n + 1,
            lambda n: n + n * 7 // 100,
        ]
        return [tuple([change(n) for n in self.sizes]) for change in changes]


def _normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape, dtype=np.float32)


def _matmul_inputs(rng: np.random.Generator, sizes: tuple[int, ...]) -> Arrays:
    m, n, k = sizes
    return {"a": _normal(rng, m, k), "b": _normal(rng, k, n)}


def _rows(rng: np.random.Generator, sizes: tuple[int, ...]) -> Arrays:
    return {"x": _normal(rng, *sizes)}


def _exact_matmul(data: Arrays) -> NDArray[np.float64]:
    return data["a"].astype(np.float64) @ data["b"].astype(np.float64)


def _exact_softmax(data: Arrays) -> NDArray[np.float64]:
    x = data["x"].astype(np.float64)
    e = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def _exact_layernorm(data: Arrays) -> NDArray[np.float64]:
    x = data["x"].astype(np.float64)
    centred = x - x.mean(1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5))


def _images(rng: np.random.Generator, sizes: tuple[int, ...]) -> Arrays:
    (batch,) = sizes
    labels = rng.integers(0, 10, (batch,)).astype(np.float32)
    return {"x": _normal(rng, batch, 1, 28, 28), "y": labels}


def _net_work(sizes: tuple[int, ...]) -> float:
    """Multiplications and additions of the demo net's convolutions, forward and backward."""
    (batch,) = sizes
    forward = 24 * 24 * 32 * 25 + 20 * 20 * 32 * 32 * 25 + 8 * 8 * 32 * 64 * 9 + 6 * 6 * 64 * 64 * 9
    return 6.0 * batch * forward


CASES = {
    case.name: case
    for case in (
        Case(
            "matmul",
            (1024, 1024, 1024),
            _matmul_inputs,
            _exact_matmul,
            lambda s: 2.0 * s[0] * s[1] * s[2],
            "GFLOP/s",
        ),
        Case("softmax", (2048, 2048), _rows, _exact_softmax, lambda s: 8.0 * s[0] * s[1], "GB/s"),
        Case(
            "layernorm", (2048, 2048), _rows, _exact_layernorm, lambda s: 8.0 * s[0] * s[1], "GB/s"
        ),
        Case("mnist_step", (128,), _images, None, _net_work, "GFLOP/s"),
    )
}
