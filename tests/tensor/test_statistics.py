"""Softmax, its kin and normalisation agree with their formulas."""

import numpy as np

from tests.tensor.compare import same
from tests.tensor.differences import check_gradient
from tinycore.tensor import Tensor

N = np.random.default_rng(3).standard_normal((3, 4)).astype(np.float32)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def test_softmax_is_its_formula_along_each_axis() -> None:
    for axis in (0, 1, -1):
        same(Tensor(N).softmax(axis), softmax(N, axis))
        same(Tensor(N).softmin(dim=axis), softmax(-N, axis))
        same(Tensor(N).log_softmax(axis), np.log(softmax(N, axis)))


def test_softmax_of_large_numbers_does_not_overflow() -> None:
    same(Tensor([1000.0, 1000.0, -1000.0]).softmax(), [0.5, 0.5, 0])
    same(Tensor([1000.0, 0.0]).log_softmax(), [0, -1000])


def test_softmax_of_integers_and_halves() -> None:
    same(Tensor([1, 1]).softmax(), [0.5, 0.5])
    assert Tensor([1.0], dtype="float16").softmax(dtype="float32").dtype.name == "float32"


def test_logsumexp_takes_infinities() -> None:
    rows = [[-np.inf, -np.inf], [np.inf, 0.0], [1000.0, 1000.0], [-np.inf, 1.0]]
    same(Tensor(rows).logsumexp(1), [-np.inf, np.inf, 1000 + np.log(2), 1])
    same(Tensor(N).logsumexp(), np.log(np.exp(N).sum()))
    same(Tensor(N).logsumexp(0, keepdim=True), np.log(np.exp(N).sum(0, keepdims=True)))


def test_layernorm_has_mean_zero_and_variance_one() -> None:
    centred = N - N.mean(1, keepdims=True)
    same(Tensor(N).layernorm(), centred / np.sqrt(N.var(1, keepdims=True) + 1e-5), 1e-5)
    both = (N - N.mean()) / np.sqrt(N.var() + 1e-3)
    same(Tensor(N).layernorm((0, 1), eps=1e-3), both, 1e-5)


def test_batchnorm_scales_and_shifts_each_channel() -> None:
    w, b, m, s = (np.random.default_rng(k).standard_normal(4).astype(np.float32) for k in range(4))
    got = Tensor(N).batchnorm(Tensor(w), Tensor(b), Tensor(m), Tensor(s))
    same(got, (N - m) * s * w + b, 1e-5)
    same(Tensor(N.T).batchnorm(None, None, Tensor(m), Tensor(s), axis=0), ((N - m) * s).T, 1e-5)


def test_normalize_divides_by_the_norm() -> None:
    same(Tensor(N).normalize(), N / np.linalg.norm(N, axis=1, keepdims=True))
    same(Tensor(N).normalize(p=1, dim=0), N / abs(N).sum(0, keepdims=True), 1e-5)


def test_nothing_is_normalized_to_nothing() -> None:
    x = Tensor([[0.0, 0.0]])
    same(x.normalize(), [[0, 0]])
    assert np.isfinite(x.normalize().sum().gradient(x)[0].numpy()).all()


def test_gradients_are_slopes() -> None:
    check_gradient(lambda x: x.softmax(), (3, 4))
    check_gradient(lambda x: x.log_softmax(0), (3, 4))
    check_gradient(lambda x: x.logsumexp(1), (3, 4))
    check_gradient(lambda x: x.layernorm(), (3, 4))
    check_gradient(lambda x: x.normalize(), (3, 4))
    check_gradient(
        lambda x, w: x.batchnorm(w, w, x.mean(0), (x.var(0) + 1e-3).rsqrt()), (3, 4), (4,)
    )
