"""Reductions: many elements become one, along some axes or all.

Comes in: tensors. Goes out: lazy tensors; sums of integers are 64 bits wide, as in PyTorch. Next:
statistics.py.
"""

from typing import Self

from tinycore.dtype import DType, dtypes
from tinycore.errors import ShapeError
from tinycore.tensor.base import DTypeLike, dtype_or
from tinycore.tensor.functions import Functions
from tinycore.tensor.joining import Joining
from tinycore.tensor.spelling import Axes, spelled
from tinycore.uop import graph
from tinycore.uop.index import Shape, size


class Reduction(Functions, Joining):
    """Tensor methods that combine elements."""

    __slots__ = ()

    @spelled
    def sum(
        self,
        axis: Axes = None,
        keepdim: bool = False,
        dtype: DTypeLike = None,
    ) -> Self:
        """The sum, added and returned in `dtype`.

        >>> Tensor([[1, 2], [3, 4]]).sum(0).tolist()
        [4, 6]
        """
        return self._total("sum", axis, keepdim, dtype)

    @spelled
    def prod(
        self,
        axis: Axes = None,
        keepdim: bool = False,
        dtype: DTypeLike = None,
    ) -> Self:
        """The product, multiplied and returned in `dtype`.

        >>> Tensor([2, 3]).prod().item()
        6
        """
        return self._total("prod", axis, keepdim, dtype)

    def _total(self, combine: str, axis: Axes, keepdim: bool, dtype: DTypeLike) -> Self:
        is_wide = self.dtype.is_float or self.dtype is dtypes.uint64
        kind = dtype_or(dtype, self.dtype if is_wide else dtypes.int64)
        wide = kind.accumulator
        total = self._reduced(combine, axis, keepdim, dtype=wide)
        return total.cast(kind)

    def _reduced(
        self,
        combine: str,
        axis: Axes,
        keepdim: bool = False,
        operation: str = "",
        dtype: DType | None = None,
    ) -> Self:
        axes = self._axes(axis, operation or combine)
        result = self._applied(graph.reduce, axes, combine, dtype)
        if keepdim:
            return result
        return result.reshape(self._without(axes))

    def _without(self, axes: tuple[int, ...]) -> Shape:
        kept = [extent for k, extent in enumerate(self.shape) if k not in axes]
        return tuple(kept)

    def _averaged(self, axis: Axes, keepdim: bool, correction: int = 0) -> Self:
        """The sum over n - correction, where n is in the graph if an extent is a variable."""
        wide = self.dtype.accumulator
        total = self._reduced("sum", axis, keepdim, "mean", wide)
        axes = self._axes(axis, "mean")
        extents = tuple(self.shape[k] for k in axes)
        if all(isinstance(extent, int) for extent in extents):
            average = total / max(size(extents) - correction, 0)
        else:
            ones = graph.full(extents, 1, wide)
            count = self.of_uop(ones).sum()
            if correction:
                count = (count - correction).maximum(0)
            average = total / count
        return average.cast(self.dtype)

    @spelled
    def max(self, axis: Axes = None, keepdim: bool = False) -> Self:
        """The largest element, or NaN.

        Raises: ShapeError if there is none.

        >>> Tensor([3, 4]).max().item()
        4
        """
        self._check_some(axis, "max")
        return self._reduced("max", axis, keepdim)

    @spelled
    def min(self, axis: Axes = None, keepdim: bool = False) -> Self:
        """The smallest element, or NaN.

        Raises: as max.

        >>> Tensor([3, 4]).min().item()
        3
        """
        self._check_some(axis, "min")
        return self._reduced("min", axis, keepdim)

    def _check_some(self, axis: Axes, operation: str) -> None:
        axes = self._axes(axis, operation)
        extents = [self.shape[k] for k in axes]
        if size(extents) == 0:
            raise ShapeError(
                f"{operation}: shape {self.shape} has no element along axis {axis}; "
                "expected at least one. Check for emptiness first"
            )

    @spelled
    def any(self, axis: Axes = None, keepdim: bool = False) -> Self:
        """True if any element is not zero.

        >>> Tensor([0, 2]).any().item()
        True
        """
        truths = self.bool()
        return truths._reduced("max", axis, keepdim, "any")

    @spelled
    def all(self, axis: Axes = None, keepdim: bool = False) -> Self:
        """True if no element is zero.

        >>> Tensor([0, 2]).all().item()
        False
        """
        truths = self.bool()
        return truths._reduced("min", axis, keepdim, "all")

    @spelled
    def argmax(self, axis: int | None = None, keepdim: bool = False) -> Self:
        """The first place of the largest element, flattened without an axis; NaN is largest.

        >>> Tensor([1, 5, 5]).argmax().item()
        1
        """
        return self._place("max", axis, keepdim)

    @spelled
    def argmin(self, axis: int | None = None, keepdim: bool = False) -> Self:
        """The first place of the smallest element, flattened without an axis; NaN is smallest.

        >>> Tensor([5, 1, 1]).argmin().item()
        1
        """
        return self._place("min", axis, keepdim)

    def _place(self, combine: str, axis: int | None, keepdim: bool = False) -> Self:
        if axis is None:
            place = self.flatten()._place(combine, 0)
            if not keepdim:
                return place
            return place.reshape((1,) * self.ndim)
        operation = f"arg{combine}"
        along = self._axis(axis, operation)
        if self.ndim == 0:
            return self.reshape(1)._place(combine, along)
        self._check_some(along, operation)
        best = self.detach()._reduced(combine, along, True)
        wins = self.eq(best)
        if self.dtype.is_float:
            wins = wins | self.isnan()
        beyond = self._sizes[along]
        places = wins.where(self._indices(along), beyond)
        return places._reduced("min", along, keepdim)

    @spelled
    def mean(self, axis: Axes = None, keepdim: bool = False) -> Self:
        """The average; of integers in the default float.

        >>> Tensor([1, 2]).mean().item()
        1.5
        """
        return self._floating()._averaged(axis, keepdim)

    @spelled
    def var(self, axis: Axes = None, keepdim: bool = False, correction: int = 1) -> Self:
        """The sum of squared distances from the mean, over n - correction.

        >>> Tensor([1, 3]).var().item()
        2.0
        """
        x = self._floating()
        centred = x - x.mean(axis, True)
        return centred.square()._averaged(axis, keepdim, correction)

    @spelled
    def std(self, axis: Axes = None, keepdim: bool = False, correction: int = 1) -> Self:
        """The square root of the variance.

        >>> Tensor([1, 1]).std().item()
        0.0
        """
        return self.var(axis, keepdim, correction).sqrt()

    @spelled
    def var_mean(
        self,
        axis: Axes = None,
        keepdim: bool = False,
        correction: int = 1,
    ) -> tuple[Self, Self]:
        """The variance and the mean.

        >>> [x.item() for x in Tensor([1, 3]).var_mean()]
        [2.0, 2.0]
        """
        variance = self.var(axis, keepdim, correction)
        return variance, self.mean(axis, keepdim)

    @spelled
    def std_mean(
        self,
        axis: Axes = None,
        keepdim: bool = False,
        correction: int = 1,
    ) -> tuple[Self, Self]:
        """The standard deviation and the mean.

        >>> [x.item() for x in Tensor([1, 1]).std_mean()]
        [0.0, 1.0]
        """
        deviation = self.std(axis, keepdim, correction)
        return deviation, self.mean(axis, keepdim)
