"""Indices pushed down: a graph node, read at an index, becomes an expression over LOADs.

Comes in: a node and the indices of one of its elements. Goes out: the expression of that element,
whose LOADs read buffers and stages; movement is gone, its effect is in indices and masks, and a
reduction is a REDUCE. One state (node, indices, mask) is evaluated once. stages.py asks, for each
stage.
"""

from __future__ import annotations

from collections.abc import Container, Generator
from math import prod
from typing import Any, NamedTuple

from tinycore.dtype import Scalar, dtypes
from tinycore.errors import ShapeError
from tinycore.schedule.expression import Indices, axes_over, reduction
from tinycore.uop.affine import NEVER, Mask, atoms, mask_of, unalias
from tinycore.uop.index import Index, alias, digit, gather, make, variable
from tinycore.uop.ops import MOVEMENT, Ops, UOp, const
from tinycore.uop.shape import Dim, Shape, shape_of, upper, upper_shape
from tinycore.uop.simplify import choose, index_of, number, scalar
from tinycore.uop.tree import Access, both, load

ZERO = make(0)
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
        work = []
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
            node, indices = node.source, below
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
        return load(value.source, value.arg._replace(fill=fill or None))

    def _reduced(self, state: State) -> Steps:
        node, indices, mask = state
        axes, combine = node.arg
        extents = [shape_of(node.source)[k] for k in axes]
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
    if value.op is not Ops.LOAD or value.source.op is not Ops.BUFFER or value.arg.fill:
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


# One movement op, seen from its result: which element of its source each element is


def source_place(node: UOp, indices: Indices) -> tuple[Indices, Mask, float]:
    """Where the element of `node` at `indices` lies in its source, the mask under which it is
    there, and what stands for it where it is not."""
    old = shape_of(node.source)
    arg = node.arg
    found = list(indices)
    proof: list[Index] = []
    fill = 0.0
    match node.op:
        case Ops.RESHAPE:
            found = _reshaped(old, arg, indices)
        case Ops.PERMUTE:
            for k, index in zip(arg, indices, strict=True):
                found[k] = index
        case Ops.EXPAND:
            found = [ZERO if old[k] == 1 else index for k, index in enumerate(indices)]
        case Ops.SHRINK:
            found = [index + begin for index, (begin, _) in zip(indices, arg, strict=True)]
        case Ops.FLIP:
            for k in arg:
                found[k] = old[k] - 1 - indices[k]
        case Ops.PAD:
            fill = arg.fill
            for k, (before, after) in enumerate(arg.pairs):
                if (before, after) != (0, 0):
                    found[k] = _within(indices[k] - before, old[k], proof)
        case Ops.SKEW:
            shift = indices[arg.window] * arg.dilation
            found[arg.axis] = indices[arg.axis] * arg.stride + shift
            if arg.inverse:
                distance = indices[arg.axis] - shift
                proof.append(-(distance % arg.stride))
                place = distance // arg.stride
                found[arg.axis] = _within(place, old[arg.axis], proof)
    return tuple(found), mask_of(proof), fill


def _within(index: Index, extent: Dim, proof: list[Index]) -> Index:
    """`index` with the bounds that a mask proves; nothing is within an empty axis."""
    if extent == 0:
        proof += NEVER
        return ZERO
    proof += [index, extent - 1 - index]
    return alias(index, 0, upper(extent) - 1)


def _reshaped(old: Shape, new: Shape, indices: Indices) -> list[Index]:
    """An axis that stays keeps its index, others are digits of the row-major number, on which those
    that stay have no influence."""
    if 0 in old:
        return [ZERO] * len(old)
    keys = _strides(old)
    pairs = zip(_strides(new), indices, strict=True)
    own = {key: index for key, index in pairs if key[1] != 1}
    taken = [index * key[0] for key, index in own.items() if key not in keys]
    place = sum(taken, ZERO)
    return [own[key] if key in own else digit(place, *key) for key in keys]


def _strides(shape: Shape) -> list[tuple[int, int]]:
    """The row-major stride of every axis, and its extent."""
    extents = upper_shape(shape)
    return [(prod(extents[k + 1 :]), extent) for k, extent in enumerate(extents)]
