"""Indexing reads and writes what numpy reads and writes."""

from typing import Any

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tests.tensor.differences import check_gradient
from tinycore.errors import IndexingError, ShapeError
from tinycore.tensor import Tensor

rng = np.random.default_rng(8)
N = rng.standard_normal((6, 7, 5)).astype(np.float32)
IDS, OTHERS = np.array([0, 2, -1]), np.array([1, -2, 3])
INDICES: dict[str, Any] = {
    "integer": 1,
    "integer from the end": -1,
    "integers": (1, -2, 0),
    "slice": slice(1, 4),
    "open slices": (slice(None, 4), slice(2, None)),
    "slice past the end": slice(3, 99),
    "steps": (slice(None, None, 2), slice(1, None, 3)),
    "backwards": slice(None, None, -1),
    "backwards in steps": (slice(5, 0, -2), slice(None, None, -3)),
    "dots": (..., 2),
    "dots between": (1, ..., slice(0, 2)),
    "new axes": (None, 1, ..., None),
    "array": IDS,
    "array on a later axis": (slice(None), IDS),
    "two arrays": (IDS, OTHERS),
    "two arrays on later axes": (slice(None), IDS, OTHERS),
    "two arrays apart": (IDS, slice(None), OTHERS % 5),
    "a block of rows": np.array([[0, 1], [2, 3]]),
    "arrays that broadcast": (np.array([[0], [1]]), IDS),
    "list": [0, 2, 3],
    "integer, then array": (1, IDS),
    "range": range(1, 6, 2),
}


def as_tensors(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple([as_tensors(part) for part in index])
    return Tensor(index) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("name", INDICES)
def test_an_index_reads_what_numpy_reads(name: str) -> None:
    index = INDICES[name]
    same(Tensor(N)[as_tensors(index)], N[index])


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("is_lazy", [False, True])
def test_an_index_writes_where_numpy_writes(name: str, is_lazy: bool) -> None:
    index, wanted = INDICES[name], N.copy()
    values = rng.standard_normal(N[index].shape).astype(np.float32)
    tensor = Tensor(N) * 1 if is_lazy else Tensor(N)
    tensor[as_tensors(index)] = Tensor(values)
    wanted[index] = values
    same(tensor, wanted)
    tensor[as_tensors(index)] = 7
    wanted[index] = 7
    same(tensor, wanted)


def test_a_mask_reads_and_writes() -> None:
    same(Tensor(N)[Tensor(N > 0)], N[N > 0])
    same(Tensor(N)[N[:, 0, 0] > 0], N[N[:, 0, 0] > 0])
    tensor, wanted = Tensor(N), N.copy()
    tensor[:, Tensor(N[0] > 0)] = 0
    wanted[:, N[0] > 0] = 0
    same(tensor, wanted)


def test_an_empty_slice_is_empty() -> None:
    assert Tensor(N)[3:3].shape == (0, 7, 5)
    assert Tensor(N)[5:2].numpy().shape == (0, 7, 5)


def test_numpys_integers_are_integers() -> None:
    same(Tensor(N)[np.int64(2)], N[2])
    same(Tensor(N)[np.int64(1) : np.int64(3)], N[1:3])


def test_a_tensor_of_one_integer_may_bound_a_slice() -> None:
    same(Tensor(N)[: Tensor(2)], N[:2])


def test_values_broadcast_into_their_place() -> None:
    tensor, wanted = Tensor(N), N.copy()
    tensor[1:3, :, 0] = Tensor(N[0, :, 1])
    wanted[1:3, :, 0] = N[0, :, 1]
    same(tensor, wanted)


def test_a_row_number_outside_reads_zero_and_writes_nothing() -> None:
    x = Tensor([1.0, 2.0])
    same(x[Tensor([1, 5, -3])], [2, 0, 0])
    x[Tensor([5, 0])] = Tensor([9.0, 8.0])
    same(x, [8, 2])
    y = Tensor([[1.0, 2.0], [3.0, 4.0]])
    same(y[Tensor([0, 0]), Tensor([1, 2])], [2, 0])


def test_a_tensor_can_be_walked_through() -> None:
    assert [row.tolist() for row in Tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]


def test_gradients_are_slopes() -> None:
    rows, columns = Tensor([0, 2, 2, 1]), Tensor([3, 0, 1, 1])
    check_gradient(lambda x: x[rows], (3, 4))
    check_gradient(lambda x: x[:, columns], (2, 4))
    check_gradient(lambda x: x[rows, columns], (3, 4))
    check_gradient(lambda x: x[1:, ::2] * x[:-1, 1::2], (3, 4))

    def written(x: Tensor, y: Tensor) -> Tensor:
        z = x * 2
        z[1:] = y * x[0]
        z[Tensor([0])] = y[:1] * 3
        return z * z

    check_gradient(written, (3, 4), (2, 4))


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (
            6,
            "index: 6 lies outside axis 0 of 6 elements; expected -6 to 5. Check the index",
        ),
        (
            (0, 0, 0, 0),
            "index: 4 parts for shape (6, 7, 5); expected at most 3 and one '...'. Leave some out",
        ),
        (
            (..., ...),
            "index: 2 parts for shape (6, 7, 5); expected at most 3 and one '...'. Leave some out",
        ),
        (
            "a",
            "index: 'a' cannot index; expected integers, slices, None, ... or tensors. Convert it",
        ),
        (
            True,
            "index: True cannot index; expected integers, slices or tensors. "
            "Use a tensor of bools as a mask",
        ),
        (
            slice(0, 4, 0),
            "index: a slice has step 0; expected another. Leave it out",
        ),
        (
            [0.5],
            "index: a tensor of type dtypes.float32 cannot index; expected integers or bool. "
            "Cast it",
        ),
        (
            [True, False],
            "index: a mask of shape (2,) does not fit shape (6, 7, 5) from axis 0; expected equal "
            "extents. Reshape it",
        ),
    ],
)
def test_what_cannot_index_is_refused(index: Any, text: str) -> None:
    assert message(IndexingError, lambda: Tensor(N)[index]) == text


def test_indices_that_do_not_broadcast_are_refused() -> None:
    text = message(ShapeError, lambda: Tensor(N)[Tensor([0, 1]), Tensor([0, 1, 2])])
    assert text.startswith("index: shapes (2,) and (3,) do not broadcast")


def test_an_empty_list_chooses_nothing() -> None:
    assert Tensor([[1, 2], [3, 4]])[[]].numpy().shape == (0, 2)
