"""The vocabulary of the optimiser as text: `SPLIT(i0, 12)`, `STAGE(b1, i1.0, packed, [i2][i1.1])`.

Comes in: a kernel and actions as text. Goes out: the kernel after them, or Illegal. Text is what is
searched, cached and shipped: it speaks of canonical axis names, so that it outlives a process.
"""

from collections.abc import Callable, Iterable
from functools import reduce

from tinycore.codegen.optimize.edit import Illegal
from tinycore.codegen.optimize.pieces import reorder, rfactor
from tinycore.codegen.optimize.place import at, factor
from tinycore.codegen.optimize.split import fill, fuse, map_axis, overlap, peel, split
from tinycore.codegen.optimize.stage import Layout, stage, update
from tinycore.uop.tree import Kernel

ACTIONS: dict[str, tuple[Callable[..., Kernel], *tuple[type, ...]]] = {
    "SPLIT": (split, str, int),
    "FUSE": (fuse, str, str),
    "REORDER": (reorder, str, str),
    "MAP": (map_axis, str, str),
    "RFACTOR": (rfactor, str),
    "PEEL": (peel, str),
    "OVERLAP": (overlap, str, int),
    "STAGE": (stage, str, str, str, object),
    "UPDATE": (update, str, str, tuple),
    "AT": (at, str, str),
    "FACTOR": (factor, str),
    "FILL": (fill, str),
}
"""What applies each action, and the types of its arguments."""
Actions = tuple[str, ...]
SCHEMA = 1
"""Grows when a text comes to mean something else: tuned entries of another schema are not used."""


def apply(kernel: Kernel, text: str) -> Kernel:
    """The kernel after one action.

    Raises: Illegal if the action is unknown, has other arguments, or does not apply.
    """
    name, _, rest = text.strip().removesuffix(")").partition("(")
    if name not in ACTIONS:
        raise Illegal(f"{text!r} is no action; expected one of {', '.join(ACTIONS)}")
    function, *types = ACTIONS[name]
    arguments = [_read(part.strip()) for part in rest.split(",")]
    if len(arguments) != len(types) or not all(map(isinstance, arguments, types)):
        expected = ", ".join(kind.__name__ for kind in types)
        raise Illegal(f"{text!r} has other arguments; expected {expected}")
    return function(kernel, *arguments)


def _read(text: str) -> str | int | Layout:
    if text.startswith("["):
        return tuple(tuple(group.split()) for group in text.strip("[]").split("]["))
    return int(text) if text.isdigit() else text


def apply_all(kernel: Kernel, texts: Iterable[str]) -> Kernel:
    """The kernel after several actions.

    Raises: Illegal at the first that does not apply.
    """
    return reduce(apply, texts, kernel)


def applied(kernel: Kernel, actions: Iterable[str]) -> tuple[Kernel, Actions]:
    """The kernel after those actions that are legal, and these."""
    legal = []
    for text in actions:
        try:
            kernel = apply(kernel, text)
        except Illegal:
            continue
        legal.append(text)
    return kernel, tuple(legal)
