"""Random graphs agree in every way: some in each run, others each day; 500 on request."""

from collections import Counter
from datetime import date
from unittest.mock import patch

import pytest

from tests.agreement import graphs
from tests.agreement.fired import ALL
from tests.agreement.graphs import missing, try_seed
from tests.agreement.ways import Way, built
from tinycore.engine.plan import Artifact
from tinycore.runtime.device import OpenDevice
from tinycore.uop.ops import Ops
from tinycore.uop.table import GRAPH
from tinycore.uop.tree import Kernel, Rebuild

SWAPPED = {Ops.ADD: Ops.MUL, Ops.MUL: Ops.ADD}
TODAY = date.today().toordinal() * 100


def agree(seed: int) -> Counter[str]:
    try:
        return try_seed(seed)
    except Exception as error:
        raise AssertionError(f"repeat by python -m tests.agreement 1 {seed}") from error


@pytest.mark.parametrize("first", [*range(0, 18, 6), *range(TODAY, TODAY + 12, 6)])
def test_random_graphs_agree_in_every_way(first: int) -> None:
    for seed in range(first, first + 6):
        agree(seed)


@pytest.mark.slow
def test_500_random_graphs_agree_and_everything_fires_20_times() -> None:
    counts = sum(map(agree, range(500)), Counter[str]())
    assert not missing(counts)


def test_a_way_that_computes_something_else_is_named() -> None:
    def wrong(kernel: Kernel, device: OpenDevice) -> Artifact:
        swap = Rebuild(look=lambda node: node.replace(op=SWAPPED.get(node.op, node.op)))
        return built(kernel._replace(body=swap.body(kernel.body)), device)

    told = pytest.raises(AssertionError, match="seed 0, swapped and REF differ")
    with patch.object(graphs, "ways", lambda *_: {"swapped": Way(wrong, Counter())}), told:
        try_seed(0)


def test_what_has_to_fire_is_what_the_tables_hold() -> None:
    ops = {op.name for op in Ops if GRAPH in op.row.levels}
    assert {f"op {name}" for name in ops} <= {*ALL} and "op COPY" in ALL and "rebase var" in ALL


def test_what_never_fired_is_missing() -> None:
    counts = Counter(dict.fromkeys(ALL, 20)) - Counter(["action FACTOR"])
    assert missing(counts) == {"action FACTOR": 19}
