"""A sink overwrites the buffer of its cell where nobody can tell, and a new one elsewhere."""

import numpy as np

from tests.schedule.evaluate import Array
from tests.schedule.nets import add, mul, softmax, sub, total
from tests.schedule.running import Data, check_sinks, temporaries, texts, written
from tinycore.schedule.nodes import Limits
from tinycore.uop import Ops, UOp, graph
from tinycore.uop.graph import elementwise

rng = np.random.default_rng(5)


def normal(*shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def rows_from(begin: int, end: int, width: int) -> tuple[tuple[Ops, object], ...]:
    return ((Ops.SHRINK, ((begin, end), (0, width))),)


def test_a_scaled_buffer_is_overwritten() -> None:
    data = Data()
    x = data.put(normal(4, 4))
    schedule = check_sinks([(add(mul(x, 2.0), 1.0), x)], data)
    assert schedule.places == (x,)
    assert temporaries(schedule) == []


def test_a_flipped_buffer_is_not() -> None:
    data = Data()
    x = data.put(normal(4, 4))
    assert check_sinks([(mul(graph.flip(x, [0]), 2.0), x)], data).places != (x,)


def test_a_transposed_square_is_not() -> None:
    data = Data()
    x = data.put(normal(4, 4))
    assert check_sinks([(graph.permute(x, (1, 0)), x)], data).places != (x,)


def test_a_softmax_overwrites_its_rows_after_reading_them() -> None:
    data = Data()
    x = data.put(normal(4, 6))
    assert check_sinks([(softmax(x), x)], data).places == (x,)


def test_a_row_minus_its_neighbour_keeps_the_old_rows() -> None:
    data = Data()
    x = data.put(normal(4, 6))
    below = graph.shrink(graph.pad(x, ((1, 0), (0, 0))), ((0, 4), (0, 6)))
    assert check_sinks([(sub(x, below), x)], data).places != (x,)


def test_a_flip_inside_the_row_of_a_group_keeps_the_old_row() -> None:
    data = Data()
    x = data.put(normal(4, 6))
    shown = sub(graph.flip(x, [1]), total(x, 1))
    assert check_sinks([(shown, x)], data).places != (x,)


def test_a_column_sum_is_read_before_its_buffer_is_overwritten() -> None:
    data = Data()
    x = data.put(normal(4, 4))
    schedule = check_sinks([(sub(x, total(x, 0)), x), total(x, 0)], data)
    assert schedule.places[0] is x


def test_a_reader_of_the_old_version_runs_first() -> None:
    data = Data()
    x = data.put(normal(4, 4))
    schedule = check_sinks([(add(x, 1.0), x), mul(graph.flip(x, [0]), 2.0)], data)
    assert schedule.places[0] is x
    assert len(schedule.kernels) == 2
    assert x not in written(schedule.kernels[0])


def test_a_reader_that_needs_the_new_version_too_makes_it_a_new_buffer() -> None:
    data = Data()
    x = data.put(normal(4, 4))
    new = mul(x, 2.0)
    both = total(mul(new, graph.flip(x, [0])), 1)
    assert check_sinks([(new, x), both], data).places[0] is not x


def test_two_buffers_are_not_swapped_in_place() -> None:
    data = Data()
    x, y = data.put(normal(4, 4)), data.put(normal(4, 4))
    schedule = check_sinks([(graph.contiguous(y, 1), x), (graph.contiguous(x, 2), y)], data)
    assert set(schedule.places) != {x, y} or len(schedule.kernels) == 1


def test_values_are_computed_before_the_first_store() -> None:
    data = Data()
    moment, param = data.put(normal(4, 4)), data.put(normal(4, 4))
    grown = add(mul(moment, 0.9), 1.0)
    schedule = check_sinks([(grown, moment), (sub(param, mul(grown, 0.5)), param)], data)
    assert schedule.places == (moment, param)
    assert len(schedule.kernels) == 1
    text = texts(schedule)
    assert text.index("] = v") > text.rindex("v1 =")


def test_a_write_through_a_view_touches_the_viewed_part_alone() -> None:
    data = Data()
    x, row = data.put(normal(5, 3)), data.put(normal(1, 3))
    written = graph.store_view(x, row, rows_from(2, 3, 3))
    schedule = check_sinks([(written, x)], data)
    assert schedule.places == (x,)
    assert "par i0:3\n    b1[2, i0] = b0[0, i0]" in texts(schedule)


def test_a_write_may_read_what_it_replaces() -> None:
    data = Data()
    x = data.put(normal(5, 3))
    part = graph.apply_view(x, rows_from(1, 3, 3))
    written = graph.store_view(x, mul(part, 2.0), rows_from(1, 3, 3))
    schedule = check_sinks([(written, x)], data)
    assert schedule.places == (x,)
    assert len(schedule.kernels) == 1


def test_a_write_through_a_view_that_is_stored_too_finds_its_base() -> None:
    data = Data()
    x, rows = data.put(normal(4, 3)), data.put(normal(2, 3))
    view = rows_from(1, 3, 3)
    ids = data.put(np.array([1, 2], np.int32))
    sinks = [(graph.store_view(x, rows, view), x), graph.apply_view(x, view)]
    assert check_sinks(sinks, data).places[0] is x
    check_sinks([(graph.scatter(x, ids, rows), x), graph.gather(x, ids)], data)


def test_a_write_of_its_own_other_part_becomes_a_select() -> None:
    data = Data()
    x = data.put(normal(5, 3))
    above = graph.apply_view(x, rows_from(0, 4, 3))
    written = graph.store_view(x, above, rows_from(1, 5, 3))
    schedule = check_sinks([(written, x)], data)
    assert schedule.places != (x,)
    assert "where" in texts(schedule) or "|" in texts(schedule)


def test_a_write_to_something_computed_is_a_select() -> None:
    data = Data()
    x, row = data.put(normal(5, 3)), data.put(normal(1, 3))
    written = graph.store_view(elementwise(Ops.EXP, x), row, rows_from(2, 3, 3))
    schedule = check_sinks([written], data)
    assert len(schedule.kernels) == 1


def test_a_write_through_a_chain_of_views_lands_where_numpy_says() -> None:
    data = Data()
    x = data.put(normal(4, 6))
    view = (
        (Ops.RESHAPE, (2, 12)),
        (Ops.PERMUTE, (1, 0)),
        (Ops.SHRINK, ((3, 8), (1, 2))),
        (Ops.FLIP, (0,)),
    )
    value = data.put(normal(5, 1))
    for old in (x, None):
        check_sinks([(graph.store_view(x, value, view), old)], data)


def test_a_view_of_a_computed_reshape_does_not_fold_into_its_base() -> None:
    data = Data()
    base = graph.reshape(elementwise(Ops.EXP, data.put(normal(4, 6))), (24,))
    value = data.put(normal(2, 12))
    check_sinks([graph.store_view(base, value, ((Ops.RESHAPE, (2, 12)),))], data)


def scattered(data: Data, x: UOp) -> UOp:
    ids = data.put(np.array([1, -1, 1, 9], np.int32))
    return graph.scatter(x, ids, data.put(normal(4, 3)))


def test_a_scatter_into_its_own_buffer_copies_nothing() -> None:
    data = Data()
    x = data.put(normal(5, 3))
    schedule = check_sinks([(scattered(data, x), x)], data)
    assert schedule.places == (x,)
    assert "par i0:5" not in texts(schedule)


def test_a_scatter_of_its_own_rows_reads_them_first() -> None:
    data = Data()
    x = data.put(normal(4, 3))
    ids = data.put(np.array([1, 0, 1, 3], np.int32))
    schedule = check_sinks([(graph.scatter(x, ids, graph.flip(x, [0])), x)], data)
    assert schedule.places != (x,)


def test_a_shape_or_type_that_differs_takes_a_new_buffer() -> None:
    data = Data()
    x = data.put(normal(4, 4))
    sinks = [(graph.reshape(mul(x, 2.0), (16,)), x), (graph.cast(x, graph.dtypes.float64), x)]
    for sink in sinks:
        assert check_sinks([sink], data).places != (x,)


def test_small_work_is_not_joined_where_that_would_cost_a_place() -> None:
    data = Data()
    x = data.put(normal(4, 4))
    sinks = [(add(x, 1.0), x), mul(graph.permute(x, (1, 0)), 2.0)]
    assert check_sinks(sinks, data, Limits(units=1)).places[0] is x


def test_one_node_in_two_cells_is_stored_twice() -> None:
    data = Data()
    zeros = graph.full((4,), 0.0, graph.dtypes.float32)
    schedule = check_sinks([(zeros, None), (zeros, None)], data)
    assert schedule.places[0] is not schedule.places[1]


def test_a_bare_buffer_as_a_sink_is_a_copy() -> None:
    data = Data()
    x = data.put(normal(4))
    schedule = check_sinks([(x, None)], data)
    assert schedule.places[0] is not x
