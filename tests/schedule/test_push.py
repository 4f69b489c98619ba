"""Indices pushed through movement: what becomes of masks, fills, digits and gathered rows."""

import numpy as np
import pytest

from tests.schedule.nets import leaf
from tests.schedule.running import Data, check_sinks, texts
from tinycore.dtype import dtypes
from tinycore.errors import ShapeError
from tinycore.schedule.expression import Push
from tinycore.uop import graph
from tinycore.uop.graph import elementwise
from tinycore.uop.index import NEVER, axis, mask_of, variable
from tinycore.uop.ops import COMPARISON, Ops, UOp, const
from tinycore.uop.printer import Printer
from tinycore.uop.simplify import scalar
from tinycore.uop.tree import index_value, mask_value

rng = np.random.default_rng(2)


def pushed(node: UOp) -> UOp:
    """The expression of one element of a node, over axes a0, a1, ..."""
    shape = node.shape
    axes = tuple([axis(f"a{k}", extent) for k, extent in enumerate(shape)])
    return Push(()).value(node, axes)


def place(node: UOp) -> list[str]:
    """The indices of a LOAD."""
    assert node.op is Ops.LOAD
    return [Printer().index(value) for value in node.arg.indices]


def mask(node: UOp) -> set[str]:
    """What a LOAD needs to be at least zero."""
    return {Printer().index(value) for value in node.arg.mask}


def test_a_reshape_and_back_leaves_no_digits() -> None:
    x = leaf(4, 6)
    there = graph.permute(graph.reshape(x, (4, 2, 3)), (1, 0, 2))
    back = graph.reshape(graph.permute(there, (1, 0, 2)), (24,))
    assert place(pushed(graph.reshape(back, (4, 6)))) == ["a0", "a1"]


def test_a_pad_puts_its_mask_and_fill_on_the_load() -> None:
    x = leaf(4)
    load = pushed(graph.pad(x, ((2, 1),), 5.0))
    assert place(load) == ["a0 - 2"]
    assert mask(load) == {"a0 - 2", "-a0 + 5"}
    assert load.arg.fill == 5.0


def test_a_pad_that_is_cut_away_again_leaves_no_mask() -> None:
    x = leaf(4)
    kept = pushed(graph.shrink(graph.pad(x, ((2, 1),)), ((2, 6),)))
    assert place(kept) == ["a0"]
    assert mask(kept) == set()


def test_a_chain_of_pads_has_the_mask_of_its_last_step() -> None:
    x = leaf(4)
    for _ in range(20):
        x = graph.pad(x, ((1, 1),))
    assert len(pushed(x).arg.mask) == 2


def test_a_pad_over_an_expression_masks_loads_and_chooses_after_it() -> None:
    value = pushed(graph.pad(elementwise(Ops.EXP, leaf(4)), ((0, 2),)))
    condition, inner, fill = value.src
    assert value.op is Ops.WHERE
    assert condition.op is Ops.MASK
    assert inner.src[0].arg.mask == condition.arg
    assert fill.arg == 0.0


def test_two_fills_over_one_load_are_chosen_apart() -> None:
    inner = graph.pad(leaf(4), ((1, 1),), 2.0)
    assert pushed(graph.pad(inner, ((1, 1),), 2.0)).op is Ops.LOAD
    assert pushed(graph.pad(inner, ((1, 1),), 3.0)).op is Ops.WHERE


def test_a_pad_never_reached_is_its_fill() -> None:
    outside = graph.shrink(graph.pad(leaf(4), ((3, 0),), 7.0), ((0, 2),))
    assert pushed(outside) is const(7.0, dtypes.float32)


def test_windows_and_their_adjoint_are_sums_of_axes() -> None:
    x = leaf(9)
    assert place(pushed(graph.windows(x, 0, 3, 2)))[0] == "2*a0 + a1"
    seen = graph.windows(x, 0, 3)
    back = pushed(graph.movement_adjoint(seen, leaf(7, 3)))
    assert place(back) == ["a0 - a1", "a1"]
    assert mask(back) == {"a0 - a1", "a1 - a0 + 6"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((4, 6), (24,), ["a0//6", "a0%6"]),
        ((4, 1, 6), (4, 6, 1), ["a0", "0", "a1"]),
        ((2, 6, 5), (4, 3, 5), ["a0//2", "3*(a0%2) + a1", "a2"]),
        ((1, 1), (), ["0", "0"]),
    ],
)
def test_a_reshape_takes_apart_the_axes_that_do_not_stay(
    old: tuple[int, ...], new: tuple[int, ...], expected: list[str]
) -> None:
    assert place(pushed(graph.reshape(leaf(*old), new))) == expected


