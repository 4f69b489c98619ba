"""When two calls of a captured function are equal.

Comes in: arguments by name. Goes out: the tensors in them, and what a capture of them depends on,
also by name, for messages. Next: jit.py.
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import fields
from enum import Enum
from numbers import Number
from typing import Any, TypeAlias

from tinycore.dtype import DType
from tinycore.engine.cell import Cell
from tinycore.tensor.tensor import Tensor
from tinycore.uop.index import Index
from tinycore.uop.shape import shape_of

Named: TypeAlias = tuple[str, Any]

OPAQUE = object()  # in place of a value that may change unseen

_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType)
_VALUES = (int, str, bytes, types.NoneType, types.EllipsisType, range, DType, Index, Enum)
_FIXED = (*_VALUES, *_CODE, Number)  # numpy's scalars are Numbers


def compared(given: Iterable[Named]) -> tuple[dict[str, Any], list[Tensor]]:
    """What a call is compared by, part by part: of a tensor its kind and which one it is, of a
    container its type and size, of a value itself; and the tensors, in order."""
    keys: dict[str, Any] = {}
    tensors: list[Tensor] = []
    first: dict[Cell, int] = {}
    work = [*given][::-1]
    while work:
        name, value = work.pop()
        if isinstance(value, Tensor):
            alias = first.setdefault(value.cell, len(tensors))
            tensors.append(value)
            stored = value.cell.uop
            keys[name] = shape_of(stored), stored.dtype, value.device, value.movements, alias
            continue
        keys[name] = _value_key(value)
        if keys[name][0] is OPAQUE:
            parts = _parts(name, value)
            if parts is not None:
                keys[name] = type(value), len(parts)
                work += parts[::-1]
    return keys, tensors


def _value_key(value: Any) -> tuple[Any, Any]:
    """A value that cannot change, as a key that keeps it alive; else OPAQUE and its type."""
    kind = type(value)
    if isinstance(value, (float, complex)):
        return kind, repr(value)  # NaN is itself, and 0.0 is not -0.0
    if isinstance(value, _FIXED):
        return kind, value
    return OPAQUE, kind


def _parts(name: str, value: Any) -> list[Named] | None:
    """What a list, tuple, dictionary or frozen dataclass holds; None for any other value."""
    if isinstance(value, (list, tuple)):
        return [(f"{name}[{number}]", part) for number, part in enumerate(value)]
    if isinstance(value, dict):
        return [(f"{name}[{key!r}]", part) for key, part in value.items()]
    made = getattr(type(value), "__dataclass_params__", None)
    if made is None or not made.frozen:
        return None
    return [(f"{name}.{field.name}", getattr(value, field.name)) for field in fields(value)]
