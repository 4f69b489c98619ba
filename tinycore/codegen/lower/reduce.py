"""Gives each lane of a reduction a state of its own, and joins the lanes after the loop.

Comes in: a tree with red loops @vec. Goes out: one whose vector loops are all parallel. The states
of the lanes stand before the outermost loop that only reduces into them, their join after it.
A dependent state moves from its lane's leading state to the joined one before it is joined
(IR.md 3.2). What lanes could not do apart runs lane by lane instead. Next: combine.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tinycore.codegen.lower.join import Joining, Lanes, joined
from tinycore.runtime.caps import Caps
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index, of_atom
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.tree import Access, Kernel, axis_of, buffer, walk


class Pending(NamedTuple):
    """States of lanes on their way out: what stands before the loop they belong to, and makes what
    stands after it; told the states that hold nothing yet."""

    states: frozenset[UOp]
    before: tuple[UOp, ...]
    after: Callable[[frozenset[UOp]], list[UOp]]


Body = tuple[UOp, ...]


def reduce(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with its reductions along lanes made parallel."""
    if not any(_is_reduction(node) for node, _ in walk(kernel.body)):
        return kernel
    body, _ = Reducer().block(kernel.body, True)
    return kernel._replace(body=body)


def _is_reduction(node: UOp) -> bool:
    """True if a loop along lanes is not parallel."""
    return node.op is Ops.LOOP and node.arg.map == "vec" and node.arg.kind != "par"


class Reducer:
    """One kernel on its way to parallel vector loops."""

    def __init__(self) -> None:
        self.count = 0
        self.buffers: dict[UOp, frozenset[UOp]] = {}

    def block(self, statements: Iterable[UOp], is_last: bool) -> tuple[Body, list[Pending]]:
        """Statements made parallel, and the states that may stand further out."""
        rewritten = [self.statement(statement) for statement in statements]
        found: list[UOp] = []
        leaving: list[Pending] = []
        for k, (statement, pending) in enumerate(rewritten):
            others = rewritten[:k] + rewritten[k + 1 :] if pending else []
            touched = self._touched([other for other, _ in others])
            staying: list[Pending] = []
            for states in pending:
                stays = is_last or states.states & touched
                (staying if stays else leaving).append(states)
            fresh = self._fresh(found) if staying else _NONE
            found += _around(statement, staying, fresh)
        return tuple(found), leaving

    def statement(self, node: UOp) -> tuple[UOp, list[Pending]]:
        """A statement made parallel, and the states that may stand further out."""
        if node.op not in (Ops.LOOP, Ops.IF, Ops.BLOCK):
            return node, []
        is_grid = node.op is Ops.LOOP and node.arg.map == "grid"
        body, pending = self.block(node.src, is_grid)
        node = node.replace(src=body)
        if not _is_reduction(node):
            return node, pending
        states = None if pending else _states(node)
        if states is None:
            in_order = node.arg._replace(map="unroll")
            return node.replace(arg=in_order), pending
        return self._parallel(node, states)

    def _parallel(self, loop: UOp, states: dict[UOp, str]) -> tuple[UOp, list[Pending]]:
        """A vector loop whose lanes have their own states."""
        self.count += 1
        own: dict[UOp, Lanes] = {}
        for state, combine in states.items():
            own[state] = self._lanes_of(state, combine, loop)
        name = f"join{self.count}"

        def after(fresh: frozenset[UOp]) -> list[UOp]:
            empty = [state for state in fresh if state.arg.init == states.get(state)]
            job = Joining(states, own, frozenset(empty), name)
            return joined(_rebased(loop), job)

        arg = loop.arg._replace(kind="par")
        node = loop.replace(src=_with_own(loop, own), arg=arg)
        before = tuple([lanes.buffer for lanes in own.values()])
        return node, [Pending(frozenset(states), before, after)] if states else []

    def _lanes_of(self, state: UOp, combine: str, loop: UOp) -> Lanes:
        name = f"{state.arg.name}.lanes{self.count}"
        shape = state.arg.shape
        at = len(shape)
        for rebase in _rebased(loop):
            if state in _dependents(rebase):
                at = len(rebase.src[0].arg.shape)
        shape = (*shape[:at], loop.arg.extent, *shape[at:])
        own = buffer(name, state.dtype, shape, "reg", init=combine)
        return Lanes(own, at)

    def _fresh(self, before: list[UOp]) -> frozenset[UOp]:
        """The states that earlier statements only declare, holding the identity."""
        declared = [node for node in before if node.op is Ops.BUFFER]
        others = [node for node in before if node.op is not Ops.BUFFER]
        holding = [node for node in declared if node.arg.init]
        return frozenset(holding) - self._touched(others)

    def _touched(self, statements: list[UOp]) -> frozenset[UOp]:
        """The buffers that statements declare, read or write."""
        for statement in statements:
            if statement not in self.buffers:
                nodes = toposort([statement])
                inside = [node for node in nodes if node.op is Ops.BUFFER]
                self.buffers[statement] = frozenset(inside)
        return _NONE.union(*[self.buffers[statement] for statement in statements])


