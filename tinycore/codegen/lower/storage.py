"""Decides where the elements of each buffer live: in registers, or in memory at an offset.

In: a kernel tree whose loops say how they run. Out: a `Storage` for each buffer. Next file:
values.py.
"""

from collections.abc import Iterable
from typing import NamedTuple

from tinycore.codegen.optimize.edit import Indices, atom_of
from tinycore.uop import Nodes, UOp
from tinycore.uop.index import Atom, Index, as_index, atoms, of_atom
from tinycore.uop.lowered import GROUP, WARP
from tinycore.uop.sites import uses
from tinycore.uop.tree import Access, BufferArg, Kernel, walk
from tinycore.util import round_up

MAX_REGISTERS = 1024

PADDING = 4
"""Elements after each row of group memory, so that those of a column are in several banks."""


class Storage(NamedTuple):
    """How an access becomes one offset.

    `width` is the lanes of each register, 0 in memory; `size` counts the elements of all `slots`;
    each lane of the vector axis `lane` has its own elements.
    """

    width: int
    strides: tuple[int, ...]
    size: int
    slots: int
    lane: Atom | None

    def run_of(self, dimension: int) -> str:
        """How a loop over a dimension should run to stay in the same registers."""
        if self.width > 1 and self.strides[dimension] == 1:
            return "vec"
        return "reg" if self.width else ""

    def offset(self, access: Access) -> Index:
        """The place of an access, in elements."""
        pairs = zip(access.indices, self.strides, strict=True)
        total = sum([index * stride for index, stride in pairs], as_index(0))
        if access.sequence is not None:
            total += access.sequence % self.slots * (self.size // self.slots)
        if self.lane is not None:
            total += of_atom(self.lane)
        return total


def laid_out(arg: BufferArg, lane: Atom | None = None, width: int = 0, last: int = -1) -> Storage:
    """Row by row, symbolic extents at their upper bounds, before lanes of their own.

    In registers of `width` lanes, dimension `last` is innermost and padded to whole ones.
    """
    extents = [extent.hi for extent in arg.shape]
    if lane is not None:
        extents.append(lane.hi + 1)
    if width > 1:
        extents[last] = round_up(extents[last], width)
    if arg.space == GROUP and len(extents) > 1:
        extents[-1] += PADDING
    strides, size = [0] * len(extents), 1
    for k in sorted(range(len(extents)), key=lambda k: (k == last, k), reverse=True):
        strides[k] = size
        size *= extents[k]
    return Storage(width, tuple(strides[: len(arg.shape)]), size * arg.slots, arg.slots, lane)


Uses = list[tuple[Indices, Nodes]]
"""The indices and the loops around, for the declaration of a buffer and each access."""


def plan(kernel: Kernel) -> dict[UOp, Storage]:
    """The storage of every buffer of a kernel."""
    found: dict[UOp, Uses] = {param: [((), ())] for param in kernel.params}
    for statement, loops in walk(kernel.body):
        if statement.is_buffer:
            found[statement] = [((), loops)]
        for use in uses(statement):
            found[use.buffer].append((use.access.indices, loops))
    return {buffer: _storage(buffer.arg, seen) for buffer, seen in found.items()}


def _storage(arg: BufferArg, seen: Uses) -> Storage:
    own = _lane(seen[0][1])
    if arg.space == WARP:
        return Storage(1, (0,), 1, 1, None)
    if arg.space != "reg" or arg.slots > 1:
        return laid_out(arg, own)
    lanes = [k for indices, loops in seen for k in _along(indices, loops)]
    memory = laid_out(arg, own, last=-1 if own else [*lanes, -1][0])
    last, width = -1, own.hi + 1 if own else 1
    for indices, loops in seen:
        lane = _lane(loops)
        expanded = {atom_of(loop) for loop in loops if loop.map in ("reg", "unroll", "vec")}
        if not atoms(*indices) <= expanded:
            return memory
        along = _along(indices, loops)
        if lane and not own and len(along) == 1 and lane.hi >= width:
            [last], width = along, lane.hi + 1
    storage = laid_out(arg, own, width, last)
    return memory if storage.size > MAX_REGISTERS * width else storage


def _along(indices: Indices, loops: Nodes) -> list[int]:
    """The dimensions that move with the lanes."""
    lane = _lane(loops)
    return [k for k, index in enumerate(indices) if (lane, 1) in index.terms]


def _lane(loops: Iterable[UOp]) -> Atom | None:
    return next((atom_of(loop) for loop in loops if loop.map == "vec"), None)