def test_an_empty_axis_runs_no_iteration() -> None:
    data = Data()
    empty = data.put(np.zeros((0, 3), np.float32))
    sinks = [graph.reduce(empty, [0], "sum"), graph.reduce(empty, [0], "max")]
    check_sinks([*sinks, graph.pad(graph.reshape(empty, (3, 0)), ((0, 0), (1, 1)), 2.0)], data)


# gathered rows


def test_a_wrong_row_is_zero_also_under_a_function() -> None:
    data = Data()
    x = data.put(rng.standard_normal((4, 3)).astype(np.float32))
    ids = data.put(np.array([0, -1, 7, -9], np.int32))
    grown = elementwise(Ops.EXP, x)
    padded = graph.pad(x, ((1, 0), (0, 0)), 3.0)
    spread = graph.expand(graph.shrink(x, ((0, 1), (0, 3))), (4, 3))
    check_sinks([graph.gather(node, ids) for node in (x, grown, padded, spread)], data)


def test_a_range_of_rows_is_no_gather() -> None:
    load = pushed(graph.gather(leaf(9, 3), graph.iota(5)))
    assert place(load) == ["a0", "a1"]


def test_rows_gathered_by_gathered_numbers() -> None:
    data = Data()
    x = data.put(rng.standard_normal((5, 2)).astype(np.float32))
    first = data.put(np.array([4, 0, 2], np.int32))
    second = data.put(np.array([2, 2, -3, 1], np.int32))
    schedule = check_sinks([graph.gather(x, graph.gather(first, second))], data)
    assert "b1[b0[i0] in 3] in 5" in texts(schedule)


def test_symbolic_rows_are_refused_by_name() -> None:
    part = graph.shrink(leaf(8, 3), ((0, variable("n", 1, 8)), (0, 3)))
    with pytest.raises(ShapeError) as found:
        pushed(graph.gather(part, leaf(2, dtype=dtypes.int32)))
    assert str(found.value) == (
        "gather: the rows have extent Index(1*n + 0); expected an integer. "
        "Gather from the whole buffer."
    )


# arithmetic of indices

ROW, COLUMN = axis("i", 8), axis("j", 5)
row, column = index_value(ROW), index_value(COLUMN)


def applied(op: Ops, *src: UOp | int) -> UOp:
    typed = [s if isinstance(s, UOp) else const(s, dtypes.int32) for s in src]
    return scalar(op, dtypes.bool if op in COMPARISON else typed[-1].dtype, *typed)


def test_sums_and_products_of_indices_are_indices() -> None:
    assert applied(Ops.ADD, row, 3).arg is ROW + 3
    assert applied(Ops.ADD, applied(Ops.MUL, row, 4), column).arg is ROW * 4 + COLUMN
    assert applied(Ops.NEG, row).arg is -ROW


def test_comparisons_of_indices_are_masks() -> None:
    assert applied(Ops.LT, row, column).arg == (COLUMN - ROW - 1,)
    assert applied(Ops.LT, row, 8).arg is True
    assert applied(Ops.LT, row, 0).arg is False
    assert len(applied(Ops.EQ, row, 3).arg) == 2


def test_a_negated_mask_is_a_mask() -> None:
    less = applied(Ops.LT, row, column)
    false = const(False, dtypes.bool)
    assert applied(Ops.EQ, less, false).arg == (ROW - COLUMN,)
    assert applied(Ops.XOR, less, const(True, dtypes.bool)).arg == (ROW - COLUMN,)


def test_two_masks_are_one() -> None:
    both = applied(Ops.AND, applied(Ops.LT, row, column), applied(Ops.LT, row, 3))
    assert both.op is Ops.MASK
    assert len(both.arg) == 2


def test_division_is_a_digit_where_nothing_is_negative() -> None:
    assert applied(Ops.IDIV, row, 4).op is Ops.INDEX
    assert applied(Ops.MOD, row, 3).op is Ops.INDEX
    assert applied(Ops.MOD, applied(Ops.NEG, row), 3).op is Ops.MOD


def test_an_index_that_would_wrap_stays_a_value() -> None:
    short = index_value(ROW, dtypes.int8)
    large = const(100, dtypes.int8)
    assert scalar(Ops.MUL, dtypes.int8, short, large).op is Ops.MUL


def test_a_choice_between_true_and_false_is_its_condition() -> None:
    less = mask_value((COLUMN - ROW - 1,))
    true, false = const(True, dtypes.bool), const(False, dtypes.bool)
    assert applied(Ops.WHERE, less, true, false) is less
    assert applied(Ops.WHERE, less, false, true).arg == (ROW - COLUMN,)


def test_the_tightest_constraint_is_kept() -> None:
    assert mask_of([ROW - 1, ROW - 3, ROW]) == (ROW - 3,)
    assert mask_of([ROW - 1, ROW - 4]) == (ROW - 4,)
    assert mask_of([ROW - 9, COLUMN]) == NEVER
