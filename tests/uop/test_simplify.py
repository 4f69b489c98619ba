"""Each rule of the simplifier fires and holds bit by bit, in whatever order rules stand."""

import random
from collections.abc import Callable

import pytest

from tests.uop.values import FLOATS, compute, leaf, points, same
from tinycore.dtype import DType, dtypes
from tinycore.uop import Ops, PatternMatcher, UOp, graph_rewrite
from tinycore.uop.index import Index, alias, axis, digit, mask_of, variable
from tinycore.uop.ops import const, toposort
from tinycore.uop.simplify import choose, index_of, number, scalar, simple, simplify
from tinycore.uop.tree import index_value, mask_value
from tinycore.uop.upat import COUNTERS

INTS = dtypes.ints
SIGNED = tuple(row for row in INTS if row.kind == "i")
WHOLE = (*INTS, dtypes.bool)
NUMBERS = (*INTS, *FLOATS)
BOOL = (dtypes.bool,)
I32, F32 = dtypes.int32, dtypes.float32
Make = Callable[[DType], UOp]


def raw(op: Ops, *src: UOp, dtype: DType | None = None) -> UOp:
    """A node that no constructor folds."""
    comparison = op in (Ops.LT, Ops.EQ)
    return UOp(op, dtype or (dtypes.bool if comparison else src[-1].dtype), src)


def X(dtype: DType) -> UOp:
    return leaf("x", dtype)


def Y(dtype: DType) -> UOp:
    return leaf("y", dtype)


