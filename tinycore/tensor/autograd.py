"""The faces of differentiation: backward, gradient, and the modes they work in.

Comes in: a loss and the tensors to differentiate by. Goes out: tensors of gradients, lazy like all
others. The rules are in gradient.py; what was stored meanwhile is in history.py. Next: losses.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from tinycore.config import NO_GRAD, Context
from tinycore.errors import GradientError
from tinycore.gradient import gradient as differentiate
from tinycore.tensor.history import LOST, unrolled
from tinycore.tensor.leaves import REQUIRING, Leaf
from tinycore.uop import graph
from tinycore.uop.ops import Ops, UOp, postorder
from tinycore.uop.shape import shape_of
from tinycore.uop.tree import Rebuild


class Autograd(Leaf):
    """Tensor methods about gradients."""

    __slots__ = ()

    def backward(self, gradient: Self | None = None) -> Self:
        """Add the gradient of this tensor to `grad` of every tensor with requires_grad=True.

        `gradient` is the gradient of this tensor itself; a single number needs none.
        Raises: GradientError if no such tensor is reached, if gradients are off, or if this tensor
        has several elements and no `gradient`.

        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward().item()
        5.0
        >>> x.grad.tolist()
        [2.0, 4.0]
        """
        leaves = [tensor for tensor in REQUIRING.values() if isinstance(tensor, type(self))]
        grads = self._gradients(leaves, gradient, "backward")
        if not any(grad is not None for grad in grads):
            raise GradientError(
                "backward: no tensor with requires_grad=True was used to compute this one; "
                "expected at least one. Set requires_grad_() before computing"
            )
        for leaf, grad in zip(leaves, grads, strict=True):
            if grad is not None:
                leaf._add_grad(grad)
        return self

    def _add_grad(self, grad: UOp) -> Self:
        """Put a gradient, or add it in place: a captured function shall add to the same cell."""
        with Context(NO_GRAD=1):
            if self.grad is None:
                self.grad = self.of_uop(grad)
                return self
            total = self.grad._combined(Ops.ADD, self.of_uop(grad))
            is_alike = (total.shape, total.dtype) == (self.grad.shape, self.grad.dtype)
            if is_alike and not self.grad.movements:
                self.grad.cell.write(graph.detach(total.uop))
            else:
                self.grad = total
        return self

    def gradient(self, *targets: Self, gradient: Self | None = None) -> list[Self]:
        """The gradient of this tensor by each target; the targets need not require it.

        Raises: GradientError if a target was not used to compute this tensor, if gradients are
        off, or if this tensor has several elements and no `gradient`.

        >>> x = Tensor([1.0, 2.0])
        >>> [grad.tolist() for grad in (x * x).sum().gradient(x)]
        [[2.0, 4.0]]
        """
        grads = self._gradients(targets, gradient, "gradient")
        found: list[Self] = []
        for target, grad in zip(targets, grads, strict=True):
            if grad is None:
                raise GradientError(
                    f"gradient: target {len(found)} was not used to compute this tensor; expected "
                    "targets it depends on. Name the very tensors it was computed from"
                )
            found.append(target.of_uop(grad))
        return found

    def _gradients(
        self,
        targets: Sequence[Self],
        seed: Self | None,
        operation: str,
    ) -> list[UOp | None]:
        """The gradient of each target; None where this tensor was not computed from it."""
        if NO_GRAD.value:
            raise GradientError(
                f"{operation}: gradients are off; expected NO_GRAD=0. Leave the no_grad block"
            )
        nodes = [self.uop, *[target.uop for target in targets]]
        (loss, *places), back = unrolled(nodes)
        inside = _open_below(loss)
        _check_histories(inside, operation)
        found = [_within(place, inside) for place in places]
        known = [place for place in found if place is not None]
        seeds = None if seed is None else _like(seed.uop, loss)
        grads = dict(zip(known, differentiate(loss, known, seeds), strict=True))
        return [None if p is None else _gradient_of(p, grads[p], back) for p in found]

    # modes

    @staticmethod
    def no_grad() -> Context:
        """Compute without gradients: for a `with` block or a decorated function.

        >>> x = Tensor([1.0], requires_grad=True)
        >>> with Tensor.no_grad():
        ...     y = x * 2
        >>> y.requires_grad is None
        True
        """
        return Context(NO_GRAD=1)

    @staticmethod
    def train(mode: bool = True) -> Context:
        """Dropout drops and batchnorm learns: for a `with` block or a decorated function.

        >>> with Tensor.train():
        ...     Tensor.training
        True
        """
        return Context(TRAINING=int(mode))


def _open_below(loss: UOp) -> set[UOp]:
    """The nodes a loss was computed from, up to where gradients stop."""

    def sources(node: UOp) -> tuple[UOp, ...]:
        return () if node.op is Ops.DETACH else node.src

    return set(postorder([loss], sources))


def _within(node: UOp, inside: set[UOp]) -> UOp | None:
    """The node in the graph of the loss: itself, or what it marks if the mark came later."""
    if node in inside:
        return node
    if node.op is not Ops.CAST:
        return None
    marked = node.src[0]
    is_mark = marked.dtype is node.dtype
    return marked if is_mark and marked in inside else None


def _like(seed: UOp, loss: UOp) -> UOp:
    wide = graph.broadcast(seed, shape_of(loss))
    return graph.cast(wide, loss.dtype)


def _gradient_of(place: UOp, grad: UOp | None, back: dict[UOp, UOp]) -> UOp:
    """The gradient, reading stored values where they are; zeros where none flows."""
    if grad is None:
        return graph.full(shape_of(place), 0, place.dtype)
    return Rebuild(back).node(grad)


def _check_histories(inside: set[UOp], operation: str) -> None:
    lost = [node for node in inside if node in LOST]
    if lost:
        raise GradientError(
            f"{operation}: a tensor of shape {shape_of(lost[0])} was stored, then something it was "
            "computed from was overwritten; expected the gradient to be asked for before. "
            "Call it earlier, or compute the tensor again"
        )
