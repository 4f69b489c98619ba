"""Every benchmark case, smaller: optimised, NOOPT=1 and REF give its exact values.

Bounds: the table of benchmarks/cases.py, relative to the largest number of a result, as timed runs
are held to it: against float64, and so twice that between two ways. Training steps in float32 are
held to their first loss, and to learning: where a gradient is nothing but rounding, Adam makes a
whole step of it. In float64 it does not, and the losses of many steps agree.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import contender_tinycore
from benchmarks.cases import CASES, SETS, TOLERANCES, Case
from benchmarks.checks import relative_error, save
from benchmarks.worker import Server, outputs
from tinycore.config import Context

SIZES = {
    "matmul": (40, 70, 33),
    "linear": (40, 70, 33),
    "gemv": (70, 130),
    "chain": (1000,),
    "sum": (3000,),
    "row_sums": (40, 130),
    "softmax": (40, 130),
    "layernorm": (40, 130),
    "convolution": (2, 8, 10, 9),
    "depthwise": (2, 8, 10, 9),
    "attention": (2, 16, 35),
    "transformer": (128, 1, 17),
    "decode": (128, 2, 24),
    "launches": (100, 40),
    "mlp_step": (784, 512, 10, 5),
    "mnist_step": (2,),
}
"""More than one vector and one tile, with tails; the first 8 of matmul_8 stay. Layers of the two
nets are fixed, so that batches alone are smaller."""

WAYS: dict[str, dict[str, Any]] = {
    "optimised": {"DEV": "CPU"},
    "NOOPT=1": {"DEV": "CPU", "NOOPT": 1},
    "REF": {"DEV": "REF"},
}


def smaller(name: str) -> Case:
    """A case at a size that REF runs in a second."""
    case = CASES[name]
    sizes = SIZES[case.formula]
    if case.formula == "matmul" and case.fixed:
        sizes = (min(case.sizes[0], 9), *sizes[1:])
    return case.at(sizes)


def values(case: Case, settings: Mapping[str, Any], folder: Path) -> list[Any]:
    """What a way computes of each set, after it is held to the exact values."""
    with Context(**settings):
        server = Server(contender_tinycore)
        server.prepare(case, folder)
        found = [outputs(server.run(k)) for k in range(SETS)]
        return [server.library.to_numpy(one) for one in chain(*found)]


def all_agree(found: Mapping[str, Sequence[Any]], bound: float) -> None:
    for way, arrays in found.items():
        for one, wanted in zip(arrays, found["REF"], strict=True):
            assert relative_error(np.float64(one), np.float64(wanted)) <= bound, way


def marked(names: Iterable[str]) -> list[Any]:
    """The step of the large net takes REF ten seconds."""
    marks = {"mnist_step": [pytest.mark.slow]}
    return [pytest.param(name, marks=marks.get(name, ())) for name in names]


@pytest.mark.parametrize("name", marked(CASES))
def test_a_benchmark_agrees_in_three_ways(name: str, tmp_path: Path) -> None:
    case = smaller(name)
    save(case, tmp_path)
    found = {way: values(case, settings, tmp_path) for way, settings in WAYS.items()}
    if not case.facts.learns:
        all_agree(found, 2 * TOLERANCES[case.dtype])


@pytest.mark.parametrize("name", marked(one.name for one in CASES.values() if one.facts.learns))
def test_training_steps_agree_in_three_ways(name: str) -> None:
    case = replace(smaller(name), dtype="float64")
    found = {}
    for way, settings in WAYS.items():
        with Context(**settings, DEFAULT_FLOAT="float64"):
            step = contender_tinycore.prepare(case, case.inputs())
            found[way] = [contender_tinycore.to_numpy(step(k % SETS)) for k in range(3 * SETS)]
    all_agree(found, 2 * TOLERANCES["float64"])
