"""Where the elements of each buffer live: in registers, or in memory at an offset.

Comes in: a kernel tree and its facts. Goes out: a `Storage` a buffer. A register buffer stays in
registers if every index is a number once expanded; the dimension that lanes run along becomes
vectors. All others are memory. expand.py reads and writes through these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tinycore.codegen.lower.facts import EACH, LANES, Study
from tinycore.codegen.lower.loops import SCOPES
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index, as_index, digit, of_atom
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Access, BufferArg, values, walk
from tinycore.util import prod, round_up

MAX_REGISTERS = 1024


class Storage(NamedTuple):
    """How an access becomes one offset.

    `width` is the lanes of each register, 0 in memory; `size` the elements in all; `lane` the
    vector axis around the declaration: each lane then has elements of its own, side by side.
    """

    width: int
    strides: tuple[int, ...]
    size: int
    lane: Atom | None = None

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
    extents = [extent.hi for extent in arg.shape]
    lanes = 1 if lane is None else lane.hi + 1
    strides = tuple([lanes * prod(extents[k + 1 :]) for k in range(len(extents))])
    return Storage(0, strides, lanes * prod(extents) * arg.slots, lane)


class _Use(NamedTuple):
    """An access: its indices, the axes that have numbers there, and the vector axis around."""

    indices: tuple[Index, ...]
    expanded: frozenset[Atom]
    lane: Atom | None


def plan(study: Study, body: Iterable[UOp]) -> dict[UOp, Storage]:
    """The storage of every buffer that `body` declares."""
    lanes: dict[UOp, Atom | None] = {}
    uses: dict[UOp, list[_Use]] = {}
    for statement, loops in walk(body):
        if statement.op in SCOPES:
            continue
        expanded, lane = _around(study, loops)
        if statement.op is Ops.BUFFER:
            lanes[statement] = lane
            uses[statement] = []
            continue
        for buffer, access in _accesses(study, statement):
            if buffer in uses:
                uses[buffer].append(_Use(access.indices, expanded, lane))
    return {buffer: _storage(buffer.arg, lane, uses[buffer]) for buffer, lane in lanes.items()}


def _around(study: Study, loops: Iterable[UOp]) -> tuple[frozenset[Atom], Atom | None]:
    expanded: set[Atom] = set()
    lane = None
    for loop in loops:
        mode = study.mode(loop)
        if mode in (EACH, LANES):
            expanded.add(study.atom(loop))
            lane = study.atom(loop) if mode == LANES else lane
        elif loop.arg.extent.hi > 1:
            expanded.discard(study.atom(loop))
    return frozenset(expanded), lane


Accessed = tuple[UOp, Access]


def _accesses(study: Study, statement: UOp) -> Iterator[Accessed]:
    """Every buffer a statement reads or writes and where, what its indices gather included."""
    pairs: list[Accessed] = []
    if statement.op is Ops.STORE:
        pairs += zip(statement.src, statement.arg.places, strict=False)
    pairs += _loads(study, values(statement))
    for buffer, access in pairs:
        yield buffer, access
        for index in (*access.indices, *access.mask):
            nodes = [atom.node for atom in atoms(index)]
            pairs += _loads(study, [node for node in nodes if isinstance(node, UOp)])


def _loads(study: Study, nodes: Iterable[UOp]) -> list[Accessed]:
    order = [node for value in nodes for node in study.order(value)]
    return [(node.src[0], node.arg) for node in order if node.op is Ops.LOAD]


def _storage(arg: BufferArg, own: Atom | None, uses: list[_Use]) -> Storage:
    """The best place for what was seen; `own` is the vector axis around the declaration."""
    if arg.space != "reg" or arg.slots > 1 or not all(extent.is_const for extent in arg.shape):
        return in_memory(arg, own)
    dimension, width = -1, 1
    for indices, expanded, lane in uses:
        if not all(atoms(index) <= expanded for index in indices):
            return in_memory(arg, own)
        along = [k for k, index in enumerate(indices) if (lane, 1) in index.terms]
        if lane is not None and len(along) == 1 and lane.hi + 1 > width:
            dimension, width = along[0], lane.hi + 1
    extents = [extent.const for extent in arg.shape]
    if own is not None:
        dimension, width = len(extents), own.hi + 1
        extents.append(width)
    if width > 1:
        extents[dimension] = round_up(extents[dimension], width)
    count = prod(extents)
    if count > MAX_REGISTERS * width:
        return in_memory(arg, own)
    order = [k for k in range(len(extents)) if k != dimension]
    order += [dimension] if width > 1 else []
    strides = [0] * len(extents)
    size = 1
    for k in reversed(order):
        strides[k] = size
        size *= extents[k]
    return Storage(width, tuple(strides[: len(arg.shape)]), count, own)
