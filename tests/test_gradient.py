"""Every gradient rule against central differences in float64, and every message of the driver."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tests.schedule.evaluate import evaluate
from tinycore.dtype import dtypes
from tinycore.errors import GradientError
from tinycore.gradient import RULES, gradient
from tinycore.uop import graph
from tinycore.uop.graph import elementwise
from tinycore.uop.ops import ELEMENTWISE, MOVEMENT, Ops, UOp, const
from tinycore.uop.table import GRAPH

Array = np.ndarray[Any, np.dtype[Any]]
Build = Callable[..., UOp]
STEP = 1e-6
rng = np.random.default_rng(7)


def leaf(number: int, shape: tuple[int, ...], dtype: Any = dtypes.float64) -> UOp:
    return graph.graph_buffer(number, shape, dtype, "REF")


def total(node: UOp) -> UOp:
    """A scalar that weighs every element differently, so that no two can be mixed up."""
    shape = node.shape
    count = int(np.prod(shape))
    weights = graph.cast(graph.reshape(graph.iota(count), shape), dtypes.float64)
    weights = elementwise(Ops.ADD, weights, const(1.0, dtypes.float64))
    product = elementwise(Ops.MUL, node, weights)
    return graph.reduce(product, range(len(shape)), "sum")


def check(build: Build, *arrays: Array, ids: Sequence[Array] = ()) -> None:
    """The gradient of total(build(...)) equals central differences in every element."""
    leaves = [leaf(k, array.shape) for k, array in enumerate(arrays)]
    more = [leaf(100 + k, array.shape, dtypes.int32) for k, array in enumerate(ids)]
    loss = total(build(*leaves, *more))
    data = dict(zip([*leaves, *more], [*arrays, *ids], strict=True))
    for target, grad, array in zip(leaves, gradient(loss, leaves), arrays, strict=True):
        assert grad is not None
        assert grad.dtype is target.dtype
        assert grad.shape == target.shape
        found = evaluate(grad, data)
        expected = differences(loss, data, target, array)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def differences(loss: UOp, data: dict[UOp, Array], target: UOp, array: Array) -> Array:
    out = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        sides = []
        for sign in (1, -1):
            moved = array.copy()
            moved[place] += sign * STEP
            sides.append(evaluate(loss, {**data, target: moved}).reshape(-1)[0])
        out[place] = (sides[0] - sides[1]) / (2 * STEP)
    return out


def normal(*shape: int) -> Array:
    return rng.standard_normal(shape)


def positive(*shape: int) -> Array:
    return rng.uniform(0.5, 2.0, shape)


def unary(op: Ops) -> Build:
    return lambda x: elementwise(op, x)


@pytest.mark.parametrize("op", [Ops.NEG, Ops.EXP, Ops.SIN])
def test_a_unary_op_has_the_gradient_of_its_formula(op: Ops) -> None:
    check(unary(op), normal(3, 4))


@pytest.mark.parametrize("op", [Ops.LOG, Ops.SQRT, Ops.RECIP])
def test_a_unary_op_of_positive_numbers_has_the_gradient_of_its_formula(op: Ops) -> None:
    check(unary(op), positive(3, 4))


@pytest.mark.parametrize("op", [Ops.ADD, Ops.MUL, Ops.MAX, Ops.MIN])
def test_a_binary_op_has_a_gradient_for_each_side(op: Ops) -> None:
    check(lambda x, y: elementwise(op, x, y), normal(3, 4), normal(3, 4))


def test_two_uses_of_one_node_add_up() -> None:
    check(
        lambda x: elementwise(Ops.ADD, elementwise(Ops.MUL, x, x), elementwise(Ops.EXP, x)),
        normal(5),
    )


@pytest.mark.parametrize("op", [Ops.MAX, Ops.MIN])
def test_ties_of_two_share_their_gradient(op: Ops) -> None:
    x, y = leaf(0, (3,)), leaf(1, (3,))
    data = {x: np.array([1.0, 2.0, 3.0]), y: np.array([1.0, 3.0, 2.0])}
    loss = graph.reduce(elementwise(op, x, y), [0], "sum")
    grads = [evaluate(g, data) for g in gradient(loss, [x, y]) if g is not None]
    np.testing.assert_array_equal(grads[0] + grads[1], np.ones(3))
    assert grads[0][0] == 0.5


def test_where_sends_the_gradient_to_the_chosen_side() -> None:
    def build(x: UOp, y: UOp) -> UOp:
        return elementwise(Ops.WHERE, elementwise(Ops.LT, x, y), elementwise(Ops.MUL, x, y), y)

    check(build, normal(4, 4), normal(4, 4))


def test_a_cast_between_floats_gives_the_gradient_in_the_old_type() -> None:
    x = leaf(0, (4,), dtypes.float32)
    loss = graph.reduce(graph.cast(x, dtypes.float64), [0], "sum")
    (grad,) = gradient(loss, [x])
    assert grad is not None
    assert grad.dtype is dtypes.float32


def test_a_half_is_summed_in_single_precision_and_keeps_its_type() -> None:
    x = leaf(0, (1, 4), dtypes.float16)
    wide = graph.cast(graph.expand(x, (1000, 4)), dtypes.float32)
    (grad,) = gradient(graph.reduce(wide, [0, 1], "sum"), [x])
    assert grad is not None
    assert grad.dtype is dtypes.float16
    assert evaluate(grad, {x: np.ones((1, 4), np.float16)}).tolist() == [[1000.0] * 4]


MOVES: dict[str, Build] = {
    "reshape": lambda x: graph.reshape(x, (2, 12)),
    "permute": lambda x: graph.permute(x, (2, 0, 1)),
    "expand": lambda x: graph.expand(graph.reshape(x, (4, 1, 6)), (4, 3, 6)),
    "pad": lambda x: graph.pad(x, ((1, 2), (0, 1), (2, 0)), 5.0),
    "shrink": lambda x: graph.shrink(x, ((1, 3), (0, 2), (1, 3))),
    "flip": lambda x: graph.flip(x, (0, 2)),
    "windows": lambda x: graph.windows(graph.reshape(x, (24,)), 0, 3, 2, 2),
    "adjoint of windows": lambda x: graph.skew(
        graph.reshape(x, (8, 3)), graph.SkewArg(0, 1, 2, 1, 18, True)
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_movement_has_its_adjoint_as_gradient(name: str) -> None:
    check(MOVES[name], normal(4, 2, 3))


@pytest.mark.parametrize("combine", ["sum", "max", "min", "prod"])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_a_reduction_has_a_gradient_for_each_element(combine: str, axes: tuple[int, ...]) -> None:
    check(lambda x: graph.reduce(x, axes, combine), normal(4, 3))


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_a_product_with_zeros_has_exact_gradients(zeros: int) -> None:
    array = normal(2, 5)
    array[0, :zeros] = 0.0
    check(lambda x: graph.reduce(x, [1], "prod"), array)


def test_ties_of_a_maximum_share_its_gradient() -> None:
    x = leaf(0, (1, 4))
    (grad,) = gradient(graph.reduce(x, [1], "max"), [x])
    assert grad is not None
    found = evaluate(grad, {x: np.array([[2.0, 5.0, 5.0, 1.0]])})
    assert found.tolist() == [[0.0, 0.5, 0.5, 0.0]]


IDS = np.array([[1, -1], [1, 9]], np.int32)


def test_gathered_rows_add_up_in_the_gradient() -> None:
    check(graph.gather, normal(4, 3), ids=[IDS])


def test_a_scattered_sum_sends_gradients_to_base_and_values() -> None:
    check(
        lambda base, values, ids: graph.scatter(base, ids, values),
        normal(4, 3),
        normal(2, 2, 3),
        ids=[IDS],
    )


@pytest.mark.parametrize("combine", ["max", "min"])
def test_a_scattered_extremum_sends_gradients_to_the_winners(combine: str) -> None:
    check(
        lambda base, values, ids: graph.scatter(base, ids, values, combine),
        normal(4, 3),
        normal(2, 2, 3),
        ids=[IDS],
    )


def test_a_store_sends_the_viewed_part_of_the_gradient_to_its_value() -> None:
    view = ((Ops.PERMUTE, (1, 0)), (Ops.SHRINK, ((1, 3), (0, 4))), (Ops.FLIP, (0,)))

    def build(base: UOp, value: UOp) -> UOp:
        stored = graph.store_view(elementwise(Ops.EXP, base), value, view)
        return elementwise(Ops.MUL, stored, stored)

    check(build, normal(4, 4), normal(2, 4))


def test_contiguous_and_detach_pass_and_stop() -> None:
    check(lambda x: elementwise(Ops.EXP, graph.contiguous(x, 1)), normal(3))
    x = leaf(0, (3,))
    loss = graph.reduce(elementwise(Ops.MUL, x, graph.detach(x)), [0], "sum")
    (grad,) = gradient(loss, [x])
    assert grad is not None
    assert evaluate(grad, {x: np.arange(3.0)}).tolist() == [0.0, 1.0, 2.0]


def test_a_copy_sends_its_gradient_back_to_where_its_source_lives() -> None:
    x = leaf(0, (1,))
    away = UOp(Ops.COPY, x.dtype, (elementwise(Ops.NEG, x),), "REF:1")
    (grad,) = gradient(elementwise(Ops.EXP, away), [x])
    assert grad is not None
    inner = grad.src[0]
    assert (inner.op, inner.arg) == (Ops.COPY, "REF")


def test_what_the_loss_does_not_depend_on_has_no_gradient() -> None:
    x, y = leaf(0, (3,)), leaf(1, (3,))
    loss = graph.reduce(elementwise(Ops.TRUNC, x), [0], "sum")
    assert gradient(loss, [x, y]) == [None, None]


def test_a_seed_weighs_the_elements_of_the_loss() -> None:
    x, seed = leaf(0, (3,)), leaf(1, (3,))
    (grad,) = gradient(elementwise(Ops.MUL, x, x), [x], seed)
    assert grad is not None
    found = evaluate(grad, {x: np.array([1.0, 2.0, 3.0]), seed: np.array([1.0, 0.0, 2.0])})
    assert found.tolist() == [2.0, 0.0, 12.0]


def test_a_second_derivative_is_a_gradient_of_a_gradient() -> None:
    x = leaf(0, (1,))
    (first,) = gradient(elementwise(Ops.MUL, elementwise(Ops.MUL, x, x), x), [x])
    assert first is not None
    (second,) = gradient(first, [x])
    assert second is not None
    assert evaluate(second, {x: np.array([5.0])}).tolist() == [30.0]


def test_a_chain_of_five_thousand_ops_is_differentiated_without_recursion() -> None:
    x = leaf(0, (1,))
    node = x
    for _ in range(5000):
        node = elementwise(Ops.ADD, node, x)
    (grad,) = gradient(node, [x])
    assert grad is not None
    assert evaluate(grad, {x: np.array([1.0])}).tolist() == [5001.0]


def test_every_op_of_the_graph_has_a_row_or_a_named_reason() -> None:
    undefined = {Ops.BITCAST, Ops.FIN, Ops.IDIV, Ops.MOD}
    bits = {Ops.AND, Ops.OR, Ops.XOR, Ops.SHL, Ops.SHR}
    graph_ops = {op for op in Ops if GRAPH in op.row.levels}
    assert graph_ops > MOVEMENT | ELEMENTWISE - {Ops.EXCHANGE}
    assert graph_ops - undefined - bits == set(RULES)


def message(build: Callable[[], object]) -> str:
    with pytest.raises(GradientError) as found:
        build()
    return str(found.value)


def test_errors_say_what_was_expected_and_what_to_do() -> None:
    x, whole = leaf(0, (3,)), leaf(1, (3,), dtypes.int32)
    one = graph.reduce(x, [0], "sum")
    assert message(lambda: gradient(whole, [x])) == (
        "gradient: the loss or a target has type dtypes.int32; "
        "expected a floating-point type. Cast it."
    )
    assert message(lambda: gradient(x, [x])) == (
        "gradient: the loss has shape (3,); expected one element. "
        "Reduce it, or pass the gradient of each element."
    )
    assert message(lambda: gradient(one, [x], x)) == (
        "gradient: the seed has shape (3,) and type dtypes.float64; "
        "expected (1,) and dtypes.float64, as the loss. Expand or cast it."
    )
    assert message(lambda: gradient(one, [whole])) == (
        "gradient: the loss or a target has type dtypes.int32; "
        "expected a floating-point type. Cast it."
    )
    odd = graph.reduce(elementwise(Ops.MOD, x, x), [0], "sum")
    assert message(lambda: gradient(odd, [x])) == (
        "gradient: mod has no gradient; expected a differentiable operation. Detach what it reads."
    )
    rows = graph.scatter(leaf(2, (4, 1)), leaf(3, (2,), dtypes.int32), leaf(4, (2, 1)), "prod")
    loss = graph.reduce(rows, [0, 1], "sum")
    assert message(lambda: gradient(loss, [leaf(2, (4, 1))])) == (
        "gradient: scatter by prod has no gradient; expected sum, max or min. Detach what it reads."
    )
