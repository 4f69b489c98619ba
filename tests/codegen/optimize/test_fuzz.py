"""Random sequences of actions leave kernels legal and their results as they were."""

import pytest

from tests.codegen.optimize import fuzz


@pytest.mark.parametrize("start", range(0, 40, 10))
def test_random_legal_actions_compute_the_same(start: int) -> None:
    assert all(fuzz.run(seed) for seed in range(start, start + 10))


@pytest.mark.parametrize("start", range(0, 40, 10))
def test_what_the_heuristic_chooses_computes_the_same(start: int) -> None:
    for seed in range(start, start + 10):
        fuzz.run_heuristic(seed)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 3000, 100))
def test_many_random_legal_actions_compute_the_same(start: int) -> None:
    for seed in range(start, start + 100):
        fuzz.run(seed)
