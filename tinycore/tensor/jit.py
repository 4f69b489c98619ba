"""TinyJit: a function of tensors is run, then captured, then replayed.

Comes in: a function and its arguments. Goes out: what it returns, computed by the launches of its
second call. A capture holds for one set of shapes, dtypes, devices, views, aliases and other
arguments (jitkey.py); any other set is captured anew. engine/capture.py replays.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import update_wrapper
from inspect import signature
from types import MethodType
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar

from tinycore.config import JIT
from tinycore.engine.capture import Captured
from tinycore.engine.cell import PENDING, Cell, buffer_of
from tinycore.engine.run import BOUND, OPEN, recording, transfer
from tinycore.errors import ArgumentError, CaptureError, warn_once
from tinycore.runtime.buffer import Buffer
from tinycore.tensor.history import realize_cells
from tinycore.tensor.jitkey import OPAQUE, key_of, leaves, tensors_in
from tinycore.tensor.leaves import REQUIRING
from tinycore.tensor.tensor import Tensor
from tinycore.uop.ops import UOp, toposort

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

_MOST_SEEN = 64


class _Grad(NamedTuple):
    """A gradient that the captured call put in the place of another."""

    tensor: Tensor
    before: Tensor | None
    after: Tensor | None


class _Captured(NamedTuple):
    """A replayable call: its launches, and how what it returned is made from its inputs.

    It holds as long as the cells of `pending`, which were not stored when it was captured, and the
    gradients are as they were then.
    """

    launches: Captured
    result: Any
    inputs: tuple[Cell, ...]
    pending: Mapping[Cell, UOp]
    grads: list[_Grad]

    def holds(self) -> bool:
        if self.pending and any(cell.uop is not uop for cell, uop in self.pending.items()):
            return False
        return all(grad.tensor.grad is grad.before for grad in self.grads)


class TinyJit(Generic[P, R]):
    """Runs a function once as written, captures its second call, and replays it from then on.

    Tensors may be arguments, or lie in lists, tuples and dictionaries of them; they may differ from
    call to call. Numbers, strings and other immutable arguments are compared: another value is
    captured anew. Mutable objects, arrays too, are no arguments: pass a Tensor, or keep the object
    in a closure or in the `self` of a method.
    Tensors of closures and of `self` are read and written where they lie when captured, so assign
    to them; a replay does not see that a name or an attribute was bound to another tensor. All
    that the function assigns to tensors is stored with every call, returned or not. Nothing else
    that it does in Python is done again. What it returns is overwritten by the next replay: clone
    what must be kept.

    Raises: CaptureError if the function reads the value of a tensor while it is captured, or for an
    argument that cannot be compared; ArgumentError for what is no function.

    >>> @TinyJit
    ... def double(x):
    ...     return (x * 2).realize()
    >>> [double(Tensor([k])).tolist() for k in range(4)]
    [[0], [2], [4], [6]]
    """

    def __init__(self, function: Callable[P, R]) -> None:
        if not callable(function):
            raise ArgumentError(
                f"TinyJit: {function!r} cannot be called; expected a function of tensors. "
                "Pass a function"
            )
        self.function = function
        self.captured: dict[Any, _Captured] = {}
        self.seen: dict[Any, dict[str, Any]] = {}
        self.methods: dict[int, TinyJit[Any, R]] = {}
        self.is_method = False
        update_wrapper(self, function)

    def __get__(
        self: TinyJit[Concatenate[S, P], R],
        instance: S | None,
        owner: type | None = None,
    ) -> Any:
        """As an attribute of a class: a method, captured for every instance apart."""
        if instance is None:
            return self
        number = id(instance)
        if number not in self.methods:
            method = TinyJit(self.function)
            method.is_method = True
            self.methods[number] = method
            weakref.finalize(instance, self.methods.pop, number, None)
        return MethodType(self.methods[number], instance)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy has captured nothing."""
        return type(self), (self.function,)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if not JIT.value or OPEN.recording is not None:
            return self.function(*args, **kwargs)
        given = (args[1:] if self.is_method else args, kwargs)
        tensors = list(tensors_in(given))
        _store([tensor.cell for tensor in tensors])
        key = key_of(given, tensors)
        found = self.captured.get(key)
        if found is not None:
            cells = tuple([tensor.cell for tensor in tensors])
            buffers = _buffers(cells)
            if PENDING:
                _store(found.launches.waiting(buffers))
            if found.holds():
                return _replay(found, cells, buffers)  # type: ignore[no-any-return]
        if found is not None or key in self.seen:
            return self._capture(key, tensors, *args, **kwargs)
        self._see(key, *args, **kwargs)
        return self.function(*args, **kwargs)

    def reset(self) -> None:
        """Forget every capture.

        >>> double = TinyJit(lambda x: (x * 2).realize())
        >>> double.reset()
        """
        self.captured.clear()
        self.seen.clear()
        for method in self.methods.values():
            method.reset()

    def _see(self, key: Any, *args: P.args, **kwargs: P.kwargs) -> None:
        """Note a first call; of calls that differ every time, say why and forget the oldest."""
        values = self._values(*args, **kwargs)
        if len(self.seen) >= _MOST_SEEN:
            last = next(reversed(self.seen.values()))
            changed = [name for name in values if values[name] != last.get(name)]
            warn_once(
                f"TinyJit: {_listed(changed)} of {self._name} changes every call, so nothing is "
                "captured; expected equal calls. Pass a Tensor of one shape"
            )
            del self.seen[next(iter(self.seen))]
        self.seen[key] = values

    def _values(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """What is compared of every argument, by its name."""
        given = signature(self.function).bind(*args, **kwargs).arguments
        named = list(given.items())[1 if self.is_method else 0 :]
        return dict([leaf for name, value in named for leaf in leaves(name, value)])

    @property
    def _name(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__name__)

    def _capture(
        self,
        key: Any,
        tensors: list[Tensor],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        for name, value in self._values(*args, **kwargs).items():
            if value[0] is OPAQUE:
                raise CaptureError(
                    f"TinyJit: argument {name} of {self._name} is of type {value[1].__name__}, "
                    "whose changes a replay would not see; expected tensors and immutable values. "
                    "Pass a Tensor, or keep the object in a closure or in self"
                )
        inputs = tuple([tensor.cell for tensor in tensors])
        buffers = _buffers(inputs)
        _store([cell for cell in list(PENDING) if cell.stored is not None])
        before = {cell: cell.uop for cell in list(PENDING)}
        grads = [(tensor, tensor.grad) for tensor in _requiring()]
        with recording() as recorded:
            result = self.function(*args, **kwargs)
            changed = [_Grad(t, grad, t.grad) for t, grad in grads if t.grad is not grad]
            cells = [tensor.cell for tensor in tensors_in(result)]
            cells += [grad.after.cell for grad in changed if grad.after is not None]
            _store([*cells, *_written(before)])
        read = set(toposort(recorded.roots))
        pending = weakref.WeakKeyDictionary(
            {cell: uop for cell, uop in before.items() if cell.uop is not uop or uop in read}
        )
        launches = Captured(recorded, buffers)
        self.captured[key] = _Captured(launches, result, inputs, pending, changed)
        return result


def _store(cells: list[Cell]) -> None:
    waiting = [cell for cell in cells if not cell.is_realized]
    if waiting:
        realize_cells(waiting)


def _written(before: Mapping[Cell, UOp]) -> list[Cell]:
    """The pending cells that are older than the captured call, and were written by it."""
    waiting = list(PENDING)
    stored = [cell for cell in waiting if cell.stored is not None]
    return stored + [cell for cell in waiting if before.get(cell, cell.uop) is not cell.uop]


def _requiring() -> list[Tensor]:
    return [tensor for tensor in list(REQUIRING.values()) if isinstance(tensor, Tensor)]


def _buffers(cells: tuple[Cell, ...]) -> list[Buffer]:
    return [buffer_of(cell.uop) for cell in cells]


def _replay(found: _Captured, cells: tuple[Cell, ...], buffers: list[Buffer]) -> Any:
    if not found.launches.used.isdisjoint(buffers):
        buffers = [_apart(buffer, found.launches) for buffer in buffers]
    found.launches.replay(buffers, BOUND)
    for tensor, _, grad in found.grads:
        tensor.grad = grad
    return _with_cells(found.result, dict(zip(found.inputs, cells, strict=True)))


def _apart(buffer: Buffer, launches: Captured) -> Buffer:
    """An input that lies where the replay writes, such as the last result, is read from a copy."""
    if buffer not in launches.used:
        return buffer
    copy = Buffer(buffer.device, buffer.dtype, buffer.count)
    transfer(buffer, copy)
    return copy


def _with_cells(value: Any, swapped: dict[Cell, Cell]) -> Any:
    """What the captured call returned, made of this call's inputs where it returned an input."""
    if isinstance(value, Tensor):
        cell = swapped.get(value.cell, value.cell)
        return Tensor.of_cell(cell, value.steps)
    if isinstance(value, (list, tuple)):
        parts = [_with_cells(part, swapped) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {name: _with_cells(value[name], swapped) for name in value}
    return value


def _listed(names: list[str]) -> str:
    return "argument " + ", ".join(names) if names else "what surrounds a call"
