"""TinyJit: a function of tensors is run, then captured, then replayed.

Comes in: a function and its arguments. Goes out: what it returns. Next: engine/run.py.
"""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import fields
from enum import Enum
from functools import partial, update_wrapper
from inspect import signature
from numbers import Number
from types import (
    BuiltinFunctionType,
    EllipsisType,
    FunctionType,
    MethodType,
    ModuleType,
    NoneType,
)
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

from tinycore.config import DEFAULT_FLOAT, DEV, JIT, NO_GRAD, TRAINING
from tinycore.dtype import DType
from tinycore.engine.cell import PENDING, Cell, buffer_of
from tinycore.engine.run import OPEN, Captured, recording, versions, written_since
from tinycore.errors import ArgumentError, CaptureError, warn_once
from tinycore.runtime.buffer import Buffer
from tinycore.tensor.autograd import REQUIRING, realize_cells
from tinycore.tensor.base import Frame
from tinycore.tensor.tensor import Tensor
from tinycore.uop.index import Index
from tinycore.util import listed

Named = tuple[str, Any]
Keys = dict[str, Any]
Cells = list[Cell]

OPAQUE = object()  # in place of a value that may change unseen

_CODE = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)
_PLAIN = int, str, bytes, NoneType, EllipsisType, range
_VALUES = (*_PLAIN, DType, Index, Enum)
_SETTINGS = (TRAINING, NO_GRAD, DEFAULT_FLOAT, DEV)  # under others a call is another one
_FIXED = (*_VALUES, *_CODE, Number)  # numpy's scalars are Numbers

P = ParamSpec("P")
R = TypeVar("R")

_MOST_SEEN = 64


class _Grad:
    def __init__(self, tensor: Frame, before: weakref.ref[Frame] | None) -> None:
        self.tensor = tensor
        self.had = before is not None
        self.after = tensor.grad
        self.is_kept = before is not None and before() is tensor.grad

    def is_again(self) -> bool:
        now = self.tensor.grad
        if self.is_kept:
            return now is self.after
        return (now is not None) == self.had


class _Captured(NamedTuple):
    launches: Captured
    result: Any
    inputs: Cells
    grads: list[_Grad]

    def holds(self) -> bool:
        if not self.launches.holds():
            return False
        return all(grad.is_again() for grad in self.grads)


