"""Values come out as arrays, lists and numbers; a tensor shows what it is."""

import copy
import operator
import pickle

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tinycore.errors import DTypeError, ShapeError
from tinycore.runtime.buffer import GlobalCounters
from tinycore.tensor import Tensor, Variable


def test_values_come_out_in_every_form() -> None:
    x = Tensor([[1, 2], [3, 4]])
    assert x.tolist() == [[1, 2], [3, 4]]
    assert x.data().tolist() == [[1, 2], [3, 4]]
    assert (x.data().format, x.data().shape) == ("i", (2, 2))
    assert np.asarray(x).dtype == np.int32
    assert np.array(x, dtype=np.float64).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert Tensor(5).tolist() == 5
    assert len(x) == 2
    assert bytes(Tensor([1, 2], dtype="int8").raw()) == b"\x01\x02"


def test_one_element_is_a_number() -> None:
    assert (int(Tensor([3.7])), float(Tensor([[2]])), bool(Tensor(0))) == (3, 2.0, False)
    assert [10, 20, 30][Tensor(1)] == 20
    assert operator.index(Tensor([2])) == 2
    assert Tensor([[7]]).item() == 7


def test_types_numpy_lacks_are_widened() -> None:
    x = Tensor([1.5], dtype="bfloat16")
    assert (x.numpy().dtype, x.tolist()) == (np.float32, [1.5])
    assert message(DTypeError, x.data) == (
        "data: Python has no format for dtypes.bfloat16; expected another type. Cast to float32"
    )


def test_views_are_read_without_running_a_kernel() -> None:
    x = Tensor(np.arange(24).reshape(2, 3, 4)).realize()
    before = GlobalCounters.kernel_count
    n = np.arange(24).reshape(2, 3, 4)
    for view, wanted in (
        (x[1], n[1]),
        (x.permute(2, 0, 1)[::-1, :, 1:], n.transpose(2, 0, 1)[::-1, :, 1:]),
        (x.reshape(24)[1::5], n.reshape(24)[1::5]),
        (x[:, :1].expand(2, 3, 4), np.broadcast_to(n[:, :1], (2, 3, 4))),
    ):
        same(view, wanted)
    assert GlobalCounters.kernel_count == before


def test_reading_an_element_of_what_is_pending_computes_it_once() -> None:
    x = Tensor([1.0, 2.0, 3.0]) * 2
    assert x[0].item() == 2
    before = GlobalCounters.kernel_count
    assert [x[k].item() for k in range(3)] == [2, 4, 6]
    assert GlobalCounters.kernel_count == before


def test_a_tensor_shows_shape_type_device_and_values_if_it_has_them() -> None:
    x = Tensor([1.5, 2.0])
    place = f"dtype=float32, device={x.device!r}"
    assert repr(x) == f"Tensor([1.5, 2. ], shape=(2,), {place})"
    assert repr(x + 1) == f"Tensor(not computed yet, shape=(2,), {place})"


def test_a_large_tensor_shows_its_ends() -> None:
    assert "..." in repr(Tensor(np.zeros(5000)))


def test_several_elements_are_no_number() -> None:
    x = Tensor([1, 2])
    assert message(ShapeError, x.item) == (
        "item: shape (2,) has 2 elements; expected one. Use tolist, or reduce it"
    )
    assert message(ShapeError, lambda: bool(x)) == (
        "bool: shape (2,) has 2 elements, which are no one value; expected one element. "
        "Use any, all or item"
    )
    assert message(ShapeError, lambda: len(Tensor(1))) == (
        "len: the tensor has no axes; expected at least one. Use item for its value"
    )
    assert message(DTypeError, lambda: [1, 2][Tensor(0.5)]) == (
        "index: the tensor has type dtypes.float32; expected integers. Cast it"
    )


def test_sizes_count_elements_and_bytes() -> None:
    x = Tensor.zeros(2, 3, dtype="float16")
    assert (x.numel(), x.nbytes(), x.element_size(), x.ndim, x.dim()) == (6, 12, 2, 2, 2)
    assert (x.size(), x.size(1), x.size(-2), x.is_floating_point()) == ((2, 3), 3, 2, True)


def test_types_convert() -> None:
    x = Tensor([1.9, -1.9, 0.0])
    assert x.int().tolist() == [1, -1, 0]
    assert x.bool().tolist() == [True, True, False]
    assert x.cast("float64").float().dtype is x.dtype
    assert Tensor([np.nan]).bool().item() is True
    assert [
        getattr(x, n)().dtype.name for n in ("half", "bfloat16", "double", "long", "short")
    ] == [
        "float16",
        "bfloat16",
        "float64",
        "int64",
        "int16",
    ]


def test_bits_are_reread_in_types_of_one_size() -> None:
    assert Tensor([1.0]).bitcast("int32").tolist() == [0x3F800000]
    assert message(DTypeError, lambda: Tensor([1.0]).bitcast("int64")) == (
        "bitcast: dtypes.float32 has 4 bytes an element and dtypes.int64 8; expected equal sizes. "
        "Use cast to convert values"
    )


def test_training_is_a_mode_of_the_class() -> None:
    assert Tensor.training is False
    with Tensor.train():
        assert Tensor.training is True
        with Tensor.train(False):
            assert Tensor.training is False
    Tensor.training = True
    assert Tensor.training is True
    Tensor.training = False


def test_copies_and_pickles_hold_values_of_their_own() -> None:
    x = Tensor([[1.0, 2.0]], requires_grad=True)
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(x.T)).T, copy.deepcopy([x])[0]):
        assert (twin.shape, twin.dtype, twin.device) == (x.shape, x.dtype, x.device)
        twin += 1
        same(twin, [[2, 3]])
        same(x, [[1, 2]])
    assert copy.deepcopy(x).requires_grad is True
    assert pickle.loads(pickle.dumps(Tensor([1.5], dtype="bfloat16"))).tolist() == [1.5]


def test_numpy_leaves_its_operators_to_the_tensor() -> None:
    with pytest.raises(DTypeError, match="is a ndarray; expected a tensor or a number"):
        np.ones(2) + Tensor([1.0, 2.0])


def test_a_variable_bounds_what_is_read() -> None:
    rows = Tensor(np.arange(12).reshape(4, 3))
    n = Variable("reading_rows", 1, 4)
    part = rows[: n.bind(2)]
    more = part + 1
    for found, want in ((part, [[0, 1, 2], [3, 4, 5]]), (more, [[1, 2, 3], [4, 5, 6]])):
        assert found.tolist() == want
        assert found.permute(1, 0).tolist() == np.transpose(want).tolist()
    assert more.shape == part.shape, "realization keeps the variable"
    assert (more.sum(0) + more.sum(0)).tolist() == [10, 14, 18]
    with pytest.raises(ShapeError, match="holds a variable, so bytes beyond it"):
        more.raw()


def test_a_single_value_is_formatted_as_a_number() -> None:
    assert f"{Tensor(1.5):.2f} {Tensor([[7]]):03d}" == "1.50 007"
    x = Tensor([1.0, 2.0])
    assert f"{x}" == str(x)
