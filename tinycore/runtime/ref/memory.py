"""What a kernel sees while it runs: its buffers, the loops around, and the values by name.

In: declarations and loops. Out: `Instance`s, whose elements have one number each, and a `Scope`.
Parallel loops are axes of numpy: the value at depth n has at most n axes, the innermost loop
first, so that values of outer loops broadcast into inner ones. Next file: machine.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from tinycore.runtime.ref.number import Array
from tinycore.uop.index import Atom
from tinycore.uop.ops import UOp
from tinycore.uop.tree import BufferArg
from tinycore.util import np, prod


class Dim(NamedTuple):
    """A loop that runs all at once: its kind and how many iterations this block of it has."""

    kind: str
    extent: int


class Instance:
    """A buffer at run time: one tile for each slot, and for each iteration of the loops around.

    `data` is flat; `base` is where the tile of an iteration starts. `depth` counts the loops
    around that run all at once, `born` orders instances and loops in time.
    """

    __slots__ = ("base", "born", "data", "depth", "extents", "node", "size", "strides")

    def __init__(
        self,
        node: UOp,
        data: Array,
        base: Array,
        depth: int,
        extents: tuple[Array, ...],
        born: int = 0,
    ) -> None:
        self.node = node
        self.data = data
        self.base = base
        self.depth = depth
        self.extents = extents
        self.strides = strides(node.arg)
        self.size = tile_size(node.arg)
        self.born = born

    @property
    def arg(self) -> BufferArg:
        """The declaration."""
        declaration: BufferArg = self.node.arg
        return declaration


def strides(arg: BufferArg) -> tuple[int, ...]:
    """Elements from one place to the next of each dimension, at the upper bounds of the shape."""
    bounds = [extent.hi for extent in arg.shape]
    return tuple(prod(bounds[at + 1 :]) for at in range(len(bounds)))


def tile_size(arg: BufferArg) -> int:
    """Elements of one slot, at the upper bounds of the shape."""
    return prod(extent.hi for extent in arg.shape)


@dataclass
class Scope:
    """The state of one thread of control: values of axes and LETs, buffers, loops around.

    `mask` holds where an IF around is true, None meaning everywhere; `statement` is what runs.
    """

    axes: dict[Atom, Array] = field(default_factory=dict)
    lets: dict[UOp, Array] = field(default_factory=dict)
    buffers: dict[UOp, Instance] = field(default_factory=dict)
    dims: tuple[Dim, ...] = ()
    mask: Array | None = None
    statement: UOp | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The numpy shape of a value that differs in every iteration."""
        return tuple([dim.extent for dim in reversed(self.dims)])

    def enter(self, kind: str, count: int) -> Array:
        """Run `count` iterations of a loop at once from here on; their numbers as an array."""
        numbers = np().arange(count).reshape((count,) + (1,) * len(self.dims))
        self.dims = (*self.dims, Dim(kind, count))
        return numbers

    def leave(self) -> None:
        """Undo the last `enter`."""
        self.dims = self.dims[:-1]

    def split(self) -> Self:
        """A copy for another thread of control."""
        return replace(self, axes={**self.axes}, lets={**self.lets}, buffers={**self.buffers})


def conjunction(first: Array | None, second: Array | None) -> Array | None:
    """Where both masks are true; None is everywhere."""
    if first is None or second is None:
        return second if first is None else first
    return first & second
