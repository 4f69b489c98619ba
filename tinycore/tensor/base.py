"""The frame of every Tensor method: a cell, a view of it, and how results are made.

Comes in: cells and graph nodes. Goes out: new tensors; movements are views (docs/ir.md). Next:
movement.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Self

from tinycore.config import DEFAULT_FLOAT, NO_GRAD
from tinycore.dtype import DType, Scalar, dtypes, of_python, promote, to_dtype, weak_dtype
from tinycore.engine.cell import Cell, fresh_number
from tinycore.errors import ArgumentError, DeviceError, DTypeError, IndexingError, ShapeError
from tinycore.tensor.spelling import Axes, number
from tinycore.uop import graph
from tinycore.uop.graph import View
from tinycore.uop.index import Dim, Shape, upper_shape
from tinycore.uop.ops import COMPARISON, Ops, UOp, const

DTypeLike = DType | str | None
"""A type, its name, or None for the usual one."""

DeviceLike = str | None
"""The name of a device, or None for the default."""

RequiresGrad = bool | None
"""Whether backward() shall reach a tensor; None if nobody said."""

_MARKS = (Ops.DETACH, Ops.CAST)  # steps of a view that move nothing
_STOP = (Ops.DETACH, None)


class Frame:
    """A tensor without its topics.

    `steps`: movements, (Ops.DETACH, None) where gradients stop, (Ops.CAST, number) where they are
    asked for.
    """

    __slots__ = ("__weakref__", "_requires_grad", "cell", "grad", "steps")

    cell: Cell
    steps: View
    grad: Self | None
    _requires_grad: RequiresGrad

    @classmethod
    def of_cell(cls, cell: Cell, steps: View = ()) -> Self:
        """A tensor that shows `cell` through a view.

        >>> Tensor.of_cell(Tensor(1).cell).item()
        1
        """
        new = object.__new__(cls)
        new.cell = cell
        new.steps = steps
        new.grad = None
        new._requires_grad = None
        return new

    @classmethod
    def of_node(cls, uop: UOp, device: str) -> Self:
        """A new tensor in a cell of its own.

        >>> Tensor.of_node(Tensor(1).uop, "REF").item()
        1
        """
        steps = (_STOP,) if NO_GRAD.value else ()
        return cls.of_cell(Cell(uop, device), steps)

    def of_uop(self, uop: UOp) -> Self:
        """A new tensor on this one's device.

        >>> Tensor(1).of_uop(Tensor(3).uop).item()
        3
        """
        return self.of_node(uop, self.device)

    def _applied(self, function: Callable[..., UOp], *args: Any) -> Self:
        """A new tensor of what a function makes of this one's node."""
        return self.of_uop(function(self.uop, *args))

    @property
    def uop(self) -> UOp:
        """The graph node of the value now.

        >>> Tensor(1).reshape(1).uop.op
        Ops.RESHAPE
        """
        node = self.cell.uop
        for op, arg in self.steps:
            node = _shown(node, op, arg)
        return node

    @property
    def shape(self) -> Shape:
        """The extents of the axes.

        >>> Tensor([1, 2]).shape
        (2,)
        """
        return self.uop.shape

    @property
    def ndim(self) -> int:
        """The number of axes.

        >>> Tensor(1).ndim
        0
        """
        return len(self.shape)

    @property
    def dtype(self) -> DType:
        """The element type.

        >>> Tensor(1).dtype
        dtypes.int32
        """
        return self.cell.uop.dtype

    @property
    def device(self) -> str:
        """The canonical name of the device.

        >>> Tensor(1, "REF").device
        'REF'
        """
        return self.cell.device

    def is_floating_point(self) -> bool:
        """True for floating-point elements.

        >>> Tensor(1.0).is_floating_point()
        True
        """
        return self.dtype.is_float

    def element_size(self) -> int:
        """Bytes of one element.

        >>> Tensor(1.0).element_size()
        4
        """
        return self.dtype.itemsize

    def numel(self) -> int:
        """The number of elements; a symbolic axis counts at its largest.

        >>> Tensor.zeros(2, 3).numel()
        6
        """
        return self.uop.size

    def nbytes(self) -> int:
        """Bytes of all elements.

        >>> Tensor(1.0).nbytes()
        4
        """
        return self.numel() * self.element_size()

    def size(self, dim: int | None = None) -> Shape | Dim:
        """The shape, or the extent of one axis.

        >>> Tensor([1, 2]).size(0)
        2
        """
        if dim is None:
            return self.shape
        axis = self._axis(dim, "size")
        return self.shape[axis]

    def dim(self) -> int:
        """The same as `ndim`.

        >>> Tensor(1).dim()
        0
        """
        return self.ndim

    @property
    def movements(self) -> View:
        """The movements of the view.

        >>> Tensor([1, 2]).flip(0).movements
        ((Ops.FLIP, (0,)),)
        """
        moves = [step for step in self.steps if step[0] not in _MARKS]
        return tuple(moves)

    def detach(self) -> Self:
        """The same cell, through which no gradient flows.

        >>> Tensor(1.0).detach().item()
        1.0
        """
        steps = (*self.steps, _STOP)
        return self.of_cell(self.cell, steps)

    @property
    def _sizes(self) -> tuple[int, ...]:
        """The shape; a symbolic axis counts at its largest."""
        return upper_shape(self.shape)

    def _axis(self, axis: int, operation: str, new: int = 0) -> int:
        """An axis counted from the front, where `new` ones are added.

        Raises: IndexingError if there is none; ArgumentError for no number.
        """
        rank = self.ndim + new
        limit = max(rank, 1)
        found = number(axis, operation, "axis")
        if not -limit <= found < limit:
            raise IndexingError(
                f"{operation}: axis {axis} is not one of a tensor of {rank} axes; "
                f"expected {-limit} to {limit - 1}. Count from 0, or from the end with -1"
            )
        return found % limit

    def _axes(self, axes: Axes, operation: str) -> tuple[int, ...]:
        """Axes counted from the front; None means all.

        Raises: as _axis; ArgumentError for one twice.
        """
        rank = self.ndim
        if axes is None:
            return tuple(range(rank))
        given = axes if isinstance(axes, Sequence) else (axes,)
        found = tuple(self._axis(axis, operation) for axis in given)
        if len(set(found)) != len(found):
            raise ArgumentError(
                f"{operation}: axes {tuple(given)} name one twice; expected each once. "
                "Leave one out"
            )
        return found[:rank]

    def _moved(self, op: Ops, arg: Any) -> Self:
        before = self.uop
        view: View = ((op, arg),)
        if graph.apply_view(before, view) is before:
            view = ()
        return self.of_cell(self.cell, self.steps + view)

    def _operand(self, value: Operand, dtype: DType | None = None) -> UOp:
        """The node of another tensor, or of a number as `dtype`.

        Raises: DTypeError if the type does not hold the number.
        """
        if isinstance(value, Frame):
            self._check_device(value)
            return value.uop
        number = as_scalar(value)
        kind = dtype or weak_dtype(number, self.dtype, default_float())
        if kind.is_int and not kind.holds(number):
            raise DTypeError(
                f"operands: {number} does not fit {kind!r}; expected {kind.min} to {kind.max}. "
                "Cast the tensor to a wider type"
            )
        return const(number, kind)

    def _operands(self, value: Operand, operation: str, reverse: bool) -> Sequence[UOp]:
        """The nodes of this tensor and of the other operand, of one shape and type."""
        left = self.uop
        right = self._operand(value)
        if left.dtype is not right.dtype:
            dtype = promote(left.dtype, right.dtype)
            left = graph.cast(left, dtype)
            right = graph.cast(right, dtype)
        nodes = aligned(operation, left, right)
        if reverse:
            return nodes[::-1]
        return nodes

    def _check_device(self, other: Frame) -> None:
        if other.device != self.device:
            raise DeviceError(
                f"operands: one is on {self.device}, the other on {other.device}; "
                f"expected one device. Move one with .to({self.device!r})"
            )

    def _combined(self, op: Ops, value: Operand, reverse: bool = False) -> Self:
        kind = self.dtype
        if isinstance(value, int) and kind.is_int and not kind.holds(value):
            if op in COMPARISON:  # every element is on one side of it, as 0 is of 1 or -1
                full = graph.full(self.shape, 0, dtypes.int32)
                zeros = self.of_uop(full)
                side = 1 if value > 0 else -1
                return zeros._combined(op, side, reverse)
            if op in (Ops.MAX, Ops.MIN):
                value = nearest(value, kind)
        operation = op.name.lower()
        nodes = self._operands(value, operation, reverse)
        node = graph.elementwise(op, *nodes)
        return self.of_uop(node)

    def _unary(self, op: Ops) -> Self:
        node = graph.elementwise(op, self.uop)
        return self.of_uop(node)


