"""Random actions on random kernels, lowered and run, compute what REF says of the kernel."""

import numpy as np
import pytest

from tests.codegen.harness import run
from tests.codegen.lower import fuzz


@pytest.mark.parametrize("start", range(0, 80, 20))
def test_kernels_after_random_actions_run_as_the_reference(start: int) -> None:
    assert sum(fuzz.run(seed) for seed in range(start, start + 20)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 5000, 200))
def test_many_kernels_after_random_actions_run_as_the_reference(start: int) -> None:
    for seed in range(start, start + 200):
        fuzz.run(seed)


ONE_ROW = """
kernel k(I i32[16], V f32[1], Y f32[16])
  par i:16 @vec: Y[i] = V[I[i] in 1]
"""


def test_lanes_that_gather_from_one_row_are_tested_each() -> None:
    rows = np.arange(16, dtype=np.int32) % 5 - 2
    found = np.ones(16, np.float32)
    run(ONE_ROW, [rows, np.full(1, 7, np.float32), found])
    assert np.array_equal(found, np.where((rows == 0) | (rows == -1), 7, 0))
