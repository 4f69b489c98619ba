"""Elements picked and placed by tensors of indices, and by where they stand.

Comes in: a tensor and indices. Goes out: new tensors. Next: tensor.py.
"""

from collections.abc import Mapping
from operator import lt
from typing import Self

from tinycore.dtype import dtypes
from tinycore.errors import DTypeError, ShapeError
from tinycore.tensor.base import Operand
from tinycore.tensor.indexing import Indexing
from tinycore.tensor.spelling import choice, spelled
from tinycore.uop import graph
from tinycore.uop.tree import MONOIDS

# Word of scatter_reduce -> monoid.
_COMBINES = {
    "sum": "sum",
    "prod": "prod",
    "mean": "sum",
    "amax": "max",
    "amin": "min",
}


class Gathering(Indexing):
    """Tensor methods that take indices."""

    __slots__ = ()

    @spelled
    def gather(self, dim: int, index: Self) -> Self:
        """The elements that `index` names along one axis: out[i][j] = self[index[i][j]][j].

        Shapes: `index` has as many axes as self, and is no longer along the others.
        Raises: ShapeError if it is.

        >>> Tensor([1, 2]).gather(0, Tensor([1])).item()
        2
        """
        chosen = self._named(dim, index, "gather")
        return self._taken(chosen)

    def _named(self, dim: int, index: Self, operation: str) -> dict[int, Self]:
        axis = self._axis(dim, operation)
        if not index.dtype.is_int:
            raise DTypeError(
                f"{operation}: the index has type {index.dtype!r}; expected integers. Cast it"
            )
        if self.ndim == 0:
            raise ShapeError(
                f"{operation}: a tensor of shape () has no axis; expected at least one. "
                "Reshape it to (1,)"
            )
        mine = list(self._sizes)
        theirs = list(index._sizes)
        same_rank = len(mine) == len(theirs)
        if same_rank:
            mine[axis] = theirs[axis]
        is_longer = any(map(lt, mine, theirs))
        if is_longer or not same_rank:
            raise ShapeError(
                f"{operation}: an index of shape {index.shape} does not fit {self.shape} along "
                f"axis {axis}; expected as many axes, none longer. Expand or shrink it"
            )
        places = {}
        for k in range(self.ndim):
            numbers = index._indices(k)
            places[k] = numbers.expand(index.shape)
        places[axis] = index
        return places

    @spelled
    def scatter(
        self,
        dim: int,
        index: Self,
        src: Operand,
        reduce: str | None = None,
    ) -> Self:
        """A copy with self[index[i][j]][j] = src[i][j]; reduce "add" or "multiply" combines.

        Raises: ShapeError if shapes do not fit; ArgumentError for another word.

        >>> Tensor([1, 2]).scatter(0, Tensor([1]), 9).tolist()
        [1, 9]
        """
        choice("scatter", "reduce", reduce, (None, "add", "multiply"))
        chosen = self._named(dim, index, "scatter")
        values = self._values_for(index, src)
        if reduce is None:
            return self._replaced(chosen, values)
        combine = "sum" if reduce == "add" else "prod"
        return self._scattered(chosen, values, combine)

    def _values_for(self, index: Self, src: Operand) -> Self:
        value = self._value_of(src).cast(self.dtype)
        if value.ndim == 0:
            return value.expand(index.shape)
        box = [(0, extent) for extent in index.shape]
        return value.shrink(box)

    def _scattered(
        self,
        chosen: Mapping[int, Self],
        values: Self,
        combine: str,
    ) -> Self:
        table, ids, *_ = self._rows(chosen)
        written = table._applied(graph.scatter, ids.uop, values.uop, combine)
        return written.reshape(self.shape)

    @spelled
    def scatter_reduce(
        self,
        dim: int,
        index: Self,
        src: Self,
        reduce: str,
        include_self: bool = True,
    ) -> Self:
        """A copy with src combined into it by "sum", "prod", "mean", "amax" or "amin"; without
        include_self, only src counts where it goes.

        Raises: as scatter.

        >>> Tensor([1]).scatter_reduce(0, Tensor([0]), Tensor([5]), "amax").item()
        5
        """
        choice("scatter_reduce", "reduce", reduce, [*_COMBINES])
        combine = _COMBINES[reduce]
        chosen = self._named(dim, index, "scatter_reduce")
        values = self._values_for(index, src)
        one = graph.full(index.shape, 1, dtypes.int32)
        zero = graph.full(self.shape, 0, dtypes.int32)
        ones = self.of_uop(one)
        counts = self.of_uop(zero)._scattered(chosen, ones, "sum")
        base = self
        if not include_self:
            start = self.dtype.cast(MONOIDS[combine].identity)
            is_reached = counts > 0
            base = is_reached.where(start, self)
        result = base._scattered(chosen, values, combine)
        if reduce != "mean":
            return result
        share = counts + 1 if include_self else counts.maximum(1)
        rounding = None if self.dtype.is_float else "floor"
        return result.div(share, rounding_mode=rounding)

    # by place

    @spelled
    def one_hot(self, num_classes: int) -> Self:
        """A new last axis: 1 at the place each element names, else 0.

        >>> Tensor(1).one_hot(2).tolist()
        [0, 1]
        """
        places = self.of_uop(graph.iota(num_classes, self.dtype))
        is_place = self.unsqueeze(-1).eq(places)
        return is_place.cast(dtypes.int32)

    @spelled
    def tril(self, diagonal: int = 0) -> Self:
        """The lower triangle of the last two axes, zeros above.

        >>> Tensor([[1, 2], [3, 4]]).tril().tolist()
        [[1, 0], [3, 4]]
        """
        return self._above(diagonal).where(0, self)

    @spelled
    def triu(self, diagonal: int = 0) -> Self:
        """The upper triangle of the last two axes, zeros below.

        >>> Tensor([[1, 2], [3, 4]]).triu().tolist()
        [[1, 2], [0, 4]]
        """
        return self._above(diagonal - 1).where(self, 0)
