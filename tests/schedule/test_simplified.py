"""Every rule of the simplifier fires when a graph that people write is scheduled."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.schedule import nets
from tests.schedule.nets import add, exp, number
from tests.schedule.running import Data, check_sinks
from tinycore.dtype import dtypes
from tinycore.uop import Ops, UOp, graph
from tinycore.uop.graph import elementwise
from tinycore.uop.ops import const
from tinycore.uop.simplify import simplify
from tinycore.uop.upat import COUNTERS

LENGTH = 6
rng = np.random.default_rng(5)


def places(axis: int) -> UOp:
    """The number of the row or the column, in every element of a square."""
    shape = (LENGTH, 1) if axis == 0 else (1, LENGTH)
    return graph.expand(graph.reshape(graph.iota(LENGTH), shape), (LENGTH, LENGTH))


def below(limit: int) -> UOp:
    """A mask of the first few places."""
    return elementwise(Ops.LT, graph.iota(LENGTH), const(limit, dtypes.int32))


def inverse(flags: UOp) -> UOp:
    return elementwise(Ops.XOR, flags, const(True, dtypes.bool))


def negative(x: UOp) -> UOp:
    return elementwise(Ops.LT, x, number(x, 0.0))


def where(flags: UOp, x: UOp, y: UOp) -> UOp:
    return elementwise(Ops.WHERE, flags, x, y)


def padded(x: UOp) -> UOp:
    """Two pads with a fill that no LOAD below the exponential can show."""
    return graph.pad(graph.pad(exp(x), ((1, 2),)), ((2, 1),))


def half(x: UOp) -> UOp:
    return graph.cast(x, dtypes.float16)


def double(x: UOp) -> UOp:
    return graph.cast(x, dtypes.float64)


TRUE, FALSE = const(True, dtypes.bool), const(False, dtypes.bool)
GRAPHS: dict[str, Callable[[UOp], UOp]] = {
    "folded": lambda x: add(x, elementwise(Ops.RECIP, elementwise(Ops.SQRT, number(x, 3.0)))),
    "constant_right": lambda x: elementwise(Ops.ADD, number(x, 1.0), x),
    "multiply_negated": lambda x: nets.mul(elementwise(Ops.NEG, x), 3.0),
    "negate_product": lambda x: nets.sub(exp(x), nets.mul(x, 3.0)),
    "cast_nothing": lambda x: add(UOp(Ops.CAST, x.dtype, (x,), 1), 1.0),
    "cast_twice": lambda x: double(graph.cast(half(x), dtypes.float32)),
    "index_arithmetic": lambda x: add(graph.iota(LENGTH), 3),
    "index_digit": lambda x: nets.apply(Ops.MOD, graph.iota(LENGTH), 4),
    "index_below": lambda x: elementwise(Ops.LT, places(0), places(1)),
    "index_equal": lambda x: elementwise(Ops.EQ, places(0), places(1)),
    "and_masks": lambda x: elementwise(Ops.AND, below(4), inverse(below(2))),
    "not_mask": lambda x: where(inverse(below(2)), x, number(x, 1.0)),
    "equal_flag": lambda x: elementwise(Ops.EQ, negative(x), FALSE),
    "choose_flags": lambda x: where(negative(x), TRUE, below(2)),
    "choose_by_negation": lambda x: where(inverse(negative(x)), x, exp(x)),
    "choose_again": lambda x: where(below(3), where(below(3), exp(x), x), add(x, 1.0)),
    "choose_by_both": padded,
}


def test_there_is_a_graph_for_every_rule() -> None:
    assert list(GRAPHS) == [rule.name for rule in simplify.rules]


@pytest.mark.parametrize("name", GRAPHS)
def test_a_rule_fires_in_a_schedule_whose_values_hold(name: str) -> None:
    data = Data()
    x = data.put(rng.standard_normal(LENGTH).astype(np.float32))
    COUNTERS.clear()
    check_sinks([GRAPHS[name](x)], data)
    assert COUNTERS["simplify"].fired[name] > 0
