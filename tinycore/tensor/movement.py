"""Movement: the same elements in another shape, order or number.

Comes in: tensors. Goes out: views, so that a write through one shows in all. Next: joining.py.
"""

from collections.abc import Sequence
from typing import Any, Self

from tinycore.errors import ArgumentError, ShapeError
from tinycore.tensor.base import Frame
from tinycore.tensor.spelling import extents, spelled, spread
from tinycore.uop import Ops, graph
from tinycore.uop.index import Dim, Shape, simplest, size
from tinycore.util import ceildiv


class Movement(Frame):
    """Tensor methods that move elements."""

    __slots__ = ()

    # shape

    def reshape(self, shape: Any, *args: Any) -> Self:
        """The same elements in row-major order; one extent may be -1, None keeps an extent.

        Raises: ShapeError if the number of elements differs.

        >>> Tensor([1, 2]).reshape(-1, 1).tolist()
        [[1], [2]]
        """
        parts = spread((shape, *args))
        wanted = _completed(parts, self.shape)
        count = size(self.shape)
        given = size(wanted)
        if given != count:
            raise ShapeError(
                f"reshape: {count} elements do not fit shape {wanted} = {given}; "
                f"pass a shape of {count} elements or use one -1"
            )
        return self._moved(Ops.RESHAPE, wanted)

    def view(self, shape: Any, *args: Any) -> Self:
        """The same as reshape.

        >>> Tensor.zeros(4).view(2, 2).shape
        (2, 2)
        """
        return self.reshape(shape, *args)

    @spelled
    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Self:
        """Axes start_dim .. end_dim as one.

        >>> Tensor.zeros(2, 3).flatten().shape
        (6,)
        """
        shape = list(self.shape)
        first = self._axis(start_dim, "flatten")
        end = self._axis(end_dim, "flatten") + 1
        shape[first:end] = [size(shape[first:end])]
        return self.reshape(shape)

    @spelled
    def unflatten(self, dim: int, sizes: Sequence[int]) -> Self:
        """One axis taken apart into axes of these sizes.

        >>> Tensor.zeros(6).unflatten(0, (2, 3)).shape
        (2, 3)
        """
        shape = list(self.shape)
        axis = self._axis(dim, "unflatten")
        whole = self.shape[axis : axis + 1]
        shape[axis : axis + 1] = _completed(sizes, whole)
        return self.reshape(shape)

    @spelled
    def squeeze(self, dim: int | None = None) -> Self:
        """Without axes of extent 1, or without one of them.

        >>> Tensor.zeros(1, 2).squeeze().shape
        (2,)
        """
        if dim is None:
            kept = [n for n in self.shape if n != 1]
            return self.reshape(kept)
        shape = list(self.shape)
        axis = self._axis(dim, "squeeze")
        if shape and shape[axis] == 1:
            del shape[axis]
        return self.reshape(shape)

    @spelled
    def unsqueeze(self, dim: int) -> Self:
        """With an axis of extent 1 before axis `dim`.

        >>> Tensor(1).unsqueeze(0).shape
        (1,)
        """
        shape = list(self.shape)
        axis = self._axis(dim, "unsqueeze", 1)
        shape.insert(axis, 1)
        return self.reshape(shape)

    # order

    def permute(self, order: Any, *args: Any) -> Self:
        """The axes in another order.

        Raises: ArgumentError if `order` does not name each once.

        >>> Tensor.zeros(2, 3).permute(1, 0).shape
        (3, 2)
        """
        given = spread((order, *args))
        axes = self._axes(given, "permute")
        if len(axes) != self.ndim:
            raise ArgumentError(
                f"permute: {given} names {len(given)} of {self.ndim} axes; "
                "expected every axis once. Name them all"
            )
        return self._moved(Ops.PERMUTE, axes)

    @spelled
    def transpose(self, dim0: int = 1, dim1: int = 0) -> Self:
        """Two axes exchanged.

        >>> Tensor([[1, 2]]).transpose().tolist()
        [[1], [2]]
        """
        order = list(range(self.ndim))
        first = self._axis(dim0, "transpose")
        second = self._axis(dim1, "transpose")
        if order:
            order[first] = second
            order[second] = first
        return self.permute(order)

    @property
    def T(self) -> Self:
        """All axes in reverse order.

        >>> Tensor.zeros(2, 3).T.shape
        (3, 2)
        """
        order = reversed(range(self.ndim))
        return self.permute([*order])

    @spelled
    def flip(self, axis: Any, *args: Any) -> Self:
        """The order along some axes turned around.

        >>> Tensor([1, 2]).flip(0).tolist()
        [2, 1]
        """
        given = spread((axis, *args))
        axes = self._axes(given, "flip")
        shape = self.shape
        turned = [axis for axis in axes if shape[axis] != 1]
        return self._moved(Ops.FLIP, tuple(sorted(turned)))

    # number

    def expand(self, shape: Any, *args: Any) -> Self:
        """Extents of 1 repeated, axes added in front; -1 or None keeps an extent.

        Raises: ShapeError for other extents.

        >>> Tensor(1).expand(2).tolist()
        [1, 1]
        """
        given = spread((shape, *args))
        missing = len(given) - self.ndim
        if missing < 0:
            raise ShapeError(
                f"expand: shape {self.shape} has more axes than {given}; "
                "expected as many or more. Squeeze it first"
            )
        old = (1,) * missing + self.shape
        wanted = list(given)
        for k, extent in enumerate(old):
            if wanted[k] in (None, -1):
                wanted[k] = extent
        apart = self.reshape(old)
        sizes = extents([wanted], "expand")
        return apart._moved(Ops.EXPAND, sizes)

    def expand_as(self, other: Self) -> Self:
        """Expanded to the shape of another tensor.

        >>> Tensor(1).expand_as(Tensor.zeros(2)).tolist()
        [1, 1]
        """
        return self.expand(other.shape)

    def shrink(self, arg: Sequence[tuple[Dim, Dim] | None]) -> Self:
        """The box begin .. end - 1 of each axis; None keeps an axis whole.

        Raises: ShapeError for bounds outside.

        >>> Tensor([1, 2, 3]).shrink(((1, 2),)).tolist()
        [2]
        """
        if len(arg) != self.ndim:
            raise ShapeError(
                f"shrink: {len(arg)} pairs for {self.ndim} axes; expected one each. "
                "Pass None for an axis to keep"
            )
        boxes = []
        for extent, bounds in zip(self.shape, arg, strict=True):
            begin, end = bounds or (0, extent)
            boxes.append((simplest(begin), simplest(end)))
        return self._moved(Ops.SHRINK, tuple(boxes))

    def _every(self, axis: int, step: int) -> Self:
        extent = self._sizes[axis]
        if step == 1 or extent <= 1:
            return self
        window = axis + 1
        places = ceildiv(extent, step)
        arg = graph.SkewArg(axis, window, step, 1, places)
        apart = self.unsqueeze(window)
        return apart._moved(Ops.SKEW, arg).squeeze(window)

    def _cut(self, axis: int, begin: Dim, end: Dim) -> Self:
        boxes: list[Any] = [None] * self.ndim
        boxes[axis] = (begin, end)
        return self.shrink(boxes)


def _completed(given: Sequence[Any], old: Shape) -> Shape:
    """The shape asked for, with what None and -1 stand for."""
    known = list(given)
    for k, extent in enumerate(old[: len(known)]):
        if known[k] is None:
            known[k] = extent
    if known.count(-1) > 1:
        raise ShapeError(
            f"reshape: shape {tuple(given)} has more than one -1; expected at most one. "
            "Give the other extents"
        )
    rest = [n for n in known if n != -1]
    shape = extents([rest], "reshape")
    if len(rest) == len(known):
        return shape
    missing = size(old) // max(size(shape), 1)
    place = known.index(-1)
    return (*shape[:place], missing, *shape[place:])
