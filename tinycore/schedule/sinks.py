"""The graph as the passes want it: no DETACH, and a STORE only where it may write in place.

Comes in: sinks as the tensors built them. Goes out: equal nodes; unless it is named as a write, a
STORE is a select by the adjoint of its view, and a SCATTER writes into a copy of its base.
stages.py comes next.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from tinycore.dtype import dtypes
from tinycore.uop import graph
from tinycore.uop.graph import elementwise, movement_adjoint
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.shape import shape_of


def lower_sinks(sinks: Sequence[UOp], writes: Container[UOp]) -> list[UOp]:
    """The sinks, each a node of its own; those of `writes` write into their base, a BUFFER."""
    new: dict[UOp, UOp] = {}
    for node in toposort(sinks):
        src = tuple([new[source] for source in node.src])
        low = node.over(src)
        stays = node in writes and src[0] is node.src[0]
        if node.op is Ops.DETACH:
            low = src[0]
        elif node.op is Ops.STORE and not stays:
            low = selected(low)
        elif node.op is Ops.SCATTER and not stays:
            base = graph.contiguous(src[0], -1 - len(sinks) - len(new))
            low = node.replace(src=(base, *src[1:]))
        new[node] = low
    return _apart([new[sink] for sink in sinks])


def home_of(node: UOp) -> UOp:
    """The node in whose buffer another is stored: a SCATTER writes into the copy of its base."""
    copied = node.op is Ops.SCATTER and node.src[0].op is Ops.CONTIGUOUS
    return node.src[0] if copied else node


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
