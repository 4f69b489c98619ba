"""Losses: how far predictions are from what they should be.

Comes in: predictions and targets. Goes out: a lazy tensor, one number unless reduction is "none".
Next: tensor.py, which joins all topics.
"""

from __future__ import annotations

from typing import Self

from tinycore.errors import ShapeError
from tinycore.tensor.gathering import Gathering
from tinycore.tensor.spelling import choice, spelled
from tinycore.tensor.statistics import Statistics

_REDUCTIONS = ("mean", "sum", "none")


class Losses(Gathering, Statistics):
    """Tensor methods that measure error."""

    __slots__ = ()

    def _summed_up(self, reduction: str, operation: str, weights: Self | None = None) -> Self:
        """All losses, their sum, or their mean: over the sum of their weights if there are any."""
        choice(operation, "reduction", reduction, _REDUCTIONS)
        if reduction == "none":
            return self
        if reduction == "sum":
            return self.sum()
        if weights is None:
            return self.mean()
        return self.sum() / weights.sum()

    @spelled
    def cross_entropy(
        self,
        Y: Self,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Self:
        """Minus the log of the probability that the softmax of self gives the right class.

        Shapes: self (n, classes, ..) or (classes,); Y holds class numbers of shape (n, ..), or
        probabilities of self's shape.
        Raises: ShapeError if Y has another shape; ArgumentError for an unknown reduction.

        >>> round(Tensor([[0.0, 0.0]]).cross_entropy(Tensor([1])).item(), 4)
        0.6931
        """
        axis = 0 if self.ndim == 1 else 1
        logs = self.log_softmax(axis)
        if Y.shape == self.shape:
            right = (logs * Y).sum(axis)
        else:
            self._check_classes(Y, axis, "cross_entropy")
            right = logs._picked(Y, axis)
        losses = -right._smoothed(logs, axis, label_smoothing)
        return losses._summed_up(reduction, "cross_entropy")

    def _picked(self, Y: Self, axis: int) -> Self:
        """The element of each class number, by comparison: -inf elsewhere does no harm."""
        chosen = self._is_class(Y, axis).where(self, 0.0)
        return chosen.sum(axis)

    def _is_class(self, Y: Self, axis: int) -> Self:
        """True at the place on an axis that each class number names."""
        places = self._indices(axis, Y.dtype)
        return Y.unsqueeze(axis).eq(places)

    def _smoothed(self, logs: Self, axis: int, share: float) -> Self:
        """Part of the wish for one class goes to all classes evenly."""
        if share == 0:
            return self
        even = logs.mean(axis)
        return self * (1 - share) + even * share

    def _check_classes(self, Y: Self, axis: int, operation: str) -> None:
        wanted = self._without((axis,))
        if Y.shape != wanted:
            raise ShapeError(
                f"{operation}: targets of shape {Y.shape} do not fit predictions {self.shape}; "
                f"expected class numbers of shape {wanted}. Squeeze or reshape them"
            )

    @spelled
    def nll_loss(
        self,
        Y: Self,
        weight: Self | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> Self:
        """Minus the log-probability of the right class, where self holds log-probabilities.

        Shapes: self (n, classes, ..) or (classes,), Y (n, ..) of class numbers, weight (classes,).
        Raises: ShapeError if Y has another shape; ArgumentError for an unknown reduction.

        >>> Tensor([[-1.0, -2.0]]).nll_loss(Tensor([1])).item()
        2.0
        """
        axis = 0 if self.ndim == 1 else 1
        self._check_classes(Y, axis, "nll_loss")
        is_class = self._is_class(Y, axis)
        weights = is_class.cast(self.dtype)
        if weight is not None:
            shape = [n if k == axis else 1 for k, n in enumerate(self.shape)]
            weights = is_class.where(weight.reshape(shape), 0.0)
        if ignore_index is not None:
            counts = Y.ne(ignore_index).unsqueeze(axis)
            weights = counts.where(weights, 0.0)
        weighted = is_class.where(self * weights, 0.0)
        losses = -weighted.sum(axis)
        return losses._summed_up(reduction, "nll_loss", weights)

    @spelled
    def sparse_categorical_crossentropy(
        self,
        Y: Self,
        ignore_index: int = -1,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> Self:
        """cross_entropy with classes on the last axis; targets of ignore_index do not count.

        Shapes: self (.., classes), Y (..) of class numbers.
        Raises: ShapeError if Y has another shape; ArgumentError for an unknown reduction.

        >>> x = Tensor([[0.0, 0.0], [5.0, 1.0]])
        >>> round(x.sparse_categorical_crossentropy(Tensor([1, -1])).item(), 4)
        0.6931
        """
        axis = self.ndim - 1
        self._check_classes(Y, axis, "sparse_categorical_crossentropy")
        counts = Y.ne(ignore_index)
        logs = self.log_softmax(axis)
        right = logs._picked(Y, axis)
        smooth = right._smoothed(logs, axis, label_smoothing)
        losses = counts.where(-smooth, 0.0)
        weights = counts.cast(losses.dtype)
        return losses._summed_up(reduction, "sparse_categorical_crossentropy", weights)

    @spelled
    def binary_crossentropy(self, Y: Self, reduction: str = "mean") -> Self:
        """-Y log(self) - (1 - Y) log(1 - self), where self holds probabilities; a logarithm counts
        as -100 at least.

        Raises: ArgumentError for an unknown reduction.

        >>> round(Tensor([0.5]).binary_crossentropy(Tensor([1.0])).item(), 4)
        0.6931
        """
        yes = self.log().clip(-100.0)
        no = (1 - self).log().clip(-100.0)
        losses = -(Y * yes + (1 - Y) * no)
        return losses._summed_up(reduction, "binary_crossentropy")

    @spelled
    def binary_crossentropy_logits(
        self,
        Y: Self,
        reduction: str = "mean",
        pos_weight: Self | None = None,
    ) -> Self:
        """binary_crossentropy of sigmoid(self), without overflow; pos_weight multiplies the first
        term.

        Raises: ArgumentError for an unknown reduction.

        >>> round(Tensor([0.0]).binary_crossentropy_logits(Tensor([1.0])).item(), 4)
        0.6931
        """
        yes = Y * self.logsigmoid()
        no = (1 - Y) * (-self).logsigmoid()
        if pos_weight is not None:
            yes = yes * pos_weight
        losses = -(yes + no)
        return losses._summed_up(reduction, "binary_crossentropy_logits")
