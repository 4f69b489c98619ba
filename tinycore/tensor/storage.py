"""Where values are kept: realizing, writing, copying, moving between devices.

Comes in: tensors. Goes out: the same tensors, stored or with a new version; a write through a view
is a STORE into its cell (docs/ir.md, the graph). Next: reading.py.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Self, TypeVar

from tinycore.config import NO_GRAD
from tinycore.dtype import promote
from tinycore.engine.cell import fresh_number
from tinycore.errors import DTypeError, ShapeError
from tinycore.runtime.registry import Device
from tinycore.tensor.base import Frame, broadcast_shape, copied
from tinycore.tensor.creation import Creation
from tinycore.tensor.history import realize_cells
from tinycore.uop import graph
from tinycore.uop.ops import Ops, Scalar

A = TypeVar("A", bound="Storage")


def _in_place(function: Callable[[Any, Any], Any]) -> Callable[[A, A | Scalar], A]:
    """An operator that writes its result into the tensor on its left."""

    def write(self: A, x: A | Scalar) -> A:
        return self.assign(function(self, x))

    return write


class Storage(Creation):
    """Tensor methods about cells."""

    __slots__ = ()

    def realize(self, *lst: Frame, do_update_stats: bool = True) -> Self:
        """Compute and store this tensor, and others together with it; returns this one.

        >>> (Tensor([1]) + 1).realize().tolist()
        [2]
        """
        realize_cells([self.cell, *[tensor.cell for tensor in lst]])
        return self

    @property
    def is_realized(self) -> bool:
        """True if the value is stored.

        >>> Tensor([1]).is_realized, (Tensor([1]) + 1).is_realized
        (True, False)
        """
        return self.cell.is_realized

    # writing

    def assign(self, x: Any) -> Self:
        """Put new values into this tensor's place, for every tensor that shows it.

        Shapes: `x` broadcasts to this tensor.
        Raises: ShapeError if it does not, or if this tensor is a view that repeats elements;
        DTypeError if its type does not fit; DeviceError if it lives on another device.

        >>> x = Tensor([1, 2])
        >>> x.assign(Tensor([3, 4])).tolist()
        [3, 4]
        """
        value = self._value_of(x)
        if promote(self.dtype, value.dtype) is not self.dtype:
            raise DTypeError(
                f"assign: values of type {value.dtype!r} do not fit into {self.dtype!r}; "
                f"expected a type it holds. Cast with .cast({self.dtype.name!r})"
            )
        return self._write(value)

    def _value_of(self, x: Any) -> Self:
        """What is to be written, as a tensor on this device; numbers take this tensor's type."""
        if isinstance(x, type(self)):
            self._check_device(x)
            return x
        dtype = self.dtype if isinstance(x, bool | int | float) else None
        return type(self)(x, self.device, dtype)

    def _write(self, value: Self) -> Self:
        """Replace what this tensor shows by values of any type that broadcast to its shape."""
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
        node = graph.cast(graph.broadcast(value.uop, shape), self.dtype)
        if NO_GRAD.value:
            node = graph.detach(node)
        if moves:
            node = graph.store_view(self.cell.uop, node, moves)
        self.cell.write(node)
        return self

    def replace(self, x: Self) -> Self:
        """Make this tensor show what `x` shows; other views of its old cell stay.

        >>> x = Tensor([1])
        >>> x.replace(Tensor([2, 3])).tolist()
        [2, 3]
        """
        self.cell = x.cell
        self.steps = x.steps
        return self

    # copies

    def contiguous(self, **kwargs: Any) -> Self:
        """Stored by itself in row-major order: this tensor, if it is.

        >>> Tensor([[1, 2]]).T.contiguous().tolist()
        [[1], [2]]
        """
        if self.cell.uop.op is Ops.BUFFER and not self.movements:
            return self
        return self.of_uop(graph.contiguous(self.uop, fresh_number()))

    def clone(self, device: str | None = None) -> Self:
        """A copy in a place of its own, through which gradients flow.

        >>> x = Tensor([1, 2])
        >>> y = x.clone()
        >>> y[0] = 9
        >>> x.tolist()
        [1, 2]
        """
        copy = self.of_uop(graph.contiguous(self.uop, fresh_number()))
        return copy if device is None else copy.to(device)

    def to(self, device: str | None) -> Self:
        """The same values on another device; None is the default one.

        Raises: DeviceError if there is no such device.

        >>> Tensor([1, 2]).to(None).tolist()
        [1, 2]
        """
        home = Device.canonicalize(device)
        if home == self.device:
            return self
        return self.of_node(copied(self.uop, home), home)

    def to_(self, device: str | None) -> Self:
        """Move this tensor to another device.

        >>> Tensor([1, 2]).to_(None).tolist()
        [1, 2]
        """
        return self.replace(self.to(device))

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