class TinyJit(Generic[P, R]):
    """Runs a function once as written, captures its second call, and replays it from then on.

    Tensors may be arguments, or lie in lists, tuples and dictionaries. Another shape, dtype,
    device, view or immutable value, such as a number, is captured anew. Mutable objects, arrays
    too, are no arguments: pass a Tensor, or keep the object in a closure or in `self`.
    Tensors of closures and of `self` are used where they lie when captured: assign to them, as a
    replay does not see a name bound to another. A replay repeats what the function assigns to
    tensors, nothing else, and overwrites what the last one returned: clone what must be kept.

    Raises: CaptureError if a value is read while it is captured, or an argument cannot be compared;
    ArgumentError for what is no function.

    >>> double = TinyJit(lambda x: (x * 2).realize())
    >>> [double(Tensor([k])).item() for k in range(4)]
    [0, 2, 4, 6]
    """

    def __init__(self, function: Callable[P, R]) -> None:
        if not callable(function):
            raise ArgumentError(
                f"TinyJit: {function!r} cannot be called; expected a function of tensors. "
                "Pass a function"
            )
        self.function = function
        self.captured: dict[Any, _Captured] = {}
        self.seen: dict[Any, None] = {}
        self.methods: dict[int, TinyJit[Any, R]] = {}
        self.is_method = False
        update_wrapper(self, function)
        parameters = signature(function).parameters.values()
        self.names = [p.name for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Every instance has captures of its own."""
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
        return type(self), (self.function,)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if not JIT.value or OPEN.recording is not None:
            return self.function(*args, **kwargs)
        unnamed = range(len(self.names), len(args))
        names = [*self.names, *map(str, unnamed)]
        positional = list(zip(names, args, strict=False))
        first = int(self.is_method)
        unbound = positional[first:]
        keys, cells = compared([*unbound, *kwargs.items()])
        settings = [setting.value for setting in _SETTINGS]
        key = (*keys.items(), *settings)
        _store(cells)
        found = self.captured.get(key)
        if found is not None:
            buffers = _buffers(cells)
            if PENDING:
                _store(found.launches.waiting(buffers))
            if found.holds():
                return _replay(found, cells, buffers)  # type: ignore[no-any-return]
        run = partial(self.function, *args, **kwargs)
        if key not in self.seen:
            self._see(key, keys)
            return run()
        self._check(keys)
        result, self.captured[key] = _capture(run, cells)
        return result  # type: ignore[no-any-return]

    def reset(self) -> None:
        """Forget every capture.

        >>> TinyJit(lambda x: x.realize()).reset()
        """
        self.captured.clear()
        self.seen.clear()
        for method in self.methods.values():
            method.reset()

    def _see(self, key: Any, keys: Keys) -> None:
        """Of many calls that differ, say why and forget the oldest."""
        if len(self.seen) >= _MOST_SEEN:
            last = next(reversed(self.seen))
            changed = [item[0] for item in keys.items() if item not in last]
            warn_once(
                f"TinyJit: argument {listed(changed)} of {self._name} changes every call; "
                "expected a call equal to an earlier one, to capture it. Pass a Tensor of one shape"
            )
            oldest = next(iter(self.seen))
            del self.seen[oldest]
            self.captured.pop(oldest, None)
        self.seen[key] = None

    def _check(self, keys: Keys) -> None:
        for name, value in keys.items():
            if value[0] is OPAQUE:
                raise CaptureError(
                    f"TinyJit: argument {name} of {self._name} is of type {value[1].__name__}, "
                    "whose changes a replay would not see; expected tensors and immutable values. "
                    "Pass a Tensor, or keep the object in a closure or in self"
                )

    @property
    def _name(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__name__)


def _capture(call: Callable[[], Any], inputs: Cells) -> tuple[Any, _Captured]:
    buffers = _buffers(inputs)
    rewritten = [cell for cell in PENDING if cell.stored]
    _store(rewritten)
    pending = versions()
    requiring = list(REQUIRING.values())
    old = [tensor.grad for tensor in requiring]
    before = [None if grad is None else weakref.ref(grad) for grad in old]
    with recording() as recorded:
        result = call()
        grads = list(map(_Grad, requiring, before))
        new = [("", grad.after) for grad in grads if not grad.is_kept]
        _, kept = compared([("", result), *new])
        _store(kept + written_since(pending))
    launches = Captured(recorded, buffers, pending)
    return result, _Captured(launches, result, inputs, grads)


def _store(cells: Cells) -> None:
    waiting = [cell for cell in cells if not cell.is_realized]
    if waiting:
        realize_cells(waiting)


def _buffers(cells: Cells) -> list[Buffer]:
    return [buffer_of(cell.uop) for cell in cells]


def _replay(found: _Captured, cells: Cells, buffers: list[Buffer]) -> Any:
    found.launches.replay(buffers)
    for grad in found.grads:
        grad.tensor.grad = grad.after
    swapped = dict(zip(found.inputs, cells, strict=True))
    return _with_cells(found.result, swapped)


def _with_cells(value: Any, swapped: dict[Cell, Cell]) -> Any:
    """What the captured call returned, with this call's inputs."""
    if isinstance(value, Tensor):
        cell = swapped.get(value.cell, value.cell)
        return Tensor.of_cell(cell, value.steps)
    if isinstance(value, (list, tuple)):
        parts = [_with_cells(part, swapped) for part in value]
        make = getattr(value, "_make", type(value))
        return make(parts)
    if isinstance(value, dict):
        return {name: _with_cells(value[name], swapped) for name in value}
    return value


# when two calls are equal


def compared(given: Iterable[Named]) -> tuple[Keys, Cells]:
    """What a call is compared by, part by part, and its tensors' cells, in order."""
    keys: Keys = {}
    cells: Cells = []
    first: dict[Cell, int] = {}
    work = [*given][::-1]
    while work:
        name, value = work.pop()
        if isinstance(value, Tensor):
            alias = first.setdefault(value.cell, len(cells))
            cells.append(value.cell)
            stored = value.cell.uop
            shape = stored.shape
            keys[name] = shape, stored.dtype, value.device, value.movements, alias
            continue
        kind = type(value)
        if isinstance(value, (float, complex)):
            keys[name] = kind, repr(value)  # NaN is itself, and 0.0 is not -0.0
            continue
        if isinstance(value, _FIXED):
            keys[name] = kind, value
            continue
        parts = _parts(name, value)
        keys[name] = (OPAQUE, kind) if parts is None else (kind, len(parts))
        work += reversed(parts or ())
    return keys, cells


def _parts(name: str, value: Any) -> list[Named] | None:
    if isinstance(value, (list, tuple)):
        return [(f"{name}[{number}]", part) for number, part in enumerate(value)]
    if isinstance(value, dict):
        return [(f"{name}[{key!r}]", part) for key, part in value.items()]
    made = getattr(type(value), "__dataclass_params__", None)
    if made is None or not made.frozen:
        return None
    names = [field.name for field in fields(value)]
    return [(f"{name}.{part}", getattr(value, part)) for part in names]
