"""The graph as the passes want it, and which of its nodes may be stored.

Comes in: sinks as tensors built them. Goes out: equal sinks without DETACH, where a STORE may write
in place and a SCATTER writes into a copy of its base; and what may be stored. Next: stages.py.
"""

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple

from tinycore.dtype import Scalar, dtypes
from tinycore.uop import graph
from tinycore.uop.ops import CASTS, ELEMENTWISE, MOVEMENT, Ops, UOp, toposort
from tinycore.uop.tree import MONOIDS

WRITES = frozenset({Ops.STORE, Ops.SCATTER})
_KEPT = WRITES | {Ops.CONTIGUOUS}


class Limits(NamedTuple):
    """Thresholds in elements, steps or ops; every setting gives the same values.

    They were chosen on the kernels of docs/decisions/0003, not measured.
    """

    units: int = 1
    row: int = 1024
    # Buffers that one kernel reads and stores.
    buffers: int = 64 * 1024
    # Steps of a reduction evaluated inside its reader.
    recomputed_steps: int = 256
    # Group axes given up for a row that the nearest cache holds.
    row_axes: int = 1024
    # The same for a contraction, whose tiles need them.
    contraction_axes: int = 16
    # An operand of a contraction with more ops is stored.
    operand_ops: int = 8
    # What several stages read is stored if it takes more ops.
    repeated_ops: int = 48
    # A smaller row is read again rather than rebased.
    cached: int = 0
    # A smaller row is held rather than computed again.
    held: int = 0
    # Below this a launch costs more than the work.
    tiny: int = 64 * 1024


def lower_sinks(sinks: Sequence[UOp], writes: Container[UOp]) -> list[UOp]:
    """The sinks, each a node of its own; those of `writes` write into their base, a BUFFER."""
    new: dict[UOp, UOp] = {}
    for node in toposort(sinks):
        low = node.over(tuple(new[source] for source in node.src))
        if low.size and not all(source.size for source in low.src):
            low = _of_nothing(low)
        elif node.op is Ops.DETACH:
            low = low.source
        elif node.is_store and node not in writes:
            low = selected(low)
        elif node.op is Ops.SCATTER and node not in writes:
            base, *more = low.src
            number = -1 - len(sinks) - len(new)
            low = low.over((graph.contiguous(base, number), *more))
        new[node] = low
    found: dict[UOp, None] = {}
    for number, sink in enumerate(sinks):
        node = new[sink]
        if node in found or node.is_buffer:
            node = graph.contiguous(node, -1 - number)
        found[node] = None
    return list(found)


def _of_nothing(node: UOp) -> UOp:
    """What an op has elements of whose source has none: nothing is computed from that."""
    if node.op in WRITES:
        return node.source
    fill: Scalar = 0
    if node.is_reduce:
        fill = MONOIDS[node.combine].identity
    elif node.op is Ops.PAD:
        fill = node.arg.fill
    return graph.full(node.shape, fill, node.dtype)


def home_of(node: UOp) -> UOp:
    """The node in whose buffer another is stored, for a SCATTER the copy of its base."""
    copied = node.op is Ops.SCATTER and node.source.op is Ops.CONTIGUOUS
    return node.source if copied else node


def selected(node: UOp) -> UOp:
    """A STORE as where(viewed, value, base), by the adjoint of the view."""
    base, value = node.src
    whole = graph.contiguous(base, -1)  # the view must not fold into its base
    moved = graph.apply_view(whole, node.arg)
    viewed = graph.full(moved.shape, True, dtypes.bool)
    while moved is not whole:
        value = graph.movement_adjoint(moved, value)
        viewed = graph.movement_adjoint(moved, viewed)
        moved = moved.source
    return graph.elementwise(Ops.WHERE, viewed, value, base)


# Stages


def stored_nodes(sinks: Sequence[UOp], limits: Limits) -> dict[UOp, bool]:
    """The nodes whose value may be stored, sources first; True for those never inline."""
    graph = Graph(sinks)
    chosen = dict.fromkeys(graph.sinks, False)
    chosen |= {node: True for node in graph.order if node.op in _KEPT}
    for node in graph.order:
        if node.is_reduce and not _is_nested(graph, node):
            moved = graph.end(node, _CUTS)  # what is cut away is not computed
            chosen[moved] = chosen[graph.end(moved, ELEMENTWISE)] = False
    _add_costly(graph, chosen, limits)
    return {node: chosen[node] for node in graph.order if node in chosen}


