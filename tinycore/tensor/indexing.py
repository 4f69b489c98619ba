"""Indexing by integers, slices, None, ..., and by tensors: reading and writing.

Comes in: what stands between the brackets. Goes out: a view, or for tensors and lists gathered
rows; outside its axis a row number reads 0 and writes nothing, unless CHECK_OOB=1 raises on REF.
Next: gathering.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from operator import index as as_int
from typing import Any, Self

from tinycore.dtype import dtypes
from tinycore.errors import IndexingError
from tinycore.tensor.base import Frame, broadcast_shape
from tinycore.tensor.storage import Storage
from tinycore.uop import graph
from tinycore.uop.index import Index
from tinycore.util import np, prod


class Indexing(Storage):
    """The brackets."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Self:
        view, chosen = self._selected(index)
        if chosen:
            return view._taken(chosen)
        return view

    def __setitem__(self, index: Any, value: Any) -> None:
        view, chosen = self._selected(index)
        new = view._value_of(value)
        if chosen:
            view._write(view._replaced(chosen, new))
        else:
            view._write(new)

    def __iter__(self) -> Iterator[Self]:
        rows = [self[k] for k in range(len(self))]
        return iter(rows)

    # integers, slices, None and ...

    def _selected(self, index: Any) -> tuple[Self, dict[int, Self]]:
        view = self
        chosen = {}
        axis = 0
        for item in self._items(index):
            if isinstance(item, Frame):
                for part in view._row_numbers(item, axis):
                    chosen[axis] = part
                    axis += 1
            elif item is None:
                view = view.unsqueeze(axis)
                axis += 1
            elif isinstance(item, slice):
                view = view._sliced(axis, item)
                axis += 1
            else:
                place = item if isinstance(item, Index) else view._place_of(axis, item)
                view = view._cut(axis, place, place + 1).squeeze(axis)
        return view, chosen

    def _items(self, index: Any) -> list[Any]:
        given = list(index) if isinstance(index, tuple) else [index]
        items = [self._as_part(item) for item in given]
        used = sum(map(_axes_used, items))
        dots = [k for k, item in enumerate(items) if item is Ellipsis]
        if used > self.ndim or len(dots) > 1:
            raise IndexingError(
                f"index: {len(given)} parts for shape {self.shape}; expected at most {self.ndim} "
                "and one '...'. Leave some out"
            )
        rest = [slice(None)] * (self.ndim - used)
        place = dots[0] if dots else len(items)
        items[place : place + 1] = rest
        return items

    def _as_part(self, item: Any) -> Any:
        if isinstance(item, bool):
            raise IndexingError(
                f"index: {item} cannot index; expected integers, slices or tensors. "
                "Use a tensor of bools as a mask"
            )
        if isinstance(item, Frame):
            self._check_device(item)
            return item
        is_array = hasattr(item, "__array__") and item.ndim > 0
        if is_array or isinstance(item, list | range):
            is_empty = isinstance(item, list) and not item
            dtype = dtypes.int32 if is_empty else None
            return type(self)(item, self.device, dtype)
        return item

    def _place_of(self, axis: int, item: Any) -> int:
        count = self._sizes[axis]
        try:
            place = as_int(item)
        except TypeError:
            raise IndexingError(
                f"index: {item!r} cannot index; expected integers, slices, None, ... or tensors. "
                "Convert it"
            ) from None
        if not -count <= place < count:
            raise IndexingError(
                f"index: {place} lies outside axis {axis} of {self.shape[axis]} elements; "
                f"expected {-count} to {count - 1}. Check the index"
            )
        return place % count

    def _sliced(self, axis: int, item: slice) -> Self:
        extent = self.shape[axis]
        bounds = (item.start, item.stop, item.step)
        if item == slice(None):
            return self
        _check_bounds(bounds)
        known = (*bounds, extent)
        if any(isinstance(bound, Index) for bound in known):
            begin = item.start or 0
            end = extent if item.stop is None else item.stop
            return self._cut(axis, begin, end)
        if item.step == 0:
            raise IndexingError("index: a slice has step 0; expected another. Leave it out")
        numbers = range(*item.indices(self._sizes[axis]))
        if not numbers:
            return self._cut(axis, 0, 0)
        ends = numbers[0], numbers[-1]
        low, high = sorted(ends)
        part = self._cut(axis, low, high + 1)
        if numbers.step < 0:
            part = part.flip(axis)
        return part._every(axis, abs(numbers.step))

    # tensors

    def _row_numbers(self, item: Any, axis: int) -> list[Any]:
        """Integers as they are; a mask as the places where it is true, read now."""
        if item.dtype.is_int:
            return [item]
        if item.dtype is not dtypes.bool:
            raise IndexingError(
                f"index: a tensor of type {item.dtype!r} cannot index; expected integers or bool. "
                "Cast it"
            )
        if item.shape != self.shape[axis : axis + item.ndim]:
            raise IndexingError(
                f"index: a mask of shape {item.shape} does not fit shape {self.shape} from axis "
                f"{axis}; expected equal extents. Reshape it"
            )
        places = np().nonzero(item.numpy())
        rows = [place.astype("int32") for place in places]
        return [type(self)(row, self.device) for row in rows]

    def _rows(self, chosen: Mapping[int, Self]) -> tuple[Self, Self, int, list[int]]:
        """Indexing by tensors as table[ids]: the table has the chosen axes in front as one.

        Then the place that the first axes of the result belong at, and the order of the axes in
        the table.
        """
        axes = list(chosen)
        rest = [axis for axis in range(self.ndim) if axis not in axes]
        order = [*axes, *rest]
        front = self.permute(order)
        first = axes[0]
        span = axes[-1] + 1 - first
        place = first if span == len(axes) else 0
        numbers = list(chosen.values())
        if len(numbers) == 1:
            return front, numbers[0], place, order
        count = len(axes)
        extents = front._sizes[:count]
        table = front.flatten(0, count - 1)
        broadcast_shape("index", *[ids.shape for ids in numbers])
        return table, _row_number(numbers, extents), place, order

    def _taken(self, chosen: Mapping[int, Self]) -> Self:
        table, ids, place, _ = self._rows(chosen)
        found = table._applied(graph.gather, ids.uop)
        count = ids.ndim
        order = [*range(count, found.ndim)]
        order[place:place] = range(count)
        return found.permute(order)

    def _replaced(self, chosen: Mapping[int, Self], value: Self) -> Self:
        """Of several values for one row the last stays."""
        table, ids, place, axes = self._rows(chosen)
        rest = table.shape[1:]
        shape = list(rest)
        shape[place:place] = ids.shape
        wide = value.expand(shape)
        end = place + ids.ndim
        chosen_axes = range(place, end)
        after = range(end, wide.ndim)
        order = [*chosen_axes, *range(place), *after]
        front = wide.permute(order)
        values = front.reshape(ids.numel(), *rest)
        writer = table._last_writer(ids)
        new = values._applied(graph.gather, writer.uop)
        ones = [1] * len(rest)
        is_written = (writer >= 0).reshape(-1, *ones)
        typed = new.cast(self.dtype)
        written = is_written.where(typed, table)
        shape = [self.shape[axis] for axis in axes]
        apart = written.reshape(shape)
        places = map(axes.index, range(self.ndim))
        return apart.permute(*places)

    def _last_writer(self, ids: Self) -> Self:
        """For each row the number of the last of `ids` that names it, or -1."""
        count = ids.numel()
        row = self.of_uop(graph.iota(count))
        numbers = row.reshape(ids.shape)
        nobody = graph.full(self.shape[:1], -1, dtypes.int32)
        last = graph.scatter(nobody, ids.uop, numbers.uop, "max")
        return self.of_uop(last)


def _axes_used(item: Any) -> int:
    if item is None or item is Ellipsis:
        return 0
    is_mask = isinstance(item, Frame) and item.dtype is dtypes.bool
    return item.ndim if is_mask else 1


def _check_bounds(bounds: Sequence[object]) -> None:
    for bound in bounds:
        is_number = isinstance(bound, Index) or hasattr(bound, "__index__")
        if bound is not None and not is_number:
            raise IndexingError(
                f"index: {bound!r} cannot bound a slice; expected integers or bound variables. "
                "Convert it; a Variable needs .bind(value)"
            )


def _row_number(ids: Sequence[Any], extents: Sequence[int]) -> Any:
    """Indices of several axes as one number, outside where one is outside."""
    count = prod(extents)
    wide = dtypes.int64 if count >= 1 << 31 else dtypes.int32
    total: Any = 0
    is_inside: Any = True
    for part, extent in zip(ids, extents, strict=True):
        number = part.cast(wide)
        number = (number < 0).where(number + extent, number)
        fits = (number >= 0) & (number < extent)
        is_inside = is_inside & fits
        total = number + total * extent
    return is_inside.where(total, count)
