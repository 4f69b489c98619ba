"""Indices pushed down: a graph node, read at an index, becomes an expression over LOADs.

Comes in: a node and the indices of one of its elements. Goes out: the expression of that element,
whose LOADs read buffers and stages; movement is gone, its effect is in indices and masks. One
state (node, indices, mask, fill) is evaluated once. stages.py asks, for each stage.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import NamedTuple

from tinycore.dtype import dtypes
from tinycore.errors import ShapeError
from tinycore.schedule.movement import Indices, outside, source_place, tightest
from tinycore.uop.affine import Mask, atoms
from tinycore.uop.index import Index, gather, variable
from tinycore.uop.ops import MOVEMENT, Ops, Scalar, UOp, const
from tinycore.uop.shape import shape_of
from tinycore.uop.simplify import choose, index_of, number, scalar
from tinycore.uop.tree import Access, load


class State(NamedTuple):
    """One element of a node, wanted under a mask; `fill` is what a LOAD shows elsewhere."""

    node: UOp
    indices: Indices
    mask: Mask = ()
    fill: Scalar | None = None


class Push:
    """Expressions of elements; `stored` holds the nodes that are read where they are stored."""

    def __init__(self, stored: Container[UOp], fills: dict[UOp, Scalar | None]) -> None:
        self.stored = stored
        self.fills = fills
        self.top: UOp | None = None
        self.values: dict[State, UOp] = {}
        self.needs: dict[State, list[State]] = {}

    def value(self, node: UOp, indices: Indices, top: bool = False) -> UOp:
        """The element of `node` at `indices`; `top` looks into a node that is stored itself."""
        self.top = node if top else None
        root = self.descend(State(node, indices))
        work = [root]
        while work:
            state = work[-1]
            missing = [need for need in self._needs(state) if need not in self.values]
            if missing:
                work += missing
                continue
            work.pop()
            if state not in self.values:
                self.values[state] = self._value(state)
        return self.values[root]

    def _needs(self, state: State) -> list[State]:
        """The states a state is made of; a gathered row needs its number first."""
        found = self.needs.get(state)
        if found is None:
            found = self.needs[state] = self._sources(state)
        if state.node.op is Ops.GATHER and len(found) == 1 and found[0] in self.values:
            found.append(self._row(state, self.values[found[0]]))
        return found

    def _is_stored(self, node: UOp) -> bool:
        return node.op is Ops.BUFFER or (node in self.stored and node is not self.top)

    def _sources(self, state: State) -> list[State]:
        node = state.node
        if self._is_stored(node):
            return []
        if node.op in MOVEMENT:
            return [self._inside(state)[0]]
        if node.op is Ops.GATHER:
            rank = len(shape_of(node.src[1]))
            ids = State(node.src[1], state.indices[:rank], state.mask)
            return [self.descend(ids)]
        return [self.descend(State(source, *state[1:3])) for source in node.src]

    def descend(self, state: State) -> State:
        """The first state below, through movement, that has a value of its own."""
        while state.node.op in MOVEMENT and not self._is_stored(state.node):
            node = state.node
            indices, constraints = source_place(node, state.indices)
            if not any(constraint is not True for constraint in constraints):
                state = State(node.src[0], indices, state.mask, state.fill)
                continue
            if self.fills[node] is None:
                return state
            mask = tightest(constraints, state.mask)
            state = State(node.src[0], indices, mask, self.fills[node])
        return state

    def _inside(self, state: State) -> tuple[State, Mask]:
        """The source of a movement whose fill no LOAD can show, and the mask of the movement."""
        indices, constraints = source_place(state.node, state.indices)
        inner = State(state.node.src[0], indices, tightest(constraints, state.mask))
        return self.descend(inner), tightest(constraints)

    def _value(self, state: State) -> UOp:
        node = state.node
        if self._is_stored(node):
            fill = state.fill if state.mask else None
            return load(node, Access(state.indices, state.mask, None, fill or None))
        values = tuple([self.values[need] for need in self.needs[state]])
        make = _VALUES.get(node.op)
        if make is not None:
            return make(self, state, *values)
        return scalar(node.op, node.dtype, *values)

    def moved(self, state: State, value: UOp) -> UOp:
        """A masked movement over an expression: the fill is chosen after it."""
        mask = self._inside(state)[1]
        fill = outside(state.node)
        assert fill is not None, f"push: {state.node} has a mask but nothing outside"
        return choose(mask, value, fill)

    def _row(self, state: State, which: UOp) -> State:
        rows = state.node.src[0]
        rank = len(shape_of(state.node.src[1]))
        place = gathered_place(which, rows)
        return self.descend(State(rows, (place, *state.indices[rank:]), state.mask))

    def row(self, state: State, which: UOp, value: UOp) -> UOp:
        """A gathered element: a LOAD masks a wrong row itself, anything else must choose."""
        rows = state.node.src[0]
        place = gathered_place(which, rows)
        if index_of(which) is place or _masks_itself(value, place):
            return value
        low = _less(const(-_extent(rows) - 1, which.dtype), which)
        high = _less(which, const(_extent(rows), which.dtype))
        inside = scalar(Ops.AND, dtypes.bool, low, high)
        return scalar(Ops.WHERE, value.dtype, inside, value, const(0, value.dtype))


def _less(x: UOp, y: UOp) -> UOp:
    return scalar(Ops.LT, dtypes.bool, x, y)


def _masks_itself(value: UOp, place: Index) -> bool:
    """True for a LOAD of stored data that shows 0 where the gathered `place` is no row."""
    if value.op is not Ops.LOAD or value.src[0].op is not Ops.BUFFER or value.arg.fill:
        return False
    gathered = atoms(place)
    return any(gathered <= atoms(index) for index in value.arg.indices)


def gathered_place(which: UOp, rows: UOp) -> Index:
    """The row that a number names, as an index: the number itself where it is a valid one."""
    extent = _extent(rows)
    known = index_of(which)
    if known is not None and known.lo >= 0 and known.hi < extent:
        return known
    return gather(which, extent)


def _extent(rows: UOp) -> int:
    extent = shape_of(rows)[0]
    if not isinstance(extent, int):
        raise ShapeError(
            f"gather: the rows have extent {extent!r}; expected an integer. "
            "Gather from the whole buffer."
        )
    return extent


def _variable(push: Push, state: State) -> UOp:
    name, lo, hi = state.node.arg
    return number(variable(name, lo, hi), state.node.dtype)


_VALUES: dict[Ops, Callable[..., UOp]] = {
    Ops.CONST: lambda push, state: state.node,
    Ops.IOTA: lambda push, state: number(state.indices[0], state.node.dtype),
    Ops.VARIABLE: _variable,
    Ops.GATHER: Push.row,
    Ops.DETACH: lambda push, state, value: value,
    **dict.fromkeys(MOVEMENT, Push.moved),
}

_ANY = object()


def chain_fills(order: list[UOp], stored: Container[UOp]) -> dict[UOp, Scalar | None]:
    """For each movement: what a LOAD below it may show outside, None if no LOAD can.

    A chain of movement down to stored data needs no choice: the LOAD shows the fill. That takes
    one fill for all of the chain.
    """
    below: dict[UOp, object] = {}
    fills: dict[UOp, Scalar | None] = {}
    for node in order:
        kind: object = None
        if node.op in MOVEMENT:
            kind = _joined(below[node.src[0]], outside(node))
            fills[node] = _fill(kind)
        below[node] = _ANY if node.op is Ops.BUFFER or node in stored else kind
    return fills


def _joined(below: object, fill: Scalar | None) -> object:
    if fill is None or below is None:
        return below
    return fill if below is _ANY or below == fill else None


def _fill(kind: object) -> Scalar | None:
    if kind is _ANY:
        return 0
    assert kind is None or isinstance(kind, int | float), "push: a fill is a number"
    return kind
