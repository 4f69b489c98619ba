"""Where the elements of each buffer live: in registers, or in memory at an offset.

Comes in: a kernel tree and its facts. Goes out: a `Storage` a buffer. A register buffer stays in
registers if every index is a number once expanded; the dimension that lanes run along becomes
vectors. All others are memory. expand.py reads and writes through these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tinycore.codegen.lower.facts import EACH, LANES, ONCE, Study
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index, as_index, digit, of_atom
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Access, BufferArg, StoreArg, values
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


class _Seen:
    """What the accesses of one register buffer ask of it."""

    def __init__(self, arg: BufferArg, lane: Atom | None) -> None:
        self.arg = arg
        self.lane = lane
        self.fixed = all(extent.is_const for extent in arg.shape)
        self.dimension = -1
        self.width = 1

    def access(self, indices: tuple[Index, ...], expanded: frozenset[Atom]) -> None:
        """One access where the axes in `expanded` have numbers."""
        self.fixed = self.fixed and all(atoms(index) <= expanded for index in indices)

    def lanes(self, indices: tuple[Index, ...], lane: Atom) -> None:
        """One access of a vector loop: lanes along a dimension make it one of vectors."""
        along = [k for k, index in enumerate(indices) if (lane, 1) in index.terms]
        if len(along) == 1 and lane.hi + 1 > self.width:
            self.dimension = along[0]
            self.width = lane.hi + 1

    def storage(self) -> Storage:
        """The best place for what was seen."""
        extents = [extent.hi for extent in self.arg.shape]
        if self.lane is not None:
            extents.append(self.lane.hi + 1)
            self.dimension, self.width = len(extents) - 1, extents[-1]
        if self.width > 1:
            extents[self.dimension] = round_up(extents[self.dimension], self.width)
        count = prod(extents)
        if not self.fixed or count > MAX_REGISTERS * self.width:
            return in_memory(self.arg, self.lane)
        order = [k for k in range(len(extents)) if k != self.dimension]
        order += [self.dimension] if self.dimension >= 0 else []
        strides = [0] * len(extents)
        size = 1
        for k in reversed(order):
            strides[k] = size
            size *= extents[k]
        return Storage(self.width, tuple(strides[: len(self.arg.shape)]), count, self.lane)


class _Planner:
    def __init__(self, study: Study) -> None:
        self.study = study
        self.seen: dict[UOp, _Seen] = {}
        self.found: dict[UOp, Storage] = {}

    def body(self, statements: Iterable[UOp], expanded: frozenset[Atom], lane: Atom | None) -> None:
        for statement in statements:
            if statement.op is Ops.LOOP:
                self._loop(statement, expanded, lane)
            elif statement.op in (Ops.IF, Ops.BLOCK):
                self.body(statement.src, expanded, lane)
            elif statement.op is Ops.BUFFER:
                self._declare(statement, lane)
            else:
                self._statement(statement, expanded, lane)

    def _loop(self, loop: UOp, expanded: frozenset[Atom], lane: Atom | None) -> None:
        mode = self.study.mode(loop)
        if mode in (EACH, LANES):
            atom = self.study.atom(loop)
            expanded = expanded | {atom}
            lane = atom if mode == LANES else lane
        elif mode != ONCE and loop.arg.extent.hi > 1:
            expanded = expanded - {self.study.atom(loop)}
        self.body(loop.src, expanded, lane)

    def _declare(self, buffer: UOp, lane: Atom | None) -> None:
        arg = buffer.arg
        if arg.space == "reg" and arg.slots == 1:
            self.seen[buffer] = _Seen(arg, lane)
        else:
            self.found[buffer] = in_memory(arg, lane)

    def _statement(self, statement: UOp, expanded: frozenset[Atom], lane: Atom | None) -> None:
        if statement.op is Ops.STORE:
            arg: StoreArg = statement.arg
            for buffer, place in zip(statement.src, arg.places, strict=False):
                self._access(buffer, place, expanded, lane)
        for value in values(statement):
            for node in self.study.order(value):
                if node.op is Ops.LOAD:
                    self._access(node.src[0], node.arg, expanded, lane)

    def _access(
        self, buffer: UOp, access: Access, expanded: frozenset[Atom], lane: Atom | None
    ) -> None:
        for index in (*access.indices, *access.mask):
            self._gathers(index, expanded, lane)
        seen = self.seen.get(buffer)
        if seen is None:
            return
        seen.access(access.indices, expanded)
        if lane is not None:
            seen.lanes(access.indices, lane)

    def _gathers(self, index: Index, expanded: frozenset[Atom], lane: Atom | None) -> None:
        if not index.terms:
            return
        for atom in atoms(index):
            if atom.kind != "gather":
                continue
            assert isinstance(atom.node, UOp), f"lower: {atom} gathers no node"
            for node in self.study.order(atom.node):
                if node.op is Ops.LOAD:
                    self._access(node.src[0], node.arg, expanded, lane)


def plan(study: Study, body: Iterable[UOp]) -> dict[UOp, Storage]:
    """The storage of every buffer that `body` declares."""
    planner = _Planner(study)
    planner.body(body, frozenset(), None)
    for buffer, seen in planner.seen.items():
        planner.found[buffer] = seen.storage()
    return planner.found