_NONE = frozenset[UOp]()


def _around(statement: UOp, staying: list[Pending], fresh: frozenset[UOp]) -> list[UOp]:
    """A statement with the states of lanes that stand around it."""
    found: list[UOp] = []
    for pending in staying:
        found += pending.before
    found.append(statement)
    for pending in staying:
        found += pending.after(fresh)
        fresh -= pending.states
    return found


def _states(loop: UOp) -> dict[UOp, str] | None:
    """The register buffers that all lanes of a loop combine into, with their monoids.

    None if lanes cannot run apart: a store that does not combine, or into memory, would meet.
    """
    index = axis_of(loop)
    if not index.terms or loop.arg.extent.terms:
        return None
    lane = index.terms[0][0]
    inside = {node for node, _ in walk(loop.src) if node.op is Ops.BUFFER}
    found: dict[UOp, str] = {}
    stores = [node for node, _ in walk(loop.src) if node.op is Ops.STORE]
    for node in stores:
        combine = node.arg.combine
        for target, place in zip(node.src, node.arg.places, strict=False):
            if target in inside or _moves(place, lane):
                continue
            known = found.setdefault(target, combine)
            if not combine or known != combine or target.arg.space != "reg":
                return None
    return found if _covers(loop, found) else None


def _covers(loop: UOp, states: dict[UOp, str]) -> bool:
    """True if what a rebase moves, leaders and dependents, are states or none of them is."""
    for rebase in _rebased(loop):
        moved = {*rebase.src[: len(rebase.arg.places)], *_dependents(rebase)}
        if moved & states.keys() and not moved <= states.keys():
            return False
    return True


def _rebased(loop: UOp) -> list[UOp]:
    """The stores in a loop that move dependents."""
    return [node for node, _ in walk(loop.src) if node.op is Ops.STORE and node.arg.rebase]


def _dependents(rebase: UOp) -> tuple[UOp, ...]:
    return rebase.src[2 * len(rebase.arg.places) :]


def _moves(place: Access, lane: Atom) -> bool:
    """True if each lane has an element of its own: some index is linear in the lane alone."""
    for index in place.indices:
        inner = [atoms(of_atom(atom)) for atom, _ in index.terms if atom is not lane]
        if len(inner) < len(index.terms):
            return not any(lane in found for found in inner)
    return False


def _with_own(loop: UOp, own: dict[UOp, Lanes]) -> Body:
    """The body of a loop with each state replaced by that of the lane."""
    lane = axis_of(loop)
    changed: dict[UOp, UOp] = {}
    for node in toposort(loop.src):
        src = [changed.get(source, source) for source in node.src]
        arg = node.arg
        if node.op is Ops.LOAD:
            state = own.get(node.src[0])
            arg = _at_lane(arg, state, lane)
        elif node.op is Ops.STORE:
            places = []
            for target, place in zip(node.src, arg.places, strict=False):
                state = own.get(target)
                places.append(_at_lane(place, state, lane))
            arg = arg._replace(places=tuple(places))
        if node.op in (Ops.LOAD, Ops.STORE):
            src = [own[source].buffer if source in own else source for source in src]
        changed[node] = UOp(node.op, node.dtype, tuple(src), arg, node.tag)
    return tuple([changed[statement] for statement in loop.src])


def _at_lane(access: Access, state: Lanes | None, lane: Index) -> Access:
    if state is None:
        return access
    place = state.place(access.indices, lane)
    return access._replace(indices=place.indices)
