"""Products of matrices, windows and attention agree with plain loops in numpy."""

import math
from typing import Any

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tests.tensor.differences import check_gradient
from tinycore.dtype import dtypes
from tinycore.errors import ArgumentError, ShapeError
from tinycore.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]
rng = np.random.default_rng(4)


def normal(*shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


# products


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 5)),
        ((4,), (4,)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((2, 3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((7, 1, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 5)),
    ],
)
def test_a_product_is_numpys(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = normal(*left), normal(*right)
    same(Tensor(a) @ Tensor(b), a @ b, 1e-5)
    same(Tensor(a).dot(Tensor(b)), a @ b, 1e-5)
    same(Tensor(b).matmul(Tensor(a), reverse=True), a @ b, 1e-5)


def test_products_of_integers_stay_integers() -> None:
    product = Tensor([[1, 2]]) @ Tensor([[3], [4]])
    assert (product.dtype, product.tolist()) == (dtypes.int32, [[11]])


def test_products_of_halves_are_added_in_more_bits() -> None:
    ones = Tensor.full((1, 4096), 1.0, dtype="float16")
    assert (ones @ ones.T).item() == 4096
    assert ones.dot(ones.T, dtype="float32").dtype is dtypes.float32


def test_linear_adds_a_bias() -> None:
    x, w, b = normal(2, 3), normal(3, 4), normal(4)
    same(Tensor(x).linear(Tensor(w), Tensor(b)), x @ w + b, 1e-5)
    same(Tensor(x).linear(Tensor(b[:3])), x * b[:3], 1e-5)
    same(Tensor(b).outer(Tensor(b)), np.outer(b, b), 1e-5)


def test_gradients_of_products_are_slopes() -> None:
    check_gradient(lambda x, y: x @ y, (2, 3, 4), (4, 5))
    check_gradient(lambda x, y: x @ y, (4,), (4,))


def test_products_without_a_shared_axis_are_refused() -> None:
    assert message(ShapeError, lambda: Tensor.ones(2, 3) @ Tensor.ones(2, 3)) == (
        "dot: shapes (2, 3) and (2, 3) share no axis to sum over; expected (.., m, k) and "
        "(.., k, n). Transpose one"
    )
    with pytest.raises(ShapeError, match=r"dot: shapes \(2,\) and \(3,\) do not broadcast"):
        Tensor.ones(2, 3, 4) @ Tensor.ones(3, 4, 5)


# attention


def attention(q: Array, k: Array, v: Array, hidden: Array) -> Array:
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    powers = np.exp(np.where(hidden, -np.inf, scores))
    return powers / powers.sum(-1, keepdims=True) @ v


def test_attention_is_its_formula() -> None:
    q, k, v = normal(2, 3, 5, 4), normal(2, 3, 6, 4), normal(2, 3, 6, 7)
    none = np.zeros((5, 6), bool)
    causal = np.arange(5)[:, None] < np.arange(6)
    x = [Tensor(a) for a in (q, k, v)]
    same(x[0].scaled_dot_product_attention(x[1], x[2]), attention(q, k, v, none), 1e-5)
    got = x[0].scaled_dot_product_attention(x[1], x[2], is_causal=True)
    same(got, attention(q, k, v, causal), 1e-5)
    got = x[0].scaled_dot_product_attention(x[1], x[2], attn_mask=Tensor(~causal))
    same(got, attention(q, k, v, causal), 1e-5)
    added = Tensor(np.where(causal, -np.inf, 0).astype(np.float32))
    same(x[0].scaled_dot_product_attention(x[1], x[2], added), attention(q, k, v, causal), 1e-5)


def test_heads_can_share_keys() -> None:
    q, k, v = normal(4, 5, 8), normal(2, 5, 8), normal(2, 5, 8)
    got = Tensor(q).scaled_dot_product_attention(Tensor(k), Tensor(v), enable_gqa=True)
    wanted = attention(q, k.repeat(2, 0), v.repeat(2, 0), np.zeros((5, 5), bool))
    same(got, wanted, 1e-5)


def test_gradients_of_attention_are_slopes() -> None:
    check_gradient(
        lambda q, k, v: q.scaled_dot_product_attention(k, v, is_causal=True),
        (2, 3, 4),
        (2, 3, 4),
        (2, 3, 4),
    )


def test_attention_refuses_what_contradicts_itself() -> None:
    x = Tensor.ones(3, 2, 4)
    assert message(
        ArgumentError, lambda: x.scaled_dot_product_attention(x, x, Tensor.ones(2, 2), 0.0, True)
    ) == (
        "scaled_dot_product_attention: a mask and is_causal are both given; expected one. Put "
        "causality into the mask"
    )
    two = Tensor.ones(2, 2, 4)
    assert message(
        ShapeError, lambda: x.scaled_dot_product_attention(two, two, enable_gqa=True)
    ) == (
        "scaled_dot_product_attention: 3 heads cannot share 2; expected a multiple. "
        "Change the number of heads"
    )


def test_products_of_integers_add_up() -> None:
    numbers = np.arange(40 * 40, dtype=np.int32).reshape(40, 40)
    np.testing.assert_array_equal((Tensor(numbers) @ Tensor(numbers)).numpy(), numbers @ numbers)
