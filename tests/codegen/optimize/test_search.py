"""BEAM asks for times and keeps the best; it runs nothing itself."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.codegen.optimize import assert_same, kernels
from tinycore.codegen.optimize.actions import Actions, applied
from tinycore.codegen.optimize.heuristic import heuristic
from tinycore.codegen.optimize.search import neighbours, search
from tinycore.config import Context
from tinycore.runtime.contract import Caps, Space
from tinycore.uop.printer import show

CAPS = Caps(
    dtypes=("float32", "int32"),
    spaces=(Space("host", 1 << 30),),
    vector_bytes=32,
    registers=16,
    cache_bytes=(1 << 15, 1 << 20),
    units=2,
)
GROUPS = replace(
    CAPS,
    tile_spaces=("reg", "group"),
    max_group=(64, 64, 64),
    max_group_threads=64,
    group_bytes=1 << 14,
    vector_bytes=16,
    lanes=4,
)
SMALL = kernels(A=12, B=16, C=8, D=9)


class Clock:
    """Says how long each tree takes, by its text, and remembers what it was asked."""

    def __init__(self, kernel: str, refused: str = "never") -> None:
        self.kernel = SMALL[kernel]
        self.refused = refused
        self.asked: list[list[str]] = []

    def evaluate(self, candidates: Sequence[Actions]) -> list[float | str]:
        """Fast is what unrolls; what holds `refused` does not run."""
        texts = [show(applied(self.kernel, actions)[0]) for actions in candidates]
        self.asked.append(texts)
        return ["refused" if self.refused in t else 1.0 / (1 + t.count("@unroll")) for t in texts]


def test_the_best_candidate_wins_and_computes_the_same() -> None:
    clock = Clock("rows")
    found, legal = applied(clock.kernel, search(clock.kernel, CAPS, 2, clock.evaluate))
    assert "@unroll" in show(found)
    assert len(legal) > len(heuristic(clock.kernel, CAPS)[1])
    assert_same(clock.kernel, found, 0)


def test_a_tree_is_timed_once_and_the_finalists_again() -> None:
    clock = Clock("matmul")
    search(clock.kernel, CAPS, 2, clock.evaluate)
    *rounds, finalists = clock.asked
    texts = [text for asked in rounds for text in asked]
    assert len(texts) == len(set(texts))
    assert len(finalists) <= 3


def test_what_does_not_run_is_left_out() -> None:
    clock = Clock("rows", refused="@unroll")
    assert "UNROLL" not in " ".join(search(clock.kernel, CAPS, 1, clock.evaluate)).upper()


def test_where_nothing_runs_the_heuristic_stays() -> None:
    clock = Clock("rows", refused="kernel")
    assert search(clock.kernel, CAPS, 1, clock.evaluate) == tuple(heuristic(clock.kernel, CAPS)[1])


@pytest.mark.parametrize("caps", [CAPS, GROUPS], ids=["vectors", "groups"])
@pytest.mark.parametrize("name", ["matmul", "softmax", "norm", "conv", "attention", "embed"])
def test_every_neighbour_computes_the_same(name: str, caps: Caps) -> None:
    kernel = SMALL[name]
    first = tuple(heuristic(kernel, caps)[1])
    candidates = [applied(kernel, one)[0] for one in neighbours(kernel, first, caps)]
    trees = {show(tree): tree for tree in candidates}
    assert len(trees) > 15
    for tree in list(trees.values())[::7]:
        assert_same(kernel, tree, 1)


def test_progress_is_told_at_debug_1(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock("rows")
    with Context(DEBUG=1):
        search(clock.kernel, CAPS, 1, clock.evaluate)
    assert "BEAM k: round 1, " in capsys.readouterr().out
