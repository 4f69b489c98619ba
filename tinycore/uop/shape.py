"""Shapes of graph nodes: one rule an op, computed once a node.

Comes in: a node. Goes out: its shape. Next file: graph.py, which makes nodes.
"""

from collections.abc import Callable, Iterable

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
        for inner in postorder([node], _of_unknown_shape):
            inner._shape = _RULES[inner.op](inner)
    return node._shape  # type: ignore[no-any-return]


def _of_unknown_shape(node: UOp) -> list[UOp]:
    return [source for source in node.src if source._shape is None]


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


def _elementwise(node: UOp) -> Shape:
    shapes = dedup([source._shape for source in node.src if source.op is not Ops.CONST])
    if len(shapes) > 1:
        raise ShapeError(
            f"{node.op.name.lower()}: shapes {shapes[0]} and {shapes[1]} differ; "
            "expected equal shapes. Expand the smaller one."
        )
    return shapes[0] if shapes else ()


def _skew(node: UOp) -> Shape:
    shape = list(node.source._shape)
    shape[node.arg.axis] = node.arg.extent
    return tuple(shape)


def _reduce(node: UOp) -> Shape:
    axes = node.arg.axes
    return tuple([1 if k in axes else n for k, n in enumerate(node.source._shape)])


def _pad(node: UOp) -> Shape:
    pairs = zip(node.source._shape, node.arg.pairs, strict=True)
    return tuple([simplest(n + lo + hi) for n, (lo, hi) in pairs])


def _gather(node: UOp) -> Shape:
    rows, ids = node.src
    return (*ids._shape, *rows._shape[1:])


def _first(node: UOp) -> Shape:
    return node.source._shape  # type: ignore[no-any-return]


def _given(node: UOp) -> Shape:
    return node.arg  # type: ignore[no-any-return]


_ALIKE = (Ops.FLIP, Ops.SCATTER, Ops.STORE, Ops.COPY, Ops.COLLECTIVE, Ops.DETACH, Ops.CONTIGUOUS)
_RULES: dict[Ops, Callable[[UOp], Shape]] = {
    Ops.CONST: lambda node: (),
    Ops.VARIABLE: lambda node: (),
    Ops.IOTA: lambda node: (node.arg,),
    Ops.BUFFER: lambda node: node.arg.shape,
    Ops.RESHAPE: _given,
    Ops.EXPAND: _given,
    Ops.PERMUTE: lambda node: tuple([node.source._shape[axis] for axis in node.arg]),
    Ops.PAD: _pad,
    Ops.SHRINK: lambda node: tuple([simplest(end - begin) for begin, end in node.arg]),
    Ops.SKEW: _skew,
    Ops.REDUCE: _reduce,
    Ops.GATHER: _gather,
    Ops.CALL: lambda node: node.arg.shape,
    **dict.fromkeys(_ALIKE, _first),
    **dict.fromkeys(ELEMENTWISE, _elementwise),
}
