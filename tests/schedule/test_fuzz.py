"""Random graphs against numpy: a sample here, thousands by `python -m tests.schedule.fuzz`."""

import pytest

from tests.schedule.fuzz import try_seed


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_random_graphs_equal_numpy(first: int) -> None:
    for seed in range(first, first + 20):
        try:
            try_seed(seed)
        except Exception as error:
            raise AssertionError(
                f"seed {seed}; repeat by python -m tests.schedule.fuzz 1 {seed}"
            ) from error


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1_000_000, 1_010_000, 1000))
def test_ten_thousand_random_graphs_equal_numpy(first: int) -> None:
    failed = []
    for seed in range(first, first + 1000):
        try:
            try_seed(seed)
        except Exception:
            failed.append(seed)
    assert not failed
