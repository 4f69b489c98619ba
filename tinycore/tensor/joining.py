"""Joining and parting: padding, concatenation, repetition, and the pieces of a tensor.

Comes in: tensors. Goes out: new tensors; pieces are views. Next: reduction.py.
"""

from collections.abc import Sequence
from typing import Any, Self, TypeVar

from tinycore.dtype import DType, Scalar, dtypes
from tinycore.errors import ArgumentError, ShapeError
from tinycore.tensor.arithmetic import Arithmetic
from tinycore.tensor.base import common_dtype
from tinycore.tensor.movement import Movement
from tinycore.tensor.spelling import choice, extents, spelled, spread, whole
from tinycore.uop import graph
from tinycore.uop.index import size
from tinycore.util import ceildiv

T = TypeVar("T")
Widths = Sequence[tuple[int, int]]


class Joining(Arithmetic, Movement):
    """Tensor methods that join and part."""

    __slots__ = ()

    # padding

    @spelled
    def pad(self, padding: Sequence[Any], mode: str = "constant", value: Scalar = 0.0) -> Self:
        """Elements added around: (left, right, top, bottom, ..) from the last axis, or a pair for
        each axis; negative widths cut off. Modes: constant, reflect, replicate, circular.

        Raises: ArgumentError for another mode or an odd number of widths; ShapeError for too few
        elements to copy.

        >>> Tensor([1, 2]).pad((1, 0), value=9).tolist()
        [9, 1, 2]
        """
        choice("pad", "mode", mode, ("constant", "reflect", "replicate", "circular"))
        inner = self
        outer = []
        asked = self._widths(padding)
        for axis, (before, after) in enumerate(asked):
            begin = max(-before, 0)
            end = self.shape[axis] - max(-after, 0)
            inner = inner._cut(axis, begin, end)
            widths = (max(before, 0), max(after, 0))
            outer.append(widths)
        if mode == "constant":
            return inner._padded(outer, value)
        for axis, pair in enumerate(outer):
            inner = inner._copied_around(axis, *pair, mode)
        return inner

    def _padded(self, widths: Widths, value: Scalar) -> Self:
        before = self.uop
        node = graph.pad(before, widths, value)
        if node is before:
            return self.of_cell(self.cell, self.steps)
        return self.of_uop(node)

    def _copied_around(self, axis: int, before: int, after: int, mode: str) -> Self:
        extent = self._sizes[axis]
        last = extent - 1
        widest = max(before, after)
        # mode -> how wide at most, and the elements that go before and after
        rows = {
            "reflect": (last, (1, before + 1), (last - after, last)),
            "replicate": (widest, (0, 1), (last, extent)),
            "circular": (extent, (extent - before, extent), (0, after)),
        }
        most, first, second = rows[mode]
        if widest > most or extent == 0:
            raise ShapeError(
                f"pad: width {widest} does not fit mode {mode!r} on an axis of {extent}; "
                f"expected at most {max(most, 0)}. Pad less, or use mode='constant'"
            )
        sides = [self._cut(axis, *box) for box in (first, second)]
        if mode == "reflect":
            sides = [part.flip(axis) for part in sides]
        shape: list[Any] = [None] * self.ndim
        parts = [self]
        if before:
            shape[axis] = before
            parts = [sides[0].expand(shape), self]
        if after:
            shape[axis] = after
            parts.append(sides[1].expand(shape))
        first_part, *others = parts
        return first_part.cat(*others, dim=axis)

    def _widths(self, padding: Sequence[Any]) -> Widths:
        pairs = [(0, 0) if item is None else item for item in padding]
        if not all(isinstance(item, tuple | list) for item in pairs):
            flat = [whole(item, "pad") for item in padding]
            begins = range(0, len(flat), 2)
            pairs = [flat[k : k + 2] for k in begins]
            missing = self.ndim - len(pairs)
            pairs.reverse()
            pairs = [(0, 0)] * missing + pairs
        is_even = all(len(item) == 2 for item in pairs)
        if len(pairs) != self.ndim or not is_even:
            raise ArgumentError(
                f"pad: {tuple(padding)} does not fit {self.ndim} axes; expected a pair for each "
                "axis, or two widths an axis from the last. Pass (left, right, top, bottom, ..)"
            )
        return pairs

    def pad_to(self, shape: Any, *args: Any, value: Scalar = 0) -> Self:
        """`value` added at the end of each axis, up to a shape; None keeps an extent.

        Raises: ShapeError if it is smaller.

        >>> Tensor([1]).pad_to(3).tolist()
        [1, 0, 0]
        """
        old = self._sizes
        wanted = spread((shape, *args))
        missing = len(old) - len(wanted)
        wanted = (None,) * missing + wanted
        rows = zip(old, wanted, strict=True)
        widths = [0 if new is None else new - n for n, new in rows]
        if min(widths, default=0) < 0:
            raise ShapeError(
                f"pad_to: shape {self.shape} does not fit into {wanted}; "
                "expected extents at least as large. Shrink it first"
            )
        pairs = [(0, width) for width in widths]
        return self._padded(pairs, value)

    # several into one

    @spelled
    def cat(self, *args: Self, dim: int = 0) -> Self:
        """Tensors one after the other along an axis.

        Raises: ShapeError if other extents differ; DeviceError if devices do.

        >>> Tensor([1]).cat(Tensor([3])).tolist()
        [1, 3]
        """
        given = _several(self, args)
        parts = [part for part in given if part.shape != (0,)]
        parts = parts or [self]
        first = parts[0]
        if first.ndim == 0:
            raise ShapeError(
                "cat: a tensor of zero axes cannot be joined; expected one axis or more. Use stack"
            )
        axis = first._axis(dim, "cat")
        dtype = common_dtype(parts)
        for part in parts:
            first._check_beside(part, axis)
        counts = [part._sizes[axis] for part in parts]
        begin = count = sum(counts)
        widths = [(0, 0)] * first.ndim
        result = None
        # from the last: each part up to its end, as a sum would turn -0.0 into 0.0
        for part in reversed(parts):
            end = begin
            begin -= part._sizes[axis]
            widths[axis] = (begin, count - end)
            typed = part.cast(dtype)
            placed = typed._padded(widths, 0)
            if result is None:
                result = placed
            else:
                is_before = placed._indices(axis) < end
                result = is_before.where(placed, result)
        assert result is not None, "cat: there is a part"
        return result

    def _indices(self, axis: int, dtype: DType = dtypes.int32) -> Self:
        extent = self._sizes[axis]
        shape = [1] * self.ndim
        shape[axis] = extent
        numbers = self.of_uop(graph.iota(extent, dtype))
        return numbers.reshape(shape)

    def _above(self, diagonal: int) -> Self:
        """True in the last two axes above a diagonal."""
        rows = self._indices(self.ndim - 2)
        columns = self._indices(self.ndim - 1)
        return columns - rows > diagonal

    def _check_beside(self, part: Self, axis: int) -> None:
        mine = self.shape
        theirs = part.shape
        self._check_device(part)
        same_rank = len(mine) == len(theirs)
        same_before = mine[:axis] == theirs[:axis]
        same_after = mine[axis + 1 :] == theirs[axis + 1 :]
        if not (same_rank and same_before and same_after):
            raise ShapeError(
                f"cat: shapes {mine} and {theirs} do not fit along axis {axis}; "
                "expected equal extents on all other axes. Reshape or pad one"
            )

    @spelled
    def stack(self, *args: Self, dim: int = 0) -> Self:
        """Tensors of one shape along a new axis.

        Raises: ShapeError if shapes differ.

        >>> Tensor(1).stack(Tensor(3)).tolist()
        [1, 3]
        """
        rows = []
        for part in _several(self, args):
            axis = part._axis(dim, "stack", 1)
            rows.append(part.unsqueeze(axis))
        first, *others = rows
        return first.cat(*others, dim=dim)

    @spelled
    def repeat(self, repeats: Any, *args: Any) -> Self:
        """The whole tensor repeated along each axis, as numpy's tile.

        Raises: ShapeError for fewer numbers than axes.

        >>> Tensor([1, 2]).repeat(2).tolist()
        [1, 2, 1, 2]
        """
        counts = extents((repeats, *args), "repeat")
        missing = len(counts) - self.ndim
        if missing < 0:
            raise ShapeError(
                f"repeat: {len(counts)} numbers for {self.ndim} axes; expected one each or more. "
                "Pass 1 for an axis to keep"
            )
        old = (1,) * missing + self.shape
        apart = []
        tiled = []
        merged = []
        for count, extent in zip(counts, old, strict=True):
            apart += [1, extent]
            tiled += [count, extent]
            merged.append(size([count, extent]))
        alone = self.reshape(apart)
        wide = alone.expand(tiled)
        return wide.reshape(merged)

    @spelled
    def repeat_interleave(self, repeats: int, dim: int | None = None) -> Self:
        """Each element repeated along an axis, flattened without one.

        >>> Tensor([1, 2]).repeat_interleave(2).tolist()
        [1, 1, 2, 2]
        """
        if dim is None:
            return self.flatten().repeat_interleave(repeats, 0)
        axis = self._axis(dim, "repeat_interleave")
        shape: list[Any] = [None] * (self.ndim + 1)
        shape[axis + 1] = repeats
        apart = self.unsqueeze(axis + 1)
        wide = apart.expand(shape)
        return wide.flatten(axis, axis + 1)

    # one into several

    @spelled
    def split(self, sizes: int | Sequence[int], dim: int = 0) -> tuple[Self, ...]:
        """Pieces of one size along an axis, the last may be smaller, or of the sizes given.

        Raises: ArgumentError if the sizes do not add up.

        >>> [part.tolist() for part in Tensor([1, 2, 3]).split(2)]
        [[1, 2], [3]]
        """
        axis = self._axis(dim, "split")
        extent = self._sizes[axis]
        if isinstance(sizes, int):
            begins = range(0, extent, max(sizes, 1))
            sizes = [min(sizes, extent - begin) for begin in begins] or [0]
        if sum(sizes) != extent or min(sizes) < 0:
            raise ArgumentError(
                f"split: sizes {list(sizes)} add up to {sum(sizes)}; expected {extent}, the "
                f"extent of axis {axis}. Change one"
            )
        pieces = []
        end = 0
        for count in sizes:
            begin = end
            end += count
            pieces.append(self._cut(axis, begin, end))
        return tuple(pieces)

    @spelled
    def chunk(self, chunks: int, dim: int = 0) -> list[Self]:
        """At most `chunks` pieces of one size along an axis; the last may be smaller.

        Raises: ArgumentError for none.

        >>> len(Tensor([1, 2, 3]).chunk(2))
        2
        """
        if chunks < 1:
            raise ArgumentError(f"chunk: {chunks} pieces; expected 1 or more. Pass a positive one")
        axis = self._axis(dim, "chunk")
        extent = self._sizes[axis]
        count = max(ceildiv(extent, chunks), 1)
        return list(self.split(count, axis))


def _several(first: T, rest: Sequence[T]) -> list[T]:
    """The tensors of `a.cat(b)`, `Tensor.cat(a, b)` and `Tensor.cat([a, b])`."""
    if isinstance(first, tuple | list):
        return [*first, *rest]
    return [first, *rest]
