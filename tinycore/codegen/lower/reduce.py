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
from tinycore.uop.tree import Access, Kernel, StoreArg, axis_of, buffer, walk


class Pending(NamedTuple):
    """States of lanes on their way out: what stands before the loop they belong to, and makes what
    stands after it; told the states that hold nothing yet."""

    states: frozenset[UOp]
    before: tuple[UOp, ...]
    after: Callable[[frozenset[UOp]], list[UOp]]


def reduce(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with its reductions along lanes made parallel."""
    return kernel._replace(body=Reducer().block(kernel.body, True)[0])


class Reducer:
    """One kernel on its way to parallel vector loops."""

    def __init__(self) -> None:
        self.count = 0

    def block(
        self, statements: Iterable[UOp], is_last: bool
    ) -> tuple[tuple[UOp, ...], list[Pending]]:
        """Statements made parallel, and the states that may stand further out."""
        rewritten = [self.statement(statement) for statement in statements]
        found: list[UOp] = []
        leaving: list[Pending] = []
        for k, (statement, pending) in enumerate(rewritten):
            if not pending:
                found.append(statement)
                continue
            others = [other for i, (other, _) in enumerate(rewritten) if i != k]
            touched = _touched(others)
            staying = [p for p in pending if is_last or p.states & touched]
            leaving += [p for p in pending if p not in staying]
            fresh = _fresh(found)
            found += [node for p in staying for node in p.before]
            found.append(statement)
            for p in staying:
                found += p.after(fresh)
                fresh -= p.states
        return tuple(found), leaving

    def statement(self, node: UOp) -> tuple[UOp, list[Pending]]:
        """A statement made parallel, and the states that may stand further out."""
        if node.op not in (Ops.LOOP, Ops.IF, Ops.BLOCK):
            return node, []
        is_grid = node.op is Ops.LOOP and node.arg.map == "grid"
        body, pending = self.block(node.src, is_grid)
        node = node.replace(src=body)
        if node.op is not Ops.LOOP or node.arg.map != "vec" or node.arg.kind == "par":
            return node, pending
        states = None if pending else _states(node)
        if states is None:
            return node.replace(arg=node.arg._replace(map="unroll")), pending
        self.count += 1
        return self._parallel(node, states)

    def _parallel(self, loop: UOp, states: dict[UOp, str]) -> tuple[UOp, list[Pending]]:
        """A vector loop whose lanes have their own states."""
        own = {state: self._lanes_of(state, states[state], loop) for state in states}
        name = f"join{self.count}"

        def after(fresh: frozenset[UOp]) -> list[UOp]:
            empty = [state for state in fresh if state.arg.init == states.get(state)]
            return joined(_rebased(loop), Joining(states, own, frozenset(empty), name))

        body = _with_own(loop, own)
        node = loop.replace(src=body, arg=loop.arg._replace(kind="par"))
        before = tuple([lanes.buffer for lanes in own.values()])
        pending = Pending(frozenset(states), before, after)
        return node, [pending] if states else []

    def _lanes_of(self, state: UOp, combine: str, loop: UOp) -> Lanes:
        name = f"{state.arg.name}.lanes{self.count}"
        shape = state.arg.shape
        at = len(shape)
        for rebase in _rebased(loop):
            if state in rebase.src[2 * len(rebase.arg.places) :]:
                at = len(rebase.src[0].arg.shape)
        shape = (*shape[:at], loop.arg.extent, *shape[at:])
        return Lanes(buffer(name, state.dtype, shape, "reg", init=combine), at)


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
    for node, _ in walk(loop.src):
        if node.op is not Ops.STORE:
            continue
        arg: StoreArg = node.arg
        if all(_moves(place, lane) for place in arg.places):
            continue
        for target, place in zip(node.src, arg.places, strict=False):
            if target in inside:
                continue
            if _moves(place, lane) or not arg.combine or target.arg.space != "reg":
                return None
            if found.setdefault(target, arg.combine) != arg.combine:
                return None
    return found if _covers(loop, found) else None


def _covers(loop: UOp, states: dict[UOp, str]) -> bool:
    """True if every dependent of a state is a state too."""
    for rebase in _rebased(loop):
        count = len(rebase.arg.places)
        leads, dependents = rebase.src[:count], rebase.src[2 * count :]
        if leads[0] in states and not all(dependent in states for dependent in dependents):
            return False
    return True


def _rebased(loop: UOp) -> list[UOp]:
    """The stores in a loop that move dependents."""
    return [node for node, _ in walk(loop.src) if node.op is Ops.STORE and node.arg.rebase]


def _moves(place: Access, lane: Atom) -> bool:
    """True if each lane has an element of its own: some index is linear in the lane alone."""
    for index in place.indices:
        if any(atom is lane for atom, _ in index.terms):
            others = [atoms(of_atom(atom)) for atom, _ in index.terms if atom is not lane]
            return not any(lane in inner for inner in others)
    return False


def _with_own(loop: UOp, own: dict[UOp, Lanes]) -> tuple[UOp, ...]:
    """The body of a loop with each state replaced by that of the lane."""
    lane = axis_of(loop)
    changed: dict[UOp, UOp] = {}
    for node in toposort(loop.src):
        src = tuple([changed.get(source, source) for source in node.src])
        arg = node.arg
        if node.op is Ops.LOAD and node.src[0] in own:
            state = own[node.src[0]]
            src, arg = (state.buffer,), _at_lane(arg, state, lane)
        elif node.op is Ops.STORE:
            pairs = zip(node.src, arg.places, strict=False)
            places = [_at_lane(place, own[t], lane) if t in own else place for t, place in pairs]
            src = tuple([own[source].buffer if source in own else source for source in src])
            arg = arg._replace(places=tuple(places))
        if src != node.src or arg is not node.arg:
            changed[node] = UOp(node.op, node.dtype, src, arg, node.tag)
    return tuple([changed.get(statement, statement) for statement in loop.src])


def _at_lane(access: Access, state: Lanes, lane: Index) -> Access:
    return access._replace(indices=state.place(access.indices, lane).indices)


def _fresh(before: list[UOp]) -> frozenset[UOp]:
    """The states that earlier statements only declare, holding the identity."""
    declared = [node for node in before if node.op is Ops.BUFFER and node.arg.init]
    used = _touched([node for node in before if node.op is not Ops.BUFFER])
    return frozenset(declared) - used


def _touched(statements: list[UOp]) -> frozenset[UOp]:
    """The buffers that statements declare, read or write."""
    return frozenset([node for node in toposort(statements) if node.op is Ops.BUFFER])
