"""Random numbers: the published words, the right distributions, seeds that repeat."""

import numpy as np
import pytest

from tests.schedule.evaluate import evaluate
from tests.tensor.compare import message
from tinycore.dtype import dtypes
from tinycore.engine.cell import buffer_of
from tinycore.errors import ArgumentError, DTypeError
from tinycore.tensor import Tensor, TinyJit
from tinycore.tensor.random import SEEDS, threefry
from tinycore.uop import graph

# Source: known answers of Random123 1.14, threefry2x32 with 20 rounds: counter, key, result.
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("counter", "key", "wanted"), KNOWN)
def test_words_are_the_published_ones(
    counter: tuple[int, int], key: tuple[int, int], wanted: tuple[int, int]
) -> None:
    leaves = [graph.graph_buffer(k, (1,), dtypes.uint32, "REF") for k in range(4)]
    numbers = (*key, *counter)
    data = {
        leaf: np.array([number], np.uint32) for leaf, number in zip(leaves, numbers, strict=True)
    }
    words = threefry((leaves[0], leaves[1]), (leaves[2], leaves[3]))
    assert tuple([int(evaluate(word, data)[0]) for word in words]) == wanted


def test_equal_seeds_give_equal_numbers() -> None:
    Tensor.manual_seed(5)
    first = [Tensor.rand(3).tolist(), Tensor.randn(2, 2).tolist()]
    Tensor.manual_seed(5)
    assert [Tensor.rand(3).tolist(), Tensor.randn(2, 2).tolist()] == first
    Tensor.manual_seed(6)
    assert Tensor.rand(3).tolist() != first[0]


def test_equal_seeds_give_equal_numbers_on_every_device() -> None:
    Tensor.manual_seed(5)
    here, there = Tensor.rand(64), Tensor.rand(64, device="REF")
    assert here.tolist() == there.tolist()


def test_drawing_twice_gives_other_numbers_whenever_it_is_computed() -> None:
    Tensor.manual_seed(1)
    a, b = Tensor.rand(4), Tensor.rand(4)
    later = b.tolist()
    assert a.tolist() != later
    Tensor.manual_seed(1)
    assert Tensor.rand(4).tolist() == a.tolist()
    assert Tensor.rand(4).tolist() == later


def test_seeding_leaves_what_was_drawn_before_as_it_was() -> None:
    Tensor.manual_seed(1)
    wanted = Tensor.rand(4).tolist()
    Tensor.manual_seed(1)
    pending = Tensor.rand(4)
    Tensor.manual_seed(2)
    assert pending.tolist() == wanted


def test_a_replay_draws_new_numbers() -> None:
    @TinyJit
    def draw() -> Tensor:
        return Tensor.rand(4).realize()

    draws = [tuple(draw().tolist()) for _ in range(5)]
    assert len(set(draws)) == 5
    Tensor.manual_seed(3)
    first = draw().tolist()
    Tensor.manual_seed(3)
    assert draw().tolist() == first


def test_the_counter_stays_in_its_buffer() -> None:
    Tensor.rand(1).realize()
    state = next(iter(SEEDS.states.values()))
    before = buffer_of(state.counter.uop)
    Tensor.rand(1).realize()
    assert buffer_of(state.counter.uop) is before


def test_uniform_numbers_are_uniform() -> None:
    Tensor.manual_seed(7)
    numbers = Tensor.rand(100_000).numpy()
    assert 0 <= numbers.min() < 1e-3
    assert 1 - 1e-3 < numbers.max() < 1
    counts = np.histogram(numbers, 20, (0, 1))[0]
    assert abs(counts - 5000).max() < 350
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.02


def test_normal_numbers_are_normal() -> None:
    Tensor.manual_seed(7)
    numbers = Tensor.randn(100_000).numpy()
    assert abs(numbers.mean()) < 0.02
    assert abs(numbers.std() - 1) < 0.02
    assert abs((np.abs(numbers) < 1).mean() - 0.6827) < 0.01
    scaled = Tensor.normal(10_000, mean=3.0, std=0.5).numpy()
    assert abs(scaled.mean() - 3) < 0.05
    assert abs(scaled.std() - 0.5) < 0.05


def test_whole_numbers_are_even() -> None:
    Tensor.manual_seed(7)
    numbers = Tensor.randint(50_000, low=-2, high=3)
    assert numbers.dtype is dtypes.int32
    counts = np.bincount(numbers.numpy() + 2)
    assert len(counts) == 5
    assert abs(counts - 10_000).max() < 500


def test_every_float_type_stays_below_one() -> None:
    Tensor.manual_seed(7)
    for dtype in dtypes.floats:
        numbers = Tensor.rand(5000, dtype=dtype)
        assert numbers.dtype is dtype
        assert numbers.numpy().max() < 1
    assert Tensor.randn(4, dtype="float64").dtype is dtypes.float64
    assert len(set(Tensor.rand(5000, dtype="float64").tolist())) == 5000


def test_a_permutation_holds_every_number_once() -> None:
    Tensor.manual_seed(7)
    order = Tensor.randperm(100).tolist()
    assert sorted(order) == list(range(100))
    assert order != list(range(100))


def test_starting_values_keep_their_bounds() -> None:
    shape = (64, 16, 3, 3)
    fan_in, count = 16 * 9, 64 * 16 * 9
    leaky = np.sqrt(2 / (1 + 0.01**2))
    bounds = {
        "scaled_uniform": count**-0.5,
        "glorot_uniform": np.sqrt(6 / (64 + fan_in)),
        "kaiming_uniform": np.sqrt(3) * leaky / np.sqrt(fan_in),
    }
    for name, bound in bounds.items():
        numbers = getattr(Tensor, name)(*shape).numpy()
        assert 0.99 * bound < abs(numbers).max() <= bound, name
    std = Tensor.kaiming_normal(*shape).numpy().std()
    assert abs(std / (leaky / np.sqrt(fan_in)) - 1) < 0.05
    spread = Tensor.uniform(1000, low=2, high=5).numpy()
    assert (spread.min() >= 2, spread.max() < 5) == (True, True)


def test_dropout_drops_while_training_only() -> None:
    x = Tensor.ones(20_000)
    assert x.dropout(0.3) is x
    with Tensor.train():
        numbers = x.dropout(0.3).numpy()
        assert x.dropout(1.0).sum().item() == 0
        assert x.dropout(0.0) is x
    assert abs((numbers == 0).mean() - 0.3) < 0.02
    np.testing.assert_allclose(numbers[numbers != 0], 1 / 0.7, rtol=1e-6)


def test_dropout_gives_the_gradient_of_what_it_kept() -> None:
    x = Tensor.ones(1000, requires_grad=True)
    with Tensor.train():
        dropped = x.dropout(0.5)
    dropped.sum().backward()
    assert dropped.numpy().tolist() == x.grad.tolist()


def test_refusals() -> None:
    assert message(DTypeError, lambda: Tensor.rand(2, dtype="int32")) == (
        "rand: dtypes.int32 is no floating-point type; expected one. Use randint"
    )
    assert message(ArgumentError, lambda: Tensor.randint(2, low=3, high=3)) == (
        "randint: 3 to 3 holds 0 numbers; expected 1 to 2^32. Pass low < high"
    )
    assert message(ArgumentError, lambda: Tensor([1.0]).dropout(1.5)) == (
        "dropout: p is 1.5; expected 0 to 1. Pass a probability"
    )
