"""Tensors from data and from formulas have numpy's values and the documented types."""

from array import array
from typing import Any

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tinycore.config import Context
from tinycore.dtype import dtypes
from tinycore.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from tinycore.tensor import Tensor


@pytest.mark.parametrize(
    ("data", "dtype", "values"),
    [
        (3, "int32", 3),
        (2.5, "float32", 2.5),
        (True, "bool", True),
        ([1, 2], "int32", [1, 2]),
        ([[1], [2]], "int32", [[1], [2]]),
        ([1 << 40], "int64", [1 << 40]),
        ([1, 2.5], "float32", [1, 2.5]),
        ([True, False], "bool", [True, False]),
        ((1, 2), "int32", [1, 2]),
        (range(3), "int32", [0, 1, 2]),
        ([], "float32", []),
        (b"\x01\xff", "uint8", [1, 255]),
        (bytearray(b"\x02"), "uint8", [2]),
        (np.array([1.5]), "float64", [1.5]),
        (np.array([1], np.int8), "int8", [1]),
        (np.arange(4).reshape(2, 2).T, "int64", [[0, 2], [1, 3]]),
        (np.array([1, 2], ">i4"), "int32", [1, 2]),
        (np.float32(2), "float32", 2),
        (array("h", [1, -1]), "int16", [1, -1]),
        ([np.float32(1), np.float32(2)], "float32", [1, 2]),
    ],
)
def test_data_becomes_a_tensor_of_its_type(data: Any, dtype: str, values: Any) -> None:
    tensor = Tensor(data)
    assert tensor.dtype is getattr(dtypes, dtype)
    same(tensor, values)


def test_a_type_can_be_asked_for() -> None:
    for name in ("int8", "uint64", "float16", "bfloat16", "fp8e4m3", "float64", "bool"):
        tensor = Tensor([0, 1], dtype=name)
        assert (tensor.dtype.name, [float(x) for x in tensor.tolist()]) == (name, [0.0, 1.0])
    same(Tensor(np.array([1.7, -1.7]), dtype="int32"), [1, -1])


def test_the_default_float_can_be_changed() -> None:
    with Context(DEFAULT_FLOAT="float64"):
        assert Tensor([1.5]).dtype is dtypes.float64
        assert Tensor.zeros(1).dtype is dtypes.float64


def test_one_number_fills_a_shape() -> None:
    same(Tensor.zeros(2, 3), np.zeros((2, 3)))
    assert Tensor.ones(2, dtype=None).dtype is Tensor.ones(2).dtype
    same(Tensor.ones((2, 3), dtype="int8"), np.ones((2, 3)))
    same(Tensor.full((2,), 7), [7, 7])
    same(Tensor.full(2, 7.5), [7.5, 7.5])
    assert Tensor.full((), True).dtype is dtypes.bool
    assert Tensor.empty(2, 3, dtype="int8").numpy().shape == (2, 3)
    assert Tensor.zeros(0, 2).numpy().shape == (0, 2)


def test_a_tensor_like_another() -> None:
    x = Tensor([[1, 2]], dtype="int8")
    for made, value in ((x.zeros_like(), 0), (x.ones_like(), 1), (x.full_like(5), 5)):
        assert (made.shape, made.dtype, made.tolist()) == (x.shape, x.dtype, [[value, value]])
    assert x.full_like(1, dtype="float32").dtype is dtypes.float32
    assert x.const_like(2, dtype="int32").tolist() == [[2, 2]]
    assert (x.empty_like().shape, x.rand_like(dtype="float32").shape) == ((1, 2), (1, 2))


def test_ranges_are_numpys() -> None:
    for numbers in ((5,), (2, 7), (1, 10, 3), (10, 0, -3), (0, 1, 0.3), (3, 3)):
        wanted = np.arange(*numbers)
        same(Tensor.arange(*numbers), wanted)
    assert Tensor.arange(3).dtype is dtypes.int32
    assert Tensor.arange(3.0).dtype is dtypes.float32
    assert Tensor.arange(3, dtype="int8").dtype is dtypes.int8
    same(Tensor.linspace(-1, 2, 7), np.linspace(-1, 2, 7))
    same(Tensor.linspace(0, 1, 1), [0])
    assert Tensor.linspace(0, 0.3, 4)[-1].item() == np.float32(0.3)
    same(Tensor.eye(3), np.eye(3))
    same(Tensor.eye(2, 3, dtype="int32"), np.eye(2, 3))


