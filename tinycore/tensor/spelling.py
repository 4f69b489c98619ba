"""How arguments are spelled: keywords, axes from the end, shapes in two forms.

Comes in: what a user wrote. Goes out: the one form that methods take. Next: movement.py.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from math import inf
from operator import index
from typing import Any, ParamSpec, TypeVar

from tinycore.errors import ArgumentError, ShapeError
from tinycore.uop.index import Dim, Index, Shape

P = ParamSpec("P")
R = TypeVar("R")
Axes = int | Sequence[int] | None

# Keyword -> what signatures call it. PyTorch says dim, numpy axis.
_KEYWORDS = {
    "axis": ("dim",),
    "dim": ("axis", "dims"),
    "dims": ("axis", "dim"),
    "keepdims": ("keepdim",),
    "min": ("min_",),
    "max": ("max_",),
    "other": ("x",),
    "exponent": ("x",),
    "target": ("Y",),
    "bias": ("b",),
    "shape": ("sizes",),
    "negative_slope": ("neg_slope",),
    "sorted": ("sorted_",),
    "unbiased": ("correction",),
}


def spelled(method: Callable[P, R]) -> Callable[P, R]:
    """Accept every library's word for an argument: `dim` or `axis`."""
    code = method.__code__
    known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @wraps(method)
    def accepting(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in [name for name in kwargs if name not in known]:
            words = _KEYWORDS.get(name, ())
            ours = [word for word in words if word in known]
            if ours:
                kwargs[ours[0]] = kwargs.pop(name)
        return method(*args, **kwargs)

    return accepting


def spread(args: Sequence[Any]) -> tuple[Any, ...]:
    """The items of `f(1, 2)`, `f((1, 2))` and `f([1, 2])` alike."""
    first = args[0] if len(args) == 1 else None
    if isinstance(first, tuple | list):
        return tuple(first)
    return tuple(args)


def extents(args: Sequence[Any], operation: str) -> Shape:
    """A shape from the arguments of a call.

    Raises: ShapeError if an extent is negative or not whole.
    """
    return tuple(_extent(item, operation) for item in spread(args))


def _extent(item: Any, operation: str) -> Dim:
    if isinstance(item, Index):
        return item
    found = whole(item, operation)
    if found < 0:
        raise ShapeError(
            f"{operation}: extent {found} is negative; expected extents of 0 or more. "
            "Pass the number of elements of each axis"
        )
    return found


def whole(item: Any, operation: str) -> int:
    """A whole number. Raises: ShapeError if it is none."""
    try:
        return index(item)
    except TypeError:
        raise ShapeError(
            f"{operation}: {item!r} is no extent; expected a whole number. Pass ints"
        ) from None


def choice(operation: str, name: str, value: object, known: Sequence[object]) -> None:
    """Check one of a few words. Raises: ArgumentError."""
    if value in known:
        return
    words = ", ".join(repr(word) for word in known)
    raise ArgumentError(f"{operation}: {name} is {value!r}; expected one of {words}. Pass one")


def number(value: object, operation: str, name: str, least: float = -inf) -> int:
    """A whole number. Raises: ArgumentError if it is none or too small."""
    try:
        found = index(value)  # type: ignore[arg-type]
    except TypeError:
        found = None
    if found is None or found < least:
        wanted = "a whole number" if least == -inf else f"{least} or more"
        raise ArgumentError(f"{operation}: {name} is {value!r}; expected {wanted}. Pass an int")
    return found


def pair(
    value: int | Sequence[int] | str,
    count: int,
    operation: str,
    name: str,
    least: float = -inf,
) -> tuple[int, ...]:
    """One number for each of `count` axes: `2` means (2, 2).

    Raises: ArgumentError for another count, or less than `least`.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        return (number(value, operation, name, least),) * count
    if len(value) != count:
        raise ArgumentError(
            f"{operation}: {name} has {len(value)} numbers for {count} axes; "
            f"expected one or {count}. Pass {name} as one number"
        )
    return tuple(number(item, operation, name, least) for item in value)
