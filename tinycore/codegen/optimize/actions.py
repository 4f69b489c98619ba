"""The vocabulary of the optimiser as text: `SPLIT(i0, 12)`, `STAGE(b1, i1.0, packed, [i2][i1.1])`.

In: a kernel and actions, which name canonical axes, so that they can be searched, cached and
shipped. Out: the kernel after them, or Illegal. Next file: split.py.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import reduce

from tinycore.codegen.optimize.edit import Illegal
from tinycore.codegen.optimize.pieces import reorder, rfactor
from tinycore.codegen.optimize.place import at, factor, place
from tinycore.codegen.optimize.split import fill, fuse, map_axis, mask, overlap, peel, split
from tinycore.codegen.optimize.stage import Layout, stage, update
from tinycore.uop.spec import misplaced
from tinycore.uop.tree import Kernel, walk

ACTIONS: dict[str, tuple[Callable[..., Kernel], *tuple[type, ...]]] = {
    "SPLIT": (split, str, int),
    "FUSE": (fuse, str, str),
    "REORDER": (reorder, str, str),
    "MAP": (map_axis, str, str),
    "RFACTOR": (rfactor, str),
    "PEEL": (peel, str),
    "MASK": (mask, str),
    "OVERLAP": (overlap, str, int),
    "STAGE": (stage, str, str, str, object),
    "UPDATE": (update, str, str, tuple),
    "AT": (at, str, str),
    "PLACE": (place, str, str),
    "FACTOR": (factor, str),
    "FILL": (fill, str),
}
"""The function of each action, and the types of its arguments."""
Actions = tuple[str, ...]
SCHEMA = 1
"""Grows when a text comes to mean something else; older tuned entries are then not used."""


def apply(kernel: Kernel, text: str) -> Kernel:
    """The kernel after one action.

    Raises: Illegal if it is unknown, has other arguments or does not apply, or if a statement
    stands in loops that may not hold it.
    """
    name, _, rest = text.strip().removesuffix(")").partition("(")
    if name not in ACTIONS:
        raise Illegal(f"{text!r} is no action; expected one of {', '.join(ACTIONS)}")
    function, *types = ACTIONS[name]
    arguments = [_read(part.strip()) for part in rest.split(",")]
    if len(arguments) != len(types) or not all(map(isinstance, arguments, types)):
        expected = ", ".join(kind.__name__ for kind in types)
        raise Illegal(f"{text!r} has other arguments; expected {expected}")
    changed = function(kernel, *arguments)
    for statement, around in walk(changed.body):
        for found in misplaced(statement, around):
            raise Illegal(f"{name}: {found}")
    return changed


def _read(text: str) -> str | int | Layout:
    if text.startswith("["):
        return tuple(tuple(group.split()) for group in text.strip("[]").split("]["))
    return int(text) if text.isdigit() else text


def apply_all(kernel: Kernel, texts: Iterable[str]) -> Kernel:
    """The kernel after several actions. Raises: Illegal at the first that does not apply."""
    return reduce(apply, texts, kernel)


def applied(kernel: Kernel, actions: Iterable[str]) -> tuple[Kernel, Actions]:
    """The kernel after those actions that are legal, and these."""
    legal = []
    for text in actions:
        with suppress(Illegal):
            kernel = apply(kernel, text)
            legal.append(text)
    return kernel, tuple(legal)
