"""When two calls of a captured function are equal.

Comes in: arguments. Goes out: what a capture of them depends on, and the same by names, for
messages. Next: jit.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from enum import Enum
from numbers import Number
from types import (
    BuiltinFunctionType,
    EllipsisType,
    FunctionType,
    MethodType,
    ModuleType,
    NoneType,
)
from typing import Any

from tinycore.config import DEFAULT_FLOAT, NO_GRAD, TRAINING
from tinycore.dtype import DType
from tinycore.engine.cell import Cell
from tinycore.tensor.tensor import Tensor
from tinycore.uop.index import Index

OPAQUE = object()  # in place of a value that cannot be compared

_VALUES = (int, str, bytes, NoneType, EllipsisType, range, DType, Index, Enum)
_CODE = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)


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


def key_of(arguments: Any, tensors: Sequence[Tensor]) -> Any:
    """What a capture depends on: every tensor's kind, which share memory, all other values, and
    the settings that say what a function means."""
    first: dict[Cell, int] = {}
    kinds = []
    for number, tensor in enumerate(tensors):
        alias = first.setdefault(tensor.cell, number)
        kinds.append((*_kind(tensor), alias))
    modes = (TRAINING.value, NO_GRAD.value, DEFAULT_FLOAT.value)
    return tuple(kinds), _others(arguments), modes


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    stored = tensor.cell.uop
    return stored.arg.shape, stored.dtype, tensor.cell.device, tensor.movements


def leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is compared of an argument and of the parts of containers in it, each by its name."""
    if isinstance(value, Tensor):
        yield name, _kind(value)
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from leaves(f"{name}[{number}]", part)
    elif isinstance(value, dict):
        for key in value:
            yield from leaves(f"{name}[{key!r}]", value[key])
    else:
        yield name, _compared(value)


def _others(value: Any) -> Any:
    """The structure of the arguments, with tensors as holes and everything else by value."""
    if isinstance(value, Tensor):
        return Tensor
    if isinstance(value, (list, tuple)):
        return type(value), tuple([_others(part) for part in value])
    if isinstance(value, dict):
        return tuple([(name, _others(value[name])) for name in value])
    return _compared(value)


def _compared(value: Any) -> tuple[Any, ...]:
    """A value as a key that keeps it alive, if it cannot change; else OPAQUE and its type."""
    kind = type(value)
    if isinstance(value, (float, complex)):
        return kind, repr(value)  # NaN is itself, and 0.0 is not -0.0
    if isinstance(value, (*_VALUES, *_CODE, Number)):  # numpy's scalars are Numbers
        return kind, value
    parts = _frozen_parts(value)
    if parts is None:
        return OPAQUE, kind
    keys = tuple([_compared(part) for part in parts])
    return (OPAQUE, kind) if any(key[0] is OPAQUE for key in keys) else (kind, keys)


def _frozen_parts(value: Any) -> Sequence[Any] | None:
    """What a tuple or a frozen dataclass holds; None for any other value."""
    if isinstance(value, tuple):
        return value
    made = getattr(type(value), "__dataclass_params__", None)
    if made is None or not made.frozen:
        return None
    return [getattr(value, field.name) for field in fields(value)]
