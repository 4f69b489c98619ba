"""Nodes of expressions, simple from the start: a causal mask, a range, a one-hot row fold.

Comes in: an op and the expressions it is applied to. Goes out: the simplest expression that the
rules of uop/simplify.py know: arithmetic of indices is an INDEX, comparisons of them a MASK.
push.py and expression.py build every node through here.
"""

from __future__ import annotations

import threading

from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import Mask
from tinycore.uop.index import Index, as_index
from tinycore.uop.ops import Ops, Scalar, UOp, const
from tinycore.uop.simplify import simple
from tinycore.uop.tree import Access, index_value, load, mask_value


class _Known(threading.local):
    """What this thread knows to be simple: a rule looks no further, and never below a LOAD, where
    the graph begins."""

    def __init__(self) -> None:
        self.nodes: dict[UOp, UOp] = {}


_KNOWN = _Known()


def forget() -> None:
    """Begin anew: nodes of other schedules need not be kept."""
    _KNOWN.nodes = {}


def element(source: UOp, access: Access) -> UOp:
    """The element of a graph node or register buffer at a place."""
    node = load(source, access)
    _KNOWN.nodes[node] = node
    return node


def scalar(op: Ops, dtype: DType, *src: UOp) -> UOp:
    """A scalar op over expressions made here."""
    node = simple(UOp(op, dtype, src), _KNOWN.nodes)
    _KNOWN.nodes[node] = node
    return node


def number(value: Index, dtype: DType) -> UOp:
    """An index as a number of `dtype`, wrapped where it does not fit."""
    if dtype.is_int and dtype.min <= value.lo and value.hi <= dtype.max:
        return index_value(value, dtype)
    return scalar(Ops.CAST, dtype, index_value(value, dtypes.int64))


def choose(mask: Mask, value: UOp, fill: Scalar) -> UOp:
    """`value` where the mask holds, else `fill`."""
    return scalar(Ops.WHERE, value.dtype, mask_value(mask), value, const(fill, value.dtype))


def index_of(node: UOp) -> Index | None:
    """The index that an integer expression is, if it is one."""
    if node.op is Ops.INDEX:
        return node.arg  # type: ignore[no-any-return]
    if node.op is Ops.CONST and node.dtype.is_int:
        return as_index(node.arg)
    return None
