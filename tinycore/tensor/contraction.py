"""Contractions: sums of products over a shared axis, of vectors and matrices.

Comes in: tensors. Goes out: lazy tensors. A product of matrices is EXPAND, MUL and REDUCE; the
scheduler sees no more than that. Next: convolution.py.
"""

from __future__ import annotations

from typing import Self

from tinycore.dtype import promote, sum_dtype
from tinycore.errors import ShapeError
from tinycore.tensor.base import DTypeLike, broadcast_shape, dtype_or
from tinycore.tensor.spelling import spelled
from tinycore.tensor.statistics import Statistics


class Contraction(Statistics):
    """Tensor methods that sum products."""

    __slots__ = ()

    @spelled
    def dot(self, w: Self, dtype: DTypeLike | None = None) -> Self:
        """The product of vectors, matrices or batches of matrices; `dtype` is the type of the
        result and of the additions.

        Shapes: (.., m, k) and (.., k, n) give (.., m, n); a vector has no m or no n.
        Raises: ShapeError if the shared extents differ.

        >>> Tensor([[1, 2]]).dot(Tensor([[3], [4]])).tolist()
        [[11]]
        """
        self._check_device(w)
        self._check_dot(w)
        kind = dtype_or(dtype, promote(self.dtype, w.dtype))
        wide = sum_dtype(kind)
        left = self if self.ndim > 1 else self.unsqueeze(0)
        right = w if w.ndim > 1 else w.unsqueeze(1)
        rows = left.cast(wide).unsqueeze(-2)
        columns = right.cast(wide).transpose(-1, -2).unsqueeze(-3)
        products = rows * columns
        total = products._reduced("sum", -1, False, "dot").cast(kind)
        if w.ndim == 1:
            total = total.squeeze(-1)
        if self.ndim == 1:
            total = total.squeeze(-1 if w.ndim == 1 else -2)
        return total

    def _check_dot(self, w: Self) -> None:
        mine = self.shape
        theirs = w.shape
        if not mine or not theirs or mine[-1] != theirs[-min(w.ndim, 2)]:
            raise ShapeError(
                f"dot: shapes {mine} and {theirs} share no axis to sum over; expected (.., m, k) "
                "and (.., k, n). Transpose one"
            )
        broadcast_shape("dot", mine[:-2], theirs[:-2])

    @spelled
    def matmul(self, x: Self, reverse: bool = False, dtype: DTypeLike | None = None) -> Self:
        """self @ x, or x @ self: see dot.

        >>> (Tensor([1, 2]) @ Tensor([3, 4])).item()
        11
        """
        if reverse:
            return x.dot(self, dtype)
        return self.dot(x, dtype)

    @spelled
    def linear(
        self,
        weight: Self,
        bias: Self | None = None,
        dtype: DTypeLike | None = None,
    ) -> Self:
        """self @ weight + bias; a weight of one axis multiplies element by element.

        Shapes: (.., in), weight (in, out), bias (out,) give (.., out).

        >>> Tensor([[1, 2]]).linear(Tensor([[3], [4]]), Tensor([1])).tolist()
        [[12]]
        """
        x = self if dtype is None else self.cast(dtype)
        product = x * weight if weight.ndim == 1 else x.dot(weight, dtype)
        if bias is None:
            return product
        return product + bias

    @spelled
    def outer(self, w: Self) -> Self:
        """Every element of one vector times every element of another: PyTorch's name.

        >>> Tensor([1, 2]).outer(Tensor([3, 4])).tolist()
        [[3, 4], [6, 8]]
        """
        column = self.reshape(-1, 1)
        row = w.reshape(1, -1)
        return column * row

    def __matmul__(self, x: Self) -> Self:
        return self.dot(x)
