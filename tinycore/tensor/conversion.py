"""Element types and sizes: what a tensor is made of, and the same values in another type.

Comes in: a tensor. Goes out: the tensor in another type, or a fact about it. The methods named
`float`, `int` and `bool` stand alone here, so that no other topic loses those words. Next:
arithmetic.py.
"""

from __future__ import annotations

from typing import Self

from tinycore.dtype import dtypes, to_dtype
from tinycore.errors import DTypeError
from tinycore.tensor.base import DTypeLike, Frame, default_float
from tinycore.tensor.spelling import axis_of
from tinycore.uop import graph
from tinycore.uop.ops import Ops, const
from tinycore.uop.shape import Dim, Shape, size_of


class Sizes(Frame):
    """How many elements and bytes."""

    __slots__ = ()

    def is_floating_point(self) -> bool:
        """True if the elements are floating-point numbers.

        >>> Tensor([1.0]).is_floating_point()
        True
        """
        return self.dtype.is_float

    def element_size(self) -> int:
        """Bytes of one element.

        >>> Tensor([1.0]).element_size()
        4
        """
        return self.dtype.itemsize

    def numel(self) -> int:
        """The number of elements; a symbolic axis counts at its largest.

        >>> Tensor.zeros(2, 3).numel()
        6
        """
        return size_of(self.uop)

    def nbytes(self) -> int:
        """Bytes of all elements.

        >>> Tensor.zeros(2, 3).nbytes()
        24
        """
        return self.numel() * self.element_size()

    def size(self, dim: int | None = None) -> Shape | Dim:
        """The shape, or the extent of one axis.

        >>> Tensor.zeros(2, 3).size(1)
        3
        """
        if dim is None:
            return self.shape
        return self.shape[axis_of(dim, self.ndim, "size")]

    def dim(self) -> int:
        """The number of axes: PyTorch's name of `ndim`.

        >>> Tensor.zeros(2, 3).dim()
        2
        """
        return self.ndim


class Conversion(Sizes):
    """Types, and the methods named after them."""

    __slots__ = ()

    def cast(self, dtype: DTypeLike) -> Self:
        """Every element rounded or extended to `dtype`.

        Raises: DTypeError if there is no such type.

        >>> Tensor([1.5, -1.5]).cast("int32").tolist()
        [1, -1]
        """
        wanted = to_dtype(dtype)
        if wanted is self.dtype:
            return self
        if wanted.kind == "b":
            equal = graph.elementwise(Ops.EQ, self.uop, const(0, self.dtype))
            return self.of_uop(graph.elementwise(Ops.XOR, equal, const(True, dtypes.bool)))
        return self.of_uop(graph.cast(self.uop, wanted))

    def bitcast(self, dtype: DTypeLike) -> Self:
        """The same bits read as another type of equal size.

        Raises: DTypeError if the sizes differ.

        >>> Tensor([1.0]).bitcast("int32").tolist()
        [1065353216]
        """
        wanted = to_dtype(dtype)
        if wanted.itemsize != self.dtype.itemsize:
            raise DTypeError(
                f"bitcast: {self.dtype!r} has {self.dtype.itemsize} bytes an element and "
                f"{wanted!r} {wanted.itemsize}; expected equal sizes. Use cast to convert values"
            )
        return self.of_uop(graph.bitcast(self.uop, wanted))

    def float(self) -> Self:
        """Cast to float32.

        >>> Tensor([1]).float().dtype
        dtypes.float32
        """
        return self.cast(dtypes.float32)

    def double(self) -> Self:
        """Cast to float64.

        >>> Tensor([1]).double().dtype
        dtypes.float64
        """
        return self.cast(dtypes.float64)

    def half(self) -> Self:
        """Cast to float16.

        >>> Tensor([1]).half().dtype
        dtypes.float16
        """
        return self.cast(dtypes.float16)

    def bfloat16(self) -> Self:
        """Cast to bfloat16.

        >>> Tensor([1]).bfloat16().dtype
        dtypes.bfloat16
        """
        return self.cast(dtypes.bfloat16)

    def int(self) -> Self:
        """Cast to int32; fractions are cut off.

        >>> Tensor([1.7]).int().tolist()
        [1]
        """
        return self.cast(dtypes.int32)

    def long(self) -> Self:
        """Cast to int64.

        >>> Tensor([1]).long().dtype
        dtypes.int64
        """
        return self.cast(dtypes.int64)

    def short(self) -> Self:
        """Cast to int16.

        >>> Tensor([1]).short().dtype
        dtypes.int16
        """
        return self.cast(dtypes.int16)

    def bool(self) -> Self:
        """True where an element is not zero.

        >>> Tensor([0, 2]).bool().tolist()
        [False, True]
        """
        return self.cast(dtypes.bool)

    def _floating(self) -> Self:
        """This tensor if it is floating point, else cast to the default float."""
        return self if self.dtype.is_float else self.cast(default_float())
