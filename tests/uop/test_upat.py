"""Patterns match what they say, and the generated functions match as the patterns do."""

import math
import random

import pytest

from tinycore.dtype import dtypes
from tinycore.errors import ArgumentError
from tinycore.uop import Ops, PatternMatcher, UOp, UPat, graph_rewrite
from tinycore.uop.ops import alu, const
from tinycore.uop.simplify import simplify
from tinycore.uop.upat import Rule, rule

x, y = UPat.var("x"), UPat.var("y")
A = UOp(Ops.VARIABLE, dtypes.int32, (), ("a", 0, 9))
B = UOp(Ops.VARIABLE, dtypes.int32, (), ("b", 0, 9))
F = UOp(Ops.BUFFER, dtypes.float32, (), "f")


def fits(pattern: UPat, node: UOp) -> bool:
    """Whether a rule of this pattern fires, which walking the whole pattern must confirm."""
    fired = PatternMatcher([(pattern, lambda: A.const_like(77))]).rewrite(node) is not None
    assert fired == bool(list(pattern.matches(node, {})))
    return fired


def test_the_example_of_the_public_page_works() -> None:
    doubled = UPat(Ops.ADD, src=(UPat.cvar("x"), UPat.cvar("x")))
    pm = PatternMatcher([(doubled, lambda x: x * 2)])
    one = UOp(Ops.CONST, dtypes.float32, (), 1.0)
    two = UOp(Ops.CONST, dtypes.float32, (), 2.0)
    assert graph_rewrite(UOp(Ops.ADD, dtypes.float32, (one, one)), pm) is one * 2
    mixed = UOp(Ops.ADD, dtypes.float32, (one, two))
    assert graph_rewrite(mixed, pm) is mixed


def test_a_pattern_of_nothing_matches_anything() -> None:
    assert fits(UPat(), A)
    assert fits(UPat(), A + B)


def test_an_op_is_one_or_several() -> None:
    assert fits(UPat(Ops.ADD), A + B)
    assert not fits(UPat(Ops.MUL), A + B)
    assert fits(UPat((Ops.MUL, Ops.ADD)), A + B)
    assert fits(UPat({Ops.MUL, Ops.ADD}), A + B)
    assert fits(UPat(Ops.NEG, src=(UPat((Ops.ADD, Ops.MUL)),)), -(A * B))


def test_a_scalar_type_also_matches_its_vectors_but_not_the_reverse() -> None:
    vector = UOp(Ops.BUFFER, dtypes.int32.vec(4), (), "v")
    assert fits(UPat(dtype=dtypes.int32), vector)
    assert fits(UPat(dtype=dtypes.int32.vec(4)), vector)
    assert not fits(UPat(dtype=dtypes.int32.vec(4)), A)
    assert not fits(UPat(dtype=dtypes.int32.vec(2)), vector)
    assert fits(UPat(dtype=(dtypes.float32, dtypes.int32)), vector)
    assert not fits(UPat(dtype=dtypes.floats), vector)
    assert fits(UPat(dtype=(dtypes.float32, dtypes.int32.vec(4))), vector)


def test_a_tuple_of_sources_is_in_order_and_a_list_in_any() -> None:
    constant = UPat(Ops.CONST)
    assert fits(UPat(Ops.ADD, src=(UPat(Ops.VARIABLE), constant)), A + 3)
    assert not fits(UPat(Ops.ADD, src=(constant, UPat(Ops.VARIABLE))), A + 3)
    assert fits(UPat(Ops.ADD, src=[constant, UPat(Ops.VARIABLE)]), A + 3)


def test_the_number_of_sources_must_agree_unless_any_length_is_allowed() -> None:
    block = UOp(Ops.BLOCK, dtypes.void, (A, B, F))
    assert not fits(UPat(Ops.BLOCK, src=(UPat(), UPat())), block)
    assert fits(UPat(Ops.BLOCK, src=(UPat(), UPat()), allow_any_len=True), block)
    assert fits(UPat(Ops.BLOCK, src=(UPat(),) * 3, allow_any_len=True), block)
    assert not fits(UPat(Ops.BLOCK, src=(UPat(),) * 4, allow_any_len=True), block)
    assert not fits(UPat(Ops.ADD, src=(x,)), A + B)
    assert fits(UPat(Ops.ADD, src=(x,), allow_any_len=True), A + B)
    assert fits(UPat(Ops.BLOCK, src=()), UOp(Ops.BLOCK, dtypes.void))


def test_one_pattern_for_all_sources_needs_at_least_one() -> None:
    each = UPat(Ops.BLOCK, src=UPat(Ops.VARIABLE))
    assert fits(each, UOp(Ops.BLOCK, dtypes.void, (A, B, A)))
    assert not fits(each, UOp(Ops.BLOCK, dtypes.void, (A, F)))
    assert not fits(each, UOp(Ops.BLOCK, dtypes.void, (F, A)))
    assert not fits(each, UOp(Ops.BLOCK, dtypes.void))
    assert not fits(UPat(Ops.CONST, src=x), A.const_like(1))
    assert fits(UPat(Ops.ADD, src=UPat(Ops.VARIABLE)), A + B)
    assert not fits(UPat(Ops.ADD, src=UPat(Ops.VARIABLE)), A + 3)


