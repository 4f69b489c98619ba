"""Softmax and its kin, normalisation, and losses.

Comes in: tensors. Goes out: lazy tensors; a loss is one number unless reduction is "none". Next:
contraction.py.
"""

from typing import Self

from tinycore.errors import ShapeError
from tinycore.tensor.base import DTypeLike
from tinycore.tensor.reduction import Reduction
from tinycore.tensor.spelling import Axes, choice, spelled

_REDUCTIONS = ("mean", "sum", "none")


class Statistics(Reduction):
    """Tensor methods that compare elements, or measure error."""

    __slots__ = ()

    @spelled
    def softmax(self, axis: int = -1, dtype: DTypeLike = None) -> Self:
        """exp(x) / sum(exp(x)) along an axis, without overflow.

        >>> Tensor([0, 0]).softmax().tolist()
        [0.5, 0.5]
        """
        powers = self._below_max(axis, dtype).exp()
        return powers / powers.sum(axis, True)

    @spelled
    def softmin(self, axis: int = -1, dtype: DTypeLike = None) -> Self:
        """The softmax of -x.

        >>> Tensor([0, 0]).softmin().tolist()
        [0.5, 0.5]
        """
        return (-self).softmax(axis, dtype)

    @spelled
    def log_softmax(self, axis: int = -1, dtype: DTypeLike = None) -> Self:
        """log(softmax(x)).

        >>> Tensor([0]).log_softmax().item()
        0.0
        """
        below = self._below_max(axis, dtype)
        total = below.exp().sum(axis, True)
        return below - total.log()

    def _below_max(self, axis: Axes, dtype: DTypeLike = None) -> Self:
        """x - max(x). Neither the result nor its gradient depends on what is subtracted."""
        x = self._floating() if dtype is None else self.cast(dtype)
        largest = x.detach().max(axis, True)
        return x - largest

    @spelled
    def logsumexp(self, axis: Axes = None, keepdim: bool = False) -> Self:
        """log(sum(exp(x))), without overflow.

        >>> Tensor([1000]).logsumexp().item()
        1000.0
        """
        x = self._floating()
        largest = x.detach().max(axis, True)
        below = x - largest
        powers = below.exp().sum(axis, True)
        total = powers.log() + largest
        # an infinite or NaN maximum is the result itself
        result = largest.isfinite().where(total, largest)
        if keepdim:
            return result
        axes = self._axes(axis, "logsumexp")
        return result.reshape(self._without(axes))

    @spelled
    def layernorm(self, axis: Axes = -1, eps: float = 1e-05) -> Self:
        """Mean 0 and variance 1 along some axes.

        Source: Ba et al. 2016, arXiv:1607.06450.

        >>> Tensor([1.0, 3.0]).layernorm(eps=0).tolist()
        [-1.0, 1.0]
        """
        x = self._floating()
        variance, mean = x.var_mean(axis, True, 0)
        scale = (variance + eps).rsqrt()
        return (x - mean) * scale

    @spelled
    def batchnorm(
        self,
        weight: Self | None,
        bias: Self | None,
        mean: Self,
        invstd: Self,
        axis: int | tuple[int, ...] = 1,
    ) -> Self:
        """(x - mean) * invstd * weight + bias, each a number for each place on `axis`.

        Source: Ioffe and Szegedy 2015, arXiv:1502.03167.

        >>> Tensor([[3]]).batchnorm(None, None, Tensor([1]), Tensor([2])).item()
        4
        """
        axes = self._axes(axis, "batchnorm")
        shape = [n if k in axes else 1 for k, n in enumerate(self.shape)]
        scale = invstd
        if len(axes) == invstd.ndim:
            scale = invstd.reshape(shape)
        centred = self - mean.reshape(shape)
        if weight is not None:
            centred = centred * weight.reshape(shape)
        result = centred * scale
        if bias is None:
            return result
        return result + bias.reshape(shape)

    @spelled
    def normalize(self, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Self:
        """Divided by its p-norm along an axis, but at least by `eps`.

        >>> Tensor([[0, 4]]).normalize().tolist()
        [[0.0, 1.0]]
        """
        x = self._floating()
        if p == 2:
            # limited before the root, whose gradient at 0 is infinite
            squares = (x * x).sum(dim, True)
            limited = squares.maximum(eps * eps)
            return x * limited.rsqrt()
        powers = x.abs().pow(p)
        total = powers.sum(dim, True)
        norm = total.pow(1 / p)
        return x / norm.maximum(eps)

    # losses

    def _summed_up(self, reduction: str, operation: str, weights: Self | None = None) -> Self:
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

        Shapes: self (n, classes, ..) or (classes,); Y class numbers (n, ..), or probabilities.
        Raises: ShapeError for another Y; ArgumentError for another reduction.

        >>> Tensor([0, 99]).cross_entropy(Tensor(0)).item()
        99.0
        """
        axis = 0 if self.ndim == 1 else 1
        logs = self.log_softmax(axis)
        if Y.shape == self.shape:
            chosen = logs * Y
        else:
            chosen = logs._is_class(Y, axis, "cross_entropy").where(logs, 0.0)
        right = chosen.sum(axis)
        losses = -right._smoothed(logs, axis, label_smoothing)
        return losses._summed_up(reduction, "cross_entropy")

    def _smoothed(self, logs: Self, axis: int, share: float) -> Self:
        if share == 0:
            return self
        even = logs.mean(axis)
        return self * (1 - share) + even * share

    def _is_class(self, Y: Self, axis: int, operation: str) -> Self:
        """True at the right class: a comparison, as -inf elsewhere does no harm."""
        wanted = self._without((axis,))
        if Y.shape != wanted:
            raise ShapeError(
                f"{operation}: targets of shape {Y.shape} do not fit predictions {self.shape}; "
                f"expected class numbers of shape {wanted}. Squeeze or reshape them"
            )
        places = self._indices(axis, Y.dtype)
        return Y.unsqueeze(axis).eq(places)

    @spelled
    def nll_loss(
        self,
        Y: Self,
        weight: Self | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> Self:
        """Minus the right class's log-probability, which self holds.

        Shapes: self and Y as cross_entropy, weight (classes,).
        Raises: as cross_entropy.

        >>> Tensor([-1, -2]).nll_loss(Tensor(1)).item()
        2.0
        """
        axis = 0 if self.ndim == 1 else 1
        name = "nll_loss"
        is_class = self._is_class(Y, axis, name)
        weights = is_class.cast(self.dtype)
        if weight is not None:
            shape = [n if k == axis else 1 for k, n in enumerate(self.shape)]
            weights = is_class.where(weight.reshape(shape), 0.0)
        if ignore_index is not None:
            counts = Y.ne(ignore_index).unsqueeze(axis)
            weights = counts.where(weights, 0.0)
        weighted = is_class.where(self * weights, 0.0)
        losses = -weighted.sum(axis)
        return losses._summed_up(reduction, name, weights)

    @spelled
    def sparse_categorical_crossentropy(
        self,
        Y: Self,
        ignore_index: int = -1,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> Self:
        """cross_entropy with classes on the last axis; targets of ignore_index do not count.

        Raises: as cross_entropy.

        >>> Tensor([[0, 99]]).sparse_categorical_crossentropy(Tensor([0])).item()
        99.0
        """
        axis = self.ndim - 1
        name = "sparse_categorical_crossentropy"
        is_class = self._is_class(Y, axis, name)
        counts = Y.ne(ignore_index)
        logs = self.log_softmax(axis)
        right = is_class.where(logs, 0.0).sum(axis)
        smooth = right._smoothed(logs, axis, label_smoothing)
        losses = counts.where(-smooth, 0.0)
        weights = counts.cast(losses.dtype)
        return losses._summed_up(reduction, name, weights)

    @spelled
    def binary_crossentropy(self, Y: Self, reduction: str = "mean") -> Self:
        """-Y log(self) - (1 - Y) log(1 - self); a logarithm counts as -100 at least.

        Raises: ArgumentError for another reduction.

        >>> Tensor(0.0).binary_crossentropy(Tensor(1.0)).item()
        100.0
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
        """binary_crossentropy of sigmoid(self); pos_weight multiplies the first term.

        Raises: as binary_crossentropy.

        >>> Tensor(-99.0).binary_crossentropy_logits(Tensor(1.0)).item()
        99.0
        """
        yes = Y * self.logsigmoid()
        no = (1 - Y) * (-self).logsigmoid()
        if pos_weight is not None:
            yes = yes * pos_weight
        losses = -(yes + no)
        return losses._summed_up(reduction, "binary_crossentropy_logits")
