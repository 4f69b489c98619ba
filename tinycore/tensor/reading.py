"""Values read: as numpy arrays, lists and Python numbers.

Comes in: tensors. Goes out: copies of their values, computed first if need be. A view is read by
applying it to the stored array here, so that indexing in a loop compiles nothing. Next:
autograd.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from tinycore.dtype import DType, dtypes
from tinycore.engine.cell import buffer_of
from tinycore.engine.run import BOUND, forbid_while_recording
from tinycore.errors import DTypeError, ShapeError
from tinycore.tensor.reduction import Reduction
from tinycore.tensor.spelling import spelled
from tinycore.tensor.storage import Storage
from tinycore.uop.affine import evaluate
from tinycore.uop.index import Index
from tinycore.uop.ops import Ops, Scalar
from tinycore.uop.shape import Shape, SkewArg, upper_shape
from tinycore.util import np

# Element types numpy has not are read as float32.
_WIDENED = (dtypes.bfloat16, dtypes.fp8e4m3, dtypes.fp8e5m2)
_SHOWN = 1000


class Reading(Reduction, Storage):
    """Tensor methods that give values."""

    __slots__ = ()

    def numpy(self) -> Any:
        """The values as a numpy array of its own; bfloat16 and 8-bit floats become float32.

        >>> Tensor([1, 2]).numpy()
        array([1, 2], dtype=int32)
        """
        if self.dtype in _WIDENED:
            return self.float().numpy()
        return np().array(self._stored_array(), order="C")

    def _stored_array(self) -> Any:
        """The stored values seen through the view: the device's own memory, or a copy of it."""
        forbid_while_recording("read")
        stored = self.realize().cell.uop
        raw = buffer_of(stored).as_memoryview(share=True)
        shape = stored.arg.shape
        array = np().frombuffer(raw, dtype=self.dtype.name).reshape(upper_shape(shape))
        array = array[tuple([slice(_now(extent)) for extent in shape])]
        for op, arg in self.movements:
            array = _VIEWS[op](array, _now(arg))
        return array

    def data(self) -> memoryview:
        """The values as memory in row-major order.

        Raises: DTypeError if Python has no name for the element type.

        >>> Tensor([1, 2]).data().tolist()
        [1, 2]
        """
        if self.dtype in _WIDENED:
            raise DTypeError(
                f"data: Python has no format for {self.dtype!r}; expected another type. "
                "Cast to float32"
            )
        return memoryview(self.numpy())

    def raw(self) -> memoryview:
        """The bytes of the values in row-major order, whatever the element type.

        Raises: ShapeError if the shape holds a variable.

        >>> bytes(Tensor([1.0]).raw())
        b'\\x00\\x00\\x80?'
        """
        if any(isinstance(extent, Index) for extent in self.shape):
            raise ShapeError(
                f"raw: shape {self.shape} holds a variable, so bytes beyond it are no values; "
                "expected numbers. Read numpy()"
            )
        stored = self.contiguous().realize().cell.uop
        return buffer_of(stored).as_memoryview()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers; one number for a tensor of no axes.

        >>> Tensor([[1, 2]]).tolist()
        [[1, 2]]
        """
        return self.numpy().tolist()

    def item(self) -> Scalar:
        """The value of the only element.

        Raises: ShapeError if there is more than one.

        >>> Tensor([5]).item()
        5
        """
        if self.numel() != 1:
            raise ShapeError(
                f"item: shape {self.shape} has {self.numel()} elements; expected one. "
                "Use tolist, or reduce it"
            )
        value: Scalar = self.numpy().item()
        return value

    @spelled
    def allclose(
        self,
        other: Self,
        rtol: float = 1e-05,
        atol: float = 1e-08,
        equal_nan: bool = False,
    ) -> bool:
        """True if all elements are close: see isclose. Computes at once.

        >>> Tensor([1.0]).allclose(Tensor([1.0]))
        True
        """
        return bool(self.isclose(other, rtol, atol, equal_nan).all().item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def __len__(self) -> int:
        if not self.ndim:
            raise ShapeError(
                "len: the tensor has no axes; expected at least one. Use item for its value"
            )
        return upper_shape(self.shape)[0]

    def __bool__(self) -> bool:
        return bool(self._only("bool"))

    def __int__(self) -> int:
        return int(self._only("int"))

    def __float__(self) -> float:
        return float(self._only("float"))

    def __index__(self) -> int:
        if self.dtype.is_float:
            raise DTypeError(
                f"index: the tensor has type {self.dtype!r}; expected integers. Cast it"
            )
        return int(self._only("index"))

    def _only(self, operation: str) -> Scalar:
        if self.numel() != 1:
            raise ShapeError(
                f"{operation}: shape {self.shape} has {self.numel()} elements, which are no one "
                "value; expected one element. Use any, all or item"
            )
        return self.item()

    def __format__(self, spec: str) -> str:
        return format(self._only("format"), spec) if spec else str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles and deep copies hold the values, in memory of their own."""
        facts = (self.shape, self.dtype, self.device, self._requires_grad)
        return _restored, (type(self), bytes(self.raw()), *facts)

    def __repr__(self) -> str:
        facts = f"shape={self.shape}, dtype={self.dtype.name}, device={self.device!r}"
        if not self.cell.is_realized:
            return f"Tensor(not computed yet, {facts})"
        text = np().array2string(
            self.numpy(),
            separator=", ",
            prefix="Tensor(",
            threshold=_SHOWN,
        )
        return f"Tensor({text}, {facts})"


def _restored(
    kind: type[Reading],
    raw: bytes,
    shape: Shape,
    dtype: DType,
    device: str,
    requires_grad: bool | None,
) -> Reading:
    new = kind.of_bytes(raw, shape, dtype, device)
    return new.requires_grad_(requires_grad)


def _now(arg: Any) -> Any:
    """The argument of a movement op with the numbers that its variables stand for now."""
    if isinstance(arg, Index):
        return evaluate(arg, lambda atom: BOUND[atom.name])
    if isinstance(arg, tuple) and not isinstance(arg, SkewArg):
        return tuple([_now(part) for part in arg])
    return arg


def _unskewed(array: Any, arg: SkewArg) -> Any:
    """out[.. o .. j ..] = in[.. o*stride + j*dilation .. j ..]."""
    axes = (arg.axis, arg.window)
    front = (0, 1)
    moved = np().moveaxis(array, axes, front)
    begins = np().arange(arg.extent)[:, None] * arg.stride
    windows = np().arange(moved.shape[1])
    places = begins + windows * arg.dilation
    return np().moveaxis(moved[places, windows], front, axes)


_VIEWS: dict[Ops, Callable[[Any, Any], Any]] = {
    Ops.RESHAPE: lambda array, arg: array.reshape(arg),
    Ops.PERMUTE: lambda array, arg: array.transpose(arg),
    Ops.EXPAND: lambda array, arg: np().broadcast_to(array, arg),
    Ops.SHRINK: lambda array, arg: array[tuple([slice(*pair) for pair in arg])],
    Ops.FLIP: lambda array, arg: np().flip(array, arg),
    Ops.SKEW: _unskewed,
}
