"""The graph as the passes want it: no DETACH, and a STORE only where it may write in place.

Comes in: sinks as the tensors built them. Goes out: equal nodes; a STORE is a select by the
adjoint of its view unless it is named as a write; SHRINK stands below reductions, so that nothing
is computed to be cut away. stages.py comes next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Sequence

from tinycore.dtype import dtypes
from tinycore.schedule.movement import Indices, only_moves_ones, source_place
from tinycore.uop import graph
from tinycore.uop.graph import elementwise, movement_adjoint
from tinycore.uop.index import as_index, simplest
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.shape import Dim, Pairs, shape_of


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
        low = node if src == node.src else node.replace(src=src)
        new[node] = rule(node, low)
    return [new[root] for root in roots]


def cut_below_reductions(roots: Sequence[UOp]) -> list[UOp]:
    """SHRINK moved below a reduction that nobody else reads: what is cut away is not computed."""
    order = toposort(roots)
    readers = Counter(source for node in order for source in dict.fromkeys(node.src))
    readers.update(roots)

    def rule(node: UOp, low: UOp) -> UOp:
        if node.op is not Ops.SHRINK or readers[node.src[0]] != 1:
            return low
        chain = [low.src[0]]
        source = node.src[0]
        while source.op is not Ops.REDUCE:
            passes = source.op is Ops.PERMUTE or only_moves_ones(source)
            if not passes or readers[source.src[0]] != 1:
                return low
            source = source.src[0]
            chain.append(chain[-1].src[0])
        return _cut(chain, low.arg)

    return _rewritten(roots, rule)


def _cut(chain: Sequence[UOp], box: Pairs) -> UOp:
    """The part in a box of the first node of a chain, cut below the reduction that is its last."""
    begins: Indices = tuple([as_index(begin) for begin, _ in box])
    lasts: Indices = tuple([as_index(end) - 1 for _, end in box])
    shapes = []
    for node in chain[:-1]:
        pairs = zip(begins, lasts, strict=True)
        shapes.append(tuple([simplest(last - first + 1) for first, last in pairs]))
        begins, _ = source_place(node, begins)
        lasts, _ = source_place(node, lasts)
    source, arg = chain[-1].src[0], chain[-1].arg
    inside: list[tuple[Dim, Dim]] = [(0, extent) for extent in shape_of(source)]
    for axis, (first, last) in enumerate(zip(begins, lasts, strict=True)):
        if axis not in arg.axes:
            inside[axis] = (first, last + 1)
    cut = graph.shrink(source, inside)
    cut = graph.reduce(cut, arg.axes, arg.combine)
    for node in reversed(chain[:-1]):
        shape = shapes.pop()
        arg = node.arg if node.op is Ops.PERMUTE else shape
        cut = graph.move(cut, node.op, arg)
    return cut


def _apart(sinks: Sequence[UOp]) -> list[UOp]:
    """A second sink of one node, and one that is stored data already, is a copy of it."""
    found: dict[UOp, None] = {}
    for number, node in enumerate(sinks):
        copy = node in found or node.op is Ops.BUFFER
        apart = graph.contiguous(node, -1 - number) if copy else node
        found[apart] = None
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