def cast(x: UOp, dtype: DType) -> UOp:
    return UOp(Ops.CAST, dtype, (x,))


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
    ("folded", NUMBERS, lambda t: raw(Ops.ADD, C(100, t), C(120, t))),
    ("folded", NUMBERS, lambda t: raw(Ops.MUL, C(7.3, t), C(91.7, t))),
    ("folded", FLOATS, lambda t: raw(Ops.EXP, C(0.7, t))),
    ("folded", FLOATS, lambda t: raw(Ops.RECIP, C(-0.0, t))),
    ("folded", FLOATS, lambda t: raw(Ops.MAX, C(float("nan"), t), C(1, t))),
    ("folded", NUMBERS, lambda t: raw(Ops.LT, C(3, t), C(5, t))),
    ("folded", INTS, lambda t: raw(Ops.IDIV, C(-7, t), C(2, t))),
    ("folded", INTS, lambda t: raw(Ops.MOD, C(-7, t), C(0, t))),
    ("folded", WHOLE, lambda t: raw(Ops.XOR, C(1, t), C(1, t))),
    ("constant_right", NUMBERS, lambda t: raw(Ops.ADD, C(3, t), X(t))),
    ("constant_right", NUMBERS, lambda t: raw(Ops.EQ, C(3, t), X(t))),
    ("multiply_negated", NUMBERS, lambda t: raw(Ops.MUL, raw(Ops.NEG, X(t)), C(3, t))),
    ("multiply_negated", FLOATS, lambda t: raw(Ops.MUL, raw(Ops.NEG, X(t)), C(0, t))),
    ("negate_product", NUMBERS, lambda t: raw(Ops.NEG, raw(Ops.MUL, X(t), C(3, t)))),
    ("negate_product", FLOATS, lambda t: raw(Ops.NEG, raw(Ops.MUL, X(t), C(0, t)))),
    ("cast_nothing", NUMBERS, lambda t: cast(X(t), t)),
    ("cast_nothing", NUMBERS, lambda t: cast(C(100, dtypes.int64), t)),
    ("cast_nothing", NUMBERS, lambda t: cast(T, t)),
    ("cast_twice", INTS, lambda t: cast(cast(X(t), dtypes.int8), dtypes.uint8)),
    ("cast_twice", (dtypes.int8, dtypes.bool), lambda t: cast(cast(X(t), dtypes.int32), F32)),
    (
        "cast_twice",
        (dtypes.bool, dtypes.float16, F32),
        lambda t: cast(cast(X(t), dtypes.float64), t),
    ),
    ("cast_twice", BOOL, lambda t: cast(cast(X(t), dtypes.float16), dtypes.int8)),
    ("index_arithmetic", SIGNED, lambda t: raw(Ops.NEG, at(i - 3, t))),
    ("index_arithmetic", INTS, lambda t: cast(AT, t)),
    ("index_arithmetic", INTS, lambda t: raw(Ops.ADD, at(i, t), at(3 * j, t))),
    ("index_arithmetic", INTS, lambda t: raw(Ops.ADD, C(5, t), at(i, t))),
    ("index_arithmetic", INTS, lambda t: raw(Ops.MUL, at(i, t), at(j, t))),
    ("index_digit", INTS, lambda t: raw(Ops.IDIV, at(i, t), C(5, t))),
    ("index_digit", INTS, lambda t: raw(Ops.MOD, at(i, t), C(5, t))),
    ("index_below", INTS, lambda t: raw(Ops.LT, at(i, t), at(j + 2, t))),
    ("index_below", INTS, lambda t: raw(Ops.LT, at(i, t), C(4, t))),
    ("index_below", INTS, lambda t: raw(Ops.LT, at(i, t), C(20, t))),
    ("index_below", INTS, lambda t: raw(Ops.LT, C(4, t), at(i, t))),
    ("index_equal", INTS, lambda t: raw(Ops.EQ, at(i, t), at(j + 2, t))),
    ("index_equal", INTS, lambda t: raw(Ops.EQ, at(i, t), C(0, t))),
    ("index_equal", INTS, lambda t: raw(Ops.EQ, C(12, t), at(i, t))),
    ("and_masks", BOOL, lambda t: raw(Ops.AND, mask(i - 3), mask(j - 2))),
    ("and_masks", BOOL, lambda t: raw(Ops.AND, mask(i - 3), mask(i - 5))),
    ("not_mask", BOOL, lambda t: N(mask(i + j - 3))),
    ("equal_flag", BOOL, lambda t: raw(Ops.EQ, X(t), T)),
    ("equal_flag", BOOL, lambda t: raw(Ops.EQ, F, X(t))),
    *[
        ("choose_flags", BOOL, lambda t, pair=pair: raw(Ops.WHERE, P(), *pair))
        for pair in ((T, P("q")), (P("q"), F), (T, F), (F, T))
    ],
    ("choose_by_negation", NUMBERS, lambda t: raw(Ops.WHERE, N(P()), X(t), Y(t))),
    (
        "choose_again",
        NUMBERS,
        lambda t: raw(Ops.WHERE, P(), raw(Ops.WHERE, P(), X(t), C(1, t)), Y(t)),
    ),
    (
        "choose_by_both",
        NUMBERS,
        lambda t: raw(Ops.WHERE, mask(i - 3), raw(Ops.WHERE, mask(j - 2), X(t), Y(t)), Y(t)),
    ),
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
    assert same(compute(node, env), compute(found, env))


def test_every_rule_has_a_case_and_a_name_of_its_own() -> None:
    assert {name for name, _, _ in CASES} == set(RULES)
    assert len(RULES) == len(simplify.rules)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (C(0, F32), raw(Ops.MUL, X(F32), C(0, F32))),
        (raw(Ops.SHR, X(I32), C(1, I32)), raw(Ops.IDIV, X(I32), C(2, I32))),
        (T, raw(Ops.EQ, X(F32), X(F32))),
        (raw(Ops.NEG, C(0, F32)), raw(Ops.MUL, X(F32), C(0, F32))),
    ],
)
def test_the_comparison_would_catch_a_wrong_rule(wrong: UOp, right: UOp) -> None:
    env = points([wrong, right])
    assert not same(compute(wrong, env), compute(right, env))


