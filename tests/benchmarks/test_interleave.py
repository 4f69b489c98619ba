"""Contenders in processes of their own: figures of those that work, reasons for those that fail."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.cases import CASES
from benchmarks.checks import save
from benchmarks.contender import Contender, Failure
from benchmarks.interleave import measure
from benchmarks.report import record, told

TINY = CASES["softmax"].at((4, 8))
Start = Callable[..., Contender]


@pytest.fixture
def start() -> Iterator[Start]:
    """Fakes, by the name they get in a row and how they behave."""
    started = []

    def make(name: str, kind: str = "right") -> Contender:
        contender = Contender(name, "tests.benchmarks.fake", {"FAKE": kind})
        started.append(contender)
        return contender

    yield make
    for contender in started:
        contender.close()


def test_a_row_holds_every_turn_and_what_follows(start: Start) -> None:
    fakes = [start("tinycore"), start("torch"), start("jax", "elsewhere")]
    row = measure(TINY, fakes, 3)
    assert set(row.times) == {"tinycore", "torch"} and not row.failures
    assert [len(found) for found in row.times.values()] == [3, 3]
    assert row.best_peer == "torch" and row.ratio is not None and row.ratio > 0
    assert row.errors["tinycore"] < 1e-6 and row.versions["torch"] == "fake, right"
    assert record(row)["sizes"] == (4, 8) and "of torch (goal 1.2" in told(row)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("crash", "the process ended with status 3"),
        ("wrong", "ArithmeticError: relative error"),
        ("stale", "ArithmeticError: relative error nan"),
    ],
)
def test_a_contender_that_fails_costs_its_own_figures_alone(
    start: Start, kind: str, reason: str
) -> None:
    row = measure(TINY, [start("tinycore"), start("torch", kind)], 2)
    assert set(row.times) == {"tinycore"}
    assert row.failures["torch"].startswith(reason)
    assert f"FAILED: torch: {reason}" in told(row)


def test_a_contender_that_hangs_is_cut_off_and_started_again(start: Start, tmp_path: Path) -> None:
    contender = start("torch", "hang")
    save(TINY, tmp_path)
    request = {"prepare": ["softmax", [4, 8]], "folder": str(tmp_path)}
    assert contender.ask(request, 60)["version"] == "fake, hang"
    with pytest.raises(Failure, match="no answer in 0 s: cut off and started again"):
        contender.ask({"time": 0}, 0.2)
    assert contender.ask(request, 60)["version"] == "fake, hang"
