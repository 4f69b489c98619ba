"""Indices pushed down: a graph node, read at an index, becomes an expression over LOADs.

Comes in: a node and the indices of one of its elements. Goes out: the expression of that element,
whose LOADs read buffers and stages; movement is gone, its effect is in indices and masks, and a
reduction is a REDUCE. One state (node, indices, mask) is evaluated once. stages.py asks, for each
stage.
"""

from __future__ import annotations

from collections.abc import Container, Generator
from typing import Any, NamedTuple

from tinycore.dtype import dtypes
from tinycore.errors import ShapeError
from tinycore.schedule.expression import reduction
from tinycore.schedule.movement import Indices, axes_over, source_place
from tinycore.uop.affine import Mask, atoms, mask_of, unalias
from tinycore.uop.index import Index, gather, variable
from tinycore.uop.ops import MOVEMENT, Ops, Scalar, UOp, const
from tinycore.uop.shape import shape_of
from tinycore.uop.simplify import choose, index_of, number, scalar
from tinycore.uop.tree import Access, both, load

_PLAIN = MOVEMENT | {Ops.CONTIGUOUS}  # an element is one of the source


class State(NamedTuple):
    """One element of a node, wanted under a mask."""

    node: UOp
    indices: Indices
    mask: Mask = ()


Steps = Generator[State, Any, UOp]  # asks for elements of sources, returns its own expression


class Push:
    """Expressions of elements; `stored` holds the nodes that are read where they are stored, but
    for `top`, which they are the expressions of. Steps of reductions are named after `letter`."""

    def __init__(
        self, stored: Container[UOp] = (), top: UOp | None = None, letter: str = "r"
    ) -> None:
        self.stored = stored
        self.top = top
        self.letter = letter
        self.values: dict[State, UOp] = {}
        self.shows: dict[State, Scalar] = {}  # what a LOAD shows where its mask fails

    def value(self, node: UOp, indices: Indices) -> UOp:
        """The element of `node` at `indices`."""
        need = self._descend(node, indices)
        work: list[tuple[State, Steps]] = []
        while True:
            found = self.values.get(need)
            if found is None:
                work.append((need, self._steps(need)))
            elif not work:
                return found
            try:
                need = work[-1][1].send(found)
            except StopIteration as end:
                need, _ = work.pop()
                self.values[need] = end.value

    def _is_stored(self, node: UOp) -> bool:
        return node.op is Ops.BUFFER or (node in self.stored and node is not self.top)

    def _descend(self, node: UOp, indices: Indices, mask: Mask = ()) -> State:
        """The first state below, through movement, that has a value of its own."""
        while node.op in _PLAIN and not self._is_stored(node):
            below, inside, _ = source_place(node, indices)
            if inside:
                break
            node, indices = node.src[0], below
        return State(node, indices, mask)

    def _steps(self, state: State) -> Steps:
        node, indices, mask = state
        if self._is_stored(node):
            return load(node, Access(indices, mask))
        if node.op is Ops.CONST:
            return node
        if node.op is Ops.IOTA:
            return number(indices[0], node.dtype)
        if node.op is Ops.VARIABLE:
            return number(variable(*node.arg), node.dtype)
        if node.op in MOVEMENT:
            return (yield from self._moved(state))
        if node.op is Ops.GATHER:
            return (yield from self._gathered(state))
        if node.op is Ops.REDUCE:
            return (yield from self._reduced(state))
        values = []
        for source in node.src:
            value = yield self._descend(source, indices, mask)
            values.append(value)
        return scalar(node.op, node.dtype, *values)

    def _moved(self, state: State) -> Steps:
        """A masked movement: a LOAD below shows the fill itself, if all of a chain have one fill;
        else it is chosen after the expression."""
        node, indices, mask = state
        below, proof, fill = source_place(node, indices)
        inside = mask_of(map(unalias, proof))
        need = self._descend(node.src[0], below, both(mask, inside))
        value: UOp = yield need
        is_free = self._is_stored(need.node) or self.shows.get(need) == fill
        if value.op is not Ops.LOAD or not is_free:
            return choose(inside, value, fill)
        self.shows[state] = fill
        return load(value.src[0], value.arg._replace(fill=fill or None))

    def _reduced(self, state: State) -> Steps:
        node, indices, mask = state
        axes, combine = node.arg
        extents = [shape_of(node.src[0])[k] for k in axes]
        steps = axes_over(self.letter, extents)
        inside = dict(enumerate(indices)) | dict(zip(axes, steps, strict=True))
        value: UOp = yield self._descend(node.src[0], tuple(inside.values()), mask)
        return reduction(value, steps, extents, combine)

    def _gathered(self, state: State) -> Steps:
        """A gathered element: a LOAD masks a wrong row itself, anything else must choose."""
        rows, ids = state.node.src
        rank = len(shape_of(ids))
        which = yield self._descend(ids, state.indices[:rank], state.mask)
        place = _gathered_place(which, rows)
        value: UOp = yield self._descend(rows, (place, *state.indices[rank:]), state.mask)
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


def _gathered_place(which: UOp, rows: UOp) -> Index:
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
