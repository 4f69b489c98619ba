"""A captured function does with every call what it does as written (JIT=0)."""

import copy
import gc
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import pytest

from tinycore.config import Context
from tinycore.errors import ArgumentError, CaptureError, TinycoreWarning
from tinycore.nn.layers import BatchNorm
from tinycore.nn.optim import SGD
from tinycore.runtime.buffer import GlobalCounters
from tinycore.tensor import Tensor, TinyJit, Variable

Run = Callable[[Callable[..., Any]], list[Any]]


class Mode(Enum):
    """An immutable argument."""

    DOUBLE = 2
    TRIPLE = 3


@dataclass(frozen=True)
class Config:
    """Another; its factor may be anything."""

    factor: Any


@dataclass
class Changing:
    """An argument whose changes nobody sees."""

    factor: float


def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
    """A TinyJit as a plain function."""
    return TinyJit(function)


# Each makes its state, calls a function several times and tells what it saw.


def assigned(jit: Callable[..., Any]) -> list[Any]:
    """A state is assigned to, and something computed from it returned."""
    state = Tensor.zeros(1).contiguous().realize()

    def f(x: Tensor) -> Tensor:
        state.assign(state + x)
        return (state * 10).realize()

    f = jit(f)
    return [(f(Tensor([1.0])).tolist(), state.tolist()) for _ in range(5)]


def never_stored(jit: Callable[..., Any]) -> list[Any]:
    """The same, read at the end alone, of a state that is a formula at first."""
    state = Tensor.zeros(2)

    def f(x: Tensor) -> Tensor:
        state[0:1] += x
        return (x * 2).realize()

    f = jit(f)
    outs = [f(Tensor([float(k)])).tolist() for k in range(6)]
    return [*outs, state.tolist()]


def element(jit: Callable[..., Any]) -> list[Any]:
    """One element is set."""
    state = Tensor.zeros(3).contiguous().realize()

    def f(x: Tensor) -> Tensor:
        state[1] = x.sum()
        return (x + 1).realize()

    f = jit(f)
    return [(f(Tensor([float(k)])).tolist(), state.tolist()) for k in range(5)]


def cache(jit: Callable[..., Any]) -> list[Any]:
    """Rows of a cache are filled at a variable place."""
    rows = Tensor.zeros(8, 2).contiguous().realize()
    place = Variable("place", 0, 7)

    def f(x: Tensor, p: Any) -> Tensor:
        rows[p : p + 1].assign(x)
        return rows[: p + 1].sum().realize()

    f = jit(f)
    outs = [f(Tensor([[float(k), 1.0]]), place.bind(k)).item() for k in range(7)]
    return [*outs, rows.tolist()]


def test_a_variable_is_bound_outside_of_what_is_captured() -> None:
    n = Variable("inside", 1, 4)
    f = TinyJit(lambda x: x[: n.bind(2)].sum().realize())
    x = Tensor([1.0, 2.0, 3.0, 4.0]).realize()
    assert f(x).item() == 3.0
    with pytest.raises(CaptureError, match="bind: inside is bound inside a captured function"):
        f(x)


def statistics(jit: Callable[..., Any]) -> list[Any]:
    """A batch norm learns without an optimizer."""
    norm = BatchNorm(2)
    x = np.random.default_rng(0).random((6, 4, 2, 3), dtype=np.float32)

    def f(x: Tensor) -> Tensor:
        with Tensor.train():
            return norm(x).sum().realize()

    f = jit(f)
    for k in range(6):
        f(Tensor(x[k]))
    return [norm.num_batches_tracked.tolist(), norm.running_mean.tolist()]


def gradients(jit: Callable[..., Any]) -> list[Any]:
    """Gradients add up."""
    w = Tensor([1.0, 2.0], requires_grad=True)

    def f(x: Tensor) -> Tensor:
        return (w * x).sum().backward().realize()

    f = jit(f)
    outs = []
    for k in range(6):
        f(Tensor([float(k), 1.0]))
        assert w.grad is not None
        outs.append(w.grad.tolist() if k % 2 else None)
    return outs


def dropped_gradients(jit: Callable[..., Any]) -> list[Any]:
    """Gradients are dropped and used outside."""
    w = Tensor([1.0, 2.0], requires_grad=True)
    optimizer = SGD([w], lr=0.5)

    def f(x: Tensor) -> Tensor:
        return (w * w * x).sum().backward().realize()

    f = jit(f)
    outs = []
    for k in range(6):
        optimizer.zero_grad()
        outs.append(f(Tensor([float(k), 1.0])).item())
        optimizer.step()
    return [*outs, w.tolist()]


def replaced_gradients(jit: Callable[..., Any]) -> list[Any]:
    """Gradients are dropped inside and used outside, as in a loop written by hand."""
    w = Tensor([1.0, 2.0], requires_grad=True)

    def f(x: Tensor) -> Tensor:
        w.grad = None
        return (w * w * x).sum().backward().realize()

    f = jit(f)
    outs = []
    for k in range(6):
        outs.append(f(Tensor([float(k), 1.0])).item())
        assert w.grad is not None
        w.assign(w.detach() - w.grad * 0.5)
        if k == 4:
            w.grad = None
    return [*outs, w.tolist()]


