"""gather, scatter and their kin agree with numpy."""

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tests.tensor.differences import check_gradient
from tinycore.errors import ArgumentError, DTypeError, ShapeError
from tinycore.tensor import Tensor

rng = np.random.default_rng(9)
N = rng.standard_normal((3, 4)).astype(np.float32)
V = rng.standard_normal((3, 4)).astype(np.float32)
ROWS, COLUMNS = rng.integers(0, 3, (2, 4)), rng.integers(0, 4, (3, 2))


def test_gather_takes_along_an_axis() -> None:
    same(Tensor(N).gather(0, Tensor(ROWS)), np.take_along_axis(N, ROWS, 0))
    same(Tensor(N).gather(dim=1, index=Tensor(COLUMNS)), np.take_along_axis(N, COLUMNS, 1))
    same(Tensor(N).gather(1, Tensor(COLUMNS[:2])), np.take_along_axis(N[:2], COLUMNS[:2], 1))


def test_scatter_puts_along_an_axis() -> None:
    columns = np.array([[0, 3], [1, 2], [2, 0]])
    wanted = N.copy()
    np.put_along_axis(wanted, columns, V[:, :2], 1)
    same(Tensor(N).scatter(1, Tensor(columns), Tensor(V)), wanted)
    np.put_along_axis(wanted, columns, 5, 1)
    same(Tensor(N).scatter(1, Tensor(columns), 5), wanted)


def test_scatter_leaves_its_tensor_as_it_is() -> None:
    x = Tensor(N)
    x.scatter(0, Tensor([[0]]), 1.0).realize()
    same(x, N)


@pytest.mark.parametrize(
    ("word", "combine"),
    [("add", np.add), ("multiply", np.multiply)],
)
def test_scatter_combines(word: str, combine: np.ufunc) -> None:
    wanted = N.copy()
    for i, j in np.ndindex(*COLUMNS.shape):
        wanted[i, COLUMNS[i, j]] = combine(wanted[i, COLUMNS[i, j]], V[i, j])
    same(Tensor(N).scatter(1, Tensor(COLUMNS), Tensor(V), reduce=word), wanted, 1e-5)


@pytest.mark.parametrize("word", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_reduce_combines(word: str, include_self: bool) -> None:
    combine = {
        "sum": np.sum,
        "prod": np.prod,
        "mean": np.mean,
        "amax": np.max,
        "amin": np.min,
    }[word]
    wanted = N.copy()
    for i, j in np.ndindex(*N.shape):
        found = list(V[i, :2][COLUMNS[i] == j])
        values = [N[i, j], *found] if include_self else found
        wanted[i, j] = combine(values) if found else N[i, j]
    got = Tensor(N).scatter_reduce(1, Tensor(COLUMNS), Tensor(V), word, include_self)
    same(got, wanted, 1e-5)


def test_one_hot_marks_the_place() -> None:
    same(Tensor([[1, 0], [2, 2]]).one_hot(3), np.eye(3)[[[1, 0], [2, 2]]])


def test_triangles_are_numpys() -> None:
    for diagonal in (-1, 0, 2):
        same(Tensor(N).tril(diagonal), np.tril(N, diagonal))
        same(Tensor(N).triu(diagonal), np.triu(N, diagonal))


def test_a_diagonal_may_be_far_outside() -> None:
    for far in (2**31 - 1, 2**31, 2**40):
        same(Tensor(N).tril(far), N)
        same(Tensor(N).triu(-far), N)
        same(Tensor(N).tril(-far), 0 * N)
        same(Tensor(N).triu(far), 0 * N)


def test_gradients_are_slopes() -> None:
    places = Tensor([[0, 1], [2, 2]])
    check_gradient(lambda x: x.gather(1, places), (2, 3))
    check_gradient(lambda x, y: x.scatter(1, places, y, "add"), (2, 3), (2, 2))
    check_gradient(lambda x, y: x.scatter(1, places[:, :1], y), (2, 3), (2, 1))
    check_gradient(lambda x: x.tril() + x.triu(1) * 2, (3, 3))


def test_an_index_that_does_not_fit_is_refused() -> None:
    assert message(ShapeError, lambda: Tensor(N).gather(1, Tensor([0, 1]))) == (
        "gather: an index of shape (2,) does not fit (3, 4) along axis 1; expected as many axes, "
        "none longer. Expand or shrink it"
    )


def test_an_index_that_is_no_integer_is_refused() -> None:
    assert message(DTypeError, lambda: Tensor([1.0, 2.0]).gather(0, Tensor([0.5]))) == (
        "gather: the index has type dtypes.float32; expected integers. Cast it"
    )


def test_nothing_is_gathered_along_no_axis() -> None:
    assert message(ShapeError, lambda: Tensor(1).gather(0, Tensor(0))) == (
        "gather: a tensor of shape () has no axis; expected at least one. Reshape it to (1,)"
    )


def test_an_unknown_word_is_refused() -> None:
    assert message(
        ArgumentError, lambda: Tensor(N).scatter(0, Tensor([[0]]), 1.0, reduce="sum")
    ) == ("scatter: reduce is 'sum'; expected one of None, 'add', 'multiply'. Pass one")
