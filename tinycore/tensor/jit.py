"""TinyJit: a function of tensors is run, then captured, then replayed.

Comes in: a function and its arguments. Goes out: what it returns, computed by the launches of its
second call. A capture holds for one set of shapes, dtypes, devices, views, aliases and other
arguments; any other set is captured anew. engine/capture.py replays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import update_wrapper
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

from tinycore.config import JIT
from tinycore.engine.capture import Captured
from tinycore.engine.cell import Cell, buffer_of
from tinycore.engine.realize import realize
from tinycore.engine.run import BOUND, OPEN, recording
from tinycore.runtime.buffer import Buffer
from tinycore.tensor.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")


class _Captured(NamedTuple):
    """A replayable call: its launches, and how what it returned is made from its inputs."""

    launches: Captured
    result: Any
    inputs: tuple[Cell, ...]


class TinyJit(Generic[P, R]):
    """Runs a function once as written, captures its second call, and replays it from then on.

    Tensors may be arguments, or lie in lists, tuples and dictionaries of them. What the function
    returns is overwritten by the next replay: clone what must be kept.

    Raises: CaptureError if the function reads the value of a tensor while it is captured.

    >>> @TinyJit
    ... def double(x):
    ...     return (x * 2).realize()
    >>> [double(Tensor([k])).tolist() for k in range(4)]
    [[0], [2], [4], [6]]
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self.captured: dict[Any, _Captured] = {}
        self.seen: set[Any] = set()
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        is_nested = OPEN.recording is not None
        if not JIT.value or is_nested:
            return self.function(*args, **kwargs)
        tensors = list(tensors_in((args, kwargs)))
        realize([tensor.cell for tensor in tensors])
        key = _key((args, kwargs), tensors)
        found = self.captured.get(key)
        if found is not None:
            return self._replay(found, tensors)
        if key in self.seen:
            return self._capture(key, tensors, *args, **kwargs)
        self.seen.add(key)
        return self.function(*args, **kwargs)

    def reset(self) -> None:
        """Forget every capture.

        >>> double = TinyJit(lambda x: (x * 2).realize())
        >>> double.reset()
        """
        self.captured.clear()
        self.seen.clear()

    def _capture(
        self,
        key: Any,
        tensors: list[Tensor],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        inputs = tuple([tensor.cell for tensor in tensors])
        with recording() as recorded:
            result = self.function(*args, **kwargs)
            realize([tensor.cell for tensor in tensors_in(result)])
        launches = Captured(recorded, _buffers(inputs))
        self.captured[key] = _Captured(launches, result, inputs)
        return result

    def _replay(self, found: _Captured, tensors: list[Tensor]) -> R:
        cells = tuple([tensor.cell for tensor in tensors])
        found.launches.replay(_buffers(cells), BOUND)
        swapped = dict(zip(found.inputs, cells, strict=True))
        return _with_cells(found.result, swapped)  # type: ignore[no-any-return]


def _buffers(cells: tuple[Cell, ...]) -> list[Buffer]:
    return [buffer_of(cell.uop) for cell in cells]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of nested lists, tuples and dictionaries, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        for name in value:
            yield from tensors_in(value[name])


def _key(arguments: Any, tensors: list[Tensor]) -> Any:
    """What a capture depends on: every tensor's kind, which share memory, and all other values."""
    first: dict[Cell, int] = {}
    kinds = []
    for number, tensor in enumerate(tensors):
        kind = (
            tensor.cell.uop.arg.shape,
            tensor.dtype,
            tensor.device,
            tensor.movements,
            first.setdefault(tensor.cell, number),
        )
        kinds.append(kind)
    return tuple(kinds), _others(arguments)


def _others(value: Any) -> Any:
    """The structure of the arguments, with tensors as holes and everything else by value."""
    if isinstance(value, Tensor):
        return Tensor
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_others, value))
    if isinstance(value, dict):
        return tuple([(name, _others(value[name])) for name in value])
    if isinstance(value, (int, float, str, bool)):
        return type(value), value
    return id(value)


def _with_cells(value: Any, swapped: dict[Cell, Cell]) -> Any:
    """What the captured call returned, made of this call's inputs where it returned an input."""
    if isinstance(value, Tensor):
        cell = swapped.get(value.cell, value.cell)
        return Tensor.of_cell(cell, value.steps)
    if isinstance(value, (list, tuple)):
        return type(value)([_with_cells(part, swapped) for part in value])
    if isinstance(value, dict):
        return {name: _with_cells(value[name], swapped) for name in value}
    return value