def outside(jit: Callable[..., Any]) -> list[Any]:
    """A tensor is written between the calls: in place, moved about, and by part."""
    w = Tensor([1.0, 2.0, 3.0]).realize()
    f = jit(lambda: (w * 1).sum(0, keepdim=True).cat(w).realize())
    outs = [f().tolist() for _ in range(3)]
    w.assign(Tensor([5.0, 6.0, 7.0]))
    outs.append(f().tolist())
    w.assign(w.flip(0) + w)
    outs.append(f().tolist())
    w.assign(w.flip(0) * Tensor([1.0, 2.0, 3.0])).realize()
    outs.append(f().tolist())
    w[1] = 9.0
    return [*outs, f().tolist(), f().tolist()]


def argument(jit: Callable[..., Any]) -> list[Any]:
    """The argument itself is written."""
    f = jit(lambda x: (x.assign(x + 1) * 1).realize())
    x, outs = Tensor([1.0]), []
    for k in range(6):
        y = Tensor([float(k)])
        late = y * 100
        outs.append((f(x).tolist(), f(y).tolist(), x.tolist(), y.tolist(), late.tolist()))
    return outs


def fed_back(jit: Callable[..., Any]) -> list[Any]:
    """Every result is the next argument."""
    w = Tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]).realize()
    f = jit(lambda h: (h @ w + h.flip(0)).realize())
    h, outs = Tensor([1.0, 2.0, 3.0]), []
    for _ in range(6):
        h = f(h)
        outs.append(h.tolist())
    return outs


def late_readers(jit: Callable[..., Any]) -> list[Any]:
    """What was computed before a call but not stored keeps the old values."""
    state = Tensor([1.0]).realize()

    def f() -> Tensor:
        return state.assign(state * 2).realize()

    f = jit(f)
    outs = []
    for _ in range(6):
        before = state + 0.5
        f()
        outs.append((before.tolist(), state.tolist()))
    return outs


def lazy_closures(jit: Callable[..., Any]) -> list[Any]:
    """A closure that is not stored is read, then written, while what it reads is written."""
    w = Tensor([1.0, 2.0]).realize()
    twice = w * 2
    f = jit(lambda: (twice + 1).sum().realize())
    outs = [f().item() for _ in range(3)]
    w.assign(w + 1).realize()
    outs += [f().item() for _ in range(3)]
    twice.assign(Tensor([0.0, 5.0]))
    return [*outs, *[f().item() for _ in range(3)]]


def modes(jit: Callable[..., Any]) -> list[Any]:
    """What a function means depends on a setting."""
    f = jit(lambda x: (x * (2 if Tensor.training else 3)).realize())
    outs = []
    for _ in range(3):
        outs.append(f(Tensor([1.0])).tolist())
        with Tensor.train():
            outs.append(f(Tensor([1.0])).tolist())
    return outs


def drawn(jit: Callable[..., Any]) -> list[Any]:
    """Numbers are drawn inside and outside."""
    Tensor.manual_seed(3)
    f = jit(lambda: Tensor.rand(2).realize())
    outs = []
    for _ in range(5):
        late = Tensor.rand(3)
        outs += [f().tolist(), late.tolist()]
    return outs


RUNS: list[Run] = [
    assigned,
    never_stored,
    element,
    cache,
    statistics,
    gradients,
    dropped_gradients,
    replaced_gradients,
    outside,
    argument,
    fed_back,
    late_readers,
    lazy_closures,
    modes,
    drawn,
]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_every_call_gives_what_it_gives_as_written(run: Run) -> None:
    with Context(JIT=0):
        wanted = run(wrap)
    made: list[TinyJit[..., Any]] = []

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        made.append(TinyJit(function))
        return made[-1]

    assert run(watched) == wanted
    assert made[0].captured


def test_a_capture_computes_nothing_that_is_dropped() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True).realize()
    optimizer = SGD([w], lr=0.5)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = (w * w).sum().backward()
        return loss.realize(*optimizer.schedule_step())

    def kernels(f: Callable[[], Tensor]) -> int:
        before = GlobalCounters.kernel_count
        f()
        return GlobalCounters.kernel_count - before

    wanted = kernels(step)
    (w * w * w).sum().backward()
    late = (w * 5).sum()
    fast = TinyJit(step)
    for _ in range(5):
        counts = [kernels(fast) for _ in range(3)]
    assert counts == [wanted] * 3
    assert late.item() == 0.0


