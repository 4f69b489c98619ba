"""Layers compute their formulas; norms learn while training and only then."""

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tinycore import nn
from tinycore.errors import ShapeError
from tinycore.nn.state import get_parameters, get_state_dict
from tinycore.tensor import Tensor

rng = np.random.default_rng(12)
X = rng.standard_normal((4, 3, 5, 5)).astype(np.float32) * 3 + 1


def test_linear_is_a_product_and_a_bias() -> None:
    layer = nn.Linear(5, 2)
    wanted = X @ layer.weight.numpy().T + layer.bias.numpy()
    same(layer(Tensor(X)), wanted, 1e-5)
    assert nn.Linear(5, 2, bias=False).bias is None
    assert abs(layer.weight.numpy()).max() <= 5**-0.5


def test_convolutions_know_their_sizes() -> None:
    layer = nn.Conv2d(3, 8, (3, 2), stride=2, padding=1, groups=1)
    wanted = Tensor(X).conv2d(layer.weight, layer.bias, 1, 2, 1, 1)
    same(layer(Tensor(X)), wanted.numpy())
    assert nn.Conv2d(4, 8, 3, groups=2, bias=False).weight.shape == (8, 2, 3, 3)
    assert nn.Conv1d(3, 8, 3)(Tensor(X[..., 0])).shape == (4, 8, 3)
    assert nn.Conv3d(3, 8, 1)(Tensor(X[..., None])).shape == (4, 8, 5, 5, 1)


def test_an_embedding_gives_rows() -> None:
    layer = nn.Embedding(10, 4)
    ids = np.array([[1, 2], [9, 1]])
    same(layer(Tensor(ids)), layer.weight.numpy()[ids])


def test_batchnorm_uses_the_batch_while_training_and_learns_from_it() -> None:
    layer = nn.BatchNorm(3, momentum=0.1)
    mean, variance = X.mean((0, 2, 3)), X.var((0, 2, 3))
    with Tensor.train():
        got = layer(Tensor(X))
    centred = X - mean.reshape(1, 3, 1, 1)
    same(got, centred / np.sqrt(variance.reshape(1, 3, 1, 1) + 1e-5), 1e-4)
    same(layer.running_mean, 0.1 * mean, 1e-5)
    same(layer.running_var, 0.9 + 0.1 * X.var((0, 2, 3), ddof=1), 1e-5)
    assert layer.num_batches_tracked.item() == 1


def test_batchnorm_uses_what_it_learned_otherwise() -> None:
    layer = nn.BatchNorm2d(3)
    layer.running_mean.assign(Tensor([1.0, 2.0, 3.0]))
    layer.weight.assign(2.0)
    wanted = (X - np.array([1, 2, 3]).reshape(1, 3, 1, 1)) / np.sqrt(1 + 1e-5) * 2
    same(layer(Tensor(X)), wanted, 1e-5)
    same(layer.running_mean, [1, 2, 3])


def test_batchnorm_passes_the_gradient_through_its_statistics() -> None:
    layer = nn.BatchNorm(3, affine=False, track_running_stats=False)
    x = Tensor(X)
    (grad,) = (layer(x) * Tensor(X)).sum().gradient(x)
    np.testing.assert_allclose(grad.numpy().sum((0, 2, 3)), 0, atol=2e-3)


def test_layernorm_normalizes_the_last_axes() -> None:
    layer = nn.LayerNorm((5, 5))
    layer.weight.assign(2.0)
    layer.bias.assign(1.0)
    mean, variance = X.mean((2, 3), keepdims=True), X.var((2, 3), keepdims=True)
    same(layer(Tensor(X)), (X - mean) / np.sqrt(variance + 1e-5) * 2 + 1, 1e-4)
    assert nn.LayerNorm(5, elementwise_affine=False).weight is None


def test_rmsnorm_divides_by_the_root_mean_square() -> None:
    wanted = X / np.sqrt((X**2).mean(-1, keepdims=True) + 1e-6)
    same(nn.RMSNorm(5)(Tensor(X)), wanted, 1e-5)


def test_groupnorm_normalizes_groups_of_channels() -> None:
    x = rng.standard_normal((2, 4, 3, 3)).astype(np.float32)
    groups = x.reshape(2, 2, -1)
    wanted = groups - groups.mean(2, keepdims=True)
    wanted /= np.sqrt(groups.var(2, keepdims=True) + 1e-5)
    same(nn.GroupNorm(2, 4)(Tensor(x)), wanted.reshape(x.shape), 1e-5)


def test_names_are_pytorchs() -> None:
    assert list(get_state_dict(nn.BatchNorm(3))) == [
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]
    assert list(get_state_dict(nn.Conv2d(1, 1, 1))) == ["weight", "bias"]
    assert len(get_parameters([nn.Linear(1, 1), nn.LayerNorm(1)])) == 4


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (
            lambda: nn.LayerNorm((3, 5))(Tensor(X)),
            "LayerNorm: input (4, 3, 5, 5) does not end in (3, 5); expected the last axes it was "
            "made for. Transpose the input",
        ),
        (
            lambda: nn.RMSNorm(3)(Tensor(X)),
            "RMSNorm: input (4, 3, 5, 5) does not end in (3,); expected the last axes it was made "
            "for. Transpose the input",
        ),
        (
            lambda: nn.GroupNorm(2, 3),
            "GroupNorm: 3 channels do not form 2 groups; expected a multiple. Change one",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(action, text: str) -> None:
    assert message(ShapeError, action) == text
