"""Optimizers follow their published formulas, step by step, in place and as one graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tinycore.engine.cell import buffer_of
from tinycore.engine.plan import graph_key
from tinycore.engine.realize import realize
from tinycore.errors import ArgumentError
from tinycore.nn.optim import SGD, Adam, AdamW, Optimizer
from tinycore.tensor import Tensor, TinyJit

START = np.array([1.0, -2.0, 3.0])
SCALE = np.array([1.0, 0.5, -1.5])
Rule = Callable[[np.ndarray, np.ndarray, dict[str, Any]], np.ndarray]


def sgd(lr: float, momentum: float = 0, decay: float = 0, nesterov: bool = False) -> Rule:
    def change(p: np.ndarray, g: np.ndarray, state: dict[str, Any]) -> np.ndarray:
        g = g + decay * p
        state["v"] = momentum * state.get("v", 0) + g
        return p - lr * (g + momentum * state["v"] if nesterov else state["v"])

    return change


def adam(lr: float, b1: float, b2: float, eps: float, decay: float, decoupled: bool) -> Rule:
    def change(p: np.ndarray, g: np.ndarray, state: dict[str, Any]) -> np.ndarray:
        p = p * (1 - lr * decay) if decoupled else p
        g = g if decoupled else g + decay * p
        t = state["t"] = state.get("t", 0) + 1
        m = state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
        v = state["v"] = b2 * state.get("v", 0) + (1 - b2) * g * g
        return p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)

    return change


CASES: list[tuple[Callable[[list[Tensor]], Optimizer], Rule]] = [
    (lambda p: SGD(p, lr=0.1), sgd(0.1)),
    (lambda p: SGD(p, lr=0.1, momentum=0.9), sgd(0.1, 0.9)),
    (lambda p: SGD(p, 0.1, 0.9, 0.01, nesterov=True), sgd(0.1, 0.9, 0.01, True)),
    (lambda p: Adam(p, lr=0.1), adam(0.1, 0.9, 0.999, 1e-8, 0, False)),
    (
        lambda p: Adam(p, 0.1, betas=(0.8, 0.95), weight_decay=0.1),
        adam(0.1, 0.8, 0.95, 1e-8, 0.1, False),
    ),
    (lambda p: AdamW(p, lr=0.1), adam(0.1, 0.9, 0.999, 1e-8, 0.01, True)),
]


def loss_of(x: Tensor) -> Tensor:
    return (x * x * Tensor(SCALE)).sum()


@pytest.mark.parametrize(("make", "rule"), CASES)
def test_six_steps_follow_the_formula(make: Callable[..., Optimizer], rule: Rule) -> None:
    x = Tensor(START)
    optimizer = make([x])
    wanted, state = START, {}
    for _ in range(6):
        optimizer.zero_grad()
        loss_of(x).backward()
        optimizer.step()
        wanted = rule(wanted, 2 * wanted * SCALE, state)
        np.testing.assert_allclose(x.numpy(), wanted, rtol=1e-6)


@pytest.mark.parametrize(("make", "rule"), CASES)
def test_a_parameter_of_no_axis_follows_the_formula(
    make: Callable[..., Optimizer], rule: Rule
) -> None:
    x = Tensor(3.0)
    optimizer = make([x])
    wanted, state = np.array(3.0), {}
    for _ in range(3):
        (x * x).backward()
        optimizer.step()
        wanted = rule(wanted, 2 * wanted, state)
        np.testing.assert_allclose(x.numpy(), wanted, rtol=1e-6)


@pytest.mark.parametrize(("make", "rule"), CASES)
def test_captured_steps_are_the_same_steps(make: Callable[..., Optimizer], rule: Rule) -> None:
    x = Tensor(START)
    optimizer = make([x])

    @TinyJit
    def step() -> Tensor:
        loss = loss_of(x).backward()
        return loss.realize(*optimizer.schedule_step())

    wanted, state = START, {}
    for _ in range(6):
        step()
        wanted = rule(wanted, 2 * wanted * SCALE, state)
    np.testing.assert_allclose(x.numpy(), wanted, rtol=1e-6)


def test_everything_is_updated_in_place() -> None:
    x = Tensor(START)
    optimizer = Adam([x])
    tensors = [x, *optimizer.m, *optimizer.v, *optimizer.grown, optimizer.lr]
    buffers = [buffer_of(tensor.cell.uop) for tensor in tensors]
    for _ in range(3):
        loss_of(x).backward()
        optimizer.step()
    assert [buffer_of(tensor.cell.uop) for tensor in tensors] == buffers


def test_every_step_is_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []

    def watched(sinks: Any, device: Any) -> Any:
        keys.append(graph_key(sinks)[0])
        return plan_for(sinks, device)

    from tinycore.engine import realize as module

    plan_for = module.plan_for
    monkeypatch.setattr(module, "plan_for", watched)
    x = Tensor(START)
    optimizer = Adam([x])
    keys.clear()
    for _ in range(3):
        loss_of(x).backward()
        optimizer.step()
    assert len(keys) == 3
    assert keys[0] == keys[1] == keys[2]


def test_the_learning_rate_can_be_changed() -> None:
    x = Tensor(START)
    optimizer = SGD([x], lr=0.1)
    optimizer.lr.assign([1.0])
    x.grad = Tensor([1.0, 1.0, 1.0])
    optimizer.step()
    same(x, START - 1)


def test_a_step_drops_the_gradients_it_used() -> None:
    x = Tensor(START)
    optimizer = SGD([x])
    loss_of(x).backward()
    optimizer.step()
    assert x.grad is None


def test_a_parameter_without_gradient_stays() -> None:
    x, y = Tensor(START), Tensor(START)
    optimizer = SGD([x, y], lr=0.1)
    loss_of(x).backward()
    optimizer.step()
    same(y, START)
    assert not np.allclose(x.numpy(), START)


def test_collected_parameters_need_no_flag_and_buffers_stay() -> None:
    x = Tensor(START)
    buffer = Tensor(START, requires_grad=False)
    number = Tensor([1])
    optimizer = SGD([x, buffer, number, x])
    assert (optimizer.params, optimizer.buffers) == ([x], [buffer, number])
    assert x.requires_grad is True


def test_pending_buffers_are_realized_with_the_step() -> None:
    x, buffer = Tensor(START), Tensor([0.0], requires_grad=False)
    optimizer = SGD([x, buffer])
    buffer += 1
    loss_of(x).backward()
    optimizer.step()
    assert buffer.is_realized
    realize([])


def test_nothing_to_change_is_refused() -> None:
    assert message(ArgumentError, lambda: SGD([Tensor([1])])) == (
        "optimizer: there is no parameter among the tensors given; expected at least one of "
        "floating point. Pass get_parameters(model)"
    )


def test_nesterov_without_momentum_is_refused() -> None:
    assert message(ArgumentError, lambda: SGD([Tensor([1.0])], nesterov=True)) == (
        "SGD: nesterov needs a momentum, which is 0; expected more. Pass momentum=0.9"
    )
