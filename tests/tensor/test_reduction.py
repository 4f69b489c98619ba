"""Reductions agree with numpy, with PyTorch's types and keywords."""

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tests.tensor.differences import check_gradient
from tinycore.dtype import dtypes
from tinycore.errors import IndexingError, ShapeError
from tinycore.tensor import Tensor, Variable

N = np.random.default_rng(2).standard_normal((3, 4, 5)).astype(np.float32)
AXES = [None, 0, 1, -1, (0, 2), (0, 1, 2)]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "var", "std"])
def test_a_reduction_is_numpys(name: str, axis) -> None:
    extra = {"ddof": 1} if name in ("var", "std") else {}
    wanted = getattr(N, name)(axis=axis, keepdims=True, **extra)
    same(getattr(Tensor(N), name)(axis, keepdim=True), wanted, 1e-5)
    same(getattr(Tensor(N), name)(axis), np.squeeze(wanted, axis), 1e-5)


def test_keywords_of_three_libraries_mean_the_same() -> None:
    x = Tensor(N)
    same(x.sum(dim=1, keepdim=True), N.sum(1, keepdims=True), 1e-5)
    same(x.sum(axis=1, keepdims=True), N.sum(1, keepdims=True), 1e-5)
    same(x.var(dim=0, unbiased=False), N.var(0), 1e-5)
    same(x.std(dim=0, correction=0), N.std(0), 1e-5)
    with pytest.raises(TypeError):
        x.sum(nonsense=1)


def test_pairs_of_moments() -> None:
    for pair, wanted in ((Tensor(N).var_mean(1), N.var(1, ddof=1)), (Tensor(N).std_mean(1), None)):
        same(pair[0], N.std(1, ddof=1) if wanted is None else wanted, 1e-5)
        same(pair[1], N.mean(1), 1e-5)


def test_truths_are_combined() -> None:
    same((Tensor(N) > 0).any(1), (N > 0).any(1))
    same((Tensor(N) > 0).all((0, 1)), (N > 0).all((0, 1)))
    assert Tensor([0.0, np.nan]).any().item() is True
    assert Tensor(np.zeros((0, 2), bool)).all().item() is True


def test_places_of_extremes() -> None:
    same(Tensor(N).argmax(), N.argmax())
    same(Tensor(N).argmax(1), N.argmax(1))
    same(Tensor(N).argmin(-1, keepdim=True), N.argmin(-1, keepdims=True))
    same(Tensor([2, 5, 5, 1]).argmax(), 1)
    same(Tensor([1.0, np.nan, 3.0]).argmax(), 1)
    assert Tensor(7).argmax().item() == 0


def test_an_extreme_passes_nan_on() -> None:
    assert np.isnan(Tensor([1.0, np.nan]).max().item())
    assert np.isnan(Tensor([1.0, np.nan]).min().item())


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [
        ("bool", "int64"),
        ("int8", "int64"),
        ("uint8", "int64"),
        ("int32", "int64"),
        ("uint64", "uint64"),
        ("float16", "float16"),
        ("float32", "float32"),
    ],
)
def test_a_sum_has_pytorchs_type(dtype: str, wanted: str) -> None:
    assert Tensor([1], dtype=dtype).sum().dtype is getattr(dtypes, wanted)


def test_a_sum_of_bytes_does_not_wrap() -> None:
    assert Tensor([200, 200], dtype="uint8").sum().item() == 400
    assert Tensor([True, True]).sum().item() == 2


def test_a_sum_of_halves_is_added_in_more_bits() -> None:
    assert Tensor.full((4096,), 1.0, dtype="float16").sum().item() == 4096
    assert Tensor.full((4096,), 0.1, dtype="float16").mean().item() == pytest.approx(0.1, rel=1e-3)


def test_a_type_can_be_asked_for() -> None:
    total = Tensor([1, 2]).sum(dtype="float64")
    assert (total.dtype, total.item()) == (dtypes.float64, 3.0)


def test_the_mean_of_integers_is_floating() -> None:
    assert Tensor([1, 2]).mean().item() == 1.5


def test_gradients_of_reductions_are_slopes() -> None:
    for name in ("sum", "mean", "max", "min", "prod", "var", "std"):
        check_gradient(lambda x, name=name: getattr(x, name)(1), (3, 4))
    check_gradient(lambda x: x.var(), (3, 4))


def test_equal_maxima_share_the_gradient() -> None:
    x = Tensor([1.0, 3.0, 3.0])
    assert x.max().gradient(x)[0].tolist() == [0.0, 0.5, 0.5]


def test_nothing_to_choose_from_is_refused() -> None:
    assert message(ShapeError, lambda: Tensor(np.zeros((0, 2))).max(0)) == (
        "max: shape (0, 2) has no element along axis 0; expected at least one. "
        "Check for emptiness first"
    )


def test_an_axis_that_is_not_there_is_refused() -> None:
    assert message(IndexingError, lambda: Tensor(N).sum(3)).startswith("sum: axis 3 is not one of")


def test_an_axis_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mean: axes \(0, -3\) name one twice"):
        Tensor(N).mean((0, -3))


def test_means_of_a_variable_extent_count_the_elements_there_are() -> None:
    values = np.arange(18, dtype=np.float32).reshape(9, 2)
    x = Tensor(values, requires_grad=True)
    for bound in (3, 5):
        part = x[: Variable("n", 1, 9).bind(bound)]
        wanted = values[:bound]
        same(part.mean(), wanted.mean())
        same(part.mean(0), wanted.mean(0))
        same(part.mean(1).sum(), wanted.mean(1).sum())
        same(part.var(0), wanted.var(0, ddof=1))
        same(part.std(), wanted.std(ddof=1))
        same(part.layernorm((0, 1), 0.0).square().sum(), wanted.size, 1e-4)
        x.grad = None
        part.mean().backward()
        assert x.grad is not None
        same(x.grad, np.where(np.arange(18).reshape(9, 2) < 2 * bound, 0.5 / bound, 0.0))