Operand = Frame | Scalar
"""What stands beside a tensor: another, or a number."""


class Conversion(Frame):
    """Types, and the methods named after them."""

    __slots__ = ()

    def cast(self, dtype: DType | str) -> Self:
        """Rounded or extended to `dtype`.

        Raises: DTypeError if there is none.

        >>> Tensor(-1.5).cast("int32").item()
        -1
        """
        wanted = to_dtype(dtype)
        if wanted is self.dtype:
            return self
        if wanted.kind == "b":
            is_zero = self._combined(Ops.EQ, 0)
            return is_zero._combined(Ops.XOR, True)
        return self._applied(graph.cast, wanted)

    def bitcast(self, dtype: DType | str) -> Self:
        """The same bits read as another type of equal size.

        Raises: DTypeError if the sizes differ.

        >>> Tensor(1.0).bitcast("int32").item()
        1065353216
        """
        wanted = to_dtype(dtype)
        if wanted.itemsize != self.dtype.itemsize:
            raise DTypeError(
                f"bitcast: {self.dtype!r} has {self.dtype.itemsize} bytes an element and "
                f"{wanted!r} {wanted.itemsize}; expected equal sizes. Use cast to convert values"
            )
        return self._applied(graph.bitcast, wanted)

    def float(self) -> Self:
        """Cast to float32.

        >>> Tensor(1).float().dtype
        dtypes.float32
        """
        return self.cast(dtypes.float32)

    def double(self) -> Self:
        """Cast to float64.

        >>> Tensor(1).double().dtype
        dtypes.float64
        """
        return self.cast(dtypes.float64)

    def half(self) -> Self:
        """Cast to float16.

        >>> Tensor(1).half().dtype
        dtypes.float16
        """
        return self.cast(dtypes.float16)

    def bfloat16(self) -> Self:
        """Cast to bfloat16.

        >>> Tensor(1).bfloat16().dtype
        dtypes.bfloat16
        """
        return self.cast(dtypes.bfloat16)

    def int(self) -> Self:
        """Cast to int32; fractions are cut off.

        >>> Tensor(1.7).int().item()
        1
        """
        return self.cast(dtypes.int32)

    def long(self) -> Self:
        """Cast to int64.

        >>> Tensor(1).long().dtype
        dtypes.int64
        """
        return self.cast(dtypes.int64)

    def short(self) -> Self:
        """Cast to int16.

        >>> Tensor(1).short().dtype
        dtypes.int16
        """
        return self.cast(dtypes.int16)

    def bool(self) -> Self:
        """True for elements other than zero.

        >>> Tensor(2).bool().item()
        True
        """
        return self.cast(dtypes.bool)

    def _floating(self) -> Self:
        if self.dtype.is_float:
            return self
        return self.cast(default_float())