def test_a_name_in_a_repeated_pattern_is_one_node() -> None:
    same = UPat(Ops.BLOCK, src=UPat(Ops.VARIABLE, name="x"))
    assert fits(same, UOp(Ops.BLOCK, dtypes.void, (A, A)))
    assert not fits(same, UOp(Ops.BLOCK, dtypes.void, (A, B)))
    inner = UPat(Ops.BLOCK, src=x + UPat(Ops.CONST))
    assert fits(inner, UOp(Ops.BLOCK, dtypes.void, (A + 1, A + 2)))
    assert not fits(inner, UOp(Ops.BLOCK, dtypes.void, (A + 1, B + 2)))


def test_a_name_twice_means_the_same_node() -> None:
    assert fits(x + x, alu(Ops.ADD, A, A))
    assert not fits(x + x, A + B)
    deep = UPat(Ops.ADD, src=(-(x * 2), x))
    assert fits(deep, -(A * 2) + A)
    assert not fits(deep, -(A * 2) + B)


def test_arguments_are_compared_by_value() -> None:
    assert fits(UPat.const(None, 0), const(0.0, dtypes.float32))
    assert fits(UPat.const(None, 0), const(-0.0, dtypes.float32))
    assert not fits(UPat.const(dtypes.int32, 0), const(0.0, dtypes.float32))
    assert fits(UPat.const(None, math.inf), const(math.inf, dtypes.float32))
    assert not fits(UPat.const(None, math.inf), const(-math.inf, dtypes.float32))
    assert fits(UPat(Ops.VARIABLE, arg=("a", 0, 9)), A)
    assert not fits(UPat(Ops.VARIABLE, arg=("a", 0, 8)), A)


def test_nan_matches_nan_alone() -> None:
    assert fits(UPat.const(None, math.nan), const(math.nan, dtypes.float32))
    assert not fits(UPat.const(None, math.nan), const(1.0, dtypes.float32))


