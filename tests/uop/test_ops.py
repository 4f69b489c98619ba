"""Nodes are interned, forgotten when dead, and built without recursion."""

import gc
import math
import pickle
import weakref

import pytest

from tinycore.dtype import dtypes, to_dtype
from tinycore.errors import DTypeError
from tinycore.uop.index import TABLES, Tables, make
from tinycore.uop.ops import (
    BINARY,
    COMMUTATIVE,
    ELEMENTWISE,
    Interning,
    Ops,
    UOp,
    alu,
    arena,
    const,
    toposort,
)

I32, F32, BOOL = dtypes.int32, dtypes.float32, dtypes.bool


def leaf(name: str = "x", dtype: object = I32) -> UOp:
    """A node without sources."""
    return UOp(Ops.VARIABLE, dtype, (), (name, 0, 9))  # type: ignore[arg-type]


# Interning


def test_equal_nodes_are_one_object() -> None:
    x = leaf()
    assert UOp(Ops.ADD, I32, (x, x)) is UOp(Ops.ADD, I32, (x, x))
    assert leaf() is x
    assert const(3, I32) is const(3, I32)


@pytest.mark.parametrize(
    "other",
    [
        {"op": Ops.MUL},
        {"dtype": dtypes.int64},
        {"src": (const(1, I32), const(2, I32))},
        {"arg": "a"},
        {"tag": "t"},
    ],
)
def test_nodes_differ_in_any_field(other: dict[str, object]) -> None:
    node = UOp(Ops.ADD, I32, (leaf(), leaf("y")))
    changed = node.replace(**other)
    assert changed is not node
    assert all(getattr(changed, field) == value for field, value in other.items())
    assert changed.replace(**{field: getattr(node, field) for field in other}) is node


def test_signed_zeros_and_numbers_that_compare_equal_stay_apart() -> None:
    assert const(0.0, F32) is not const(-0.0, F32)
    assert math.copysign(1, const(-0.0, F32).arg) == -1
    assert const(1, I32) is not const(1, F32)
    assert UOp(Ops.CONST, I32, (), True) is not UOp(Ops.CONST, I32, (), 1)


def test_a_nan_is_one_constant() -> None:
    assert const(math.nan, F32) is const(float("nan"), F32)


def test_constants_wrap_and_convert_to_their_type() -> None:
    assert const(300, dtypes.uint8).arg == 44
    assert const(2**31, I32).arg == -(2**31)
    assert const(2, BOOL).arg is True
    assert isinstance(const(2, F32).arg, float)
    assert const(7, F32.vec(4)).dtype is F32.vec(4)


def test_the_weak_table_forgets_dead_nodes() -> None:
    gc.collect()
    node = UOp(Ops.NEG, I32, (leaf("dies"),))
    watch = weakref.ref(node)
    created = Interning.created
    assert UOp(Ops.NEG, I32, (leaf("dies"),)) is node
    assert Interning.created == created
    del node
    gc.collect()
    assert watch() is None
    again = UOp(Ops.NEG, I32, (leaf("dies"),))
    assert Interning.created == created + 2
    assert again.src == (leaf("dies"),)


def test_a_node_keeps_its_sources_alive() -> None:
    node = -leaf("kept")
    gc.collect()
    created = Interning.created
    assert node.src[0] is leaf("kept")
    assert Interning.created == created


def test_an_arena_is_dropped_whole() -> None:
    with arena():
        x = leaf("arena")
        assert UOp(Ops.NEG, I32, (x,)) is UOp(Ops.NEG, I32, (x,))
        assert Interning.arena
        held = [weakref.ref(UOp(Ops.NEG, I32, (x,)))]
        assert held[0]() is not None
        del x
    gc.collect()
    assert Interning.arena is None
    assert held[0]() is None


def test_nodes_made_before_an_arena_are_found_inside() -> None:
    x = leaf("before")
    with arena():
        assert leaf("before") is x


def test_arenas_that_overlap_share_one_table() -> None:
    with arena():
        outer = -leaf("outer")
        with arena():
            assert -leaf("outer") is outer
        assert -leaf("outer") is outer
    assert Interning.arena is None


def test_an_error_inside_an_arena_ends_it() -> None:
    with pytest.raises(KeyError), arena():
        raise KeyError
    assert Interning.arena is None


def test_an_arena_drops_index_tables_that_have_grown_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, table in vars(Tables()).items():
        monkeypatch.setattr(TABLES, name, table)
    with arena():
        for number in range(200_001):
            make(number)
    assert len(TABLES.values) == 0


def test_a_pickled_node_comes_back_as_the_same_object() -> None:
    node = leaf() * 3 + 1
    assert pickle.loads(pickle.dumps(node)) is node


def test_a_node_shows_its_fields() -> None:
    assert repr(leaf() + 1) == "UOp(Ops.ADD, dtypes.int32, (VARIABLE, CONST))"
    assert repr(const(1, F32.vec(2))) == "UOp(Ops.CONST, dtypes.float32.vec(2), (), arg=1.0)"


# Arithmetic


