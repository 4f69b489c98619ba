"""The table of cases: shapes that fit, gradients that are slopes, choices by name."""

from typing import Any

import numpy as np
import pytest

from benchmarks import contender_tinycore
from benchmarks.cases import CASES, TOLERANCES, Case, chosen
from benchmarks.checks import MARK_BYTES, memory_at, overwrite, save, worst
from benchmarks.worker import Server, answers

TINY = {
    "matmul": (3, 4, 5),
    "linear": (3, 4, 5),
    "gemv": (3, 4),
    "chain": (6,),
    "sum": (6,),
    "row_sums": (3, 4),
    "softmax": (3, 4),
    "layernorm": (3, 4),
    "convolution": (2, 3, 4, 5),
    "depthwise": (2, 3, 4, 5),
    "attention": (2, 4, 3),
    "transformer": (128, 1, 3),
    "decode": (128, 2, 8),
    "launches": (100, 5),
    "mlp_step": (8, 4, 10, 3),
    "mnist_step": (3,),
}


def tiny(name: str) -> Case:
    """A case at sizes that take no time."""
    return CASES[name].at(TINY[CASES[name].formula])


@pytest.mark.parametrize("name", CASES)
def test_exact_values_have_the_shapes_of_the_table(name: str) -> None:
    case = tiny(name)
    exact = case.exact(case.inputs()[0])
    assert [array.shape for array in exact] == list(case.results())
    assert all(np.isfinite(array).all() for array in exact)
    assert case.work() > 0 and case.goal >= 1


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith("_backward")])
def test_gradients_are_the_slopes_of_their_formulas(name: str) -> None:
    case, rng = tiny(name), np.random.default_rng(1)
    *inputs, gradient = [array.astype(np.float64) for array in case.inputs()[0]]
    steps = [rng.standard_normal(array.shape) for array in inputs]

    def value(size: float) -> Any:
        moved = [array + size * step for array, step in zip(inputs, steps, strict=True)]
        return (case.facts.exact(*moved) * gradient).sum()

    slope = (value(1e-6) - value(-1e-6)) / 2e-6
    parts = zip(case.exact([*inputs, gradient]), steps, strict=True)
    assert slope == pytest.approx(sum((part * step).sum() for part, step in parts), rel=1e-6)


@pytest.mark.parametrize("name", ["matmul", "matmul_int8", "sum_backward", "launches"])
def test_tinycore_takes_part_and_is_right(name: str, tmp_path: Any) -> None:
    case = tiny(name)
    save(case, tmp_path)
    server = Server(contender_tinycore)
    prepared = server.prepare(case, tmp_path)
    assert prepared["error"] <= TOLERANCES[case.dtype]
    assert server.time(0)["seconds"] > 0
    assert server.check_again() <= TOLERANCES[case.dtype]


def test_a_library_that_is_not_installed_is_the_answer() -> None:
    answer = answers("benchmarks.contender_nowhere")({"time": 0})
    assert answer["failure"].startswith("ModuleNotFoundError: No module named")


def test_traffic_counts_what_a_call_must_touch() -> None:
    assert CASES["sum"].at((1000,)).traffic() == (4000, 4)
    assert CASES["sum_backward"].at((1000,)).traffic() == (4, 4000)
    assert CASES["softmax_backward"].at((10, 10)).traffic() == (800, 400)
    assert CASES["matmul_int8"].at((2, 3, 4)).traffic() == (20, 24)


def test_weights_stay_and_inputs_change() -> None:
    first, second, _ = tiny("transformer").inputs()
    assert first[1] is second[1] and not np.array_equal(first[0], second[0])


def test_variants_leave_fixed_sizes_alone() -> None:
    sizes = [case.sizes for case in CASES["matmul_8"].variants()]
    assert sizes == [(8, 1024, 1024), (8, 1023, 1023), (8, 1025, 1025), (8, 1095, 1095)]


def test_cases_are_chosen_by_pattern() -> None:
    assert [case.name for case in chosen(["matmul_8", "soft*"])] == [
        "softmax",
        "matmul_8",
        "softmax_backward",
    ]
    assert len(chosen([])) == len(CASES)
    with pytest.raises(ValueError, match="no case fits 'mat'"):
        chosen(["mat"])


@pytest.mark.parametrize("count", [3, 100_000, 1 << 20])
def test_an_output_that_is_overwritten_is_wrong_at_both_ends_and_between(count: int) -> None:
    output = np.zeros(count, np.float32)
    overwrite(memory_at(output.ctypes.data, output.nbytes))
    marks = np.flatnonzero(np.isnan(output))
    assert marks[0] == 0 and np.diff(marks, append=count).max() <= MARK_BYTES // 4


def test_the_worst_error_is_nan_if_one_is() -> None:
    assert np.isnan(worst([1.0, float("nan"), 2.0])) and worst([1.0, 2.0]) == 2.0
