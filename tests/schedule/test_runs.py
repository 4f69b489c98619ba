"""Reductions that share a loop: rebase on a maximum, factors that leave, and what is refused."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.schedule.evaluate import Array
from tests.schedule.nets import add, div, exp, highest, mul, sub, total
from tests.schedule.running import Data, check_sinks, texts
from tinycore.schedule.create import Schedule, schedule_within
from tinycore.schedule.nodes import Limits
from tinycore.uop import graph
from tinycore.uop.ops import Ops, UOp, const

rng = np.random.default_rng(9)


def normal(*shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def scheduled(build: Callable[[UOp, UOp], UOp]) -> Schedule:
    """What a chain over x and its row maximum becomes."""
    data = Data()
    x = data.put(normal(4, 9))
    return check_sinks([build(x, highest(x, 1))], data)


def test_a_sum_of_exponentials_follows_its_maximum_in_one_loop() -> None:
    schedule = scheduled(lambda x, top: total(exp(sub(x, top)), 1))
    assert texts(schedule).count("rebase") == 1
    assert texts(schedule).count("red ") == 1


def test_a_row_that_a_cache_holds_is_read_again_instead() -> None:
    data = Data()
    x = data.put(normal(4, 9))
    y = total(exp(sub(x, highest(x, 1))), 1)
    for cached, rebases in ((8, 1), (9, 0)):
        schedule = schedule_within([(y, None)], Limits(cached=cached))
        assert texts(schedule).count("rebase") == rebases
        assert texts(schedule).count("red ") == 2 - rebases


def test_a_costly_value_that_two_loops_need_is_held_in_a_row() -> None:
    data = Data()
    x = data.put(normal(4, 9))
    e = exp(sub(x, highest(x, 1)))
    softmax, once = div(e, total(e, 1)), total(e, 1)
    limits = Limits(cached=9, held=9)
    for y, rows in ((softmax, 1), (once, 0)):
        text = texts(schedule_within([(y, None)], limits))
        assert text.count("f32[9] reg") == rows
        assert text.count("exp(") == 1
    check_sinks([softmax], data, limits)


def test_a_sum_of_one_step_is_no_row_of_its_own() -> None:
    data = Data()
    x, ids = data.put(normal(2)), data.put(np.array([1], np.int32))
    added = graph.scatter(x, ids, data.put(normal(1)), "sum")
    check_sinks([added], data, Limits(held=1 << 7))


def test_a_weighted_sum_follows_too() -> None:
    schedule = scheduled(lambda x, top: total(mul(mul(x, x), exp(sub(x, top))), 1))
    assert texts(schedule).count("rebase") == 1


REFUSED: dict[str, Callable[[UOp, UOp], UOp]] = {
    "one more than the exponential": lambda x, top: total(add(exp(sub(x, top)), 1.0), 1),
    "the exponential squared": lambda x, top: total(mul(*[exp(sub(x, top))] * 2), 1),
    "no exponential": lambda x, top: total(sub(x, top), 1),
    "the maximum a second time": lambda x, top: total(mul(add(x, top), exp(sub(x, top))), 1),
    "the exponential of something else": lambda x, top: total(exp(sub(mul(x, 2.0), top)), 1),
    "a maximum of exponentials": lambda x, top: highest(exp(sub(x, top)), 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_sum_of_one_exponential_takes_a_second_loop(name: str) -> None:
    schedule = scheduled(REFUSED[name])
    assert "rebase" not in texts(schedule)
    assert texts(schedule).count("red ") == 2


def test_reductions_that_do_not_read_each_other_share_a_loop() -> None:
    data = Data()
    x, y = data.put(normal(4, 9)), data.put(normal(4, 9))
    schedule = check_sinks([mul(total(x, 1), highest(y, 1))], data)
    assert texts(schedule).count("red ") == 1


def test_a_factor_from_a_reduction_leaves_the_sum() -> None:
    data = Data()
    x, y = data.put(normal(4, 9)), data.put(normal(4, 9))
    scale = add(total(mul(y, y), 1), 1.0)
    schedule = check_sinks([total(div(mul(x, y), scale), 1)], data)
    assert texts(schedule).count("*=") == 1


def test_a_factor_leaves_only_after_the_reduction_it_comes_from() -> None:
    data = Data()
    x, y = data.put(normal(4, 9)), data.put(normal(4, 7))
    short = add(total(mul(y, y), 1), 1.0)
    long = total(mul(x, x), 1)
    scaled = total(mul(x, short), 1)
    again = total(mul(mul(x, x), scaled), 1)
    check_sinks([add(add(long, scaled), again)], data)


def test_a_row_without_any_element_is_zero_where_the_sum_has_its_own_floor() -> None:
    """The online form reads exp(-inf - -inf) as 0, where two passes would give NaN."""
    data = Data()
    array = normal(3, 4)
    array[1] = -np.inf
    x = data.put(array)
    with pytest.raises(AssertionError, match="nan location mismatch"):
        check_sinks([total(exp(sub(x, highest(x, 1))), 1)], data)


def test_sums_in_integers_and_halves_use_the_accumulator_of_the_graph() -> None:
    data = Data()
    whole = data.put(rng.integers(-9, 9, (4, 9)).astype(np.int32))
    half = data.put(normal(4, 9).astype(np.float16))
    wide = graph.reduce(half, [1], "sum", graph.dtypes.float32)
    products = graph.reduce(whole, [1], "prod")
    lowest = graph.reduce(whole, [1], "min")
    schedule = check_sinks([wide, total(whole, 1), products, lowest], data, tolerance=1e-3)
    assert "buf b2 f32[] reg = sum" in texts(schedule) or "f32[] reg = sum" in texts(schedule)


def test_booleans_are_reduced_by_max_and_min() -> None:
    data = Data()
    x = data.put(normal(4, 9))
    positive = graph.elementwise(graph.Ops.LT, const(0.0, x.dtype), x)
    found = [graph.reduce(positive, [1], combine) for combine in ("max", "min")]
    check_sinks(found, data)


def test_factors_that_leave_a_sum_do_not_meet_first() -> None:
    """Of an empty share: 0 * 1000 * 1000, where a float16 holds no million."""
    data = Data()
    x = data.put(np.full((2, 5), -1000.0, np.float16))
    e = exp(x)
    share = graph.elementwise(Ops.RECIP, add(total(e, 1), 0.001))
    part = mul(e, share)
    schedule = check_sinks([total(mul(part, part), 1)], data)
    assert texts(schedule).count("*=") == 2