def _shown(node: UOp, op: Ops, arg: Any) -> UOp:
    """One step of a view, not folded: a gradient finds the node of each view."""
    if op is Ops.DETACH:
        if NO_GRAD.value:
            return node
        return graph.detach(node)
    if op is Ops.CAST:
        return own(node, arg)
    return node.under(op, arg)


def own(node: UOp, number: int | None = None) -> UOp:
    """A node that nothing else is: of two `ones(3)`, a gradient must be able to ask for one."""
    tag = fresh_number() if number is None else number
    return UOp(Ops.CAST, node.dtype, (node,), None, tag)


def default_float() -> DType:
    """The type of Python's floats (`DEFAULT_FLOAT`)."""
    return to_dtype(DEFAULT_FLOAT.value)


def dtype_or(dtype: DTypeLike, otherwise: DType | None = None) -> DType:
    """The type that is asked for, or `otherwise`, or the default float."""
    if dtype is None:
        return otherwise or default_float()
    return to_dtype(dtype)


def as_scalar(value: object) -> Scalar:
    """A number, numpy's included, as Python's own. Raises: DTypeError if it is none."""
    if getattr(value, "shape", None) == ():
        value = value.item()  # type: ignore[attr-defined]
    if isinstance(value, int | float):
        return value
    raise DTypeError(
        f"operands: {value!r} is a {type(value).__name__}; expected a tensor or a number. "
        "Wrap data in Tensor(...)"
    )


