"""Cells become data once, in place where nobody can tell, by plans that are kept."""

import numpy as np
import pytest

from tinycore.config import Context
from tinycore.dtype import dtypes
from tinycore.engine import plan as planning
from tinycore.engine.cell import Cell, Cells
from tinycore.engine.plan import graph_key
from tinycore.runtime.buffer import GlobalCounters
from tinycore.tensor import Tensor
from tinycore.uop import graph


def count(tensor: Tensor) -> int:
    """How many kernels realizing `tensor` takes."""
    before = GlobalCounters.kernel_count
    tensor.realize()
    return GlobalCounters.kernel_count - before


def test_equal_graphs_over_other_buffers_have_one_key() -> None:
    keys = []
    for _ in range(2):
        a, b = Tensor.empty(3, 4).realize(), Tensor.empty(3, 4).realize()
        key, leaves = graph_key([((a * 2 + b).uop, None)])
        keys.append(key)
        assert leaves == [a.uop, b.uop]
    assert keys[0] == keys[1]


def test_aliased_arguments_have_a_key_of_their_own() -> None:
    a, b = Tensor.empty(3).realize(), Tensor.empty(3).realize()
    assert graph_key([((a + b).uop, None)])[0] != graph_key([((a + a).uop, None)])[0]


def test_constants_of_other_signs_of_zero_have_keys_of_their_own() -> None:
    a = Tensor.empty(3).realize()
    keys = [graph_key([((a * zero).uop, None)])[0] for zero in (0.0, -0.0)]
    assert keys[0] != keys[1]


def test_an_equal_graph_is_neither_scheduled_nor_compiled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def made(size: int) -> Tensor:
        return (Tensor(list(range(size))).realize().float() * 3).exp()

    made(5).realize()
    monkeypatch.setattr(planning, "create_schedule", None)
    monkeypatch.setattr(planning, "build", None)
    assert np.allclose(made(5).numpy(), np.exp(3.0 * np.arange(5)))


def test_two_zeros_are_two_buffers() -> None:
    a, b = Tensor.zeros(4).contiguous(), Tensor.zeros(4).contiguous()
    a.realize(b)
    a += 1
    assert (a.tolist(), b.tolist()) == ([1.0] * 4, [0.0] * 4)


def test_an_update_goes_in_place() -> None:
    x = Tensor([1.0, 2.0, 3.0]).realize()
    stored = x.uop
    x += 1
    assert count(x) == 1
    assert x.uop is stored
    assert x.tolist() == [2.0, 3.0, 4.0]


def test_a_pending_reader_sees_the_old_value() -> None:
    x = Tensor([1.0, 2.0]).realize()
    double = x * 2
    x += 10
    x.realize()
    assert (x.tolist(), double.tolist()) == ([11.0, 12.0], [2.0, 4.0])


def test_nothing_runs_for_what_is_stored() -> None:
    assert count(Tensor([1, 2]).realize()) == 0


def test_source_is_told_at_debug_4_and_assembly_at_debug_7(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = {}
    for level, size in ((3, 37), (4, 41), (7, 43)):
        with Context(DEBUG=level, CCACHE=0):
            (Tensor.empty(size).realize() * 5 + 1).realize()
        told[level] = capsys.readouterr().out
    assert "define void @" not in told[3]
    assert "define void @" in told[4] and ".text" not in told[4]
    assert "define void @" in told[7] and ".text" in told[7]


def test_cells_may_be_made_while_one_looks_at_them() -> None:
    cells = Cells()
    kept = [Cell(graph.full((1,), 0, dtypes.int32), "REF") for _ in range(3)]
    for cell in kept:
        cells[cell] = None
    more = []
    for cell in cells:
        more.append(Cell(cell.uop, cell.device))
        cells[more[-1]] = None
    assert (len(cells), len(more)) == (6, 3)
