"""Bounds hold every value, and are as tight as the rules of the simplifier need."""

import gc
import math
import random

import pytest

from tests.uop.test_simplify import PICKS, random_expression
from tests.uop.values import FLOATS, compute, leaf, points
from tinycore.dtype import DType, dtypes
from tinycore.uop import Ops, UOp
from tinycore.uop.affine import NEVER
from tinycore.uop.bounds import FLOATS as FLOAT_RULES
from tinycore.uop.bounds import INTEGERS, OF_NODE, Bounds, bounds, of_type
from tinycore.uop.graph import flip, full, gather, graph_buffer, iota, pad, reduce
from tinycore.uop.index import axis, digit
from tinycore.uop.ops import BINARY, UNARY, const
from tinycore.uop.tree import index_value, mask_value

F32, I32, BOOL = dtypes.float32, dtypes.int32, dtypes.bool
INF = math.inf
i = axis("i", 12)


def raw(op: Ops, *src: UOp, dtype: DType | None = None) -> UOp:
    """A node that no constructor folds."""
    comparison = op in (Ops.LT, Ops.EQ)
    return UOp(op, dtype or (BOOL if comparison else src[-1].dtype), src)


def between(lo: int, hi: int, dtype: DType = I32) -> UOp:
    """A value with these bounds."""
    return UOp(Ops.VARIABLE, dtype, (), ("v", lo, hi))


def known(op: Ops, *src: UOp, dtype: DType | None = None) -> tuple[object, object]:
    """The two bounds of an op."""
    return bounds(raw(op, *src, dtype=dtype))[:2]


def test_what_is_unknown_has_the_bounds_of_its_type() -> None:
    for dtype in dtypes.all:
        assert bounds(leaf("x", dtype)) == of_type(dtype)
    assert of_type(dtypes.uint8) == Bounds(0, 255, False)
    assert of_type(F32) == Bounds(-INF, INF, True)


def test_leaves_know_their_bounds() -> None:
    assert bounds(const(7, I32)) == Bounds(7, 7)
    assert bounds(const(math.nan, F32)) == of_type(F32)
    assert bounds(const(0.1, F32)).lo > 0.1
    assert bounds(between(2, 9)) == Bounds(2, 9)
    assert bounds(index_value(3 * i + 1)) == Bounds(1, 34)
    assert bounds(iota(7)) == Bounds(0, 6)
    assert bounds(mask_value((i - 3,))) == Bounds(False, True)
    assert bounds(UOp(Ops.MASK, BOOL, (), NEVER)) == Bounds(False, False)
    assert bounds(UOp(Ops.MASK, BOOL, (), ())) == Bounds(True, True)


