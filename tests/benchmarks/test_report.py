"""What a reader sees: goals, ceilings, a summary, and a picture."""

from xml.etree import ElementTree

import pytest

from benchmarks.cases import CASES
from benchmarks.plot import svg
from benchmarks.report import summary, told
from benchmarks.row import Row


def row(ours: float, torch: float, ceiling: float = 0.0) -> Row:
    """A product that took so many seconds."""
    times = {"tinycore": [ours] * 3, "torch": [torch, 2 * torch, torch]}
    if ceiling:
        times["fma"] = [ceiling] * 3
    counts = {"tinycore": {"launches": 1, "bytes": 12_000_000}}
    return Row(CASES["matmul"], times=times, counts=counts)


@pytest.mark.parametrize(
    ("ours", "ceiling", "is_met"), [(0.5, 0.0, True), (0.99, 0.0, False), (0.5, 0.4, False)]
)
def test_a_goal_is_met_by_ratio_and_share(ours: float, ceiling: float, is_met: bool) -> None:
    assert row(ours, 1.0, ceiling).is_met is is_met


def test_a_row_names_goal_rate_ceiling_and_launches() -> None:
    text = told(row(0.005, 0.01, 0.004))
    assert "429.5 GFLOP/s" in text and "2.00 of torch (goal 1.03, met)" in text
    assert "0.80 of the ceiling 536.9 GFLOP/s (goal 0.85, NOT met)" in text
    assert "1 launches, 12.0 MB" in text and "torch 10.000 ms" in text


def test_a_row_whose_fastest_turns_say_otherwise_is_noisy() -> None:
    times = {"tinycore": [1.0, 1.0, 1.0], "torch": [0.5, 2.0, 2.0]}
    noisy = Row(CASES["softmax"], times=times)
    assert noisy.ratio == 2.0 and noisy.fastest_ratio == 0.5
    assert "NOISY: by the fastest turns 0.50 of torch" in told(noisy)
    assert "1 rows to measure again, too noisy: softmax 2048x2048" in summary([noisy])
    shaken = [1.0, 1.0, 1.5, 1.5, 2.0]
    assert Row(CASES["softmax"], times={"tinycore": shaken, "torch": shaken}).is_noisy
    assert not Row(CASES["softmax"], times={"tinycore": [0.5] * 3, "torch": [1.0] * 3}).is_noisy


def test_a_figure_above_the_ceiling_is_an_error_to_find() -> None:
    rows = [row(0.5, 1.0, 0.6)]
    assert rows[0].above_ceiling == ["tinycore"]
    assert "ABOVE THE CEILING: tinycore" in told(rows[0])
    assert "an error to find: matmul 1024x1024x1024: tinycore" in summary(rows)


def test_the_summary_counts_goals_and_names_who_is_behind() -> None:
    text = summary([row(0.5, 1.0), row(1.0, 0.8), row(1.0, 0.95)])
    assert "1 of 3 rows at their goals, of 3 measured" in text
    assert "1 rows where a peer is more than 10 % ahead" in text and "0.80 of torch" in text


def test_the_picture_is_valid_and_has_a_bar_and_a_goal_a_row() -> None:
    space = "{http://www.w3.org/2000/svg}"
    picture = ElementTree.fromstring(svg([row(0.5, 1.0), row(1.0, 0.5)], "a < b & c"))
    assert len(picture.findall(f"{space}rect")) == 1 + 2
    goals = [line for line in picture.findall(f"{space}line") if line.get("class") == "goal"]
    assert len(goals) == 2
    assert picture.findall(f"{space}text")[0].text == "a < b & c"


def test_a_picture_of_nothing_is_valid_too() -> None:
    ElementTree.fromstring(svg([], "nothing"))
