"""Windows over the last axes: convolution and pooling.

Comes in: tensors whose last axes are space. Goes out: lazy tensors. Letters: n batch, g groups, o
and c channels out and in. Next: indexing.py.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from tinycore.dtype import Scalar, promote
from tinycore.errors import ShapeError
from tinycore.tensor.base import DTypeLike, dtype_or
from tinycore.tensor.contraction import Contraction
from tinycore.tensor.spelling import pair, spelled
from tinycore.uop import graph
from tinycore.util import ceildiv, prod

Numbers = int | Sequence[int]


class _Window(NamedTuple):
    size: int
    stride: int
    dilation: int
    before: int
    after: int
    beyond: int = 0

    @property
    def reach(self) -> int:
        return (self.size - 1) * self.dilation + 1

    def places(self, extent: int) -> int:
        return (extent - self.reach) // self.stride + 1

    def overhanging(self, extent: int) -> Self:
        """Padded so that a last window fits, if it begins inside or in the padding before."""
        end = self.before + extent
        steps = ceildiv(end + self.after - self.reach, self.stride)
        if steps * self.stride >= end:
            steps -= 1
        missing = steps * self.stride + self.reach - end - self.after
        return self._replace(beyond=max(missing, 0))


class Convolution(Contraction):
    """Tensor methods that slide windows."""

    __slots__ = ()

    def _windows(self, windows: Sequence[_Window], fill: Scalar, operation: str) -> Self:
        """The last axes (.., h, w) as (.., places h, places w, size h, size w)."""
        batch = self.ndim - len(windows)
        widths = [(window.before, window.after + window.beyond) for window in windows]
        untouched = [(0, 0)] * batch
        x = self._padded(untouched + widths, fill)
        for k, window in enumerate(windows):
            # axes before: the rest, then (places, size) of each axis done
            axis = batch + 2 * k
            extent = x._sizes[axis]
            places = window.places(extent)
            if places < 1:
                raise ShapeError(
                    f"{operation}: a window that reaches over {window.reach} elements does not fit "
                    f"an axis of {extent}; expected a smaller one. Pad the input"
                )
            if window.stride == window.reach:  # what none reaches is cut off: a plain reshape
                x = x._cut(axis, 0, places * window.stride)
            size, stride, dilation, *_ = window
            x = x._applied(graph.windows, axis, size, stride, dilation)
        along = range(batch, x.ndim, 2)
        within = range(batch + 1, x.ndim, 2)
        return x.permute(*range(batch), *along, *within)

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
        is one number, one an axis, or (left, right, top, bottom, ..).
        Raises: ShapeError if channels do not fit or no window does.

        >>> Tensor.ones(1, 1, 2, 2).conv2d(Tensor.ones(1, 1, 2, 2)).item()
        4.0
        """
        self._check_channels(weight, bias, groups)
        count = weight.ndim - 2
        sizes = weight._sizes[2:]
        windows = _windows_of("conv2d", sizes, stride, dilation, padding)
        usual = promote(self.dtype, weight.dtype)
        kind = dtype_or(dtype, usual)
        wide = kind.accumulator
        x = self.cast(wide)._windows(windows, 0, "conv2d")
        x = x.unflatten(1, (groups, 1, -1))
        ones = [1] * count
        channels = weight.shape[1]
        apart = (1, groups, -1, channels, *ones, *sizes)
        w = weight.cast(wide).reshape(apart)
        inner = range(-count, 0)
        products = x * w
        total = products._reduced("sum", (3, *inner))
        result = total.cast(kind).flatten(1, 2)
        if bias is None:
            return result
        return result + bias.reshape(1, -1, *ones)

    def _check_channels(self, weight: Self, bias: Self | None, groups: int) -> None:
        self._check_device(weight)
        x = self._sizes
        w = weight._sizes
        same_rank = len(x) == len(w) >= 3
        fits = same_rank and x[1] == groups * w[1] and w[0] % groups == 0
        if not fits:
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
        """The largest element of each window; return_indices adds their places in the flattened
        space.

        Shapes: (.., h, w) gives (.., places h, places w); the stride is the kernel's size if not
        given.

        >>> Tensor([[1, 2], [3, 4]]).max_pool2d().item()
        4
        """
        asked = (kernel_size, stride, dilation, padding)
        windows, space = self._pool("max_pool2d", *asked, ceil_mode)
        x = self._windows(windows, self.dtype.min, "max_pool2d")
        inner = range(-len(space), 0)
        largest = x.max(inner)
        if not return_indices:
            return largest
        beyond = prod(space)
        numbers = self.of_uop(graph.iota(beyond)).reshape(space)
        places = numbers._windows(windows, beyond, "max_pool2d")
        is_largest = x.eq(x.max(inner, True))
        chosen = is_largest.where(places, beyond)
        return largest, chosen.min(inner)

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
        """The average of each window: see max_pool2d.

        >>> Tensor([[1, 2], [3, 4]]).avg_pool2d().item()
        2.5
        """
        asked = (kernel_size, stride, dilation, padding)
        windows, space = self._pool("avg_pool2d", *asked, ceil_mode)
        x = self._floating()._windows(windows, 0, "avg_pool2d")
        inner = range(-len(space), 0)
        is_overhanging = any(window.beyond for window in windows)
        if count_include_pad and not is_overhanging:
            return x.mean(inner)
        ones = graph.full(space, 1, x.dtype)
        counted = self.of_uop(ones)
        if count_include_pad:
            widths = [(window.before, window.after) for window in windows]
            counted = counted._padded(widths, 1)
            windows = [window._replace(before=0, after=0) for window in windows]
        shares = counted._windows(windows, 0, "avg_pool2d")
        return x.sum(inner) / shares.sum(inner)

    def _pool(
        self,
        operation: str,
        kernel_size: Numbers,
        stride: Numbers | None,
        dilation: Numbers,
        padding: Numbers,
        ceil_mode: bool,
    ) -> tuple[list[_Window], tuple[int, ...]]:
        """The windows, and the extents they slide over."""
        count = len(kernel_size) if isinstance(kernel_size, tuple | list) else 2
        sizes = pair(kernel_size, count, operation, "kernel_size", 1)
        if stride is None:
            stride = sizes
        windows = _windows_of(operation, sizes, stride, dilation, padding)
        space = self._sizes[-count:]
        if ceil_mode:
            windows = list(map(_Window.overhanging, windows, space))
        return windows, space


def _windows_of(
    operation: str,
    sizes: Sequence[int],
    stride: Numbers,
    dilation: Numbers,
    padding: Numbers | str,
) -> list[_Window]:
    """Padding is one number, one an axis, or two an axis from the last."""
    count = len(sizes)
    strides = pair(stride, count, operation, "stride", 1)
    dilations = pair(dilation, count, operation, "dilation", 1)
    if isinstance(padding, int | str) or len(padding) != 2 * count:
        befores = afters = pair(padding, count, operation, "padding")
    else:
        given = pair(padding, 2 * count, operation, "padding")
        widths = given[::-1]
        befores = widths[1::2]
        afters = widths[::2]
    return list(map(_Window, sizes, strides, dilations, befores, afters))
