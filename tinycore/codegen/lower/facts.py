"""What is known of a kernel tree before it is expanded, each fact worked out once.

Comes in: statements and values. Goes out: how each loop will run, what a statement stores, which
axes and states a value depends on, and the order to evaluate it in. registers.py and expand.py
ask; nothing here changes the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

from tinycore.codegen.lower.loops import SCOPES
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index, as_index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import axis_of, walk

NEVER, ONCE, EACH, LANES, SERIAL = "never", "once", "each", "lanes", "serial"
"""How a loop runs: not at all, without a loop, copied for each number, as lanes, as a loop."""

ZERO = as_index(0)
MAX_COPIES = 64
MAX_LANES = 128


class Facts(NamedTuple):
    """What a value depends on: axes that are expanded, and states (buffers, LETs) that change."""

    axes: tuple[Atom, ...]
    states: tuple[UOp, ...]


_NOTHING = Facts((), ())


class Study:
    """The facts of one kernel.

    `expanded` are the axes of loops that run as EACH or LANES; `private` holds the buffers
    declared inside a vector loop, of which each lane has its own. `mode` says how a loop runs,
    `atom` what its axis is (it runs twice at least), `stored` which buffers a statement writes or
    declares, `order` the nodes of a value, `of` and `of_index` what a value depends on.
    """

    def __init__(self, body: Iterable[UOp]) -> None:
        self.expanded: set[Atom] = set()
        self.private: dict[UOp, Atom] = {}
        self.mode = cache(self._mode)
        self.atom = cache(_axis_atom)
        self.stored = cache(self._stored)
        self.order = cache(_sources_first)
        self.of_index = cache(self._of_index)
        self.of_node = cache(self._of_node)
        self.of = cache(self._of)
        self.mutable = frozenset[UOp]().union(*[self.stored(statement) for statement in body])
        for statement in body:
            self.learn(statement, None)

    def learn(self, statement: UOp, lane: Atom | None) -> None:
        """Note the expanded axes of a statement, before its values are asked about."""
        if statement.op is Ops.BUFFER and lane is not None:
            self.private[statement] = lane
        if statement.op is Ops.LOOP and self.mode(statement) in (EACH, LANES):
            self.expanded.add(self.atom(statement))
            lane = self.atom(statement) if self.mode(statement) == LANES else lane
        for child in statement.src if statement.op in SCOPES else ():
            self.learn(child, lane)

    def _mode(self, loop: UOp) -> str:
        extent = loop.arg.extent
        if extent.hi <= 0:
            return NEVER
        if extent.terms:
            return SERIAL
        if extent.const == 1:
            return ONCE
        if loop.arg.map == "vec":
            few = extent.const <= MAX_LANES
            if few and loop.arg.kind == "par" and self._has_lanes(loop):
                return LANES
            return EACH if extent.const <= MAX_COPIES else SERIAL
        return EACH if loop.arg.map in ("reg", "unroll") else SERIAL

    def _has_lanes(self, loop: UOp) -> bool:
        """True if every iteration takes the same way through the body, one vector loop deep."""
        lane = self.atom(loop)
        for statement, _ in walk(loop.src):
            extents = _EXTENTS.get(statement.op)
            if extents is not None and _depends(extents(statement), lane):
                return False
            if statement.op is Ops.LOOP and self.mode(statement) == LANES:
                return False
        return True

    def _stored(self, statement: UOp) -> frozenset[UOp]:
        if statement.op is Ops.STORE:
            return frozenset(statement.src[: len(statement.arg.places)])
        if statement.op in SCOPES:
            return frozenset().union(*[self.stored(child) for child in statement.src])
        return frozenset([statement] if statement.op is Ops.BUFFER else [])

    def _of(self, value: UOp) -> Facts:
        for node in self.order(value):
            self.of_node(node)
        return self.of_node(value)

    def _of_node(self, node: UOp) -> Facts:
        if node.op is Ops.LET:
            return Facts(self.of(node.src[0]).axes, (node,))
        if node.op is Ops.LOAD:
            access = node.arg
            lane = self.private.get(node.src[0])
            states = node.src if node.src[0] in self.mutable else ()
            own = Facts(() if lane is None else (lane,), states)
            indices = [*access.indices, *access.mask, access.sequence or ZERO]
            return _union([own, *map(self.of_index, indices)])
        if node.op is Ops.INDEX:
            return self.of_index(node.arg)
        if node.op is Ops.MASK:
            return _union([*map(self.of_index, node.arg)])
        return _union([*map(self.of_node, node.src)])

    def _of_index(self, value: Index) -> Facts:
        parts = []
        for atom in atoms(value):
            if isinstance(atom.node, UOp):
                parts.append(self.of(atom.node))
            elif atom in self.expanded:
                parts.append(Facts((atom,), ()))
        return _union(parts)


def _axis_atom(loop: UOp) -> Atom:
    return axis_of(loop).terms[0][0]


_EXTENTS: dict[Ops, Callable[[UOp], Iterable[Index]]] = {
    Ops.LOOP: lambda node: (node.arg.extent,),
    Ops.IF: lambda node: node.arg,
    Ops.BUFFER: lambda node: node.arg.shape,
}
"""What must be the same in every lane of a vector loop around a statement."""


def _depends(values: Iterable[Index], lane: Atom) -> bool:
    """True if values may differ from lane to lane."""
    inner = [atom for value in values for atom in atoms(value)]
    return any(atom is lane or atom.kind == "gather" for atom in inner)


def _union(parts: list[Facts]) -> Facts:
    parts = [part for part in parts if part is not _NOTHING]
    if not parts:
        return _NOTHING
    first = parts[0]
    if all(part is first for part in parts):
        return first
    axes = dict.fromkeys([atom for part in parts for atom in part.axes])
    states = dict.fromkeys([state for part in parts for state in part.states])
    return Facts(tuple(axes), tuple(states))


_LEAVES = frozenset({Ops.LET, Ops.LOAD, Ops.INDEX, Ops.MASK, Ops.CONST, Ops.VARIABLE})


def _sources_first(value: UOp) -> list[UOp]:
    """The nodes of a value, sources first and no constants; LETs are where it ends."""
    order: dict[UOp, None] = {}
    work = [value]
    while work:
        node = work[-1]
        todo = [source for source in node.src if source not in order]
        if todo and node.op not in _LEAVES and node not in order:
            work += reversed(todo)
            continue
        order[node] = None
        work.pop()
    return [node for node in order if node.op is not Ops.CONST or node is value]
