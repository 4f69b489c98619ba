"""Makes graph nodes: pure, with shapes that fit, folded where that costs nothing.

Comes in: nodes and arguments. Goes out: the node, or an equal simpler one. Shapes: ops.py.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tinycore.dtype import DType, Scalar, dtypes
from tinycore.errors import ShapeError
from tinycore.uop.index import Dim, Shape, as_index, simplest, upper
from tinycore.uop.ops import MOVEMENT, Ops, UOp, alu, const, toposort

View = tuple[tuple[Ops, object], ...]
Pair = tuple[Dim, Dim]
Pairs = tuple[Pair, ...]


# Arguments of nodes


class GraphBuffer(NamedTuple):
    """A buffer of the graph, laid out at the upper bounds of its shape."""

    id: int
    shape: Shape
    device: str


class PadArg(NamedTuple):
    """(before, after) for each axis, and the value outside."""

    pairs: Pairs
    fill: float


class SkewArg(NamedTuple):
    """A window: out[.. o .. j ..] = in[.. o*stride + j*dilation .. j ..].

    o runs along `axis`, whose new extent is `extent`, and j along `window`. The inverse, its
    adjoint, is out[i, j] = in[(i - j*dilation)/stride, j], 0 where that does not exist.
    """

    axis: int
    window: int
    stride: int
    dilation: int
    extent: int
    inverse: bool = False


class ReduceArg(NamedTuple):
    """The sorted axes that a REDUCE combines, and its monoid."""

    axes: tuple[int, ...]
    combine: str


# Leaves


def graph_buffer(number: int, shape: Shape, dtype: DType, device: str) -> UOp:
    """The leaf that stands for stored data, identified by `number`."""
    return UOp(Ops.BUFFER, dtype, (), GraphBuffer(number, shape, device))


def iota(extent: int, dtype: DType = dtypes.int32) -> UOp:
    """0 .. extent - 1 along one axis."""
    return UOp(Ops.IOTA, dtype, (), extent)


def full(shape: Shape, value: Scalar, dtype: DType) -> UOp:
    """One constant in every element."""
    return broadcast(const(value, dtype), shape)


def broadcast(node: UOp, shape: Shape) -> UOp:
    """`node` expanded to `shape` by numpy's rule."""
    old = node.shape
    missing = len(shape) - len(old)
    return expand(reshape(node, (1,) * missing + old), shape)


def uniform(node: UOp) -> UOp | None:
    """The constant that every element equals, if movement shows it."""
    while node.op in MOVEMENT and node.op not in (Ops.PAD, Ops.SKEW):
        node = node.source
    return node if node.is_const else None


# Elementwise


def elementwise(op: Ops, *src: UOp) -> UOp:
    """A scalar op over equal shapes; constants may have any. Raises: ShapeError or DTypeError if
    shapes or types differ."""
    shape = max([node.shape for node in src], key=len)
    return broadcast(alu(op, *[uniform(x) or x for x in src]), shape)


def cast(node: UOp, dtype: DType) -> UOp:
    """`node` rounded or extended to `dtype`."""
    return broadcast((uniform(node) or node).cast(dtype), node.shape)


def bitcast(node: UOp, dtype: DType) -> UOp:
    """The bits of `node` read as `dtype`."""
    return node if node.dtype is dtype else UOp(Ops.BITCAST, dtype, (node,))


# Movement


def reshape(node: UOp, shape: Shape) -> UOp:
    """The same elements in row-major order under another shape; symbolic axes are kept whole.
    Raises: ShapeError if the numbers of elements differ."""
    old = node.shape
    if shape == old:
        return node
    if _signature(old) != _signature(shape):
        found = f"reshape: shape {old} does not fit {shape}; expected as many elements"
        raise ShapeError(f"{found}, symbolic axes kept whole. Pass a shape of equal size.")
    if node.op is Ops.RESHAPE:
        return reshape(node.source, shape)
    return node.under(Ops.RESHAPE, shape)


def _signature(shape: Shape) -> list[Dim]:
    parts: list[Dim] = [1]
    for extent in shape:
        if isinstance(extent, int):
            parts[-1] *= extent
        else:
            parts += [extent, 1]
    return parts


def permute(node: UOp, order: Sequence[int]) -> UOp:
    """Axis k of the result is axis order[k] of `node`."""
    if list(order) == sorted(order):
        return node
    if node.op is Ops.PERMUTE:
        return permute(node.source, [node.arg[k] for k in order])
    return node.under(Ops.PERMUTE, tuple(order))


def expand(node: UOp, shape: Shape) -> UOp:
    """Axes of extent 1 repeated to `shape`. Raises: ShapeError if other extents change."""
    old = node.shape
    if shape == old:
        return node
    pairs = zip(old, shape, strict=False)
    if len(old) != len(shape) or any(a not in (1, b) for a, b in pairs):
        found = f"expand: shape {old} cannot become {shape}"
        raise ShapeError(f"{found}; expected equal extents or 1. Reshape first.")
    return node.under(Ops.EXPAND, shape)


def pad(node: UOp, pairs: Iterable[Pair], fill: Scalar = 0) -> UOp:
    """`fill` added before and after each axis. Raises: ShapeError if a width is negative."""
    widths = _simple(pairs)
    if set(widths) <= {(0, 0)}:
        return node
    if any(as_index(width).lo < 0 for pair in widths for width in pair):
        raise ShapeError(f"pad: widths {widths} are negative; expected >= 0. Use shrink.")
    return node.under(Ops.PAD, PadArg(widths, node.dtype.cast(fill)))


