"""A captured function is replayed on other inputs, or says why it cannot be."""

import numpy as np
import pytest

from tinycore.config import Context
from tinycore.engine.realize import bind_variable
from tinycore.errors import ArgumentError, CaptureError
from tinycore.tensor import Tensor, TinyJit, Variable


def test_a_replay_computes_with_its_own_inputs() -> None:
    @TinyJit
    def f(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y + x).realize()

    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.random((2, 4, 4), dtype=np.float32)
        assert np.allclose(f(Tensor(a), Tensor(b)).numpy(), a @ b + a, atol=1e-5)
    assert len(f.captured) == 1


def test_states_move_on_with_every_replay() -> None:
    total = Tensor([0.0]).realize()

    @TinyJit
    def add(x: Tensor) -> Tensor:
        total.assign(total + x)
        return total.realize()

    for _ in range(5):
        add(Tensor([2.0]))
    assert total.tolist() == [10.0]


def test_other_shapes_and_aliases_are_captured_apart() -> None:
    @TinyJit
    def f(x: Tensor, y: Tensor) -> Tensor:
        return (x - y).realize()

    a, b = Tensor([3.0, 4.0]), Tensor([1.0, 1.0])
    for _ in range(3):
        assert f(a, b).tolist() == [2.0, 3.0]
        assert f(a, a).tolist() == [0.0, 0.0]
        assert f(Tensor([5.0]), Tensor([1.0])).tolist() == [4.0]
    assert len(f.captured) == 3


def test_reading_a_value_while_capturing_raises_with_the_cause() -> None:
    @TinyJit
    def f(x: Tensor) -> float:
        return float((x * 2).sum().item())

    x = Tensor([1.0, 2.0])
    assert f(x) == 6.0
    with pytest.raises(CaptureError, match="asked for inside a captured function"):
        f(x)


def test_jit_0_runs_as_written() -> None:
    calls = []

    @TinyJit
    def f(x: Tensor) -> Tensor:
        calls.append(1)
        return (x + 1).realize()

    with Context(JIT=0):
        for k in range(4):
            assert f(Tensor([k])).tolist() == [k + 1]
    assert len(calls) == 4


def test_tensors_in_containers_are_inputs() -> None:
    @TinyJit
    def f(parts: dict[str, list[Tensor]]) -> list[Tensor]:
        return [(part * 2).realize() for part in parts["x"]]

    for k in range(4):
        out = f({"x": [Tensor([k]), Tensor([k + 1, k + 2])]})
        assert [part.tolist() for part in out] == [[2 * k], [2 * k + 2, 2 * k + 4]]


def test_rebinding_a_variable_first_computes_what_is_pending() -> None:
    n = Variable("rows", 1, 4)
    x = Tensor([1, 2, 3, 4]).realize()
    two = x[: n.bind(2)].sum()
    three = x[: n.bind(3)].sum()
    assert (two.item(), three.item()) == (3, 6)


def test_a_value_out_of_bounds_is_refused() -> None:
    with pytest.raises(ArgumentError, match="lies outside its bounds; expected 1 to 4"):
        bind_variable("n", 1, 4, 5)
