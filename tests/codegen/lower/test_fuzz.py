"""Random actions on random kernels, lowered and run, compute what REF says of the kernel."""

import pytest

from tests.codegen.lower import fuzz


@pytest.mark.parametrize("start", range(0, 80, 20))
def test_kernels_after_random_actions_run_as_the_reference(start: int) -> None:
    assert sum(fuzz.run(seed) for seed in range(start, start + 20)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 5000, 200))
def test_many_kernels_after_random_actions_run_as_the_reference(start: int) -> None:
    for seed in range(start, start + 200):
        fuzz.run(seed)


def test_lanes_that_gather_from_one_row_are_tested_each() -> None:
    fuzz.run(2801)
