"""The graph as the passes want it: no DETACH, and a STORE only where it may write in place.

Comes in: sinks as the tensors built them. Goes out: equal nodes; a STORE is a select by the
adjoint of its view unless it is named as a write; SHRINK stands below reductions, so that nothing
is computed to be cut away. stages.py comes next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence

from tinycore.dtype import dtypes
from tinycore.schedule.movement import only_moves_ones
from tinycore.uop import graph
from tinycore.uop.graph import elementwise, movement_adjoint
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.shape import Dim, Pairs, difference, shape_of

Pair = tuple[Dim, Dim]


def lower_sinks(sinks: Sequence[UOp], writes: Container[UOp]) -> list[UOp]:
    """The sinks, each a node of its own; those of `writes` stay a STORE."""

    def rule(node: UOp, low: UOp) -> UOp:
        if node.op is Ops.DETACH:
            return low.src[0]
        if node.op is not Ops.STORE:
            return low
        stays = node in writes and low.src[0] is node.src[0]
        return low if stays else selected(low)

    return _apart(cut_below_reductions(_rewritten(sinks, rule)))


def _rewritten(roots: Sequence[UOp], rule: Callable[[UOp, UOp], UOp]) -> list[UOp]:
    """The roots with every node, over its new sources, replaced by what the rule gives."""
    new: dict[UOp, UOp] = {}
    for node in toposort(roots):
        src = tuple([new[source] for source in node.src])
        new[node] = rule(node, node if src == node.src else node.replace(src=src))
    return [new[root] for root in roots]


def cut_below_reductions(roots: Sequence[UOp]) -> list[UOp]:
    """SHRINK moved below a reduction that nobody else reads: what is cut away is not computed."""
    order = toposort(roots)
    if not any(node.op is Ops.SHRINK for node in order):
        return list(roots)
    readers = Counter(source for node in order for source in dict.fromkeys(node.src))
    readers.update(roots)

    def rule(node: UOp, low: UOp) -> UOp:
        depth = _depth_of_reduction(node, readers) if node.op is Ops.SHRINK else 0
        return _cut(low.src[0], low.arg, depth) if depth else low

    return _rewritten(roots, rule)


def _depth_of_reduction(node: UOp, readers: Mapping[UOp, int]) -> int:
    """How many nodes below a SHRINK its reduction is; 0 if there is none, or another reads it."""
    depth = 1
    node = node.src[0]
    while readers[node] == 1 and (node.op is Ops.PERMUTE or only_moves_ones(node)):
        node = node.src[0]
        depth += 1
    return depth if node.op is Ops.REDUCE and readers[node] == 1 else 0


def _cut(node: UOp, box: Pairs, depth: int) -> UOp:
    """The part of `node` in a box, cut `depth` nodes below it."""
    if depth == 0:
        return graph.shrink(node, box)
    below = _cut(node.src[0], _BOXES[node.op](node, box), depth - 1)
    if node.op is Ops.REDUCE:
        return graph.reduce(below, node.arg.axes, node.arg.combine)
    if node.op is Ops.PERMUTE:
        return graph.permute(below, node.arg)
    return graph.reshape(below, tuple([difference(end, begin) for begin, end in box]))


def _whole(node: UOp) -> list[Pair]:
    return [(0, extent) for extent in shape_of(node.src[0])]


def _under_permute(node: UOp, box: Pairs) -> Pairs:
    found = _whole(node)
    for axis, pair in zip(node.arg, box, strict=True):
        found[axis] = pair
    return tuple(found)


def _under_reduction(node: UOp, box: Pairs) -> Pairs:
    found = list(box)
    for axis in node.arg.axes:
        found[axis] = _whole(node)[axis]
    return tuple(found)


def _under_reshape(node: UOp, box: Pairs) -> Pairs:
    """The axes that are not of extent 1 are the same on both sides, in order."""
    found = _whole(node)
    left = [axis for axis, pair in enumerate(found) if pair != (0, 1)]
    for extent, pair in zip(node.arg, box, strict=True):
        if extent != 1:
            found[left.pop(0)] = pair
    return tuple(found)


_BOXES: dict[Ops, Callable[[UOp, Pairs], Pairs]] = {
    Ops.REDUCE: _under_reduction,
    Ops.PERMUTE: _under_permute,
    Ops.RESHAPE: _under_reshape,
}


def _apart(sinks: Sequence[UOp]) -> list[UOp]:
    """A second sink of one node, and one that is stored data already, is a copy of it."""
    found: dict[UOp, None] = {}
    for number, node in enumerate(sinks):
        copy = node in found or node.op is Ops.BUFFER
        found[graph.contiguous(node, -1 - number) if copy else node] = None
    return list(found)


def selected(node: UOp) -> UOp:
    """A STORE as where(viewed, value, base): the adjoint of the view moves the value there."""
    base, value = node.src
    whole = graph.contiguous(base, -1)  # a stand-in: the view must not fold into its base
    moved = graph.apply_view(whole, node.arg)
    viewed = graph.full(shape_of(moved), True, dtypes.bool)
    while moved is not whole:
        value = movement_adjoint(moved, value)
        viewed = movement_adjoint(moved, viewed)
        moved = moved.src[0]
    return elementwise(Ops.WHERE, viewed, value, base)
