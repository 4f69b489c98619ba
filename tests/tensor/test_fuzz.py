"""Random programs of Tensor methods, forward and backward: the default device and REF agree."""

from collections.abc import Callable
from random import Random

import numpy as np
import pytest

from tinycore.tensor import Tensor

Step = Callable[[Tensor, int, Random], Tensor]


def _cut(x: Tensor, axis: int, random: Random) -> Tensor:
    begin = random.randrange(x.shape[axis])
    end = random.randint(begin + 1, x.shape[axis])
    return x[(slice(None),) * axis + (slice(begin, end),)]


def _picked(x: Tensor, axis: int, random: Random) -> Tensor:
    numbers = [random.randrange(x.shape[axis]) for _ in range(3)]
    return x[(slice(None),) * axis + (numbers,)]


def _repeated(x: Tensor, axis: int, random: Random) -> Tensor:
    shape = (*x.shape[:axis], random.randint(1, 3), *x.shape[axis:])
    return x.unsqueeze(axis).expand(shape)


def _permuted(x: Tensor, axis: int, random: Random) -> Tensor:
    order = list(range(x.ndim))
    random.shuffle(order)
    return x.permute(*order)


STEPS: dict[str, Step] = {
    "sum": lambda x, axis, _: x.sum(axis),
    "less_mean": lambda x, axis, _: x - x.mean(axis, keepdim=True),
    "less_max": lambda x, axis, _: x - x.max(axis, keepdim=True),
    "max": lambda x, axis, _: x.max(axis),
    "softmax": lambda x, axis, _: x.softmax(axis),
    "logsumexp": lambda x, axis, _: x.logsumexp(axis),
    "layernorm": lambda x, axis, _: x.layernorm(axis),
    "tanh": lambda x, axis, _: x.tanh(),
    "relu": lambda x, axis, _: x.relu(),
    "square": lambda x, axis, _: x * x + 1,
    "flip": lambda x, axis, _: x.flip(axis),
    "cat": lambda x, axis, _: x.cat(x * 2, dim=axis),
    "flat": lambda x, axis, _: x.reshape(-1),
    "pad": lambda x, axis, random: x.pad((random.randrange(3), random.randrange(3))),
    "gram": lambda x, axis, _: x @ x.transpose(-1, -2) if x.ndim > 1 else x,
    "pool": lambda x, axis, _: x.max_pool2d(2) if min(x.shape[-2:]) > 1 < x.ndim else x,
    "cut": _cut,
    "picked": _picked,
    "repeated": _repeated,
    "permuted": _permuted,
}
MOST = 1000  # elements of a program's value


def results(seed: int, device: str | None) -> tuple[list[str], list[np.ndarray]]:
    """The steps of a random program, its value and the gradient of a weighted sum of it."""
    random, numbers = Random(seed), np.random.default_rng(seed)
    shape = [random.randint(1, 6) for _ in range(random.randint(1, 4))]
    x = Tensor(numbers.normal(size=shape).astype(np.float32), device=device)
    value, taken = x, list[str]()
    for _ in range(random.randint(2, 8)):
        name = random.choice(list(STEPS))
        if not value.ndim:
            break
        changed = STEPS[name](value, random.randrange(value.ndim), random)
        if changed.numel() <= MOST:
            value = changed
            taken.append(name)
    weights = Tensor(numbers.normal(size=value.shape).astype(np.float32), device=device)
    [gradient] = (value * weights).sum().gradient(x)
    return taken, [value.numpy(), gradient.numpy()]


def agree(seed: int) -> None:
    """Both devices give the same, relative to the largest element."""
    taken, found = results(seed, None)
    _, wanted = results(seed, "REF")
    for have, want in zip(found, wanted, strict=True):
        scale = max(1.0, float(np.abs(want).max(initial=0.0)))
        np.testing.assert_allclose(have / scale, want / scale, atol=2e-4, err_msg=f"{seed} {taken}")


@pytest.mark.parametrize("start", range(0, 20, 10))
def test_a_random_program_gives_what_the_reference_gives(start: int) -> None:
    for seed in range(start, start + 10):
        agree(seed)


@pytest.mark.parametrize("seed", [1036, 1079, 1205])
def test_a_held_row_shares_no_axis_with_what_is_reduced_inside(seed: int) -> None:
    agree(seed)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1600, 50))
def test_many_random_programs_give_what_the_reference_gives(start: int) -> None:
    for seed in range(start, start + 50):
        agree(seed)


def test_registers_are_read_and_written_at_a_shift() -> None:
    x = np.random.default_rng(0).normal(size=(3, 3, 5)).astype(np.float32)
    for before in (1, 2, 20):
        found = Tensor(x).sum(0).pad((before, 2)).numpy()
        np.testing.assert_allclose(found, np.pad(x.sum(0), ((0, 0), (before, 2))), rtol=1e-5)


def test_the_gradient_of_a_padded_convolution_under_an_activation() -> None:
    found = []
    for device in (None, "REF"):
        numbers = np.random.default_rng(0)
        x, weight, bias = [
            Tensor(numbers.normal(size=shape).astype(np.float32), device=device)
            for shape in ((2, 4, 7, 7), (6, 2, 3, 3), (6,))
        ]
        total = x.conv2d(weight, bias, groups=2, padding=1).relu().sum()
        found.append(total.gradient(x)[0].numpy())
    np.testing.assert_allclose(*found, atol=1e-5)
