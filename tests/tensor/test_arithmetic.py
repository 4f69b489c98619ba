"""Arithmetic, comparison, bits and choice agree with numpy; types promote as documented."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tests.tensor.differences import check_gradient
from tinycore.dtype import dtypes
from tinycore.errors import DeviceError, DTypeError, ShapeError
from tinycore.tensor import Tensor

rng = np.random.default_rng(1)
FLOATS = rng.standard_normal((3, 4)).astype(np.float32)
OTHERS = rng.standard_normal((3, 4)).astype(np.float32)
INTS = rng.integers(-20, 20, (5, 5)).astype(np.int32)
DIVISORS = (rng.integers(1, 6, (5, 5)) * rng.choice([-1, 1], (5, 5))).astype(np.int32)
BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv]
BINARY += [operator.mod, operator.lt, operator.le, operator.gt, operator.ge, operator.eq]
BINARY += [operator.ne]
BITS = [operator.and_, operator.or_, operator.xor]


@pytest.mark.parametrize("operation", BINARY)
def test_an_operator_of_floats_is_numpys(operation: Callable[..., Any]) -> None:
    same(operation(Tensor(FLOATS), Tensor(OTHERS)), operation(FLOATS, OTHERS))


@pytest.mark.parametrize("operation", [*BINARY, *BITS])
def test_an_operator_of_integers_is_numpys(operation: Callable[..., Any]) -> None:
    same(operation(Tensor(INTS), Tensor(DIVISORS)), operation(INTS, DIVISORS))


@pytest.mark.parametrize("operation", BINARY)
def test_a_number_may_stand_on_either_side(operation: Callable[..., Any]) -> None:
    same(operation(Tensor(FLOATS), 1.5), operation(FLOATS, 1.5))
    same(operation(1.5, Tensor(FLOATS)), operation(1.5, FLOATS))


def test_shifts_are_numpys() -> None:
    x = np.array([1, -8, 100], np.int32)
    same(Tensor(x) << 3, x << 3)
    same(Tensor(x) >> 2, x >> 2)
    same(2 << Tensor([1, 2]), [4, 8])
    same(Tensor(x) << 40, [0, 0, 0])
    same(Tensor(x).realize() >> 40, [0, -1, 0])
    same(Tensor(x).realize() << Tensor([40, -1, 31]).realize(), [0, 0, 0])


def test_unary_operators_are_numpys() -> None:
    same(-Tensor(INTS), -INTS)
    same(abs(Tensor(INTS)), abs(INTS))
    same(~Tensor(INTS), ~INTS)
    same(~Tensor([True, False]), [False, True])


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_division_rounds_as_asked(mode: str) -> None:
    rounded = np.floor if mode == "floor" else np.trunc
    same(Tensor(INTS).div(Tensor(DIVISORS), rounding_mode=mode), rounded(INTS / DIVISORS))
    same(Tensor(FLOATS).div(Tensor(OTHERS), rounding_mode=mode), rounded(FLOATS / OTHERS))


def test_fmod_has_the_sign_of_the_dividend() -> None:
    same(Tensor(INTS).fmod(Tensor(DIVISORS)), np.fmod(INTS, DIVISORS))
    same(Tensor(FLOATS).fmod(Tensor(OTHERS)), np.fmod(FLOATS, OTHERS))


def test_a_number_divided_by_itself_is_one_rounded_down() -> None:
    x = Tensor(np.arange(1, 200, dtype=np.float32))
    same(x // x, np.ones(199))
    same(x % x, np.zeros(199))


def test_maximum_and_minimum_pass_nan_on() -> None:
    x, y = Tensor([1.0, np.nan, 3.0]), Tensor([2.0, 2.0, np.nan])
    same(x.maximum(y), [2, np.nan, np.nan])
    same(x.minimum(y), [1, np.nan, np.nan])


def test_facts_about_numbers() -> None:
    x = Tensor([np.nan, np.inf, -np.inf, 0.0, -2.5])
    same(x.isnan(), [1, 0, 0, 0, 0])
    same(x.isinf(), [0, 1, 1, 0, 0])
    same(x.isinf(detect_negative=False), [0, 1, 0, 0, 0])
    same(x.isfinite(), [0, 0, 0, 1, 1])
    same(x.sign(), [np.nan, 1, -1, 0, -1])
    same(x.copysign(-0.0)[3:].reciprocal(), [-np.inf, -0.4])


def test_isclose_is_numpys() -> None:
    x = np.array([1.0, 1.0, np.inf, np.nan, 1e10], np.float32)
    y = np.array([1.0 + 1e-7, 1.1, np.inf, np.nan, 1.00001e10], np.float32)
    same(Tensor(x).isclose(Tensor(y)), np.isclose(x, y))
    same(Tensor(x).isclose(Tensor(y), equal_nan=True), np.isclose(x, y, equal_nan=True))
    assert not Tensor(x).allclose(Tensor(y))


def test_clip_takes_numbers_and_tensors() -> None:
    same(Tensor(FLOATS).clip(-0.5, 0.5), FLOATS.clip(-0.5, 0.5))
    same(Tensor(FLOATS).clamp(min=0.1), FLOATS.clip(0.1))
    same(Tensor(FLOATS).clamp(max_=Tensor(OTHERS)), np.minimum(FLOATS, OTHERS))


def test_where_chooses_and_broadcasts() -> None:
    same((Tensor(FLOATS) > 0).where(Tensor(FLOATS[0]), -1), np.where(FLOATS > 0, FLOATS[0], -1))
    same(Tensor.where(Tensor([True, False]), 1.0, 2), [1.0, 2.0])
    same(Tensor(FLOATS).masked_fill(Tensor(FLOATS) > 0, 9), np.where(FLOATS > 0, 9, FLOATS))


# types


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        ("int8", "uint8", "int16"),
        ("int32", "float16", "float16"),
        ("bool", "int8", "int8"),
        ("int64", "float32", "float32"),
        ("float16", "bfloat16", "float32"),
        ("float32", "float64", "float64"),
        ("uint64", "int64", "float32"),
    ],
)
def test_types_promote_by_the_lattice(left: str, right: str, wanted: str) -> None:
    total = Tensor([1], dtype=left) + Tensor([1], dtype=right)
    assert total.dtype is getattr(dtypes, wanted)


@pytest.mark.parametrize(
    ("dtype", "number", "wanted"),
    [
        ("int8", 1, "int8"),
        ("int8", 1.5, "float32"),
        ("float16", 1.5, "float16"),
        ("bool", 1, "int32"),
        ("bool", True, "bool"),
        ("uint8", 1, "uint8"),
    ],
)
def test_a_number_yields_to_the_tensors_type(dtype: str, number: Any, wanted: str) -> None:
    assert (Tensor([1], dtype=dtype) + number).dtype is getattr(dtypes, wanted)


def test_true_division_of_integers_is_floating() -> None:
    assert (Tensor([1]) / Tensor([2])).dtype is dtypes.float32
    assert (Tensor([1]) // Tensor([2])).dtype is dtypes.int32


def test_comparisons_are_bool() -> None:
    assert (Tensor([1.0]) < 2).dtype is dtypes.bool


def test_numpy_scalars_are_numbers() -> None:
    same(Tensor([1.0]) + np.float32(2), [3.0])
    same(np.int64(2) * Tensor([3]), [6])


def test_a_comparison_with_none_is_pythons() -> None:
    assert (Tensor([1]) == None) is False  # noqa: E711
    assert (Tensor([1]) != "text") is True


# gradients


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x * y,
        lambda x, y: x - y,
        lambda x, y: x / y,
        lambda x, y: x % y,
        lambda x, y: x.maximum(y),
        lambda x, y: x.minimum(y),
        lambda x, y: x.lerp(y, 0.3),
        lambda x, y: (x > y).where(x, y * y),
        lambda x, y: x.clip(0.8, 1.2) * y,
        lambda x, y: x.abs() * y.reciprocal(),
    ],
)
def test_gradients_are_slopes(function: Callable[..., Tensor]) -> None:
    check_gradient(function, (3, 4), (4,), positive=True)


def test_equal_operands_of_maximum_share_the_gradient() -> None:
    x, y = Tensor([1.0]), Tensor([1.0])
    grads = x.maximum(y).sum().gradient(x, y)
    assert [grad.item() for grad in grads] == [0.5, 0.5]


def test_a_limit_passes_the_whole_gradient() -> None:
    x = Tensor([-1.0, 0.0, 1.0])
    assert x.clip(-1.0, 1.0).sum().gradient(x)[0].tolist() == [1.0, 1.0, 1.0]


# refusals


def test_shapes_that_do_not_broadcast_are_refused_at_once() -> None:
    assert message(ShapeError, lambda: Tensor.rand(3, 4) + Tensor.rand(5, 6)) == (
        "add: shapes (3, 4) and (5, 6) do not broadcast; expected equal extents or 1, from the "
        "last axis. Reshape or expand one"
    )


def test_what_is_no_number_is_refused() -> None:
    assert message(DTypeError, lambda: Tensor([1]).add([1])) == (
        "operands: [1] is a list; expected a tensor or a number. Wrap data in Tensor(...)"
    )


def test_bits_of_floats_are_refused() -> None:
    assert message(DTypeError, lambda: Tensor([1.0]) & 1) == (
        "bitwise_and: an operand has type dtypes.float32; expected integers or bool. Cast it"
    )


def test_an_unknown_rounding_is_refused() -> None:
    with pytest.raises(ValueError, match="rounding_mode is 'up'; expected one of None, 'trunc'"):
        Tensor([1]).div(2, rounding_mode="up")


def test_operands_on_two_devices_are_refused() -> None:
    text = message(DeviceError, lambda: Tensor([1]) + Tensor([1], device="REF"))
    assert text.startswith("operands: one is on ")
    assert text.endswith("expected one device. Move one with .to('" + Tensor([1]).device + "')")


def test_a_number_beyond_the_range_of_a_type_is_compared_by_its_value() -> None:
    small, bytes_ = Tensor([-5, 44], dtype="int8"), Tensor([0, 5], dtype="uint8")
    same(Tensor([1]) < 2**40, [True])
    same(Tensor([1]) > 2**100, [False])
    same(small < 1000, [True, True])
    same(small >= -1000, [True, True])
    same(bytes_ == 256, [False, False])
    same(bytes_ != 256, [True, True])
    same(bytes_ < -1, [False, False])
    same(small.clamp(0, 255), [0, 44])
    same(small.clip(-300, 300), [-5, 44])
    same(small.maximum(300), [127, 127])
    same(bytes_.maximum(-1), [0, 5])
    same(small.minimum(300), [-5, 44])


def test_arithmetic_with_a_number_that_a_type_does_not_hold_is_an_error() -> None:
    x = Tensor([5], dtype="int8")
    expected = (
        "operands: 300 does not fit dtypes.int8; expected -128 to 127. "
        "Cast the tensor to a wider type"
    )
    assert message(DTypeError, lambda: x + 300) == expected
    assert message(DTypeError, lambda: Tensor([True]).where(300, x)) == expected


def test_a_whole_number_has_the_type_that_holds_it() -> None:
    assert Tensor(2**40).item() == Tensor([2**40])[0].item() == 2**40
    assert Tensor.full((1,), 2**40).dtype is dtypes.int64
    expected = f"dtype: {2**100} needs more than 64 bits; expected less. Use a float"
    assert message(DTypeError, lambda: Tensor(2**100)) == expected
    assert message(DTypeError, lambda: Tensor([2**100])) == expected


def test_the_remainder_of_a_division_by_infinity_is_numpys() -> None:
    x = np.array([0.0, 1.0, -1.0, 2.5, -2.5, np.inf, np.nan] * 2, np.float32)
    y = np.repeat(np.float32([np.inf, -np.inf]), 7)
    with np.errstate(invalid="ignore"):
        same(Tensor(x) % Tensor(y), np.mod(x, y))
        same(Tensor(x).fmod(Tensor(y)), np.fmod(x, y))
        same(Tensor(x)[1:5] // Tensor(y)[1:5], np.floor_divide(x, y)[1:5])
