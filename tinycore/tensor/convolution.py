"""Windows over the last axes: convolution and pooling.

Comes in: tensors whose last axes are space. Goes out: lazy tensors. A window is a movement
(graph.windows), so that gradients of all of these are exact adjoints. Letters: n batch, g groups,
o and c channels out and in. Next: indexing.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from tinycore.dtype import Scalar, promote, sum_dtype
from tinycore.errors import ShapeError
from tinycore.tensor.base import DTypeLike, dtype_or
from tinycore.tensor.contraction import Contraction
from tinycore.tensor.joining import Widths
from tinycore.tensor.spelling import pair, spelled
from tinycore.uop import graph
from tinycore.uop.shape import upper_shape
from tinycore.util import ceildiv, prod

Numbers = int | Sequence[int]


class _Window(NamedTuple):
    """The window along one axis."""

    size: int
    stride: int
    dilation: int

    @property
    def reach(self) -> int:
        """Elements from the first to the last it touches."""
        return (self.size - 1) * self.dilation + 1

    def places(self, extent: int) -> int:
        """How many windows fit."""
        return (extent - self.reach) // self.stride + 1


class Convolution(Contraction):
    """Tensor methods that slide windows."""

    __slots__ = ()

    def _windows(self, windows: Sequence[_Window], operation: str) -> Self:
        """The last axes (.., h, w) as (.., places h, places w, size h, size w).

        Raises: ShapeError if no window fits.
        """
        batch = self.ndim - len(windows)
        x = self
        for k, window in enumerate(windows):
            # axes before: the rest, then (places, size) of each axis done
            x = x._window(batch + 2 * k, window, operation)
        places = range(batch, x.ndim, 2)
        sizes = range(batch + 1, x.ndim, 2)
        return x.permute(*range(batch), *places, *sizes)

    def _window(self, axis: int, window: _Window, operation: str) -> Self:
        extent = upper_shape(self.shape)[axis]
        places = window.places(extent)
        if places < 1:
            raise ShapeError(
                f"{operation}: a window that reaches over {window.reach} elements does not fit an "
                f"axis of {extent}; expected a smaller one. Pad the input"
            )
        x = self
        if window.stride == window.reach:  # what no window reaches is cut off: a plain reshape
            x = self._cut(axis, 0, places * window.stride)
        return self.of_uop(graph.windows(x.uop, axis, *window))

    @spelled
    def conv2d(
        self,
        weight: Self,
        bias: Self | None = None,
        groups: int = 1,
        stride: Numbers = 1,
        dilation: Numbers = 1,
        padding: Numbers = 0,
        dtype: DTypeLike = None,
    ) -> Self:
        """Correlation with `weight` over any number of axes of space.

        Shapes: self (n, g*c, h, w), weight (g*o, c, kh, kw), bias (g*o,) give (n, g*o, ..). Padding
        is one number, one for each axis, or (left, right, top, bottom, ..).
        Raises: ShapeError if channels do not fit or no window does.

        >>> x, w = Tensor.ones(1, 1, 3, 3), Tensor.ones(1, 1, 2, 2)
        >>> x.conv2d(w).tolist()
        [[[[4.0, 4.0], [4.0, 4.0]]]]
        """
        self._check_channels(weight, bias, groups)
        count = weight.ndim - 2
        sizes = upper_shape(weight.shape[2:])
        windows = _windows_of(sizes, stride, dilation, "conv2d")
        kind = dtype_or(dtype, promote(self.dtype, weight.dtype))
        wide = sum_dtype(kind)
        x = self.cast(wide)._around(_paddings(padding, count, "conv2d"), 0)
        x = x._windows(windows, "conv2d")
        places = x.shape[2 : 2 + count]
        x = x.reshape(x.shape[0], groups, 1, weight.shape[1], *x.shape[2:])
        ones = [1] * count
        w = weight.cast(wide).reshape(1, groups, -1, weight.shape[1], *ones, *sizes)
        summed = (3, *range(4 + count, 4 + 2 * count))
        total = (x * w)._reduced("sum", summed)
        result = total.cast(kind).reshape(self.shape[0], weight.shape[0], *places)
        if bias is None:
            return result
        return result + bias.reshape(1, -1, *ones)

    def _check_channels(self, weight: Self, bias: Self | None, groups: int) -> None:
        self._check_device(weight)
        x = upper_shape(self.shape)
        w = upper_shape(weight.shape)
        same_rank = len(x) == len(w) >= 3
        if not same_rank or x[1] != groups * w[1] or w[0] % groups:
            raise ShapeError(
                f"conv2d: input {x} and weight {w} with {groups} groups do not fit; expected "
                "(n, groups * c, ..) and (groups * o, c, ..). Check the channels"
            )
        if bias is not None and bias.shape != (w[0],):
            raise ShapeError(
                f"conv2d: bias {bias.shape} does not fit weight {w}; expected ({w[0]},). "
                "Pass one number an output channel"
            )

    # pooling

    @spelled
    def max_pool2d(
        self,
        kernel_size: Numbers = (2, 2),
        stride: Numbers | None = None,
        dilation: Numbers = 1,
        padding: Numbers = 0,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """The largest element of each window; stride is the kernel's size if not given. With
        return_indices a pair: these, and their places in the flattened space.

        Shapes: (.., h, w) gives (.., places h, places w).

        >>> Tensor([[[[1, 2], [3, 4]]]]).max_pool2d().tolist()
        [[[[4]]]]
        """
        windows = _pool_windows(kernel_size, stride, dilation, "max_pool2d")
        count = len(windows)
        space = upper_shape(self.shape)[-count:]
        widths = _paddings(padding, count, "max_pool2d")
        if ceil_mode:
            widths = _with_overhang(windows, space, widths)
        x = self._around(widths, self.dtype.min)._windows(windows, "max_pool2d")
        inner = range(x.ndim - count, x.ndim)
        largest = x.max(inner)
        if not return_indices:
            return largest
        beyond = prod(space)
        numbers = self.of_uop(graph.iota(beyond)).reshape(space)
        places = numbers._around(widths, beyond)._windows(windows, "max_pool2d")
        is_largest = x.eq(x.max(inner, True))
        return largest, is_largest.where(places, beyond).min(inner)

    @spelled
    def avg_pool2d(
        self,
        kernel_size: Numbers = (2, 2),
        stride: Numbers | None = None,
        dilation: Numbers = 1,
        padding: Numbers = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Self:
        """The average of each window; stride is the kernel's size if not given.

        Shapes: (.., h, w) gives (.., places h, places w).

        >>> Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]).avg_pool2d().tolist()
        [[[[2.5]]]]
        """
        windows = _pool_windows(kernel_size, stride, dilation, "avg_pool2d")
        count = len(windows)
        space = upper_shape(self.shape)[-count:]
        inside = _paddings(padding, count, "avg_pool2d")
        widths = inside
        if ceil_mode:
            widths = _with_overhang(windows, space, inside)
        x = self._floating()._around(widths, 0)._windows(windows, "avg_pool2d")
        inner = range(x.ndim - count, x.ndim)
        if count_include_pad and widths == inside:
            return x.mean(inner)
        counted = self.of_uop(graph.full(space, 1, x.dtype))
        if count_include_pad:
            counted = counted._around(inside, 1)
            rows = zip(widths, inside, strict=True)
            widths = [(0, wide - own) for (_, wide), (_, own) in rows]
        shares = counted._around(widths, 0)._windows(windows, "avg_pool2d")
        counts = shares.sum(range(count, 2 * count))
        return x.sum(inner) / counts

    def _around(self, widths: Widths, fill: Scalar) -> Self:
        """Padded along the last axes."""
        untouched = [(0, 0)] * (self.ndim - len(widths))
        return self._padded([*untouched, *widths], fill)


def _pool_windows(
    kernel_size: Numbers,
    stride: Numbers | None,
    dilation: Numbers,
    operation: str,
) -> list[_Window]:
    count = len(kernel_size) if isinstance(kernel_size, tuple | list) else 2
    sizes = pair(kernel_size, count, operation, "kernel_size", 1)
    if stride is None:
        stride = sizes
    return _windows_of(sizes, stride, dilation, operation)


def _windows_of(
    sizes: Sequence[int],
    stride: Numbers,
    dilation: Numbers,
    operation: str,
) -> list[_Window]:
    count = len(sizes)
    strides = pair(stride, count, operation, "stride", 1)
    dilations = pair(dilation, count, operation, "dilation", 1)
    return [_Window(*row) for row in zip(sizes, strides, dilations, strict=True)]


def _paddings(padding: Numbers | str, count: int, operation: str) -> Widths:
    """(before, after) for each axis from one number, one an axis, or two an axis from the last."""
    if isinstance(padding, int | str) or len(padding) != 2 * count:
        widths = pair(padding, count, operation, "padding")
        return [(width, width) for width in widths]
    widths = pair(padding, 2 * count, operation, "padding")
    befores = widths[::2]
    afters = widths[1::2]
    return list(zip(befores, afters, strict=True))[::-1]


def _with_overhang(
    windows: Sequence[_Window],
    space: Sequence[int],
    widths: Widths,
) -> Widths:
    """Widths such that a last window may overhang, if it begins inside or in the padding before."""
    found = []
    for window, extent, (before, after) in zip(windows, space, widths, strict=True):
        end = before + extent
        steps = ceildiv(end + after - window.reach, window.stride)
        if steps * window.stride >= end:
            steps -= 1
        needed = steps * window.stride + window.reach - end
        found.append((before, max(after, needed)))
    return found