def _simple(pairs: Iterable[Pair]) -> Pairs:
    return tuple((simplest(first), simplest(second)) for first, second in pairs)


def shrink(node: UOp, pairs: Iterable[Pair]) -> UOp:
    """The box begin .. end - 1 of each axis. Raises: ShapeError if it lies outside."""
    box = _simple(pairs)
    old = node.shape
    for extent, (begin, end) in zip(old, box, strict=True):
        if min(as_index(begin).lo, as_index(end - begin).lo, upper(extent) - upper(end)) < 0:
            found = f"shrink: box {box} does not lie in shape {old}"
            raise ShapeError(f"{found}; expected 0 <= begin <= end <= extent. Pad first.")
    if box == tuple((0, extent) for extent in old):
        return node
    return node.under(Ops.SHRINK, box)


def flip(node: UOp, axes: Iterable[int]) -> UOp:
    """The order along `axes` turned around."""
    turned = {axis for axis in axes if node.shape[axis] != 1}
    if node.op is Ops.FLIP:
        return flip(node.source, turned.symmetric_difference(node.arg))
    if not turned:
        return node
    return node.under(Ops.FLIP, tuple(sorted(turned)))


def skew(node: UOp, arg: SkewArg) -> UOp:
    """A window over an axis, or its adjoint."""
    return node.under(Ops.SKEW, arg)


def windows(node: UOp, axis: int, size: int, stride: int = 1, dilation: int = 1) -> UOp:
    """`axis` replaced by (places, size): all windows along it. Raises: ShapeError if none fits."""
    shape = node.shape
    extent = upper(shape[axis])
    places = (extent - dilation * (size - 1) - 1) // stride + 1
    if places < 1:
        found = f"windows: size {size} with dilation {dilation} does not fit an axis of {extent}"
        raise ShapeError(f"{found}; expected a smaller window. Pad the input.")
    before, after = shape[: axis + 1], shape[axis + 1 :]
    column = reshape(node, (*before, 1, *after))
    if size == 1 and stride == 1:
        return column
    if stride == size and dilation == 1 and extent % size == 0:
        return reshape(node, (*shape[:axis], places, size, *after))
    spread = expand(column, (*before, size, *after))
    return skew(spread, SkewArg(axis, axis + 1, stride, dilation, places))


# Reductions, rows, stores


def reduce(node: UOp, axes: Iterable[int], combine: str, dtype: DType | None = None) -> UOp:
    """`node` combined over `axes`, which stay with extent 1, in `dtype`."""
    shape = node.shape
    kept = tuple(sorted({axis for axis in axes if shape[axis] != 1}))
    node = cast(node, dtype or node.dtype)
    if not kept:
        return node
    return node.under(Ops.REDUCE, ReduceArg(kept, combine))


def total(node: UOp, axes: Iterable[int]) -> UOp:
    """A sum over `axes`, rounded from its accumulator to the type of `node`."""
    return cast(reduce(node, axes, "sum", node.dtype.accumulator), node.dtype)


def gather(rows: UOp, ids: UOp) -> UOp:
    """rows[ids]: negatives count from the end, other ids outside give 0. Raises: ShapeError if the
    number of rows is symbolic."""
    extent = rows.shape[0]
    if not isinstance(extent, int):
        found = f"gather: the rows have extent {extent!r}; expected an integer"
        raise ShapeError(f"{found}. Gather from the whole buffer.")
    return UOp(Ops.GATHER, rows.dtype, (rows, ids))


def scatter(base: UOp, ids: UOp, values: UOp, combine: str = "sum") -> UOp:
    """`base` with base[ids[k]] combined with values[k]; ids outside are dropped."""
    return UOp(Ops.SCATTER, base.dtype, (base, ids, values), combine)


def store_view(base: UOp, value: UOp, view: View) -> UOp:
    """`base` with the part under `view` replaced by `value`."""
    return UOp(Ops.STORE, base.dtype, (base, value), view)


def detach(node: UOp) -> UOp:
    """`node`, through which no gradient flows."""
    return node.under(Ops.DETACH)


def contiguous(node: UOp, number: int) -> UOp:
    """`node` in a buffer of its own; `number` tells requests apart."""
    return node.under(Ops.CONTIGUOUS, number)


def device_of(node: UOp) -> str:
    """The device that a value is computed on, or "" if nothing it reads lies on one."""
    for inner in reversed(toposort([node])):
        if inner.is_buffer or inner.is_copy:
            return str(inner.arg if inner.is_copy else inner.arg.device)
    return ""


# Views and adjoints


def apply_view(node: UOp, view: View) -> UOp:
    """A chain of movement ops applied to `node`, each by the function of its name."""
    for op, arg in view:
        node = globals()[op.name.lower()](node, arg)
    return node


def movement_adjoint(node: UOp, grad: UOp) -> UOp:
    """The gradient of the source of a movement, given that of its result."""
    arg, old = node.arg, node.source.shape
    match node.op:
        case Ops.PERMUTE:
            return permute(grad, [arg.index(k) for k in range(len(arg))])
        case Ops.EXPAND:
            return total(grad, [k for k, n in enumerate(old) if n == 1])
        case Ops.PAD:
            pairs = zip(old, arg.pairs, strict=True)
            return shrink(grad, [(before, before + n) for n, (before, _) in pairs])
        case Ops.SHRINK:
            pairs = zip(old, arg, strict=True)
            return pad(grad, [(begin, n - end) for n, (begin, end) in pairs])
        case Ops.FLIP:
            return flip(grad, arg)
        case Ops.SKEW:
            return skew(grad, arg._replace(extent=upper(old[arg.axis]), inverse=not arg.inverse))
    return reshape(grad, old)