@pytest.mark.parametrize(
    ("pattern", "node"),
    [
        (x + y, A + B),
        (x * y, A * B),
        (-x, -A),
        (x & y, A & B),
        (x | y, A | B),
        (x ^ y, A ^ B),
        (x << y, A << B),
        (x >> y, A >> B),
        (x < y, A < B),
        (x // y, alu(Ops.IDIV, A, B)),
        (x % y, alu(Ops.MOD, A, B)),
        (x.eq(y), alu(Ops.EQ, A, B)),
        (~x, (A < B) ^ True),
        (3 + x, A + 3),
        (3 * x, A * 3),
        (x.cast(dtypes.float32), A.cast(dtypes.float32)),
        (x.cast(), A.cast(dtypes.float32)),
        (x.where(y, 1), alu(Ops.WHERE, A < B, A, A.const_like(1))),
        (x.alu(Ops.MAX, y), alu(Ops.MAX, A, B)),
    ],
)
def test_arithmetic_on_patterns_is_the_pattern_of_that_arithmetic(pattern: UPat, node: UOp) -> None:
    assert fits(pattern, node)
    assert not fits(pattern, F)


def test_commutative_arithmetic_matches_both_orders() -> None:
    assert fits(x + 3, UOp(Ops.ADD, dtypes.int32, (A.const_like(3), A)))
    assert not fits(x < 3, UOp(Ops.LT, dtypes.bool, (A.const_like(3), A)))


def test_the_first_rule_that_returns_a_node_wins() -> None:
    calls = []

    def passes(x: UOp) -> None:
        calls.append(x)

    rules = [
        (x + 0, passes),
        (UPat(Ops.ADD, name="x"), lambda x: x),
        (x + 0, lambda x: x * 2),
        (x + 0, lambda x: x * 3),
    ]
    node = UOp(Ops.ADD, dtypes.int32, (A, A.const_like(0)))
    assert PatternMatcher(rules).rewrite(node) is A * 2
    assert calls == [A]


def test_rules_that_share_tests_keep_their_order() -> None:
    first = (UPat(Ops.ADD, src=(UPat(Ops.NEG), UPat())), lambda: None)
    general = (UPat(Ops.ADD, name="n"), lambda n: n * 2)
    special = (UPat(Ops.ADD, src=(UPat(Ops.NEG), UPat()), name="n"), lambda n: n * 3)
    node = -A + B
    assert PatternMatcher([first, general, special]).rewrite(node) is node * 2
    assert PatternMatcher([first, special, general]).rewrite(node) is node * 3


def test_matchers_join_in_order() -> None:
    one = PatternMatcher([(x + y, lambda x: x * 2)])
    two = PatternMatcher([(x + y, lambda x: x * 3), (x * y, lambda x: x)])
    assert (one + two).rewrite(A + B) is A * 2
    assert (two + one).rewrite(A + B) is A * 3
    assert (one + two).rewrite(A * B) is A


def test_a_function_gets_the_context_if_it_asks_for_it() -> None:
    pm = PatternMatcher([(x + y, lambda ctx, x: x * ctx)])
    assert pm.rewrite(A + B, 5) is A * 5


def test_parameters_with_defaults_may_stay_unbound() -> None:
    def double(x: UOp, z: int = 2, *, times: int = 3) -> UOp:
        return x * (z * times)

    assert PatternMatcher([(x + y, double)]).rewrite(A + B) is A * 6


def test_methods_are_rules_too() -> None:
    class Doubler:
        def double(self, x: UOp) -> UOp:
            return x * 2

    assert PatternMatcher([(x + y, Doubler().double)]).rewrite(A + B) is A * 2


def test_an_unnamed_rule_is_called_by_file_and_line() -> None:
    pm = PatternMatcher([(x + y, lambda x: x), Rule("mine", x * y, lambda x: x)])
    line = pm.rules[0].function.__code__.co_firstlineno
    assert [rule.name for rule in pm.rules] == [f"test_upat.py:{line}", "mine"]


def test_a_decorated_function_is_a_rule_of_its_name_that_may_take_the_root() -> None:
    @rule(UPat(Ops.ADD, dtypes.int32, (x, UPat(Ops.CONST))))
    def drop(node: UOp, x: UOp) -> UOp:
        return x * node.src[1]

    assert drop.name == "drop"
    assert PatternMatcher([drop]).rewrite(A + 3) is A * 3
    assert PatternMatcher([drop]).rewrite(A + B) is None


def test_a_parameter_that_no_pattern_binds_is_named() -> None:
    with pytest.raises(ArgumentError) as error:
        PatternMatcher([Rule("broken", x + y, lambda x, z: x)])
    assert str(error.value) == (
        "PatternMatcher: rule broken takes 'z', which its pattern does not name; "
        "expected some of: x, y. Name it in the pattern."
    )


def test_a_builtin_is_refused_as_a_function() -> None:
    with pytest.raises(ArgumentError) as error:
        PatternMatcher([(x + y, print)])
    assert str(error.value) == (
        "PatternMatcher: <built-in function print> is no Python function; expected one with named "
        "parameters. Wrap it in a lambda."
    )


def test_a_pattern_prints_what_it_asks_for() -> None:
    pattern = UPat((Ops.ADD, Ops.MUL), dtypes.int32, (x,), name="n", allow_any_len=True)
    assert repr(pattern) == (
        "UPat(op=(Ops.ADD, Ops.MUL), dtype=dtypes.int32, src=(UPat(name='x'),), name='n', "
        "allow_any_len=True)"
    )


def test_only_rules_that_the_ops_of_a_node_and_its_sources_allow_are_tried() -> None:
    rules = [
        Rule("zero", UPat(Ops.ADD, src=(x, UPat.const(None, 0))), lambda x: x),
        Rule("negative", UPat(Ops.ADD, src=[x, UPat(Ops.NEG)]), lambda x: x),
        Rule("any", UPat(name="x"), lambda x: None),
    ]
    pm = PatternMatcher(rules)
    tried = {
        node: [rule.name for rule in pm.rules if rule.pattern.may_fit(node)]
        for node in (A + 3, -A + B, A * B)
    }
    assert tried == {A + 3: ["zero", "any"], -A + B: ["negative", "any"], A * B: ["any"]}


def random_node(rng: random.Random, depth: int) -> UOp:
    """A small integer expression, not folded."""
    if depth == 0 or rng.random() < 0.2:
        return rng.choice([A, B, A.const_like(rng.choice([0, 1, -1, 4])), A.const_like(8)])
    op = rng.choice([Ops.ADD, Ops.MUL, Ops.AND, Ops.MAX, Ops.NEG, Ops.IDIV, Ops.SHL, Ops.WHERE])
    if op is Ops.NEG:
        return UOp(op, dtypes.int32, (random_node(rng, depth - 1),))
    pair = (random_node(rng, depth - 1), random_node(rng, depth - 1))
    if op is Ops.WHERE:
        return UOp(op, dtypes.int32, (UOp(Ops.LT, dtypes.bool, pair), *pair))
    return UOp(op, dtypes.int32, pair)


@pytest.mark.parametrize("seed", range(5))
def test_rules_left_out_by_their_ops_would_not_have_fitted(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        node = random_node(rng, 3)
        found = [rule.apply(node, None) for rule in simplify.rules]
        first = next((new for new in found if new is not None), None)
        assert simplify.rewrite(node) is first