_THROUGH = MOVEMENT | CASTS
_CUTS = frozenset({Ops.SHRINK, Ops.PERMUTE})
_NESTED = 4  # evaluations of an element in a sum of sums
_OFTEN = 16  # uses of an operand that is worth storing


class Graph:
    """The nodes under some sinks, sources first, and their readers."""

    def __init__(self, sinks: Sequence[UOp]) -> None:
        self.sinks = frozenset(sinks)
        self.order = toposort(sinks)
        self.consumers: dict[UOp, set[UOp]] = {node: set() for node in self.order}
        for node in self.order:
            for source in node.src:
                self.consumers[source].add(node)

    def end(self, node: UOp, ops: Collection[Ops]) -> UOp:
        """The last of the nodes of some ops that alone read `node`, one after the other."""
        found = node
        while node not in self.sinks and len(self.consumers[node]) == 1:
            (node,) = self.consumers[node]
            if node.op in ops:
                found = node
            elif not _only_moves_ones(node):
                break
        return found


def _is_nested(graph: Graph, node: UOp) -> bool:
    """True for a sum that only another reads, through movement: they are one (NEST)."""
    moved = graph.end(node, MOVEMENT - {Ops.EXPAND})
    if moved in graph.sinks or len(graph.consumers[moved]) != 1:
        return False
    (user,) = graph.consumers[moved]
    are_sums = user.is_reduce and user.combine == node.combine == "sum"
    return are_sums and moved.size <= _NESTED * node.size


def _add_costly(graph: Graph, chosen: dict[UOp, bool], limits: Limits) -> None:
    """Choose the nodes whose ops cost too much, or read too many buffers, where they are read."""
    shared = _shared(graph, chosen)
    operands = set(_operands(graph))
    leaves = 0  # what is read, as bits
    under: dict[UOp, int] = {}  # what is read under a node, and its inline ops
    bits = {node: 1 << number for number, node in enumerate(graph.order)}
    for node in graph.order:
        for source in sorted(node.src, key=lambda one: -(under[one] & leaves).bit_count()):
            if (_joint(under, node) & leaves).bit_count() < limits.buffers:
                break
            chosen.setdefault(source, True)
            under[source] = bits[source]
            leaves |= bits[source]
        is_op = node.op in ELEMENTWISE
        under[node] = _joint(under, node) | bits[node] * is_op
        count = (under[node] & ~leaves).bit_count()
        is_repeated = is_op and node in shared and count > limits.repeated_ops
        if is_repeated or (node in operands and count > limits.operand_ops):
            chosen.setdefault(node, is_repeated)
        if node in chosen or node.is_buffer:
            under[node] = bits[node]
            leaves |= bits[node]


def _joint(under: Mapping[UOp, int], node: UOp) -> int:
    return reduce(or_, [under[source] for source in node.src], 0)


def _shared(graph: Graph, stored: Collection[UOp]) -> set[UOp]:
    """The nodes where ways to different stages part."""
    carrier: dict[UOp, UOp] = {}  # what all uses of a node pass through
    found = set()
    for node in reversed(graph.order):
        ways = {carrier[user] for user in graph.consumers[node]}
        (carrier[node],) = ways if len(ways) == 1 and node not in stored else {node}
        if len(ways) > 1:
            found.add(node)
    return found


def _operands(graph: Graph) -> Iterator[UOp]:
    """The operands that contractions use often."""
    for node in graph.order:
        if not node.is_reduce:
            continue
        product = below(node.source, CASTS)
        sources = [below(source, _THROUGH) for source in product.src]
        for operand in sources if product.op is Ops.MUL else ():
            if product.size >= _OFTEN * operand.size:
                yield operand


def below(node: UOp, through: Collection[Ops]) -> UOp:
    """The first node that is of none of some ops."""
    while node.op in through:
        node = node.source
    return node


def _only_moves_ones(node: UOp) -> bool:
    """True for a RESHAPE that only adds or takes axes of extent 1."""
    if node.op is not Ops.RESHAPE:
        return False
    old = [extent for extent in node.source.shape if extent != 1]
    return old == [extent for extent in node.arg if extent != 1]