# Arguments that are no tensors


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.ones(2, np.float32), "ndarray"),
        (Changing(2.0), "Changing"),
        (Config(Changing(2.0)), "Changing"),
        ({1, 2}, "set"),
    ],
)
def test_what_may_change_unseen_is_refused_by_name(value: Any, kind: str) -> None:
    @TinyJit
    def f(x: Tensor, parts: dict[str, Any]) -> Tensor:
        return (x + 1).realize()

    f(Tensor([1.0]), {"it": value})
    with pytest.raises(CaptureError, match=rf"argument parts\['it'\].* of .*f is of type {kind}, "):
        f(Tensor([1.0]), {"it": value})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Mode.DOUBLE, Mode.TRIPLE),
        (Config(2), Config(3)),
        (Config(0.0), Config(-0.0)),
        (np.float32(2), np.float32(3)),
        (np.int64(2), np.int64(3)),
        (2, 2.0),
        (float("nan"), 1.0),
        ((1, (2,)), (1, (3,))),
        (Tensor.exp, Tensor.log),
        (None, 1),
    ],
)
def test_immutable_arguments_are_compared(first: Any, second: Any) -> None:
    calls = []

    @TinyJit
    def f(x: Tensor, value: Any) -> Tensor:
        calls.append(value)
        return (x + 1).realize()

    for _ in range(4):
        f(Tensor([1.0]), copy.deepcopy(first))
        f(Tensor([1.0]), copy.deepcopy(second))
    assert len(calls) == 4 and len(f.captured) == 2


def test_a_frozen_argument_may_hold_tensors() -> None:
    f = TinyJit(lambda c: (c.factor[0] * 2).realize())
    outs = [f(Config([Tensor([float(k)]), 3])).item() for k in range(5)]
    assert outs == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert len(f.captured) == 1


def test_an_argument_by_name_is_the_same_argument() -> None:
    f = TinyJit(lambda x, *rest, **more: (x * len(rest) + len(more)).realize())
    for _ in range(2):
        outs = [f(Tensor([2.0]), 7, 8, a=1), f(Tensor([2.0]), 7, b=1), f(x=Tensor([2.0]))]
        assert [out.item() for out in outs] == [5.0, 3.0, 0.0]
    assert f(Tensor([3.0])).item() == 0.0
    assert len(f.captured) == 3


def test_an_argument_that_changes_every_call_is_told_once() -> None:
    @TinyJit
    def step(x: Tensor, lr: float) -> Tensor:
        return (x * lr).realize()

    x = Tensor([1.0])
    with pytest.warns(TinycoreWarning, match="argument lr of .*step changes every call") as told:
        for k in range(200):
            assert step(x, k / 7).item() == pytest.approx(k / 7)
    assert len(told) == 1
    assert len(step.seen) < 100


def test_captures_are_bounded() -> None:
    f = TinyJit(lambda x, k: (x + k).realize())
    x = Tensor([1.0])
    with pytest.warns(TinycoreWarning, match="changes every call"):
        for k in range(70):
            assert [f(x, k).item() for _ in range(3)] == [k + 1.0] * 3
    assert len(f.captured) <= 64


# Functions


class Model:
    """A user's class with a captured method."""

    def __init__(self, factor: float) -> None:
        self.weight = Tensor([factor]).realize()
        self.calls = 0

    @TinyJit
    def step(self, x: Tensor) -> Tensor:
        """Counts, and multiplies."""
        self.calls += 1
        self.weight.assign(self.weight + 1)
        return (x * self.weight).realize()


def test_a_method_is_captured_for_every_instance_apart() -> None:
    two, five = Model(2.0), Model(5.0)
    for k in range(5):
        assert two.step(Tensor([10.0])).item() == 10.0 * (3 + k)
        assert five.step(x=Tensor([10.0])).item() == 10.0 * (6 + k)
    assert two.calls == five.calls == 2
    assert isinstance(Model.step, TinyJit) and Model.step.__doc__ == "Counts, and multiplies."
    twin = copy.deepcopy(two)
    assert twin.step(Tensor([1.0])).item() == 8.0
    assert two.weight.item() == 7.0
    gone = weakref.ref(five)
    del five
    gc.collect()
    assert gone() is None


def test_a_model_in_a_closure_is_captured_with_its_parameters() -> None:
    model = Model(2.0)
    f = TinyJit(lambda x: (x * model.weight).realize())
    for k in range(5):
        assert f(Tensor([float(k)])).item() == 2.0 * k


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(ArgumentError, match="TinyJit: 3 cannot be called; expected a function"):
        TinyJit(3)  # type: ignore[arg-type]


def test_replays_compile_and_capture_nothing_again() -> None:
    state = Tensor([0.0]).realize()
    calls = []

    @TinyJit
    def f(x: Tensor) -> Tensor:
        calls.append(1)
        state.assign(state + x)
        return (state * 2).realize()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in range(6):
            state.assign(state - 1)
            f(Tensor([float(k)]))
    assert len(calls) == 2


def test_another_default_device_is_another_call() -> None:
    f = TinyJit(lambda: (Tensor.ones(3).contiguous() + 1).realize())
    for _ in range(3):
        assert f().device != "REF"
    with Context(DEV="REF"):
        assert f().device == "REF"
