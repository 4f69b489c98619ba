"""Shapes of graph nodes: one rule an op, computed once a node.

Comes in: a node. Goes out: its shape. Next file: graph.py, which makes nodes.
"""

from collections.abc import Iterable
from typing import Any

from tinycore.errors import ShapeError
from tinycore.uop.index import Index, simplest
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp, postorder
from tinycore.util import dedup, prod

Dim = int | Index
Shape = tuple[Dim, ...]
View = tuple[tuple[Ops, object], ...]


def shape_of(node: UOp) -> Shape:
    """The shape of a graph node. Raises: ShapeError if elementwise sources differ in shape."""
    if node._shape is None:
        for inner in postorder([node], lambda one: [x for x in one.src if x._shape is None]):
            inner._shape = _derived(inner)
    return node._shape  # type: ignore[no-any-return]


def size_of(node: UOp) -> int:
    """The `size` of a node's shape."""
    return size(shape_of(node))


def size(shape: Iterable[Dim]) -> int:
    """The number of elements at the upper bounds of symbolic extents."""
    return prod(map(upper, shape))


def upper(extent: Dim) -> int:
    """The largest value of an extent."""
    if isinstance(extent, int):
        return extent
    return extent.hi


def upper_shape(shape: Shape) -> tuple[int, ...]:
    """A shape at its upper bounds: how buffers are laid out."""
    return tuple(map(upper, shape))


def _derived(node: UOp) -> Any:
    """The shape of a node whose sources have theirs."""
    arg, op = node.arg, node.op
    if op in ELEMENTWISE:
        return _common(node)
    shape = node.source._shape if node.src else ()
    match op:
        case Ops.BUFFER:
            return arg.shape
        case Ops.IOTA:
            return (arg,)
        case Ops.RESHAPE | Ops.EXPAND:
            return arg
        case Ops.PERMUTE:
            return tuple([shape[axis] for axis in arg])
        case Ops.PAD:
            pairs = zip(shape, arg.pairs, strict=True)
            return tuple([simplest(n + lo + hi) for n, (lo, hi) in pairs])
        case Ops.SHRINK:
            return tuple([simplest(end - begin) for begin, end in arg])
        case Ops.SKEW:
            return (*shape[: arg.axis], arg.extent, *shape[arg.axis + 1 :])
        case Ops.REDUCE:
            return tuple([1 if k in arg.axes else n for k, n in enumerate(shape)])
        case Ops.GATHER:
            return (*node.src[1]._shape, *shape[1:])
    return shape


def _common(node: UOp) -> Shape:
    shapes = dedup([source._shape for source in node.src if source.op is not Ops.CONST])
    if len(shapes) > 1:
        found = f"{node.op.name.lower()}: shapes {shapes[0]} and {shapes[1]} differ"
        raise ShapeError(f"{found}; expected equal shapes. Expand the smaller one.")
    return shapes[0] if shapes else ()
