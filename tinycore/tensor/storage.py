"""Where values are kept: realizing, writing, copying, moving between devices, reading.

Comes in: tensors. Goes out: the same, stored or written; copies of values. A view is read from the
stored array: indexing in a loop compiles nothing. Next: indexing.py.
"""

import operator
from collections.abc import Callable
from typing import Any, Self, TypeVar

from tinycore.config import NO_GRAD
from tinycore.dtype import Scalar, promote
from tinycore.engine.cell import buffer_of, fresh_number
from tinycore.engine.run import BOUND, forbid_while_recording
from tinycore.errors import DTypeError, ShapeError
from tinycore.runtime.registry import Device
from tinycore.tensor.autograd import realize_cells
from tinycore.tensor.base import DeviceLike, Frame, Operand, broadcast_shape
from tinycore.tensor.creation import WIDENED, Creation
from tinycore.tensor.reduction import Reduction
from tinycore.tensor.spelling import spelled
from tinycore.uop import Ops, graph
from tinycore.uop.index import Index, upper_shape
from tinycore.util import np

A = TypeVar("A", bound="Storage")

_SHOWN = 1000


def _in_place(function: Callable[[Any, Any], Any]) -> Callable[[A, Operand], A]:
    def write(self: A, x: Operand) -> A:
        return self.assign(function(self, x))

    return write


