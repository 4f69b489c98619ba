"""What a kernel sees while it runs: its buffers, the loops around, and the values by name.

In: declarations and loops. Out: `Instance`s, whose elements have one number each, and a `Scope`.
Loops that run all at once are axes of numpy: a value at depth n has at most n axes, the innermost
loop first, so that values of outer loops broadcast into inner ones. Next file: machine.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from tinycore.runtime.ref.number import Array
from tinycore.uop.index import Atom
from tinycore.uop.ops import UOp
from tinycore.uop.tree import BufferArg
from tinycore.util import np, prod

if TYPE_CHECKING:
    from tinycore.runtime.ref.races import Watch

Path = tuple[tuple[str, int], ...]  # the role, warpgroup or warp that runs, from the outermost in


class Dim(NamedTuple):
    """A loop that runs all at once: its kind and how many iterations this block of it has."""

    kind: str
    extent: int


class Instance:
    """A buffer at run time: one tile for each slot, and for each iteration of the loops around.

    `data` is flat; `base` is where the tile of an iteration starts. `depth` counts the loops
    around that run all at once, `born` orders instances and loops in time.
    """

    def __init__(
        self,
        node: UOp,
        data: Array,
        extents: tuple[Array, ...],
        base: Array = 0,
        depth: int = 0,
        born: int = 0,
    ) -> None:
        self.node = node
        self.arg: BufferArg = node.arg
        self.data = data
        self.extents = extents
        self.base = base
        self.depth = depth
        self.born = born
        bounds = [extent.hi for extent in self.arg.shape]
        self.strides = [prod(bounds[at + 1 :]) for at in range(len(bounds))]
        self.size = prod(bounds)


@dataclass
class Scope:
    """The state of one thread of control: values of axes and LETs, buffers, loops around.

    `mask` holds where an IF around is true, None meaning everywhere; `statement` is what runs.
    For the checked entry alone: `watches` are the loops around with their iterations, `path` and
    `lane` say who runs, `owned` is true inside a loop mapped `own`, `crossing` inside a red one.
    """

    axes: dict[Atom, Array] = field(default_factory=dict)
    lets: dict[UOp, Array] = field(default_factory=dict)
    buffers: dict[UOp, Instance] = field(default_factory=dict)
    dims: tuple[Dim, ...] = ()
    mask: Array | None = None
    statement: UOp | None = None
    watches: tuple[tuple[Watch, Array], ...] = ()
    path: Path = ()
    lane: Array | None = None
    owned: bool = False
    crossing: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The numpy shape of a value that differs in every iteration."""
        return tuple([dim.extent for dim in reversed(self.dims)])

    def enter(self, kind: str, count: int) -> Array:
        """Run `count` iterations of a loop at once from here on; their numbers as an array."""
        numbers = np().arange(count).reshape((count,) + (1,) * len(self.dims))
        self.dims = (*self.dims, Dim(kind, count))
        return numbers

    def split(self, step: tuple[str, int]) -> Scope:
        """A copy for another thread of control, one step further on the path."""
        copy = replace(self, path=(*self.path, step))
        copy.axes = {**self.axes}
        copy.lets = {**self.lets}
        copy.buffers = {**self.buffers}
        return copy


def conjunction(first: Array | None, second: Array | None) -> Array | None:
    """Where both masks are true; None is everywhere."""
    if first is None or second is None:
        return second if first is None else first
    return first & second
