"""Tensors from data and from nothing.

Comes in: numbers, lists, arrays, bytes, shapes. Goes out: tensors. Data is copied to the device at
once; zeros and ranges stay formulas until needed. Next: random.py.
"""

import math
from typing import Any, Self

from tinycore.dtype import DType, Scalar, dtypes, to_dtype
from tinycore.engine.cell import Cell, buffer_of, stored_cell
from tinycore.errors import ArgumentError, DTypeError, ShapeError
from tinycore.runtime.buffer import Buffer
from tinycore.runtime.registry import Device
from tinycore.tensor.autograd import Autograd
from tinycore.tensor.base import (
    DeviceLike,
    DTypeLike,
    Frame,
    RequiresGrad,
    default_float,
    dtype_or,
    own,
    scalar_dtype,
)
from tinycore.tensor.joining import Joining
from tinycore.tensor.spelling import extents
from tinycore.uop import Ops, UOp, graph
from tinycore.uop.index import upper_shape
from tinycore.uop.ops import const
from tinycore.util import ceildiv, np, prod

WIDENED = (dtypes.bfloat16, dtypes.fp8e4m3, dtypes.fp8e5m2)
"""Element types that numpy has not: written and read as float32."""


class Creation(Joining, Autograd):
    """Tensor's constructor and others that make tensors."""

    __slots__ = ()

    def __init__(
        self,
        data: Any,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        requires_grad: RequiresGrad = None,
    ) -> None:
        """A tensor of numbers, nested lists, a numpy array, bytes or another tensor's value.

        Without `dtype`, whole numbers become int32 (or int64), others the default float; arrays
        keep their type.
        Raises: ShapeError for lists of unequal length; DTypeError for what is no number.
        """
        kind = None if dtype is None else to_dtype(dtype)
        if device is None and isinstance(data, Frame):
            device = data.device
        home = Device.canonicalize(device)
        self.cell = _cell_of(data, home, kind)
        self.steps = ()
        self.grad = None
        self.requires_grad_(requires_grad)

    @classmethod
    def _formula(
        cls,
        uop: UOp,
        device: DeviceLike = None,
        requires_grad: RequiresGrad = None,
    ) -> Self:
        home = Device.canonicalize(device)
        cell = Cell(own(uop), home)
        return cls.of_cell(cell).requires_grad_(requires_grad)

    @classmethod
    def of_bytes(
        cls,
        raw: Any,
        shape: Any,
        dtype: DType | str,
        device: DeviceLike = None,
    ) -> Self:
        """A tensor over a copy of bytes in row-major order.

        Raises: ShapeError if they do not fit.

        >>> Tensor.of_bytes(bytes([3]), (1,), "uint8").item()
        3
        """
        sizes = extents((shape,), "of_bytes")
        made = cls.empty(sizes, device=device, dtype=to_dtype(dtype))
        view = memoryview(raw)
        if view.nbytes != made.nbytes():
            raise ShapeError(
                f"of_bytes: {view.nbytes} bytes do not fit shape {made.shape} of {made.dtype!r}; "
                f"expected {made.nbytes()}. Check shape and type"
            )
        if view.nbytes:
            buffer_of(made.uop).copyin(view)
        return made

    # one number everywhere

    @classmethod
    def full(
        cls,
        shape: Any,
        fill_value: Scalar,
        dtype: DTypeLike = None,
        device: DeviceLike = None,
        buffer: bool = True,
        requires_grad: RequiresGrad = None,
    ) -> Self:
        """One number in every element; `buffer` changes nothing.

        >>> Tensor.full(2, 7).tolist()
        [7, 7]
        """
        kind = dtype_or(dtype, scalar_dtype(fill_value))
        sizes = extents((shape,), "full")
        node = graph.full(sizes, fill_value, kind)
        return cls._formula(node, device, requires_grad)

    @classmethod
    def zeros(cls, *shape: Any, **kwargs: Any) -> Self:
        """Zeros of `dtype`, or of the default float.

        >>> Tensor.zeros(2).tolist()
        [0.0, 0.0]
        """
        return cls.full(extents(shape, "zeros"), 0.0, **kwargs)

    @classmethod
    def ones(cls, *shape: Any, **kwargs: Any) -> Self:
        """Ones of `dtype`, or of the default float.

        >>> Tensor.ones(2).tolist()
        [1.0, 1.0]
        """
        return cls.full(extents(shape, "ones"), 1.0, **kwargs)

    @classmethod
    def empty(
        cls,
        *shape: Any,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        requires_grad: RequiresGrad = None,
    ) -> Self:
        """Memory to be written before it is read.

        >>> Tensor.empty(2).shape
        (2,)
        """
        kind = dtype_or(dtype)
        sizes = upper_shape(extents(shape, "empty"))
        home = Device.canonicalize(device)
        buffer = Buffer(home, kind, prod(sizes))
        cell = stored_cell(buffer, sizes)
        return cls.of_cell(cell).requires_grad_(requires_grad)

    @property
    def _kind(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "device": self.device}

    def full_like(self, fill_value: Scalar, **kwargs: Any) -> Self:
        """`full` of this shape, type and device.

        >>> Tensor(1).full_like(7).item()
        7
        """
        wanted = self._kind | kwargs
        return self.full(self.shape, fill_value, **wanted)

    def const_like(self, b: Scalar, dtype: DTypeLike = None) -> Self:
        """The same as full_like.

        >>> Tensor(1).const_like(7).item()
        7
        """
        return self.full_like(b, dtype=dtype or self.dtype)

    def zeros_like(self, **kwargs: Any) -> Self:
        """`zeros` of this shape, type and device.

        >>> Tensor(1).zeros_like().item()
        0
        """
        return self.full_like(0, **kwargs)

    def ones_like(self, **kwargs: Any) -> Self:
        """`ones` of this shape, type and device.

        >>> Tensor(0).ones_like().item()
        1
        """
        return self.full_like(1, **kwargs)

    def empty_like(self, **kwargs: Any) -> Self:
        """`empty` of this shape, type and device.

        >>> Tensor(1).empty_like().shape
        ()
        """
        wanted = self._kind | kwargs
        return self.empty(self.shape, **wanted)

    # ranges

    @classmethod
    def arange(
        cls,
        start: float,
        stop: float | None = None,
        step: float = 1,
        dtype: DTypeLike = None,
        **kwargs: Any,
    ) -> Self:
        """start, start + step, .. below stop; from 0 if one number is given.

        Raises: ArgumentError for step 0.

        >>> Tensor.arange(1, 7, 2).tolist()
        [1, 3, 5]
        """
        if step == 0:
            raise ArgumentError("arange: step is 0; expected another number. Use full")
        if stop is None:
            stop = start
            start = 0
        usual = default_float()
        numbers = (start, stop, step)
        if all(isinstance(number, int) for number in numbers):
            largest = max(abs(start), abs(stop))
            is_small = largest < 1 << 31
            usual = dtypes.int32 if is_small else dtypes.int64
        kind = dtype_or(dtype, usual)
        count = math.ceil((stop - start) / step)
        node = _progression(max(count, 0), start, step, kind)
        return cls._formula(node, **kwargs)

    @classmethod
    def linspace(
        cls,
        start: float,
        stop: float,
        steps: int,
        dtype: DTypeLike = None,
        **kwargs: Any,
    ) -> Self:
        """`steps` numbers from start to stop, both included.

        Raises: ArgumentError for less than 0 steps.

        >>> Tensor.linspace(0, 1, 3).tolist()
        [0.0, 0.5, 1.0]
        """
        if steps < 0:
            raise ArgumentError(f"linspace: {steps} steps; expected 0 or more. Pass a count")
        kind = dtype_or(dtype)
        wide = kind if kind.is_float else default_float()
        step = (stop - start) / max(steps - 1, 1)
        begin = stop - step * (steps - 1)
        up = _progression(steps, start, step, wide)
        down = _progression(steps, begin, step, wide)
        is_first_half = graph.iota(steps) < ceildiv(steps, 2)
        numbers = is_first_half.where(up, down)
        return cls._formula(graph.cast(numbers, kind), **kwargs)

    @classmethod
    def eye(
        cls,
        n: int,
        m: int | None = None,
        dtype: DTypeLike = None,
        **kwargs: Any,
    ) -> Self:
        """Ones where row and column agree, else zeros.

        >>> Tensor.eye(2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        """
        kind = dtype_or(dtype)
        width = n if m is None else m
        zeros = cls.zeros(n, width, **kwargs)
        rows = zeros._indices(0)
        columns = zeros._indices(1)
        is_diagonal = rows.eq(columns)
        return cls._formula(is_diagonal.cast(kind).uop, **kwargs)


