"""Leaves of differentiation: the tensors that backward() fills.

Comes in: a tensor and the wish for its gradient. Goes out: the tensor with a mark in its view, so
that its node is its own: two `zeros(3)` are one node, their gradients two. Next: creation.py.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Self

from tinycore.engine.cell import fresh_number
from tinycore.errors import GradientError
from tinycore.tensor.base import Frame
from tinycore.uop.ops import Ops, UOp, toposort

# Tensors with requires_grad=True while they live, by the number of their mark.
REQUIRING: weakref.WeakValueDictionary[int, Frame] = weakref.WeakValueDictionary()

# BUFFER -> the node its value was computed from, where a gradient flows through (history.py).
ORIGINS: weakref.WeakKeyDictionary[UOp, UOp] = weakref.WeakKeyDictionary()


class Leaf(Frame):
    """The wish for a gradient."""

    __slots__ = ()

    @property
    def requires_grad(self) -> bool | None:
        """True if backward() will reach this tensor, False if it shall not, None if nobody said.

        >>> x = Tensor([1.0], requires_grad=True)
        >>> x.requires_grad, (x * 2).requires_grad, Tensor([1.0]).requires_grad
        (True, True, None)
        """
        if self._requires_grad is not None:
            return self._requires_grad
        node = self.uop
        return True if node in carriers([node]) else None

    @requires_grad.setter
    def requires_grad(self, wanted: bool | None) -> None:
        """The wish for a gradient; see requires_grad_.

        >>> x = Tensor([1.0])
        >>> x.requires_grad = True
        >>> x.requires_grad
        True
        """
        self.requires_grad_(wanted)

    def requires_grad_(self, requires_grad: bool | None = True) -> Self:
        """Set whether backward() shall fill `grad`.

        Raises: GradientError if the elements are no floating-point numbers.

        >>> x = Tensor([3.0]).requires_grad_()
        >>> (x * x).sum().backward().item(), x.grad.item()
        (9.0, 6.0)
        """
        if requires_grad and not self.dtype.is_float:
            raise GradientError(
                f"requires_grad: the tensor has type {self.dtype!r}; expected a floating-point "
                "type. Cast it"
            )
        number = self.mark
        if requires_grad and number is None:
            number = fresh_number()
            self.steps = (*self.steps, (Ops.CAST, number))
        if number is not None:
            REQUIRING.pop(number, None)
        if requires_grad and number is not None:
            REQUIRING[number] = self
        self._requires_grad = requires_grad
        return self

    @property
    def mark(self) -> int | None:
        """The number that keeps this tensor's node apart, if it has one.

        >>> Tensor([1.0]).mark is None
        True
        """
        if not self.steps or self.steps[-1][0] is not Ops.CAST:
            return None
        number = self.steps[-1][1]
        assert isinstance(number, int), "a mark is a number"
        return number if REQUIRING.get(number, self) is self else None


def carriers(roots: Iterable[UOp]) -> set[UOp]:
    """The nodes under `roots` through which a gradient flows to a tensor that requires it."""
    found: set[UOp] = set()
    if not REQUIRING:
        return found
    for node in toposort(roots):
        if node.op is Ops.DETACH or not node.dtype.is_float:
            continue
        is_leaf = node.op is Ops.CAST and node.tag in REQUIRING
        if is_leaf or node in ORIGINS or not found.isdisjoint(node.src):
            found.add(node)
    return found
