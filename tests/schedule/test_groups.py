"""What shares a kernel and what does not: parallelism, tiles and order come before fusion."""

import numpy as np
import pytest

from tests.schedule import nets
from tests.schedule.evaluate import Array
from tests.schedule.nets import add, div, exp, highest, leaf, matmul, mul, sub, total
from tests.schedule.running import Data, check_sinks, temporaries, texts
from tinycore.runtime.contract import Caps, Space
from tinycore.schedule.create import Schedule, create_schedule, schedule_within
from tinycore.schedule.groups import Grouping
from tinycore.schedule.nodes import Limits
from tinycore.schedule.stages import find_stages
from tinycore.uop import UOp, graph

rng = np.random.default_rng(3)


def normal(*shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def counted(*sinks: UOp, limits: Limits | None = None) -> Schedule:
    return schedule_within([(sink, None) for sink in sinks], limits or Limits(units=4))


# row


def test_a_reduction_and_what_reads_its_rows_are_one_kernel() -> None:
    x = leaf(64, 32)
    assert len(counted(sub(x, total(x, 1))).kernels) == 1


def test_a_scalar_does_not_pull_a_wide_stage_into_a_serial_kernel() -> None:
    x = leaf(64, 4096)
    assert len(counted(mul(x, total(x))).kernels) == 2


def test_a_scalar_takes_in_what_is_small() -> None:
    x = leaf(8, 16)
    assert len(counted(mul(x, total(x))).kernels) == 1


def test_axes_are_given_up_while_enough_remain() -> None:
    x = leaf(64, 32)
    rows = total(exp(x), 1)
    means = total(mul(rows, rows), 0)
    assert len(counted(rows, means, limits=Limits(units=1)).kernels) == 1
    assert len(counted(rows, means, limits=Limits(units=4)).kernels) == 2


def test_a_contraction_keeps_its_own_axes() -> None:
    x = leaf(64, 32)
    scaled = div(x, total(mul(x, x), 1))
    assert len(counted(matmul(scaled, leaf(32, 64))).kernels) == 2
    assert len(counted(matmul(scaled, leaf(32, 8))).kernels) == 1


def test_a_flipped_read_of_a_row_is_another_kernel() -> None:
    data = Data()
    x = data.put(normal(8, 16))
    rows = highest(x, 1)
    assert len(check_sinks([sub(x, graph.flip(rows, [0]))], data).kernels) == 2


def test_a_read_along_the_diagonal_names_one_axis_once() -> None:
    data = Data()
    products = matmul(data.put(normal(6, 3)), data.put(normal(3, 6)))
    every = graph.reshape(graph.pad(graph.reshape(products, (36,)), ((0, 6),)), (6, 7))
    diagonal = graph.shrink(every, ((0, 6), (0, 1)))
    check_sinks([mul(diagonal, 2.0), products], data)


def test_two_row_statistics_that_meet_are_merged() -> None:
    data = Data()
    x, y = data.put(normal(8, 16)), data.put(normal(8, 24))
    schedule = check_sinks([add(total(x, 1), total(exp(y), 1))], data)
    assert len(schedule.kernels) == 1


def test_statistics_are_not_merged_where_one_reads_the_other_elsewhere() -> None:
    data = Data()
    x, y = data.put(normal(8, 16)), data.put(normal(8, 16))
    first = highest(x, 1)
    second = total(mul(y, graph.flip(first, [0])), 1)
    schedule = check_sinks([add(first, second)], data)
    assert len(schedule.kernels) == 2


# sibling and tiny


def test_two_sums_over_the_same_rows_share_a_kernel() -> None:
    x, y = leaf(256, 32), leaf(256, 32)
    assert len(counted(total(x, 0), total(mul(x, y), 0)).kernels) == 1


def test_sums_over_other_data_do_not() -> None:
    assert len(counted(total(leaf(256, 32), 0), total(leaf(256, 32), 0)).kernels) == 2


def test_a_sibling_is_not_joined_across_what_lies_between() -> None:
    data = Data()
    x = data.put(normal(16, 8))
    first = total(x, 0)
    between = total(mul(x, graph.flip(first, [1])), 1)
    second = total(mul(x, graph.flip(between, [0])), 0)
    check_sinks([first, second], data, Limits(units=4))


def test_small_equal_work_shares_a_launch() -> None:
    sinks = [mul(leaf(16, 8), 2.0) for _ in range(5)]
    assert len(counted(*sinks).kernels) == 1
    assert len(counted(*sinks, limits=Limits(units=4, tiny=16)).kernels) == 5


def test_a_launch_is_shared_by_a_bounded_number() -> None:
    sinks = [mul(leaf(16, 8), 2.0) for _ in range(40)]
    assert len(counted(*sinks).kernels) == 3


# what is evaluated where it is read


def test_scores_of_few_steps_are_evaluated_where_they_are_read() -> None:
    query, key, value = (leaf(2, 256, 32) for _ in range(3))
    y = nets.attention(query, key, value, causal=False)
    assert temporaries(counted(y)) == []
    stored = counted(y, limits=Limits(units=4, recomputed_steps=8))
    assert max(node.size for node in temporaries(stored)) == 2 * 256 * 256


def test_scores_of_few_steps_count_what_is_read_not_what_that_is_a_part_of() -> None:
    whole = graph.reshape(leaf(90, 3 * 8 * 32), (90, 3, 8, 32))
    parts = [graph.shrink(whole, ((0, 90), (k, k + 1), (0, 8), (0, 32))) for k in range(3)]
    query, key, value = (graph.permute(graph.reshape(one, (90, 8, 32)), (1, 0, 2)) for one in parts)
    y = nets.attention(query, key, value)
    assert temporaries(counted(y)) == []


def test_a_copy_takes_no_axes_of_rows() -> None:
    query, key, value = (leaf(8, 256, 32) for _ in range(3))
    y = graph.permute(nets.attention(query, key, value), (1, 0, 2))
    schedule = counted(graph.contiguous(graph.reshape(y, (256, 256)), 0))
    assert [node.size for node in temporaries(schedule)] == [8 * 256 * 32]


def test_a_short_matmul_before_another_is_stored() -> None:
    hidden = matmul(leaf(64, 64), leaf(64, 32))
    assert len(counted(matmul(hidden, leaf(32, 64))).kernels) == 2


def test_a_costly_operand_of_a_contraction_is_stored_once() -> None:
    x = leaf(64, 32)
    cheap, costly = exp(x), x
    for _ in range(10):
        costly = exp(mul(costly, 0.5))
    weight = leaf(32, 64)
    assert len(counted(matmul(cheap, weight)).kernels) == 1
    assert len(counted(matmul(costly, weight)).kernels) == 2


def test_a_costly_operand_above_what_is_recomputed_goes_along() -> None:
    scores = matmul(leaf(512, 64), leaf(64, 512))
    weights = sub(scores, highest(scores, 1))
    for _ in range(10):
        weights = exp(mul(weights, 0.5))
    schedule = counted(matmul(weights, leaf(512, 64)))
    assert len(schedule.kernels) == 1
    assert temporaries(schedule) == []


def test_costly_values_that_several_stages_read_are_stored_once() -> None:
    x = leaf(64, 32)
    for _ in range(100):
        x = nets.elementwise(nets.Ops.SIN, x)
    assert len(counted(total(x, 0), total(x, 1)).kernels) == 3
    assert len(counted(total(x, 0)).kernels) == 1


def test_contiguous_is_stored_where_it_stands() -> None:
    data = Data()
    x = data.put(normal(8, 16))
    schedule = check_sinks([total(graph.contiguous(exp(x), 7), 1)], data)
    assert len(schedule.kernels) == 2
    assert len(temporaries(schedule)) == 1


# buffers of a kernel


@pytest.mark.parametrize("most", [4, 8])
def test_what_reads_more_buffers_than_a_kernel_may_have_is_several(most: int) -> None:
    data = Data()
    rows = [data.put(normal(1, 6)) for _ in range(20)]
    places = [((k, 19 - k), (0, 0)) for k in range(20)]
    joined, *others = [graph.pad(row, pair) for row, pair in zip(rows, places, strict=True)]
    for one in others:
        joined = add(joined, one)
    sinks = [joined, total(joined, 1), *[mul(row, 2.0) for row in rows]]
    schedule = check_sinks(sinks, data, Limits(units=2, buffers=most))
    assert len(schedule.kernels) >= 20 // most
    assert len(check_sinks(sinks, data).kernels) <= 3


def test_the_buffers_of_a_kernel_are_those_a_device_can_take() -> None:
    sinks = nets.convnet_step(3, 18, ((1, 4, 3, False), (4, 4, 3, True)))
    caps = Caps(dtypes=("float32",), spaces=(Space("host", 1 << 30),), max_buffers=8)
    kernels = create_schedule(sinks, caps).kernels
    assert max(len(kernel.buffers) for kernel in kernels) <= 8


# thresholds and order


@pytest.mark.parametrize("units", [1, 2, 64])
def test_every_threshold_gives_the_same_values(units: int) -> None:
    data = Data()
    x = data.put(normal(6, 10))
    y = nets.layernorm(x, data.put(normal(10)), data.put(normal(10)))
    check_sinks([nets.softmax(y), total(y, 0)], data, Limits(units=units))


def test_equal_graphs_on_other_buffers_have_equal_text() -> None:
    found = []
    for _ in range(2):
        data = Data()
        schedule = check_sinks([nets.softmax(data.put(normal(4, 6)))], data)
        found.append(texts(schedule))
    assert found[0] == found[1]


def test_groups_know_what_must_run_before_them_also_through_others() -> None:
    limits = Limits(units=4)
    x, y = leaf(512, 512), leaf(512, 512)
    stages = find_stages([matmul(matmul(matmul(x, y), x), y), exp(leaf(7))], limits)
    grouping = Grouping(stages, {}, limits)
    a, b, c, d = grouping.groups
    assert b.follows(a)
    assert c.follows(a)
    assert not a.follows(c)
    grouping.run_after(a, d.bits)
    assert c.follows(d)
    assert list(grouping.in_order()) == [d, a, b, c]