def _progression(count: int, start: float, step: float, dtype: DType) -> UOp:
    numbers = graph.cast(graph.iota(count), dtype)
    return numbers * step + start


def _cell_of(data: Any, device: str, dtype: DType | None) -> Cell:
    if isinstance(data, Frame):
        node = data.uop
        if data.device != device:
            node = node.under(Ops.COPY, device)
        value = graph.cast(node, dtype or data.dtype)
        return Cell(own(value), device)
    if isinstance(data, UOp):
        return Cell(data, device)
    if isinstance(data, int | float):
        kind = dtype or scalar_dtype(data)
        number = const(data, kind)
        return Cell(own(number), device)
    array = _array(data)
    is_list = isinstance(data, list | tuple | range)
    kind = dtype or _inferred(array, is_list)
    if kind in WIDENED:
        wide = stored(array.astype("float32"), device)
        narrow = graph.cast(wide.uop, kind)
        return Cell(narrow, device)
    return stored(array.astype(kind.name), device)


def _array(data: Any) -> Any:
    if isinstance(data, bytes | bytearray | memoryview):
        return np().frombuffer(data, dtype="uint8")
    try:
        array = np().asarray(data)
    except ValueError as error:
        raise ShapeError(
            f"Tensor: the lists do not form a block ({error}); expected equal lengths. Pad them"
        ) from None
    if array.dtype.kind not in "biuf":
        for value in array.flat:
            if isinstance(value, int):
                scalar_dtype(value)
        raise DTypeError(
            f"Tensor: data of type {array.dtype} holds no numbers; expected bool, integers or "
            "floating point. Convert it"
        )
    return array


def _inferred(array: Any, is_list: bool) -> DType:
    kind = to_dtype(array.dtype.name)
    if is_list and kind.is_float:
        return default_float()
    if is_list and kind.is_int:
        largest = abs(array).max(initial=0)
        return dtypes.int32 if largest < 1 << 31 else kind
    return kind


def stored(array: Any, device: str) -> Cell:
    """A cell over a copy of an array."""
    raw = array.tobytes()
    kind = array.dtype.name
    tensor = Creation.of_bytes(raw, array.shape, kind, device)
    return tensor.cell