def test_operators_make_the_node_they_stand_for() -> None:
    x, y = leaf(), leaf("y")
    made = {
        Ops.ADD: x + y,
        Ops.MUL: x * y,
        Ops.AND: x & y,
        Ops.OR: x | y,
        Ops.XOR: x ^ y,
        Ops.SHL: x << y,
        Ops.SHR: x >> y,
        Ops.LT: x < y,
    }
    for op, node in made.items():
        assert (node.op, node.src) == (op, (x, y))
    assert (x - y).src == (x, -y)
    assert (3 - x).src == (const(3, I32), -x)
    assert (3 * x) is (x * 3)
    f = leaf(dtype=F32)
    assert (f / 2).src == (f, const(2.0, F32).alu(Ops.RECIP))


def test_comparisons_give_bool_of_as_many_lanes() -> None:
    assert (leaf() < 3).dtype is BOOL
    assert (leaf(dtype=F32.vec(4)) < 3).dtype is BOOL.vec(4)
    assert alu(Ops.EQ, leaf(), leaf()).dtype is BOOL


def test_a_shift_has_the_type_of_what_is_shifted() -> None:
    assert alu(Ops.SHL, leaf(), leaf("n", dtypes.uint8)).dtype is I32


def test_neutral_constants_fold_when_made() -> None:
    x, f = leaf(), leaf(dtype=F32)
    flag = x < 3
    assert x + 0 is x and 0 + x is x and x * 1 is x and 1 * x is x
    minus = -x
    assert -minus is x and -const(3, I32) is const(-3, I32)
    assert alu(Ops.WHERE, flag, x, x) is x
    assert alu(Ops.WHERE, const(True, BOOL), x, x * 2) is x
    assert alu(Ops.WHERE, const(False, BOOL), x, x * 2) is x * 2
    assert flag & True is flag and (flag | False) is flag
    assert (flag & False).arg is False and (flag | True).arg is True
    assert (
        (x ^ 0) is x
        and (x | 0) is x
        and alu(Ops.XOR, const(0, I32), x) is x
        and (flag ^ True).op is Ops.XOR
    )
    assert (x & 1).op is Ops.AND and (x | 1).op is Ops.OR
    assert (x & x) is x and (x | x) is x
    assert x.alu(Ops.MAX, x) is x and f.alu(Ops.MIN, f) is f and (f * f).op is Ops.MUL
    assert (f * 0).op is Ops.MUL


def test_operands_of_two_types_are_refused() -> None:
    with pytest.raises(DTypeError) as error:
        alu(Ops.ADD, leaf(), leaf(dtype=F32))
    assert str(error.value) == (
        "add: operands have types dtypes.int32 and dtypes.float32; expected one type. "
        "Cast one of them."
    )


def test_a_cast_to_its_own_type_is_no_node() -> None:
    x = leaf()
    assert x.cast(I32) is x
    assert x.cast(F32).op is Ops.CAST


def test_a_constant_is_converted_early_where_nothing_rounds() -> None:
    assert const(3, I32).cast(F32) is const(3.0, F32)
    assert const(300, I32).cast(dtypes.uint8).op is Ops.CAST
    assert const(0.1, F32).cast(dtypes.float64).op is Ops.CAST
    assert const(2.5, F32).cast(I32).op is Ops.CAST
    assert const(math.inf, F32).cast(dtypes.float16) is const(math.inf, dtypes.float16)
    assert const(math.nan, F32).cast(I32).op is Ops.CAST


@pytest.mark.parametrize("name", ["bfloat16", "fp8e4m3", "fp8e5m2"])
def test_a_constant_that_a_narrow_float_cannot_hold_is_rounded_by_a_cast(name: str) -> None:
    narrow = to_dtype(name)
    assert const(255.75, F32).cast(narrow).op is Ops.CAST
    assert const(3.75, F32).cast(narrow).op is Ops.CAST
    assert const(-3.5, F32).cast(narrow) is const(-3.5, narrow)


def test_the_source_of_a_node_is_its_first() -> None:
    x, y = leaf("one"), leaf("other")
    assert (-x).source is x
    assert UOp(Ops.MOD, I32, (x, y)).source is x


def test_groups_of_ops_lie_in_each_other() -> None:
    assert COMMUTATIVE < BINARY < ELEMENTWISE
    assert len(ELEMENTWISE) <= 26
    assert len(Ops) <= 60


# Order


def test_toposort_lists_sources_first_and_each_node_once() -> None:
    x, y = leaf(), leaf("y")
    shared = x + y
    root = shared * shared + x
    order = toposort([root, shared])
    assert len(order) == len(set(order)) == 5
    assert all(order.index(source) < order.index(node) for node in order for source in node.src)
    assert order == [x, y, shared, shared * shared, root]


def test_a_chain_of_20_000_nodes_sorts_without_recursion() -> None:
    node = leaf()
    for _ in range(20_000):
        node = UOp(Ops.NEG, I32, (node,))
    order = toposort([node])
    assert len(order) == 20_001
    assert order[0] is leaf() and order[-1] is node


def test_a_deep_chain_is_freed_without_recursion() -> None:
    node = leaf("deep")
    for _ in range(20_000):
        node = UOp(Ops.NEG, I32, (node,))
    watch = weakref.ref(node)
    del node
    gc.collect()
    assert watch() is None
