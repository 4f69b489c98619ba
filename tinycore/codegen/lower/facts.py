"""What is known of a kernel tree before it is expanded, each fact worked out once.

Comes in: statements and values. Goes out: how each loop will run, what a statement stores, which
axes and states a value depends on, and the order to evaluate it in. registers.py and expand.py
ask; nothing here changes the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import axis_of

NEVER, ONCE, EACH, LANES, SERIAL = "never", "once", "each", "lanes", "serial"
"""How a loop runs: not at all, without a loop, copied for each number, as lanes, as a loop."""

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
    declared inside a vector loop, of which each lane has its own.
    """

    def __init__(self, body: Iterable[UOp]) -> None:
        self.expanded: set[Atom] = set()
        self.modes: dict[UOp, str] = {}
        self.atoms: dict[UOp, Atom] = {}
        self.stores: dict[UOp, frozenset[UOp]] = {}
        self.orders: dict[UOp, list[UOp]] = {}
        self.facts: dict[UOp, Facts] = {}
        self.index_facts: dict[Index, Facts] = {}
        self.private: dict[UOp, Atom] = {}
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
        if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
            for child in statement.src:
                self.learn(child, lane)

    def mode(self, loop: UOp) -> str:
        """How `loop` runs."""
        found = self.modes.get(loop)
        if found is None:
            found = self.modes[loop] = self._mode(loop)
        return found

    def atom(self, loop: UOp) -> Atom:
        """The atom that is a loop's axis; the loop runs twice at least."""
        found = self.atoms.get(loop)
        if found is None:
            found = self.atoms[loop] = axis_of(loop).terms[0][0]
        return found

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
        work = list(loop.src)
        while work:
            statement = work.pop()
            extents = _EXTENTS.get(statement.op)
            if extents is not None and _depends(extents(statement), lane):
                return False
            if statement.op is Ops.LOOP and self.mode(statement) == LANES:
                return False
            if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
                work += statement.src
        return True

    def stored(self, statement: UOp) -> frozenset[UOp]:
        """The buffers that `statement` writes or declares."""
        found = self.stores.get(statement)
        if found is None:
            found = self.stores[statement] = self._stored(statement)
        return found

    def _stored(self, statement: UOp) -> frozenset[UOp]:
        if statement.op is Ops.STORE:
            return frozenset(statement.src[: len(statement.arg.places)])
        if statement.op is Ops.BUFFER:
            return frozenset((statement,))
        if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
            return frozenset().union(*[self.stored(child) for child in statement.src])
        return frozenset()

    def order(self, value: UOp) -> list[UOp]:
        """The nodes of a value, sources first and no constants; LETs are where it ends."""
        found = self.orders.get(value)
        if found is None:
            found = self.orders[value] = _sources_first(value)
        return found

    def of(self, value: UOp) -> Facts:
        """What `value` depends on."""
        found = self.facts.get(value)
        if found is None:
            for node in self.order(value):
                if node not in self.facts:
                    self.facts[node] = self._of(node)
            found = self.facts[value]
        return found

    def _of(self, node: UOp) -> Facts:
        if node.op is Ops.LET:
            return Facts(self.of(node.src[0]).axes, (node,))
        if node.op is Ops.LOAD:
            access = node.arg
            state = node.src if node.src[0] in self.mutable else ()
            lane = self.private.get(node.src[0])
            own = Facts(() if lane is None else (lane,), state)
            parts = [self.of_index(value) for value in (*access.indices, *access.mask)]
            if access.sequence is not None:
                parts.append(self.of_index(access.sequence))
            return _union([own, *parts])
        if node.op is Ops.INDEX:
            return self.of_index(node.arg)
        if node.op is Ops.MASK:
            return _union([self.of_index(value) for value in node.arg])
        return _union([self.facts[source] for source in node.src if source.op is not Ops.CONST])

    def of_index(self, value: Index) -> Facts:
        """What an index value depends on, through the values it gathers too."""
        found = self.index_facts.get(value)
        if found is None:
            parts = [self._of_atom(atom) for atom in atoms(value)]
            found = self.index_facts[value] = _union(parts)
        return found

    def _of_atom(self, atom: Atom) -> Facts:
        if atom.kind == "gather":
            assert isinstance(atom.node, UOp), f"lower: {atom} gathers no node"
            return self.of(atom.node)
        return Facts((atom,), ()) if atom in self.expanded else _NOTHING


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
    order: dict[UOp, None] = {}
    work = [value]
    while work:
        node = work[-1]
        if node in order:
            work.pop()
            continue
        todo = [] if node.op in _LEAVES else [source for source in node.src if source not in order]
        if todo:
            todo.reverse()
            work += todo
            continue
        order[node] = None
        work.pop()
    return [node for node in order if node.op is not Ops.CONST or node is value]
