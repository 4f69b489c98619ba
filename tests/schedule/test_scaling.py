"""Scheduling stays linear: work counted in Python calls, doubled graphs at most 2.3 times it."""

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.schedule import nets
from tests.schedule.nets import add, leaf, matmul, mul, total
from tinycore.gradient import gradient
from tinycore.schedule.create import schedule_within
from tinycore.schedule.nodes import Limits
from tinycore.uop import Ops, UOp, graph
from tinycore.uop.graph import elementwise
from tinycore.uop.index import TABLES, Tables, upper_shape

Sinks = list[tuple[UOp, UOp | None]]
FACTOR = 2.3


def calls(work: Callable[[], object]) -> int:
    """Python functions called, on this thread, by some work."""
    count = 0

    def watch(frame: Any, event: str, arg: object) -> None:
        nonlocal count
        count += event == "call" or event == "c_call"

    gc.collect()
    gc.disable()  # what others left is not this work's
    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def scheduled(sinks: Sinks) -> int:
    kept = dict(vars(TABLES))
    vars(TABLES).update(vars(Tables()))  # nothing is known from the graph before
    try:
        return calls(lambda: schedule_within(sinks, Limits(units=4)))
    finally:
        vars(TABLES).update(kept)


def scalar_ops(count: int) -> Sinks:
    x = leaf(64, 64)
    for k in range(count):
        x = elementwise(Ops.SIN, x) if k % 3 else mul(x, leaf(64, 64))
    return [(x, None)]


def pads_and_permutes(count: int) -> Sinks:
    x = leaf(6, 7, 8)
    for _ in range(count):
        x = graph.permute(graph.pad(x, ((1, 0), (0, 1), (1, 1))), (1, 2, 0))
    return [(x, None)]


def pads_and_reshapes(count: int) -> Sinks:
    x = leaf(6, 4)
    for _ in range(count):
        turned = graph.permute(graph.pad(x, ((1, 1), (1, 1))), (1, 0))
        x = graph.reshape(turned, tuple(reversed(turned.shape)))
    return [(x, None)]


def layers(count: int) -> Sinks:
    x = leaf(64, 64)
    for _ in range(count):
        x = nets.layernorm(x, leaf(64), leaf(64))
    return [(x, None)]


def recurrence(count: int) -> Sinks:
    state, weight = leaf(64, 64), leaf(64, 64)
    for _ in range(count):
        state = elementwise(Ops.SIN, add(matmul(state, weight), leaf(64, 64)))
    return [(state, None)]


def alternating_sums(count: int) -> Sinks:
    x = leaf(64, 64)
    for k in range(count):
        x = add(total(x, k % 2), x)
    return [(x, None)]


def parts_side_by_side(count: int) -> Sinks:
    found = None
    for k in range(count):
        part = graph.pad(leaf(4, 8), ((4 * k, 4 * (count - 1 - k)), (0, 0)))
        found = part if found is None else add(found, part)
    assert found is not None
    return [(found, None)]


def updates(count: int) -> Sinks:
    return [(mul(x, 0.5), x) for x in (leaf(64, 64) for _ in range(count))]


def attention_layers(count: int) -> Sinks:
    x = leaf(4, 512, 64)
    for _ in range(count):
        query, key, value = (matmul(x, leaf(64, 64)) for _ in range(3))
        x = nets.attention(query, key, value)
    return [(x, None)]


def training_step(count: int) -> Sinks:
    return nets.perceptron_step(64, [32] * (count + 1))


CHAINS: list[tuple[Callable[[int], Sinks], int]] = [
    (scalar_ops, 50),
    (scalar_ops, 200),
    (scalar_ops, 400),
    (pads_and_permutes, 8),
    (pads_and_permutes, 32),
    (pads_and_reshapes, 5),
    (pads_and_reshapes, 10),
    (layers, 16),
    (recurrence, 32),
    (alternating_sums, 64),
    (parts_side_by_side, 32),
    (updates, 100),
    (attention_layers, 4),
    (training_step, 8),
]


@pytest.mark.parametrize(("make", "count"), CHAINS)
def test_a_graph_twice_as_long_takes_about_twice_the_work(
    make: Callable[[int], Sinks], count: int
) -> None:
    once, twice = scheduled(make(count)), scheduled(make(2 * count))
    assert twice <= FACTOR * once, f"{once} calls for {count}, {twice} for twice that"


def test_a_gradient_takes_work_in_proportion_to_its_graph() -> None:
    def work(count: int) -> int:
        x = leaf(64, 64)
        y = x
        for _ in range(count):
            y = elementwise(Ops.SIN, add(y, x))
        loss = total(y)
        return calls(lambda: gradient(loss, [x]))

    assert work(400) <= FACTOR * work(200)


def test_five_thousand_ops_in_a_row_are_scheduled_without_recursion() -> None:
    (sink,) = scalar_ops(5000)
    assert len(schedule_within([sink], Limits()).kernels) == 1


def test_five_thousand_movements_in_a_row_are_scheduled_without_recursion() -> None:
    x = leaf(4, 6)
    for _ in range(1250):
        x = graph.flip(graph.permute(graph.pad(x, ((1, 0), (0, 1))), (1, 0)), [0])
        rows, columns = upper_shape(x.shape)
        x = graph.shrink(x, ((0, rows - 1), (0, columns - 1)))
    assert len(schedule_within([(x, None)], Limits()).kernels) == 1


def test_a_thousand_dependent_kernels_are_ordered_without_recursion() -> None:
    sinks = recurrence(1000)
    assert len(schedule_within(sinks, Limits(units=4)).kernels) == 1000
