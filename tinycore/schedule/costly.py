"""Which scalar ops cost too much to be evaluated at each of their uses.

Comes in: a graph, and the nodes that are stored anyway. Goes out: more nodes to store: operands
that a contraction would compute many times, and long expressions that several stages read.
stages.py comes next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from tinycore.schedule.types import Limits
from tinycore.uop.ops import CASTS, ELEMENTWISE, MOVEMENT, Ops, UOp, toposort
from tinycore.uop.shape import size_of

_THROUGH = MOVEMENT | CASTS
_OFTEN = 16  # uses of an operand from which on it is worth a trip to memory


class Graph:
    """The nodes under some sinks, sources first, and who reads each of them."""

    def __init__(self, sinks: Iterable[UOp]) -> None:
        self.sinks = frozenset(sinks)
        self.order = toposort(sinks)
        self.consumers: dict[UOp, list[UOp]] = {node: [] for node in self.order}
        for node in self.order:
            for source in dict.fromkeys(node.src):
                self.consumers[source].append(node)


def costly_nodes(graph: Graph, stored: Collection[UOp], limits: Limits) -> dict[UOp, bool]:
    """The scalar ops to store; True for those that nobody in the same kernel computes again."""
    shared = _shared(graph, stored)
    operands = set(_operands(graph, limits))
    found: dict[UOp, bool] = {}
    below: dict[UOp, frozenset[UOp]] = {}  # the ops inline under a node, or more than the limit
    for node in graph.order:
        ops = [frozenset({node} if node.op in ELEMENTWISE else ())]
        ops += [below[source] for source in node.src]
        most = max(ops, key=len)
        inside = most if len(most) > limits.repeated_ops else most.union(*ops)
        is_op = node.op in ELEMENTWISE
        repeated = is_op and node in shared and len(inside) > limits.repeated_ops
        if node in stored:
            inside = frozenset()
        elif repeated or (node in operands and len(inside) > limits.operand_ops):
            found[node] = repeated
            inside = frozenset()
        below[node] = inside
    return found


def _shared(graph: Graph, stored: Collection[UOp]) -> set[UOp]:
    """The nodes where ways to different stages part."""
    carrier: dict[UOp, UOp] = {}  # the one node or stage that all uses of a node pass through
    found = set()
    for node in reversed(graph.order):
        ways = {user if user in stored else carrier[user] for user in graph.consumers[node]}
        carrier[node] = node
        if len(ways) == 1:
            (carrier[node],) = ways
        elif ways:
            found.add(node)
    return found


def _operands(graph: Graph, limits: Limits) -> Iterator[UOp]:
    """The operands that contractions use often, but for those above a short reduction that may
    be evaluated where it is read."""
    short: set[UOp] = set()
    for node in graph.order:
        if node.op in _INLINE and node not in graph.sinks:
            short |= {node} if any(source in short for source in node.src) else set()
        if node.op is not Ops.REDUCE:
            continue
        product = _below(node.src[0], CASTS)
        sources = [_below(source, _THROUGH) for source in product.src]
        for operand in sources if product.op is Ops.MUL else ():
            often = limits.recomputed_steps if operand in short else _OFTEN
            if size_of(product) >= often * size_of(operand):
                yield operand
        is_short = size_of(product) <= limits.recomputed_steps * size_of(node)
        if is_short and size_of(node) >= sum(map(size_of, sources)):
            short.add(node)


_INLINE = ELEMENTWISE | MOVEMENT


def _below(node: UOp, through: Collection[Ops]) -> UOp:
    while node.op in through:
        node = node.src[0]
    return node