@pytest.mark.parametrize(
    ("op", "a", "b", "expected"),
    [
        (Ops.ADD, (-3, 4), (5, 6), (2, 10)),
        (Ops.ADD, (2**31 - 5, 2**31 - 1), (0, 9), (-(2**31), 2**31 - 1)),
        (Ops.MUL, (-3, 4), (-5, 6), (-20, 24)),
        (Ops.MUL, (2, 70_000), (3, 70_000), (-(2**31), 2**31 - 1)),
        (Ops.IDIV, (-7, 9), (2, 4), (-3, 4)),
        (Ops.IDIV, (3, 9), (0, 4), (0, 9)),
        (Ops.IDIV, (-7, 9), (-1, 4), (-9, 9)),
        (Ops.MOD, (-7, 90), (2, 4), (-3, 3)),
        (Ops.MOD, (0, 2), (-9, -5), (0, 2)),
        (Ops.MOD, (-3, 90), (0, 4), (-3, 90)),
        (Ops.AND, (0, 9), (-8, 90), (0, 9)),
        (Ops.AND, (-1, 9), (-8, 90), (-(2**31), 2**31 - 1)),
        (Ops.OR, (4, 9), (1, 3), (4, 15)),
        (Ops.XOR, (4, 9), (1, 3), (0, 15)),
        (Ops.SHL, (1, 3), (0, 4), (1, 48)),
        (Ops.SHL, (1, 3), (0, 40), (-(2**31), 2**31 - 1)),
        (Ops.SHR, (-9, 20), (1, 2), (-5, 10)),
        (Ops.MAX, (-9, 20), (1, 2), (1, 20)),
        (Ops.MIN, (-9, 20), (1, 2), (-9, 2)),
        (Ops.LT, (0, 4), (5, 9), (True, True)),
        (Ops.LT, (0, 5), (5, 9), (False, True)),
        (Ops.LT, (5, 9), (0, 5), (False, False)),
        (Ops.EQ, (0, 4), (5, 9), (False, False)),
        (Ops.EQ, (0, 5), (5, 9), (False, True)),
    ],
)
def test_integers_are_exact(
    op: Ops, a: tuple[int, int], b: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert known(op, between(*a), between(*b)) == expected


def test_bits_of_known_numbers_are_known() -> None:
    six, minus = const(6, I32), const(-4, I32)
    assert known(Ops.AND, six, minus) == (4, 4)
    assert known(Ops.XOR, six, minus) == (-6, -6)
    assert known(Ops.EQ, six, six) == (True, True)
    assert known(Ops.OR, const(True, BOOL), leaf("p", BOOL)) == (True, True)


def test_conversions_keep_what_no_rounding_moves() -> None:
    assert known(Ops.CAST, between(-3, 9), dtype=F32) == (-3, 9)
    assert known(Ops.CAST, between(-3, 2**24 + 1), dtype=F32) == (-3, INF)
    assert known(Ops.CAST, between(2**24 + 1, 2**25), dtype=F32) == (0, 2**25)
    assert known(Ops.CAST, between(-3, 300), dtype=dtypes.uint8) == (0, 255)
    assert known(Ops.CAST, between(3, 30), dtype=dtypes.uint8) == (3, 30)
    assert known(Ops.CAST, between(3, 30), dtype=BOOL) == (True, True)
    assert known(Ops.CAST, const(0, I32), dtype=BOOL) == (False, False)
    assert known(Ops.CAST, leaf("x", F32), dtype=I32) == (-(2**31), 2**31 - 1)
    assert known(Ops.CAST, const(2.75, F32), dtype=I32) == (2, 2)
    assert bounds(raw(Ops.CAST, leaf("p", BOOL), dtype=F32)) == Bounds(0, 1, False)


def test_signs_of_floating_point_survive_arithmetic() -> None:
    x = leaf("x", F32)
    positive, root = raw(Ops.EXP, x), raw(Ops.SQRT, x)
    assert known(Ops.EXP, x) == known(Ops.SQRT, x) == (0, INF)
    assert known(Ops.ADD, positive, root) == known(Ops.MUL, positive, root) == (0, INF)
    assert known(Ops.NEG, positive) == (-INF, 0)
    assert known(Ops.MUL, positive, raw(Ops.NEG, root)) == (-INF, 0)
    assert known(Ops.ADD, positive, x) == (-INF, INF)
    assert known(Ops.SIN, x) == (-1, 1)
    assert known(Ops.RECIP, positive) == (-INF, INF)
    assert known(Ops.RECIP, raw(Ops.MAX, x, const(0.5, F32))) == (0, INF)
    assert known(Ops.TRUNC, const(-2.5, F32)) == (-2, -2)
    assert known(Ops.FIN, x) == (-3.4028234663852886e38, INF)
    assert known(Ops.LT, positive, const(-1, F32)) == (False, False)


def test_nan_is_tracked() -> None:
    counted = raw(Ops.CAST, between(0, 9), dtype=F32)
    wild = raw(Ops.EXP, counted)
    assert not bounds(wild).nan
    assert not bounds(raw(Ops.ADD, wild, counted)).nan
    assert bounds(raw(Ops.ADD, wild, raw(Ops.NEG, wild))).nan
    assert bounds(raw(Ops.MUL, wild, counted)).nan
    assert bounds(raw(Ops.LOG, raw(Ops.NEG, counted))).nan
    assert not bounds(raw(Ops.LOG, counted)).nan
    assert bounds(raw(Ops.SIN, wild)).nan
    assert not bounds(raw(Ops.SIN, counted)).nan
    assert bounds(raw(Ops.SQRT, leaf("x", F32))).nan


def test_movement_and_reductions_of_a_graph_pass_bounds_on() -> None:
    x = graph_buffer(1, (4, 3), dtypes.uint8, "REF")
    small = UOp(Ops.AND, dtypes.uint8, (x, const(7, dtypes.uint8)))
    assert bounds(flip(small, (0,)))[:2] == (0, 7)
    assert bounds(pad(small, ((1, 0), (0, 0)), 9))[:2] == (0, 9)
    assert bounds(reduce(small, (1,), "max"))[:2] == (0, 7)
    assert bounds(reduce(small, (1,), "sum")) == of_type(dtypes.uint8)
    ids = graph_buffer(2, (5,), I32, "REF")
    raised = UOp(Ops.OR, dtypes.uint8, (small, full((4, 3), 8, dtypes.uint8)))
    assert bounds(raised)[:2] == (8, 15)
    assert bounds(gather(raised, ids))[:2] == (0, 15)


def test_a_choice_has_the_bounds_of_both_ways_or_of_the_one_it_takes() -> None:
    yes = raw(Ops.LT, const(1, I32), const(2, I32))
    assert known(Ops.WHERE, leaf("p", BOOL), between(1, 2), between(7, 9)) == (1, 9)
    assert known(Ops.WHERE, yes, between(1, 2), between(7, 9)) == (1, 2)


def test_every_scalar_op_has_a_rule() -> None:
    ruled = {*OF_NODE, *INTEGERS, *FLOAT_RULES}
    assert UNARY | BINARY | {Ops.CAST, Ops.WHERE} <= ruled


@pytest.mark.parametrize("seed", range(12))
def test_values_of_random_expressions_lie_in_their_bounds(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        node = random_expression(rng, rng.choice(list(PICKS)), 3)
        found = bounds(node)
        values = compute(node, points([node], seed))
        numbers = values[values == values]
        assert found.nan or len(numbers) == len(values), node
        assert (found.lo <= numbers).all() and (numbers <= found.hi).all(), node


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", sorted(FLOAT_RULES.keys() & (UNARY | BINARY), key=str))
def test_values_of_every_float_op_lie_in_its_bounds(op: Ops, dtype: DType) -> None:
    x, y = leaf("x", dtype), leaf("y", dtype)
    starts = [x, raw(Ops.EXP, x), raw(Ops.SQRT, x), raw(Ops.CAST, between(1, 9), dtype=dtype)]
    for a in starts:
        node = raw(op, a) if op in UNARY else raw(op, a, raw(Ops.MAX, y, const(1, dtype)))
        found = bounds(node)
        values = compute(node, points([node]))
        numbers = values[values == values]
        assert found.nan or len(numbers) == len(values)
        assert (found.lo <= numbers).all() and (numbers <= found.hi).all()


def test_a_deep_expression_needs_no_recursion() -> None:
    node = between(0, 1)
    for _ in range(5_000):
        node = raw(Ops.AND, node, leaf("x", I32))
    assert bounds(node)[:2] == (0, 1)


def test_bounds_keep_no_node_alive() -> None:
    bounds(raw(Ops.ADD, between(0, 77), index_value(digit(i, 5, 0))))
    gc.collect()
    alive = [node for node in gc.get_objects() if isinstance(node, UOp)]
    assert not [node for node in alive if node.arg == ("v", 0, 77)]