class Storage(Reduction, Creation):
    """Tensor methods about stored values."""

    __slots__ = ()

    def realize(self, *lst: Frame, do_update_stats: bool = True) -> Self:
        """Compute and store this tensor and others; returns this one.

        >>> Tensor(1).realize().item()
        1
        """
        others = [tensor.cell for tensor in lst]
        realize_cells([self.cell, *others])
        return self

    @property
    def is_realized(self) -> bool:
        """True if the value is stored.

        >>> (Tensor(1) + 1).is_realized
        False
        """
        return self.cell.is_realized

    # writing

    def assign(self, x: Any) -> Self:
        """Put new values into this tensor's place, for every tensor that shows it.

        Raises: ShapeError if they do not broadcast, or elements repeat; DTypeError or DeviceError
        if types or devices differ.

        >>> Tensor(1).assign(Tensor(2)).item()
        2
        """
        value = self._value_of(x)
        if promote(self.dtype, value.dtype) is not self.dtype:
            raise DTypeError(
                f"assign: values of type {value.dtype!r} do not fit into {self.dtype!r}; "
                f"expected a type it holds. Cast with .cast({self.dtype.name!r})"
            )
        return self._write(value)

    def _value_of(self, x: Any) -> Self:
        if isinstance(x, type(self)):
            self._check_device(x)
            return x
        dtype = self.dtype if isinstance(x, int | float) else None
        return type(self)(x, self.device, dtype)

    def _write(self, value: Self) -> Self:
        moves = self.movements
        if any(op is Ops.EXPAND for op, _ in moves):
            raise ShapeError(
                f"assign: this view of shape {self.shape} repeats elements; "
                "expected each element once. Clone it first"
            )
        shape = self.shape
        if broadcast_shape("assign", shape, value.shape) != shape:
            raise ShapeError(
                f"assign: values of shape {value.shape} do not broadcast to {shape}; "
                "expected as many elements or fewer. Reshape them"
            )
        wide = graph.broadcast(value.uop, shape)
        node = graph.cast(wide, self.dtype)
        if NO_GRAD.value:
            node = graph.detach(node)
        if moves:
            node = graph.store_view(self.cell.uop, node, moves)
        self.cell.write(node)
        return self

    def replace(self, x: Self) -> Self:
        """Make this tensor show what `x` shows; other views stay.

        >>> Tensor(1).replace(Tensor(2)).item()
        2
        """
        self.cell = x.cell
        self.steps = x.steps
        return self

    # copies

    def contiguous(self, **kwargs: Any) -> Self:
        """Stored by itself in row-major order: this tensor, if it is.

        >>> Tensor(1).contiguous().item()
        1
        """
        if self.cell.uop.is_buffer and not self.movements:
            return self
        return self.clone()

    def clone(self, device: DeviceLike = None) -> Self:
        """A copy in a place of its own, through which gradients flow.

        >>> Tensor(1).clone().item()
        1
        """
        copy = self._applied(graph.contiguous, fresh_number())
        if device is None:
            return copy
        return copy.to(device)

    def to(self, device: DeviceLike) -> Self:
        """The same values on another device; None is the default.

        Raises: DeviceError if there is no such device.

        >>> Tensor(1).to(None).item()
        1
        """
        home = Device.canonicalize(device)
        if home == self.device:
            return self
        copy = self.uop.under(Ops.COPY, home)
        return self.of_node(copy, home)

    def to_(self, device: DeviceLike) -> Self:
        """Move this tensor to another device.

        >>> Tensor(1).to_(None).item()
        1
        """
        return self.replace(self.to(device))

    # reading

    def numpy(self) -> Any:
        """The values as a numpy array; bfloat16 and 8-bit floats become float32.

        >>> Tensor([1]).numpy()
        array([1], dtype=int32)
        """
        if self.dtype in WIDENED:
            return self.float().numpy()
        forbid_while_recording("read")
        stored = self.realize().cell.uop
        raw = buffer_of(stored).as_memoryview(share=True)
        shape = stored.arg.shape
        kind = self.dtype.name
        flat = np().frombuffer(raw, dtype=kind)
        used = tuple(slice(_now(extent)) for extent in shape)
        array = flat.reshape(upper_shape(shape))[used]
        for op, arg in self.movements:
            array = _seen(array, op, _now(arg))
        return np().array(array, order="C")

    def data(self) -> memoryview:
        """The values as memory in row-major order.

        Raises: DTypeError if Python has no name for the type.

        >>> Tensor([1, 2]).data().tolist()
        [1, 2]
        """
        if self.dtype in WIDENED:
            raise DTypeError(
                f"data: Python has no format for {self.dtype!r}; expected another type. "
                "Cast to float32"
            )
        return memoryview(self.numpy())

    def raw(self) -> memoryview:
        """The bytes of the values in row-major order.

        Raises: ShapeError if the shape holds a variable.

        >>> Tensor([1, 2]).raw().nbytes
        8
        """
        is_symbolic = any(isinstance(extent, Index) for extent in self.shape)
        if is_symbolic:
            raise ShapeError(
                f"raw: shape {self.shape} holds a variable, so bytes beyond it are no values; "
                "expected numbers. Read numpy()"
            )
        stored = self.contiguous().realize().cell.uop
        return buffer_of(stored).as_memoryview()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers, or as one number.

        >>> Tensor([[1, 2]]).tolist()
        [[1, 2]]
        """
        return self.numpy().tolist()

    def item(self) -> Scalar:
        """The value of the only element.

        Raises: ShapeError if there are others.

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
        """True if isclose is true everywhere. Computes at once.

        >>> Tensor(1).allclose(Tensor(1))
        True
        """
        is_close = self.isclose(other, rtol, atol, equal_nan)
        return bool(is_close.all().item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        if dtype is None:
            return array
        return array.astype(dtype)

    def __len__(self) -> int:
        if not self.ndim:
            raise ShapeError(
                "len: the tensor has no axes; expected at least one. Use item for its value"
            )
        return self._sizes[0]

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
        if spec:
            return format(self._only("format"), spec)
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        content = bytes(self.raw())
        facts = (content, self.shape, self.dtype, self.device)
        return self.of_bytes, facts, self._requires_grad

    __setstate__ = Creation.requires_grad_

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

    # operators that write

    __iadd__ = _in_place(operator.add)
    __isub__ = _in_place(operator.sub)
    __imul__ = _in_place(operator.mul)
    __itruediv__ = _in_place(operator.truediv)
    __ifloordiv__ = _in_place(operator.floordiv)
    __imod__ = _in_place(operator.mod)
    __iand__ = _in_place(operator.and_)
    __ior__ = _in_place(operator.or_)
    __ixor__ = _in_place(operator.xor)
    __ilshift__ = _in_place(operator.lshift)
    __irshift__ = _in_place(operator.rshift)


def _now(arg: Any) -> Any:
    if isinstance(arg, Index):
        return arg.evaluate(lambda atom: BOUND[atom.name])
    if isinstance(arg, tuple) and not isinstance(arg, graph.SkewArg):
        return tuple(_now(part) for part in arg)
    return arg


def _seen(array: Any, op: Ops, arg: Any) -> Any:
    """One step of a view; a window in it is one element, so the view steps along an axis."""
    if op is Ops.SHRINK:
        box = tuple(slice(*pair) for pair in arg)
        return array[box]
    if op is Ops.SKEW:
        places = np().arange(arg.extent) * arg.stride
        return array.take(places, arg.axis)
    move = getattr(np(), _MOVES[op])
    return move(array, arg)


# Movement -> numpy's function of an array and the argument.
_MOVES = {
    Ops.RESHAPE: "reshape",
    Ops.PERMUTE: "transpose",
    Ops.EXPAND: "broadcast_to",
    Ops.FLIP: "flip",
}
