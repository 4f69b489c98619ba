"""Where the elements of each buffer live: in registers, or in memory at an offset.

Comes in: a kernel tree whose loops of lanes are all able to be (mapped.py). Goes out: a `Storage` a
buffer. A register buffer stays in registers if every index is a number once expanded; the dimension
that lanes run along becomes vectors. All others are memory. values.py reads and writes there.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import NamedTuple

from tinycore.codegen.optimize.edit import atom_of
from tinycore.uop import Ops, UOp
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index, as_index, digit, of_atom
from tinycore.uop.sites import uses
from tinycore.uop.tree import BODIES, Access, BufferArg, walk
from tinycore.util import round_up

MAX_REGISTERS = 1024


class Storage(NamedTuple):
    """How an access becomes one offset.

    `width` is the lanes of each register, 0 in memory; `size` the elements in all; `lane` the
    vector axis around the declaration: each lane then has elements of its own, side by side.
    """

    width: int
    strides: tuple[int, ...]
    size: int
    lane: Atom | None

    def run_of(self, dimension: int) -> str:
        """How a loop over a dimension should run to stay in the same registers."""
        if self.width > 1 and self.strides[dimension] == 1:
            return "vec"
        return "reg" if self.width else ""

    def offset(self, access: Access, slots: int = 1) -> Index:
        """The place of an access, in elements."""
        total = as_index(0)
        for index, stride in zip(access.indices, self.strides, strict=True):
            total = total + index * stride
        if slots > 1 and access.sequence is not None:
            total = total + digit(access.sequence, 1, slots) * (self.size // slots)
        return total if self.lane is None else total + of_atom(self.lane)


def in_memory(arg: BufferArg, lane: Atom | None = None) -> Storage:
    """Row by row, symbolic extents at their upper bounds."""
    return _laid_out(arg, lane, 0, len(arg.shape))


def _laid_out(arg: BufferArg, own: Atom | None, width: int, last: int) -> Storage:
    """Dimension `last` innermost, padded to whole registers; lanes of their own come after all."""
    extents = [extent.hi for extent in arg.shape]
    if own is not None:
        extents.append(own.hi + 1)
    if width > 1:
        extents[last] = round_up(extents[last], width)
    strides, size = [0] * len(extents), 1
    for k in sorted(range(len(extents)), key=lambda k: (k == last, k), reverse=True):
        strides[k] = size
        size *= extents[k]
    return Storage(width, tuple(strides[: len(arg.shape)]), size * arg.slots, own)


def is_copied(loop: UOp) -> bool:
    """True if the body of a loop is copied for each number."""
    extent, place = loop.arg.extent, loop.arg.map
    return extent.is_const and (extent.const <= 1 or place in ("reg", "unroll"))


class _Use(NamedTuple):
    """An access: its indices, the axes that have numbers there, and the vector axis around."""

    indices: tuple[Index, ...]
    expanded: Set[Atom | None]
    lane: Atom | None


def plan(body: Iterable[UOp]) -> dict[UOp, Storage]:
    """The storage of every buffer that `body` declares."""
    found: dict[UOp, list[_Use]] = {}
    for statement, loops in walk(body):
        if statement.op in BODIES:
            continue
        along = [atom_of(loop) for loop in loops if loop.arg.map == "vec"]
        expanded = {*along, *[atom_of(loop) for loop in loops if is_copied(loop)]}
        lane = along[-1] if along else None
        if statement.op is Ops.BUFFER:
            found[statement] = [_Use((), expanded, lane)]
        for use in uses(statement):
            if use.buffer in found:
                found[use.buffer].append(_Use(use.access.indices, expanded, lane))
    return {buffer: _storage(buffer.arg, seen) for buffer, seen in found.items()}


def _storage(arg: BufferArg, seen: list[_Use]) -> Storage:
    """The best place for a buffer; what was seen first is its declaration."""
    own = seen[0].lane
    memory = in_memory(arg, own)
    if arg.space != "reg" or arg.slots > 1 or not all(extent.is_const for extent in arg.shape):
        return memory
    last, width = len(arg.shape), 1 if own is None else own.hi + 1
    for indices, expanded, lane in seen:
        if not atoms(*indices) <= expanded:
            return memory
        along = [k for k, index in enumerate(indices) if (lane, 1) in index.terms]
        if own is None and lane is not None and len(along) == 1 and lane.hi + 1 > width:
            last, width = along[0], lane.hi + 1
    storage = _laid_out(arg, own, width, last)
    return storage if storage.size <= MAX_REGISTERS * width else memory