def test_bytes_become_any_type() -> None:
    raw = np.array([1.5, -2.0], np.float32).tobytes()
    same(Tensor.of_bytes(raw, (2,), "float32"), [1.5, -2])
    assert bytes(Tensor.of_bytes(b"\x80\x3f", (1,), "bfloat16").raw()) == b"\x80\x3f"
    same(Tensor.of_bytes(b"\x80\x3f", (1,), "bfloat16"), [1.0])


def test_a_tensor_can_be_made_on_a_named_device() -> None:
    assert Tensor([1], device="ref").device == "REF"
    assert Tensor.zeros(1, device="REF").device == "REF"
    assert Tensor.rand(1, device="REF").device == "REF"


def test_values_move_between_devices() -> None:
    x = Tensor([1.0, 2.0]) * 2
    there = x.to("REF")
    assert (there.device, there.tolist()) == ("REF", [2.0, 4.0])
    assert (there + 1).to(x.device).tolist() == [3.0, 5.0]
    y = Tensor([1.0])
    assert y.to_("REF").device == "REF"
    assert (y.tolist(), Tensor(x, device="REF").tolist()) == ([1.0], [2.0, 4.0])


def test_a_gradient_flows_back_to_its_device() -> None:
    x = Tensor([1.0, 2.0])
    (grad,) = (x.to("REF") * 3).sum().gradient(x)
    assert grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("kind", "action", "text"),
    [
        (
            DTypeError,
            lambda: Tensor(["a"]),
            "Tensor: data of type <U1 holds no numbers; expected bool, integers or floating "
            "point. Convert it",
        ),
        (
            DTypeError,
            lambda: Tensor([1j]),
            "Tensor: data of type complex128 holds no numbers; expected bool, integers or "
            "floating point. Convert it",
        ),
        (
            DTypeError,
            lambda: Tensor([1], dtype="int3"),
            "dtype: 'int3' is no element type; expected one of bool, int8, uint8, int16, uint16, "
            "int32, uint32, int64, uint64, fp8e4m3, fp8e5m2, float16, bfloat16, float32, float64",
        ),
        (
            ArgumentError,
            lambda: Tensor.arange(0, 5, 0),
            "arange: step is 0; expected another number. Use full",
        ),
        (
            ArgumentError,
            lambda: Tensor.linspace(0, 1, -1),
            "linspace: -1 steps; expected 0 or more. Pass a count",
        ),
        (
            ShapeError,
            lambda: Tensor.zeros(2, -1),
            "zeros: extent -1 is negative; expected extents of 0 or more. Pass the number of "
            "elements of each axis",
        ),
        (
            ShapeError,
            lambda: Tensor.of_bytes(b"abc", (1,), "int32"),
            "of_bytes: 3 bytes do not fit shape (1,) of dtypes.int32; expected 4. Check shape and "
            "type",
        ),
    ],
)
def test_what_cannot_become_a_tensor_is_refused(kind: Any, action: Any, text: str) -> None:
    assert message(kind, action) == text


def test_lists_of_unequal_length_are_refused() -> None:
    text = message(ShapeError, lambda: Tensor([[1, 2], [3]]))
    assert text.startswith("Tensor: the lists do not form a block (")
    assert text.endswith("); expected equal lengths. Pad them")


def test_an_unknown_device_is_refused() -> None:
    assert message(DeviceError, lambda: Tensor([1], device="FOO")).startswith(
        "device: FOO is not installed; installed are "
    )


def test_bytes_have_a_type_that_is_said() -> None:
    with pytest.raises(DTypeError, match="None is no element type"):
        Tensor.of_bytes(bytes(4), (1,), None)  # type: ignore[arg-type]
