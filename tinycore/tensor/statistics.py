"""Softmax and its kin, and normalisation: reductions that go back into what they reduced.

Comes in: tensors. Goes out: lazy tensors. Nothing here is known to the compiler by name. Next:
contraction.py.
"""

from __future__ import annotations

from typing import Self

from tinycore.tensor.base import DTypeLike
from tinycore.tensor.reduction import Reduction
from tinycore.tensor.spelling import Axes, axes_of, spelled


class Statistics(Reduction):
    """Tensor methods that set elements in relation to their sums and extremes."""

    __slots__ = ()

    @spelled
    def softmax(self, axis: int = -1, dtype: DTypeLike | None = None) -> Self:
        """exp(x) / sum(exp(x)) along an axis, without overflow.

        >>> Tensor([0.0, 0.0]).softmax().tolist()
        [0.5, 0.5]
        """
        powers = self._below_max(axis, dtype).exp()
        return powers / powers.sum(axis, True)

    @spelled
    def softmin(self, axis: int = -1, dtype: DTypeLike | None = None) -> Self:
        """The softmax of -x.

        >>> Tensor([0.0, 0.0]).softmin().tolist()
        [0.5, 0.5]
        """
        return (-self).softmax(axis, dtype)

    @spelled
    def log_softmax(self, axis: int = -1, dtype: DTypeLike | None = None) -> Self:
        """log(softmax(x)).

        >>> Tensor([0.0]).log_softmax().tolist()
        [0.0]
        """
        below = self._below_max(axis, dtype)
        total = below.exp().sum(axis, True)
        return below - total.log()

    def _below_max(self, axis: Axes, dtype: DTypeLike | None = None) -> Self:
        """x - max(x). The result does not depend on what is subtracted, nor does its gradient."""
        x = self._floating() if dtype is None else self.cast(dtype)
        largest = x.detach().max(axis, True)
        return x - largest

    @spelled
    def logsumexp(self, axis: Axes = None, keepdim: bool = False) -> Self:
        """log(sum(exp(x))), without overflow; of infinities too.

        >>> Tensor([1000.0]).logsumexp().item()
        1000.0
        """
        x = self._floating()
        largest = x.detach().max(axis, True)
        below = x - largest
        total = below.exp().sum(axis, True).log() + largest
        # inf - inf is no distance: an infinite or NaN maximum is the result itself
        result = largest.isfinite().where(total, largest)
        if keepdim:
            return result
        axes = axes_of(axis, self.ndim, "logsumexp")
        return result.reshape(self._without(axes))

    @spelled
    def layernorm(self, axis: Axes = -1, eps: float = 1e-05) -> Self:
        """Mean 0 and variance 1 along some axes.

        Source: Ba et al. 2016, arXiv:1607.06450.

        >>> Tensor([1.0, 3.0]).layernorm(eps=0.0).tolist()
        [-1.0, 1.0]
        """
        x = self._floating()
        centred = x - x.mean(axis, True)
        squares = centred * centred
        variance = squares.mean(axis, True)
        scale = (variance + eps).rsqrt()
        return centred * scale

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

        >>> x = Tensor([[1.0, 2.0]])
        >>> x.batchnorm(None, None, Tensor([1.0, 1.0]), Tensor([2.0, 2.0])).tolist()
        [[0.0, 2.0]]
        """
        axes = axes_of(axis, self.ndim, "batchnorm")
        shape = [n if k in axes else 1 for k, n in enumerate(self.shape)]
        scale = invstd.reshape(shape) if len(axes) == invstd.ndim else invstd
        centred = self - mean.reshape(shape)
        if weight is not None:
            centred = centred * weight.reshape(shape)
        result = centred * scale
        if bias is None:
            return result
        return result + bias.reshape(shape)

    @spelled
    def normalize(self, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Self:
        """Divided by its p-norm along an axis, or by `eps` if that is larger.

        >>> [round(x, 6) for x in Tensor([[3.0, 4.0]]).normalize()[0].tolist()]
        [0.6, 0.8]
        """
        x = self._floating()
        if p == 2:
            # limited before the root, whose gradient at 0 is infinite
            square = (x * x).sum(dim, True).maximum(eps * eps)
            return x * square.rsqrt()
        total = x.abs().pow(p).sum(dim, True)
        norm = total.pow(1 / p).maximum(eps)
        return x / norm
