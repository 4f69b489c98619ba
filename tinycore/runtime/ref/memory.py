"""Buffers while a kernel runs: their elements, their slots, and who touched what.

In: declarations, and numbers of elements. Out: `Instance`s, whose elements have one number each;
whether a slot may be used; whether two met in an element. Next file: frame.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tinycore.runtime.ref import number
from tinycore.runtime.ref.number import Array, np
from tinycore.runtime.ref.order import Path
from tinycore.uop.ops import UOp
from tinycore.uop.tree import BlockArg, LoopArg
from tinycore.util import prod

if TYPE_CHECKING:
    from tinycore.runtime.ref.frame import Frame

PRESENT, UNWRITTEN, FLYING = 0, 1, 2  # states of an element
ABSENT = ("", "that nobody wrote", "that a copy writes")


class Slot:
    """One of `count` slots: its state, the sequence number it holds or held last, and who waited
    for it and freed it. Without a sequence number a place names whatever is there."""

    def __init__(self, name: str, at: int, count: int) -> None:
        self.name = name
        self.count = count
        self.sequence = at - count
        self.state = "empty"
        self.arrive: Callable[[], None]
        self.waited: set[Path] = set()
        self.freed: set[Path] = set()

    def told(self, sequence: int | None) -> str:
        """The place that a statement names, and what is there."""
        place = f"{self.name}[{'' if sequence is None else sequence}]"
        return f"{place}, whose slot is {self.state}, number {self.sequence}"

    def holds(self, sequence: int | None) -> bool:
        """True if a copy of this number began, and the slot is not free again."""
        return self.state != "empty" and sequence in (None, self.sequence)

    def may_start(self, sequence: int | None, outward: bool) -> bool:
        """True if a copy may empty the slot, or fill it: it is free, and next in turn."""
        if outward:
            return self.state != "being read by a copy"
        return self.state == "empty" and sequence in (None, self.sequence + self.count)

    def complete(self) -> None:
        """The copy has arrived."""
        self.arrive()
        self.state = "empty" if self.state == "being read by a copy" else "full"

    def visible(self, sequence: int | None, path: Path) -> bool:
        """True if `path`, or a scope around it, waited for this number and did not free it."""
        waited = any(path[: len(scope)] == scope for scope in self.waited)
        return waited and path not in self.freed and self.holds(sequence)


class Instance:
    """A buffer at run time: one tile for each slot, and for each iteration that runs at once.

    `data` is flat; `base` is where the tile of an iteration starts. It was declared inside of
    `depth` loops that run at once, and of `watches` that are over what is outside of them.
    """

    def __init__(self, node: UOp, home: Frame, data: Array = None) -> None:
        arg = node.arg
        bounds = [extent.hi for extent in arg.shape]
        count = prod(home.shape)
        self.node = node
        self.name = arg.name
        self.depth = len(home.shape)
        self.watches = len(home.watches)
        self.extents = [home.index(extent) for extent in arg.shape]
        self.strides = [prod(bounds[at + 1 :]) for at in range(len(bounds))]
        self.size = prod(bounds)
        self.slots = [Slot(arg.name, at, arg.slots) for at in range(arg.slots)]
        tile = arg.slots * self.size
        self.base = np.arange(count).reshape(home.shape) * tile
        self.states = np.zeros(count * tile, np.int8)
        if data is None:
            data = np.full(self.states.size, number.initial(arg.init, node.dtype))
            if not (node.dtype.is_float or arg.init or home.changed[node] == "filled"):
                self.states[:] = UNWRITTEN
        self.data = data


class Watch(dict[tuple[Instance, str], Array]):
    """What runs side by side: none may read what another writes, nor two write unequal values.

    It keeps the least and the greatest number of those who touched each element.
    """

    def __init__(self, arg: LoopArg | BlockArg) -> None:
        self.kind = arg.kind
        self.name = f"iterations of {arg.kind} {arg.axis}" if arg.axis else arg.kind

    def __missing__(self, key: tuple[Instance, str]) -> Array:
        nobody = np.repeat([[1 << 62], [-1]], key[0].data.size, axis=1)
        return self.setdefault(key, nobody)

    def others(self, instance: Instance, how: str, cells: Array, who: Array) -> Array:
        """Where anybody but `who` touched an element."""
        least, greatest = self[instance, how]
        return (least[cells] < who) | (greatest[cells] > who)

    def meets(self, instance: Instance, how: str, cells: Array, who: Array, differs: Array) -> bool:
        """True if another wrote what this one touches, where the value `differs`, or another read
        what this one writes. `how` is "read", "written", or "seen", which is not remembered."""
        met = self.others(instance, "written", cells, who) & differs
        if how == "written":
            readers = self.others(instance, "read", cells, who)
            met = met | readers
        least, greatest = self[instance, how]
        np.minimum.at(least, cells, who)
        np.maximum.at(greatest, cells, who)
        return bool(met.any())
