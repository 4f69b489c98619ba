"""Buffers while a kernel runs: what their elements and slots hold, and who touched what.

In: declarations. Out: `Instance`s. Next file: frame.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from tinycore import util
from tinycore.dtype import DType
from tinycore.uop.ops import UOp
from tinycore.uop.tree import MONOIDS
from tinycore.util import prod

if TYPE_CHECKING:
    from tinycore.runtime.ref.frame import Frame

np = util.np()  # REF is loaded late as a whole
Array = Any  # a numpy array or a numpy scalar
Path = tuple[tuple[str, int], ...]  # the role, warpgroup or warp that runs, outermost first

PRESENT, UNWRITTEN, FLYING = 0, 1, 2  # bits of an element's state; what a copy moves is poison
ABSENT = ("", "that nobody wrote", "that a copy writes")
EMPTY, FILLS, FULL, READ = "empty", "being filled", "full", "being read by a copy"


@cache
def initial(combine: str, dtype: DType) -> Array:
    """An element of memory that `combine` leaves alone; without one, NaN or the least integer."""
    if combine:
        return dtype.encode(dtype.cast(MONOIDS[combine].identity))
    return dtype.encode(math.nan if dtype.is_float else dtype.min)


@dataclass
class Slot:
    """One of `count` slots: its state, its last number, who waited and who freed."""

    name: str
    count: int
    sequence: int
    state: str = EMPTY
    waited: set[Path] = field(default_factory=set)
    freed: set[Path] = field(default_factory=set)

    def told(self, sequence: int | None) -> str:
        """The place that a statement names, and what is there."""
        place = f"{self.name}[{'' if sequence is None else sequence}]"
        return f"{place}, whose slot is {self.state}, number {self.sequence}"

    def holds(self, sequence: int | None) -> bool:
        """True if a copy of this number began, and the slot is not free again."""
        return self.state != EMPTY and sequence in (None, self.sequence)

    def may_start(self, sequence: int | None, outward: bool) -> bool:
        """True if a copy may empty the slot, or fill it: it is free, and next in turn."""
        if outward:
            return self.state != READ
        return self.state == EMPTY and sequence in (None, self.sequence + self.count)

    def begin(self, sequence: int | None, state: str, target: Instance, cells: Array) -> None:
        """A copy starts: what it writes is poison until it has arrived."""
        self.sequence = self.sequence + self.count if sequence is None else sequence
        self.state = state
        self.target = target
        self.cells = cells
        target.states[cells] = FLYING
        self.waited.clear()
        self.freed.clear()

    def complete(self) -> None:
        """The copy has arrived."""
        self.target.states[self.cells] = PRESENT
        self.state = EMPTY if self.state == READ else FULL

    def visible(self, sequence: int | None, path: Path) -> bool:
        """True if `path`, or a scope around it, waited for this number and did not free it."""
        waited = any(path[: len(scope)] == scope for scope in self.waited)
        return waited and path not in self.freed and self.holds(sequence)


class Instance:
    """A buffer at run time: one tile for each slot, and for each iteration that runs at once.

    The tile of an iteration starts at `base` in `data`.
    """

    def __init__(self, node: UOp, home: Frame, data: Array = None) -> None:
        arg = node.arg
        self.node = node
        self.watches = len(home.watches)
        self.dimensions = [(home.index(extent), extent.hi) for extent in arg.shape]
        self.size = prod(bound for _, bound in self.dimensions)
        self.slots = [Slot(node.name, arg.slots, number) for number in range(-arg.slots, 0)]
        tile = arg.slots * self.size
        self.base = np.arange(prod(home.shape)).reshape(home.shape) * tile
        self.states = np.zeros(self.base.size * tile, np.int8)
        if data is None:
            data = np.full(self.states.size, initial(arg.init, node.dtype))
            if not (node.is_float or arg.init or node in home.filled):
                self.states[:] = UNWRITTEN
        self.data = data

    def touch(self, cells: Array, reads: bool) -> str:
        """Why elements may not be read or written, or ""; those that are written are present."""
        if not reads:
            self.states[cells] &= FLYING
        return ABSENT[self.states[cells].max(initial=PRESENT)]


@dataclass(eq=False)
class Watch(dict[Instance, Array]):
    """What runs side by side: none may read what another writes, nor two write unequal values.

    It keeps the least of the numbers, and of their negatives, of those who read each element, and
    of those who wrote it.
    """

    name: str
    kind: str = ""
    map: str = ""

    def __missing__(self, instance: Instance) -> Array:
        never = (1 << 63) - 1
        return self.setdefault(instance, np.full((2, 2, instance.data.size), never))


def others(numbers: Array, cells: Array, who: Array) -> Array:
    """Where anybody but `who` is among the least numbers and negatives."""
    least, negative = numbers
    return (least[cells] < who) | (negative[cells] < -who)


def differ(first: Array, second: Array) -> Array:
    """Where stored elements differ; NaN equals itself."""
    return (first != second) & ((first == first) | (second == second))
