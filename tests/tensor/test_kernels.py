"""How many kernels common work takes: what is fused stays fused."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tinycore import nn
from tinycore.engine.cell import buffer_of
from tinycore.nn.demo import Net
from tinycore.nn.state import get_parameters
from tinycore.runtime.buffer import GlobalCounters
from tinycore.tensor import Tensor

rng = np.random.default_rng(14)


def normal(*shape: int) -> Tensor:
    return Tensor(rng.standard_normal(shape).astype(np.float32))


def kernels(compute: Callable[[], Tensor | Sequence[Tensor]]) -> int:
    """How many launches it takes to compute something."""
    before = GlobalCounters.kernel_count
    result = compute()
    first, *others = [result] if isinstance(result, Tensor) else result
    first.realize(*others)
    return GlobalCounters.kernel_count - before


X = normal(128, 96)
SCALE, SHIFT, GRAD = normal(96), normal(96), normal(128, 96)


@pytest.mark.parametrize(
    "compute",
    [
        lambda: X.softmax(),
        lambda: X.log_softmax(),
        lambda: X.logsumexp(1),
        lambda: X.layernorm() * SCALE + SHIFT,
        lambda: nn.RMSNorm(96)(X),
        lambda: X.softmax() * (X.softmax().square().mean(-1, True) + 1e-6).rsqrt(),
    ],
)
def test_a_row_at_a_time_is_one_kernel(compute: Callable[[], Tensor]) -> None:
    assert kernels(compute) == 1


def test_layernorm_backward_is_two_kernels() -> None:
    y = X.layernorm() * SCALE + SHIFT
    assert kernels(lambda: y.gradient(X, SCALE, SHIFT, gradient=GRAD)) == 2


def test_attention_is_one_kernel_and_two_with_its_gradients() -> None:
    q, k, v, grad = (normal(4, 64, 32) for _ in range(4))

    def attend() -> Tensor:
        return q.scaled_dot_product_attention(k, v, is_causal=True)

    assert kernels(attend) == 1
    y = attend()
    assert kernels(lambda: [y, *y.gradient(q, k, v, gradient=grad)]) == 2


class Mlp:
    """784 - 128 - 10."""

    def __init__(self) -> None:
        self.inner = nn.Linear(784, 128)
        self.outer = nn.Linear(128, 10)

    def __call__(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x).relu())


def training_step(net: Callable[[Tensor], Tensor], images: Tensor, most: int) -> None:
    """Steps after the first take at most so many kernels and leave every buffer where it is."""
    parameters = get_parameters(net)
    optimizer = nn.optim.Adam(parameters)
    state = [*parameters, *optimizer.m, *optimizer.v, *optimizer.grown]
    buffers = [buffer_of(tensor.cell.uop) for tensor in state]
    labels = Tensor(rng.integers(0, 10, images.shape[0]))

    def step() -> Sequence[Tensor]:
        with Tensor.train():
            loss = net(images).cross_entropy(labels).backward()
        return [loss, *optimizer.schedule_step()]

    assert [kernels(step) <= most for _ in range(2)] == [True, True]
    assert [buffer_of(tensor.cell.uop) for tensor in state] == buffers


def test_a_step_of_a_perceptron_with_adam_is_eight_kernels() -> None:
    training_step(Mlp(), normal(64, 784), 8)


def test_a_step_of_the_demo_is_twenty_four_kernels() -> None:
    training_step(Net(), normal(128, 1, 28, 28), 24)
