"""Each rule of the simplifier fires and holds bit by bit, in whatever order rules stand."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from tests.ir.cases import CASES as CASES_OF_IR
from tests.ir.cases import Case, checked
from tests.uop.values import FLOATS, compute, leaf, points, same
from tinycore.dtype import DType, dtypes
from tinycore.uop import Ops, PatternMatcher, UOp, graph_rewrite
from tinycore.uop.affine import NEVER, mask_of
from tinycore.uop.graph import expand, full, graph_buffer, reduce, reshape
from tinycore.uop.index import Index, alias, axis, digit, gather, make, variable
from tinycore.uop.ops import const
from tinycore.uop.rewrite import COUNTERS
from tinycore.uop.shape import shape_of
from tinycore.uop.simplify import (
    scalar_constants,
    shaped,
    simple,
    simplify,
    simplify_body,
    simplify_graph,
)
from tinycore.uop.tree import (
    Access,
    Kernel,
    buffer,
    index_value,
    let,
    load,
    loop,
    mask_value,
    store,
)

INTS = dtypes.ints
SIGNED = tuple(row for row in INTS if row.kind == "i")
WHOLE = (*INTS, dtypes.bool)
NUMBERS = (*INTS, *FLOATS)
BOOL = (dtypes.bool,)
INT32 = (dtypes.int32,)
Make = Callable[[DType], UOp]


def raw(op: Ops, *src: UOp, dtype: DType | None = None) -> UOp:
    """A node that no constructor folds."""
    comparison = op in (Ops.LT, Ops.EQ)
    return UOp(op, dtype or (dtypes.bool if comparison else src[-1].dtype), src)


def X(dtype: DType) -> UOp:
    return leaf("x", dtype)


def Y(dtype: DType) -> UOp:
    return leaf("y", dtype)


def low(dtype: DType) -> UOp:
    """A value from 0 to 7."""
    return raw(Ops.AND, leaf("x", dtype), const(7, dtype))


def P(name: str = "p") -> UOp:
    return leaf(name, dtypes.bool)


def N(x: UOp) -> UOp:
    return raw(Ops.XOR, x, const(True, dtypes.bool))


def C(value: float, dtype: DType) -> UOp:
    return const(value, dtype)


i, j = axis("i", 12), axis("j", 5)
AT = index_value(i)


def at(value: Index, dtype: DType = dtypes.int32) -> UOp:
    return UOp(Ops.INDEX, dtype, (), value)


def mask(*values: Index) -> UOp:
    return mask_value(mask_of(values))


T, F = const(True, dtypes.bool), const(False, dtypes.bool)

# rule -> what it fires on, for which types
CASES: list[tuple[str, tuple[DType, ...], Make]] = [
    ("fold", NUMBERS, lambda t: raw(Ops.ADD, C(100, t), C(120, t))),
    ("fold", NUMBERS, lambda t: raw(Ops.MUL, C(7.3, t), C(91.7, t))),
    ("fold", FLOATS, lambda t: raw(Ops.EXP, C(0.7, t))),
    ("fold", FLOATS, lambda t: raw(Ops.RECIP, C(-0.0, t))),
    ("fold", FLOATS, lambda t: raw(Ops.MAX, C(float("nan"), t), C(1, t))),
    ("fold", FLOATS, lambda t: raw(Ops.FMA, C(0.1, t), C(10, t), C(-1, t))),
    ("fold", NUMBERS, lambda t: raw(Ops.LT, C(3, t), C(5, t))),
    ("fold", INTS, lambda t: raw(Ops.IDIV, C(-7, t), C(2, t))),
    ("fold", INTS, lambda t: raw(Ops.MOD, C(-7, t), C(0, t))),
    ("fold", INTS, lambda t: raw(Ops.SHL, C(3, t), C(7, t))),
    ("fold", WHOLE, lambda t: raw(Ops.XOR, C(1, t), C(1, t))),
    ("fold_cast", (*SIGNED, *FLOATS), lambda t: raw(Ops.CAST, C(-3.75, dtypes.float32), dtype=t)),
    ("fold_cast", (*WHOLE, *FLOATS), lambda t: raw(Ops.CAST, C(100, dtypes.int64), dtype=t)),
    ("fold_cast", NUMBERS, lambda t: raw(Ops.CAST, T, dtype=t)),
    ("fold_bitcast", INT32, lambda t: raw(Ops.BITCAST, C(1.5, dtypes.float32), dtype=t)),
    ("constant_right", NUMBERS, lambda t: raw(Ops.ADD, C(3, t), X(t))),
    ("constant_right", NUMBERS, lambda t: raw(Ops.EQ, C(3, t), X(t))),
    ("gather_constants", INTS, lambda t: raw(Ops.ADD, raw(Ops.ADD, X(t), C(100, t)), C(90, t))),
    ("gather_constants", INTS, lambda t: raw(Ops.MUL, raw(Ops.MUL, X(t), C(11, t)), C(-13, t))),
    ("gather_constants", WHOLE, lambda t: raw(Ops.XOR, raw(Ops.XOR, X(t), C(1, t)), C(1, t))),
    ("gather_constants", NUMBERS, lambda t: raw(Ops.MAX, raw(Ops.MAX, X(t), C(1, t)), C(4, t))),
    ("add_zero", NUMBERS, lambda t: raw(Ops.ADD, X(t), C(0, t))),
    ("add_negated", INTS, lambda t: raw(Ops.ADD, X(t), raw(Ops.NEG, X(t)))),
    ("add_negated", INTS, lambda t: raw(Ops.ADD, raw(Ops.NEG, X(t)), X(t))),
    ("multiply_by_one", NUMBERS, lambda t: raw(Ops.MUL, X(t), C(1, t))),
    ("multiply_by_zero", INTS, lambda t: raw(Ops.MUL, X(t), C(0, t))),
    ("multiply_by_minus_one", (*SIGNED, *FLOATS), lambda t: raw(Ops.MUL, X(t), C(-1, t))),
    ("multiply_negated", NUMBERS, lambda t: raw(Ops.MUL, raw(Ops.NEG, X(t)), C(3, t))),
    ("negate_product", NUMBERS, lambda t: raw(Ops.NEG, raw(Ops.MUL, X(t), C(3, t)))),
    ("negate_product", FLOATS, lambda t: raw(Ops.NEG, raw(Ops.MUL, X(t), C(0, t)))),
    ("negate_twice", NUMBERS, lambda t: raw(Ops.NEG, raw(Ops.NEG, X(t)))),
    ("divide", INTS, lambda t: raw(Ops.IDIV, X(t), C(1, t))),
    ("divide", INTS, lambda t: raw(Ops.IDIV, X(t), C(0, t))),
    ("divide", INTS, lambda t: raw(Ops.IDIV, low(t), C(4, t))),
    ("divide", INTS, lambda t: raw(Ops.IDIV, low(t), C(9, t))),
    ("divide", SIGNED, lambda t: raw(Ops.IDIV, raw(Ops.NEG, low(t)), C(-8, t))),
    ("remainder", INTS, lambda t: raw(Ops.MOD, X(t), C(1, t))),
    ("remainder", INTS, lambda t: raw(Ops.MOD, X(t), C(0, t))),
    ("remainder", INTS, lambda t: raw(Ops.MOD, low(t), C(4, t))),
    ("remainder", INTS, lambda t: raw(Ops.MOD, low(t), C(9, t))),
    ("nothing_divided", INTS, lambda t: raw(Ops.IDIV, C(0, t), X(t))),
    ("nothing_divided", INTS, lambda t: raw(Ops.MOD, C(0, t), X(t))),
    ("nothing_divided", INTS, lambda t: raw(Ops.SHR, C(0, t), low(t))),
    ("shift_by_none", INTS, lambda t: raw(Ops.SHL, X(t), C(0, t))),
    ("shift_twice", INTS, lambda t: raw(Ops.SHL, raw(Ops.SHL, X(t), C(1, t)), C(2, t))),
    ("shift_twice", INTS, lambda t: raw(Ops.SHL, raw(Ops.SHL, X(t), C(7, t)), C(t.bits - 7, t))),
    ("shift_twice", INTS, lambda t: raw(Ops.SHR, raw(Ops.SHR, X(t), C(5, t)), C(t.bits - 3, t))),
    ("convert_to_itself", NUMBERS, lambda t: raw(Ops.CAST, X(t), dtype=t)),
    (
        "cast_twice",
        INTS,
        lambda t: raw(Ops.CAST, raw(Ops.CAST, X(t), dtype=dtypes.int8), dtype=dtypes.uint8),
    ),
    (
        "cast_twice",
        (dtypes.int8, dtypes.uint8, dtypes.bool, dtypes.float16),
        lambda t: raw(Ops.CAST, raw(Ops.CAST, X(t), dtype=dtypes.float32), dtype=dtypes.float64),
    ),
    ("cast_twice", BOOL, lambda t: raw(Ops.CAST, raw(Ops.CAST, X(t), dtype=dtypes.int8), dtype=t)),
    (
        "cast_twice",
        BOOL,
        lambda t: raw(Ops.CAST, raw(Ops.CAST, X(t), dtype=dtypes.float16), dtype=t),
    ),
    ("fold_bitcast", INT32, lambda t: raw(Ops.BITCAST, C(-7, dtypes.int32), dtype=dtypes.uint32)),
    (
        "bits_of_bits",
        INT32,
        lambda t: raw(Ops.BITCAST, raw(Ops.BITCAST, X(t), dtype=dtypes.float32), dtype=t),
    ),
    ("truncate_whole", FLOATS, lambda t: raw(Ops.TRUNC, raw(Ops.TRUNC, X(t)))),
    ("truncate_whole", FLOATS, lambda t: raw(Ops.TRUNC, raw(Ops.CAST, X(dtypes.int8), dtype=t))),
    ("finite_already", FLOATS, lambda t: raw(Ops.FIN, raw(Ops.FIN, X(t)))),
    ("finite_already", FLOATS, lambda t: raw(Ops.FIN, raw(Ops.EXP, X(t)))),
    ("with_itself", WHOLE, lambda t: raw(Ops.AND, X(t), X(t))),
    ("with_itself", NUMBERS, lambda t: raw(Ops.MAX, X(t), X(t))),
    ("differs_from_itself", WHOLE, lambda t: raw(Ops.XOR, X(t), X(t))),
    ("and_constant", WHOLE, lambda t: raw(Ops.AND, X(t), C(0, t))),
    ("and_constant", WHOLE, lambda t: raw(Ops.AND, X(t), C(-1, t))),
    ("or_constant", WHOLE, lambda t: raw(Ops.OR, X(t), C(0, t))),
    ("or_constant", WHOLE, lambda t: raw(Ops.OR, X(t), C(-1, t))),
    ("xor_zero", WHOLE, lambda t: raw(Ops.XOR, X(t), C(0, t))),
    ("and_not", BOOL, lambda t: raw(Ops.AND, X(t), N(X(t)))),
    ("and_not", BOOL, lambda t: raw(Ops.AND, N(X(t)), X(t))),
    ("or_not", BOOL, lambda t: raw(Ops.OR, X(t), N(X(t)))),
    ("equal_flag", BOOL, lambda t: raw(Ops.EQ, X(t), T)),
    ("equal_flag", BOOL, lambda t: raw(Ops.EQ, X(t), F)),
    *[
        (
            "equal_flag_as_number",
            NUMBERS,
            lambda t, k=k: raw(Ops.EQ, raw(Ops.CAST, P(), dtype=t), C(k, t)),
        )
        for k in (0, 1, 2)
    ],
    ("below_flag", BOOL, lambda t: raw(Ops.LT, X(t), T)),
    ("below_flag", BOOL, lambda t: raw(Ops.LT, X(t), F)),
    ("above_flag", BOOL, lambda t: raw(Ops.LT, T, X(t))),
    ("above_flag", BOOL, lambda t: raw(Ops.LT, F, X(t))),
    ("equal_sum", INTS, lambda t: raw(Ops.EQ, raw(Ops.ADD, X(t), C(100, t)), C(-100, t))),
    ("below_itself", (*NUMBERS, dtypes.bool), lambda t: raw(Ops.LT, X(t), X(t))),
    ("equal_to_itself", WHOLE, lambda t: raw(Ops.EQ, X(t), X(t))),
    ("decided", INTS, lambda t: raw(Ops.LT, low(t), C(8, t))),
    ("decided", INTS, lambda t: raw(Ops.EQ, low(t), C(8, t))),
    ("decided", INTS, lambda t: raw(Ops.LT, raw(Ops.ADD, low(t), C(9, t)), low(t))),
    ("decided", FLOATS, lambda t: raw(Ops.LT, raw(Ops.EXP, X(t)), C(-1, t))),
    ("greatest", INTS, lambda t: raw(Ops.MAX, low(t), C(7, t))),
    ("greatest", INTS, lambda t: raw(Ops.MAX, low(t), C(0, t))),
    ("greatest", FLOATS, lambda t: raw(Ops.MAX, raw(Ops.EXP, X(t)), C(0, t))),
    ("greatest", FLOATS, lambda t: raw(Ops.MAX, X(t), C(float("-inf"), t))),
    ("least", INTS, lambda t: raw(Ops.MIN, low(t), C(7, t))),
    ("least", INTS, lambda t: raw(Ops.MIN, C(0, t), low(t))),
    ("least", FLOATS, lambda t: raw(Ops.MIN, raw(Ops.SIN, X(t)), C(1, t))),
    *[
        ("choose_by_constant", NUMBERS, lambda t, k=k: raw(Ops.WHERE, k, X(t), Y(t)))
        for k in (T, F)
    ],
    ("choose_same", NUMBERS, lambda t: raw(Ops.WHERE, P(), X(t), X(t))),
    ("choose_by_negation", NUMBERS, lambda t: raw(Ops.WHERE, N(P()), X(t), Y(t))),
    (
        "choose_again_in_yes",
        NUMBERS,
        lambda t: raw(Ops.WHERE, P(), raw(Ops.WHERE, P(), X(t), C(1, t)), Y(t)),
    ),
    (
        "choose_again_in_no",
        NUMBERS,
        lambda t: raw(Ops.WHERE, P(), X(t), raw(Ops.WHERE, P(), C(1, t), Y(t))),
    ),
    (
        "choose_by_both",
        NUMBERS,
        lambda t: raw(Ops.WHERE, P(), raw(Ops.WHERE, P("q"), X(t), Y(t)), Y(t)),
    ),
    (
        "choose_by_either",
        NUMBERS,
        lambda t: raw(Ops.WHERE, P(), X(t), raw(Ops.WHERE, P("q"), X(t), Y(t))),
    ),
    *[
        ("choose_flags", BOOL, lambda t, pair=pair: raw(Ops.WHERE, P(), *pair))
        for pair in ((T, P("q")), (F, P("q")), (P("q"), T), (P("q"), F), (T, F), (F, T))
    ],
    ("one_index", SIGNED, lambda t: raw(Ops.NEG, at(i - 3, t))),
    ("one_index", INTS, lambda t: raw(Ops.CAST, AT, dtype=t)),
    ("two_indices", INTS, lambda t: raw(Ops.ADD, at(i, t), at(3 * j, t))),
    ("two_indices", INTS, lambda t: raw(Ops.ADD, at(i, t), C(5, t))),
    ("two_indices", INTS, lambda t: raw(Ops.MUL, at(i, t), at(j, t))),
    ("two_indices", INTS, lambda t: raw(Ops.IDIV, at(i, t), C(5, t))),
    ("two_indices", INTS, lambda t: raw(Ops.MOD, at(i, t), C(5, t))),
    ("two_indices", INTS, lambda t: raw(Ops.SHL, at(i, t), C(3, t))),
    ("two_indices", SIGNED, lambda t: raw(Ops.SHR, at(i - 7, t), C(2, t))),
    ("two_indices", SIGNED, lambda t: raw(Ops.AND, at(i - 7, t), C(3, t))),
    ("index_below", INTS, lambda t: raw(Ops.LT, at(i, t), at(j + 2, t))),
    ("index_below", INTS, lambda t: raw(Ops.LT, at(i, t), C(4, t))),
    ("index_below", INTS, lambda t: raw(Ops.LT, at(i, t), C(20, t))),
    ("index_above", INTS, lambda t: raw(Ops.LT, C(4, t), at(i, t))),
    ("index_equal", INTS, lambda t: raw(Ops.EQ, at(i, t), at(j + 2, t))),
    ("index_equal", INTS, lambda t: raw(Ops.EQ, at(i, t), C(0, t))),
    ("index_equal", INTS, lambda t: raw(Ops.EQ, at(i, t), C(12, t))),
    ("and_masks", BOOL, lambda t: raw(Ops.AND, mask(i - 3), mask(j - 2))),
    ("and_masks", BOOL, lambda t: raw(Ops.AND, mask(i - 3), mask(i - 5))),
    ("and_masks", BOOL, lambda t: raw(Ops.AND, mask(i - 3), mask(2 - i))),
    ("or_masks", BOOL, lambda t: raw(Ops.OR, mask(i - 3), mask(i - 3, j - 1))),
    ("or_masks", BOOL, lambda t: raw(Ops.OR, mask(i - 3, j - 1), mask(j - 1))),
    ("not_mask", BOOL, lambda t: N(mask(i + j - 3))),
]
RULES = {rule.name: rule for rule in simplify.rules}
ALL = [(name, t, case) for name, types, case in CASES for t in types]


@pytest.mark.parametrize(
    ("name", "dtype", "case"), ALL, ids=[f"{n}-{t.name}-{k}" for k, (n, t, _) in enumerate(ALL)]
)
def test_a_rule_alone_fires_and_both_sides_agree(name: str, dtype: DType, case: Make) -> None:
    node = case(dtype)
    found = PatternMatcher([RULES[name]]).rewrite(node)
    assert found is not None
    assert found.dtype is node.dtype
    env = points([node])
    assert same(compute(node, env), compute(found, env), signed_zero=name != "add_zero")


def test_every_rule_has_a_case_and_a_name_of_its_own() -> None:
    assert {name for name, _, _ in CASES} == set(RULES)
    assert len(RULES) == len(simplify.rules)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (C(0, dtypes.float32), raw(Ops.MUL, X(dtypes.float32), C(0, dtypes.float32))),
        (
            X(dtypes.int8),
            raw(Ops.CAST, raw(Ops.CAST, X(dtypes.int8), dtype=dtypes.uint16), dtype=dtypes.int8)
            + 1,
        ),
        (
            raw(Ops.SHR, X(dtypes.int32), C(1, dtypes.int32)),
            raw(Ops.IDIV, X(dtypes.int32), C(2, dtypes.int32)),
        ),
        (T, raw(Ops.EQ, X(dtypes.float32), X(dtypes.float32))),
        (raw(Ops.NEG, C(0, dtypes.float32)), raw(Ops.MUL, X(dtypes.float32), C(0, dtypes.float32))),
    ],
)
def test_the_comparison_would_catch_a_wrong_rule(wrong: UOp, right: UOp) -> None:
    env = points([wrong, right])
    assert not same(compute(wrong, env), compute(right, env))


F32 = dtypes.float32


@pytest.mark.parametrize(
    "node",
    [
        raw(Ops.MUL, X(F32), C(0, F32)),
        raw(Ops.ADD, X(F32), raw(Ops.NEG, X(F32))),
        raw(Ops.ADD, raw(Ops.ADD, X(F32), C(1, F32)), C(2, F32)),
        raw(Ops.MUL, raw(Ops.MUL, X(F32), C(3, F32)), C(5, F32)),
        raw(Ops.RECIP, raw(Ops.RECIP, X(F32))),
        raw(Ops.LOG, raw(Ops.EXP, X(F32))),
        raw(Ops.EXP, raw(Ops.LOG, X(F32))),
        raw(Ops.EQ, X(F32), X(F32)),
        raw(Ops.LT, raw(Ops.EXP, X(F32)), C(0.5, F32)),
        raw(Ops.MAX, raw(Ops.EXP, X(F32)), X(F32)),
        raw(Ops.MAX, X(F32), C(float("nan"), F32)),
        raw(Ops.IDIV, X(dtypes.int32), C(4, dtypes.int32)),
        raw(Ops.MOD, X(dtypes.int32), C(4, dtypes.int32)),
        raw(Ops.CAST, raw(Ops.CAST, X(F32), dtype=dtypes.float16), dtype=F32),
        raw(Ops.CAST, raw(Ops.CAST, X(dtypes.int32), dtype=dtypes.int8), dtype=dtypes.int32),
        raw(Ops.CAST, raw(Ops.CAST, X(dtypes.int32), dtype=F32), dtype=dtypes.int32),
        raw(Ops.CAST, raw(Ops.CAST, X(F32), dtype=dtypes.int32), dtype=dtypes.bool),
        raw(Ops.SHL, X(dtypes.int32), C(32, dtypes.int32)),
        raw(Ops.SHL, raw(Ops.SHR, X(dtypes.int32), C(3, dtypes.int32)), C(3, dtypes.int32)),
        raw(Ops.AND, raw(Ops.OR, X(dtypes.int32), C(3, dtypes.int32)), C(3, dtypes.int32)),
        N(mask(i - 3, j - 1)),
        raw(Ops.OR, mask(i - 3), mask(j - 1)),
        raw(Ops.IDIV, at(i - 3), C(2, dtypes.int32)),
        raw(Ops.ADD, at(100 * i, dtypes.int8), C(1, dtypes.int8)),
        raw(Ops.MUL, at(i, dtypes.int8), C(100, dtypes.int8)),
        raw(Ops.LT, at(i, dtypes.int32), X(dtypes.int32)),
    ],
    ids=range(26),
)
def test_what_might_change_a_value_stays(node: UOp) -> None:
    assert graph_rewrite(node, simplify) is node


@pytest.mark.parametrize(
    ("dtype", "limit"), [(dtypes.bfloat16, 256), (dtypes.fp8e4m3, 16), (dtypes.fp8e5m2, 8)]
)
def test_small_floats_fold_in_float32_and_round_at_every_op(dtype: DType, limit: int) -> None:
    one_more = raw(Ops.ADD, C(limit, dtype), C(1, dtype))
    assert graph_rewrite(one_more, simplify) is C(limit, dtype)
    assert graph_rewrite(raw(Ops.ADD, one_more, C(1, dtype)), simplify) is C(limit, dtype)
    assert graph_rewrite(raw(Ops.MUL, C(limit, dtype), C(1.5, dtype)), simplify).arg == limit * 1.5


def test_an_overflow_of_a_type_without_infinity_is_left_to_the_device() -> None:
    node = raw(Ops.MUL, C(400, dtypes.fp8e4m3), C(2, dtypes.fp8e4m3))
    assert graph_rewrite(node, simplify) is node


def test_vectors_are_simplified_as_their_lanes_are() -> None:
    four = dtypes.float32.vec(4)
    x = leaf("x", four)
    node = raw(Ops.ADD, raw(Ops.MUL, x, C(1, four)), raw(Ops.ADD, C(1, four), C(2, four)))
    assert graph_rewrite(node, simplify) is x + 3.0
    compared = raw(Ops.LT, raw(Ops.EXP, x), C(-1, four), dtype=dtypes.bool.vec(4))
    assert graph_rewrite(compared, simplify) is C(False, dtypes.bool.vec(4))


def test_a_choice_by_a_scalar_of_vector_flags_is_no_and() -> None:
    flags = dtypes.bool.vec(4)
    node = raw(Ops.WHERE, P(), leaf("x", flags), C(False, flags))
    assert graph_rewrite(node, simplify) is node


def test_comparisons_of_indices_become_masks_that_join() -> None:
    inside = raw(Ops.AND, raw(Ops.LT, AT, at(j + 2)), N(raw(Ops.LT, AT, C(3, dtypes.int32))))
    found = graph_rewrite(inside, simplify)
    assert found.op is Ops.MASK
    assert set(found.arg) == {j - i + 1, i - 3}
    chosen = raw(Ops.WHERE, found, C(1, F32), C(1, F32))
    assert graph_rewrite(chosen, simplify) is C(1, F32)


def test_a_mask_that_cannot_hold_is_false() -> None:
    assert graph_rewrite(raw(Ops.AND, mask(i - 3), mask(2 - i)), simplify) is F
    assert graph_rewrite(raw(Ops.WHERE, mask_value(NEVER), X(F32), Y(F32)), simplify) is Y(F32)


def test_an_alias_and_a_product_stay_in_one_index() -> None:
    n = variable("n", 1, 4)
    padded = alias(i - 1, 0, 9)
    found = graph_rewrite(raw(Ops.ADD, at(padded), at(n * i)), simplify)
    assert found is at(padded + n * i)
    small = graph_rewrite(raw(Ops.LT, at(padded), C(10, dtypes.int32)), simplify)
    assert small is T


def random_expression(rng: random.Random, dtype: DType, depth: int) -> UOp:
    """An unfolded expression of a type over leaves, constants, indices and masks."""
    if depth == 0 or rng.random() < 0.15:
        return random_leaf(rng, dtype)
    pick = rng.choice(PICKS[dtype])
    if pick is Ops.CAST:
        source = rng.choice([t for t in PICKS if t is not dtype])
        if dtype.is_int and source.is_float:
            source = dtypes.bool
        return raw(pick, random_expression(rng, source, depth - 1), dtype=dtype)
    if pick in (Ops.LT, Ops.EQ):
        dtype = rng.choice(list(PICKS))
    src = [random_expression(rng, dtype, depth - 1) for _ in range(ARITY.get(pick, 2))]
    if pick is Ops.WHERE:
        src = [random_expression(rng, dtypes.bool, depth - 1), *src]
    if pick in (Ops.SHL, Ops.SHR):
        src[1] = C(rng.randint(0, 7), dtype)
    return raw(pick, *src)


def random_leaf(rng: random.Random, dtype: DType) -> UOp:
    if rng.random() < 0.4:
        return C(rng.choice([0, 1, -1, 2, 5, 8]), dtype)
    if dtype is dtypes.bool:
        return rng.choice([mask(i - 3), mask(j - 2, 8 - i), P()])
    if dtype is dtypes.int32:
        return rng.choice([AT, at(j - 2), at(digit(i, 4, 0)), X(dtype)])
    return leaf("f", dtype)


PICKS = {
    dtypes.bool: [Ops.AND, Ops.OR, Ops.XOR, Ops.LT, Ops.EQ, Ops.WHERE, Ops.CAST],
    dtypes.int32: [
        Ops.ADD,
        Ops.MUL,
        Ops.NEG,
        Ops.MAX,
        Ops.MIN,
        Ops.IDIV,
        Ops.MOD,
        Ops.AND,
        Ops.OR,
        Ops.XOR,
        Ops.SHL,
        Ops.SHR,
        Ops.WHERE,
        Ops.CAST,
    ],
    dtypes.float32: [Ops.MUL, Ops.NEG, Ops.MAX, Ops.MIN, Ops.EXP, Ops.TRUNC, Ops.WHERE, Ops.CAST],
}
ARITY = {Ops.NEG: 1, Ops.EXP: 1, Ops.TRUNC: 1}


@pytest.mark.parametrize("seed", range(12))
def test_random_expressions_keep_their_values(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(30):
        node = random_expression(rng, rng.choice(list(PICKS)), 4)
        found = graph_rewrite(node, simplify)
        env = points([node], seed)
        before, after = compute(node, env), compute(found, env)
        assert same(before, after, signed_zero=False), node
        assert graph_rewrite(found, simplify) is found


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_the_rules_does_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    rules = list(simplify.rules)
    rng.shuffle(rules)
    shuffled = PatternMatcher(rules)
    for _ in range(150):
        node = random_expression(rng, rng.choice(list(PICKS)), 3)
        assert graph_rewrite(node, shuffled) is graph_rewrite(node, simplify)


def graph(name: int, *shape: int) -> UOp:
    """A stored tensor of a graph."""
    return graph_buffer(name, shape, F32, "REF")


def test_a_graph_keeps_every_shape() -> None:
    x = graph(1, 3, 4)
    zero = full((3, 4), 0, F32)
    ints = graph_buffer(2, (3, 4), dtypes.int32, "REF")
    assert simplify_graph(UOp(Ops.ADD, F32, (x, zero))) is x
    gone = simplify_graph(UOp(Ops.XOR, dtypes.int32, (ints, ints)))
    assert gone is full((3, 4), 0, dtypes.int32)
    summed = simplify_graph(reduce(UOp(Ops.XOR, dtypes.int32, (ints, ints)), (1,), "sum"))
    assert shape_of(summed) == (3, 1)


def test_spread_constants_of_a_graph_are_taken_as_scalars() -> None:
    x = graph(1, 3, 4)
    two, three = full((3, 4), 2, F32), expand(reshape(C(3, F32), (1, 1)), (3, 4))
    node = UOp(Ops.MUL, F32, (x, UOp(Ops.ADD, F32, (two, three))))
    assert simplify_graph(node) is UOp(Ops.MUL, F32, (x, C(5, F32)))
    alone = PatternMatcher([scalar_constants]).rewrite(UOp(Ops.MUL, F32, (x, two)))
    assert alone is UOp(Ops.MUL, F32, (x, C(2, F32)))
    assert PatternMatcher([scalar_constants]).rewrite(UOp(Ops.MUL, F32, (x, x))) is None


def test_a_choice_between_constants_of_a_graph_has_the_shape_of_its_condition() -> None:
    flags = graph_buffer(3, (5,), dtypes.bool, "REF")
    node = UOp(Ops.WHERE, F32, (flags, C(1, F32), C(1, F32)))
    assert simplify_graph(node) is full((5,), 1, F32)


def test_a_graph_that_is_simple_is_left_alone() -> None:
    x, y = graph(1, 3, 4), graph(2, 3, 4)
    node = reduce(UOp(Ops.MUL, F32, (x, UOp(Ops.EXP, F32, (y,)))), (0,), "sum")
    COUNTERS.clear()
    assert simplify_graph(node) is node
    assert COUNTERS["simplify"].rewrites == 0
    assert set(shaped.decisions) >= {Ops.MUL, Ops.EXP, Ops.REDUCE}


def kernel_body(value: UOp, place: Access) -> tuple[UOp, ...]:
    """A loop that stores `value`."""
    return (loop("par", "i", 12, [store(buffer("Y", F32, (12,)), place, value)]),)


def test_the_expressions_of_a_kernel_are_simplified_where_they_stand() -> None:
    here = Access((i,))
    element = load(buffer("X", F32, (12,)), here)
    value = raw(
        Ops.WHERE,
        raw(Ops.LT, AT, C(99, dtypes.int32)),
        raw(Ops.MUL, element, C(1, F32)),
        C(0, F32),
    )
    assert simplify_body(kernel_body(value, here)) == kernel_body(element, here)
    plain = kernel_body(element, here)
    assert simplify_body(plain) == plain


def test_a_named_value_that_changes_changes_under_gathered_indices_too() -> None:
    ids, table, out = (buffer(name, dtypes.int32, (12,)) for name in ("ids", "T", "Y"))
    element = load(ids, Access((i,)))

    def body(value: UOp) -> tuple[UOp, ...]:
        row = let("row", value)
        first = let("first", load(table, Access((gather(row, 12),))))
        second = load(table, Access((gather(first, 12),)))
        return (loop("par", "i", 12, [row, first, store(out, Access((i,)), second + first)]),)

    assert simplify_body(body(raw(Ops.ADD, element, C(0, dtypes.int32)))) == body(element)


@pytest.mark.parametrize("case", {case.unit: case for case in CASES_OF_IR}.values(), ids=str)
def test_the_hand_written_kernels_compute_the_same_once_simplified(case: Case) -> None:
    unit = case.read()
    if isinstance(unit, Kernel):
        unit = unit._replace(body=simplify_body(unit.body))
        assert checked(case, unit, 0) == []
        assert simplify_body(unit.body) == unit.body


def test_a_node_over_simple_sources_takes_one_look() -> None:
    COUNTERS.clear()
    memo: dict[UOp, UOp] = {}
    node = raw(Ops.MUL, X(F32), Y(F32))
    assert simple(node, memo) is node
    assert not COUNTERS
    assert simple(raw(Ops.MUL, node, C(1, F32)), memo) is node


def test_constants_are_folded_by_numpy_bit_for_bit() -> None:
    third = graph_rewrite(raw(Ops.RECIP, C(3, F32)), simplify)
    assert np.float32(third.arg) == np.reciprocal(np.float32(3))
    assert third.arg == float(np.reciprocal(np.float32(3)))
    assert make(3).is_const