@pytest.mark.parametrize(
    "node",
    [
        raw(Ops.MUL, X(F32), C(0, F32)),
        raw(Ops.ADD, X(F32), raw(Ops.NEG, X(F32))),
        raw(Ops.EQ, X(F32), X(F32)),
        cast(cast(X(F32), dtypes.float16), F32),
        cast(cast(X(I32), dtypes.int8), I32),
        cast(cast(X(I32), F32), I32),
        cast(cast(X(F32), I32), dtypes.int8),
        cast(cast(X(I32), dtypes.bool), dtypes.int8),
        cast(cast(X(dtypes.int8), dtypes.uint16), I32),
        raw(Ops.SHL, C(1, I32), C(32, I32)),
        raw(Ops.ADD, C(1, dtypes.bfloat16), C(2, dtypes.bfloat16)),
        N(mask(i - 3, j - 1)),
        raw(Ops.IDIV, at(i - 3), C(2, I32)),
        raw(Ops.MOD, at(i), C(-2, I32)),
        raw(Ops.MUL, at(i, dtypes.int8), C(100, dtypes.int8)),
        raw(Ops.LT, at(i), X(I32)),
        raw(Ops.WHERE, P(), F, P("q")),
        raw(Ops.WHERE, P(), P("q"), T),
    ],
    ids=range(18),
)
def test_what_might_change_a_value_stays(node: UOp) -> None:
    assert graph_rewrite(node, simplify) is node


def test_comparisons_of_indices_become_masks_that_join() -> None:
    inside = raw(Ops.AND, raw(Ops.LT, AT, at(j + 2)), N(raw(Ops.LT, AT, C(3, dtypes.int32))))
    found = graph_rewrite(inside, simplify)
    assert found.op is Ops.MASK
    assert set(found.arg) == {j - i + 1, i - 3}


def test_a_mask_that_cannot_hold_is_false() -> None:
    assert simple(raw(Ops.LT, AT, C(0, I32))) is F
    assert simple(N(mask(i))) is F


def test_an_alias_and_a_product_stay_in_one_index() -> None:
    n = variable("n", 1, 4)
    padded = alias(i - 1, 0, 9)
    found = graph_rewrite(raw(Ops.ADD, at(padded), at(n * i)), simplify)
    assert found is at(padded + n * i)
    small = graph_rewrite(raw(Ops.LT, at(padded), C(10, I32)), simplify)
    assert small is T


def test_a_node_is_looked_at_until_no_rule_fits_it() -> None:
    COUNTERS.clear()
    assert simple(raw(Ops.EQ, mask(i - 3), F)) is mask(2 - i)
    counters = COUNTERS["simplify"]
    assert counters.fired == {"equal_flag": 1, "not_mask": 1}
    assert (counters.visits, counters.attempts) == (3, 2)


def test_an_index_is_a_number_of_its_type_where_it_fits() -> None:
    assert number(i, dtypes.int8) is at(i, dtypes.int8)
    assert number(100 * i, dtypes.int8) is cast(at(100 * i, dtypes.int64), dtypes.int8)
    assert number(i, F32) is cast(at(i, dtypes.int64), F32)


def test_the_index_that_an_expression_is() -> None:
    assert index_of(AT) is i
    assert index_of(C(7, I32)) is i * 0 + 7
    assert index_of(C(7, F32)) is None
    assert index_of(T) is None
    assert index_of(X(I32)) is None


def test_a_choice_by_a_mask_is_simple() -> None:
    assert choose((), X(F32), 0.0) is X(F32)
    first, second = mask(i - 3), mask(j - 2)
    inner = choose(first.arg, X(F32), 0.0)
    assert choose(second.arg, inner, 0.0) is choose(mask(i - 3, j - 2).arg, X(F32), 0.0)


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


def made(root: UOp) -> UOp:
    """`root` made again through the simplifier."""
    done: dict[UOp, UOp] = {}
    for node in toposort([root]):
        src = tuple([done[source] for source in node.src])
        done[node] = scalar(node.op, node.dtype, *src) if src else node
    return done[root]


@pytest.mark.parametrize("seed", range(12))
def test_random_expressions_keep_their_values_and_end_simple(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(30):
        node = random_expression(rng, rng.choice(list(PICKS)), 4)
        found = made(node)
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