def nearest(value: Scalar, dtype: DType) -> Scalar:
    """`value` within the range of an integer type."""
    if not dtype.is_int:
        return value
    return max(dtype.min, min(value, dtype.max))


def scalar_dtype(value: Scalar) -> DType:
    """The type of a tensor made of a Python number."""
    return of_python(value, default_float())


def aligned(operation: str, *nodes: UOp) -> Sequence[UOp]:
    """Nodes broadcast to one shape. Raises: ShapeError if they do not broadcast."""
    shape = broadcast_shape(operation, *[node.shape for node in nodes])
    return [_stretched(node, shape) for node in nodes]


def _stretched(node: UOp, shape: Shape) -> UOp:
    """`node` broadcast to `shape`; a constant stays a scalar."""
    old = node.shape
    if node.is_const or old == shape:
        return node
    if len(old) < len(shape):
        old = _padded(old, len(shape))
        node = node.under(Ops.RESHAPE, old)
    if old == shape:
        return node
    return node.under(Ops.EXPAND, shape)


def broadcast_shape(operation: str, *shapes: Shape) -> Shape:
    """The shape that operands broadcast to, as in numpy.

    Raises: ShapeError if extents differ and none is 1.
    """
    first, *rest = shapes
    for shape in rest:
        if first != shape:
            first = _broadcast(operation, first, shape)
    return first


def _broadcast(operation: str, left: Shape, right: Shape) -> Shape:
    rank = max(len(left), len(right))
    long_left = _padded(left, rank)
    long_right = _padded(right, rank)
    rows = zip(long_left, long_right, strict=True)
    out = []
    for a, b in rows:
        if a != b and a != 1 and b != 1:
            raise ShapeError(
                f"{operation}: shapes {left} and {right} do not broadcast; "
                "expected equal extents or 1, from the last axis. Reshape or expand one"
            )
        out.append(b if a == 1 else a)
    return tuple(out)


def _padded(shape: Shape, rank: int) -> Shape:
    return (1,) * (rank - len(shape)) + shape


def common_dtype(values: Sequence[Operand]) -> DType:
    """The type that tensors and numbers promote to; numbers yield to tensors."""
    kinds = [value.dtype for value in values if isinstance(value, Frame)]
    scalars = [value for value in values if not isinstance(value, Frame)]
    found = reduce(promote, kinds or [scalar_dtype(scalars[0])])
    for scalar in scalars:
        weak = weak_dtype(scalar, found, default_float())
        found = promote(found, weak)
    return found
