"""Activations: the nonlinear functions between layers.

Comes in: tensors; integers become the default float. Goes out: lazy tensors. At a kink the
gradient is PyTorch's; NaN stays NaN. Next: movement.py.
"""

from __future__ import annotations

import math
from typing import Self

from tinycore.tensor.functions import Functions
from tinycore.tensor.spelling import choice, spelled


class Activations(Functions):
    """Tensor methods that stand between layers."""

    __slots__ = ()

    def relu(self) -> Self:
        """x where it is positive, else 0.

        >>> Tensor([-1.0, 2.0]).relu().tolist()
        [0.0, 2.0]
        """
        return (self <= 0).where(0, self)

    @spelled
    def leaky_relu(self, neg_slope: float = 0.01) -> Self:
        """x where it is positive, else neg_slope * x.

        >>> Tensor([-1.0, 2.0]).leaky_relu(0.5).tolist()
        [-0.5, 2.0]
        """
        return (self <= 0).where(self * neg_slope, self)

    def relu6(self) -> Self:
        """x limited to 0 .. 6.

        >>> Tensor([-1.0, 7.0]).relu6().tolist()
        [0.0, 6.0]
        """
        return self.hardtanh(0, 6)

    @spelled
    def hardtanh(self, min_val: float = -1, max_val: float = 1) -> Self:
        """x limited to min_val .. max_val; no gradient at the limits.

        >>> Tensor([-3.0, 0.5]).hardtanh().tolist()
        [-1.0, 0.5]
        """
        is_below = self <= min_val
        is_above = self >= max_val
        raised = is_below.where(min_val, self)
        return is_above.where(max_val, raised)

    def sigmoid(self) -> Self:
        """1 / (1 + exp(-x)), without overflow on either side.

        >>> Tensor([0.0]).sigmoid().tolist()
        [0.5]
        """
        x = self._floating()
        is_negative = x < 0
        decay = is_negative.where(x, -x).exp()
        upper = (1.0 + decay).reciprocal()
        return is_negative.where(decay * upper, upper)

    @spelled
    def softplus(self, beta: float = 1.0) -> Self:
        """log(1 + exp(beta * x)) / beta, a smooth relu.

        >>> Tensor([1000.0]).softplus().tolist()
        [1000.0]
        """
        x = self._floating() * beta
        is_negative = x < 0
        decay = is_negative.where(x, -x).exp()
        total = is_negative.where(0.0, x) + decay._log1p()
        return total * (1 / beta)

    def logsigmoid(self) -> Self:
        """log(sigmoid(x)).

        >>> Tensor([-1000.0]).logsigmoid().tolist()
        [-1000.0]
        """
        return -(-self).softplus()

    def softsign(self) -> Self:
        """x / (1 + |x|).

        >>> Tensor([1.0]).softsign().tolist()
        [0.5]
        """
        return self / (1 + self.abs())

    def silu(self) -> Self:
        """x * sigmoid(x).

        >>> Tensor([0.0]).silu().tolist()
        [0.0]
        """
        return self * self.sigmoid()

    swish = silu

    @spelled
    def gelu(self, approximate: str = "tanh") -> Self:
        """x times the normal distribution function of x; "tanh" approximates, "none" does not.

        Raises: ArgumentError for another word.
        Source: Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2; (1 + tanh z)/2 is
        sigmoid(2z).

        >>> Tensor([0.0]).gelu().tolist()
        [0.0]
        """
        choice("gelu", "approximate", approximate, ("tanh", "none"))
        x = self._floating()
        if approximate == "none":
            twice = (x * math.sqrt(0.5)).erf() + 1.0
            return x * twice * 0.5
        cubic = x * (x * x * 0.044715 + 1.0)
        inner = cubic * math.sqrt(8 / math.pi)
        return x * inner.sigmoid()

    def quick_gelu(self) -> Self:
        """x * sigmoid(1.702 x), a rough gelu.

        Source: Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2.

        >>> Tensor([0.0]).quick_gelu().tolist()
        [0.0]
        """
        return self * (self * 1.702).sigmoid()

    def mish(self) -> Self:
        """x * tanh(softplus(x)).

        >>> Tensor([0.0]).mish().tolist()
        [0.0]
        """
        return self * self.softplus().tanh()

    @spelled
    def elu(self, alpha: float = 1.0) -> Self:
        """x where it is positive, else alpha * (exp(x) - 1).

        >>> Tensor([2.0]).elu().tolist()
        [2.0]
        """
        x = self._floating()
        is_positive = x > 0
        below = is_positive.where(0.0, x)._expm1()
        return is_positive.where(x, below * alpha)

    @spelled
    def celu(self, alpha: float = 1.0) -> Self:
        """x where it is positive, else alpha * (exp(x / alpha) - 1).

        >>> Tensor([2.0]).celu().tolist()
        [2.0]
        """
        x = self._floating()
        is_positive = x > 0
        negative = is_positive.where(0.0, x)
        below = (negative * (1 / alpha))._expm1()
        return is_positive.where(x, below * alpha)

    @spelled
    def selu(self, alpha: float = 1.67326, gamma: float = 1.0507) -> Self:
        """gamma * elu(x, alpha).

        Source: Klambauer et al. 2017, arXiv:1706.02515, section 2.

        >>> Tensor([0.0]).selu().tolist()
        [0.0]
        """
        return self.elu(alpha) * gamma

    @spelled
    def hardsigmoid(self, alpha: float = 1 / 6, beta: float = 0.5) -> Self:
        """alpha * x + beta, limited to 0 .. 1.

        >>> Tensor([0.0, 9.0]).hardsigmoid().tolist()
        [0.5, 1.0]
        """
        return (self * alpha + beta).hardtanh(0, 1)

    def hardswish(self) -> Self:
        """x * relu6(x + 3) / 6.

        >>> Tensor([0.0, 6.0]).hardswish().tolist()
        [0.0, 6.0]
        """
        gate = (self + 3).relu6()
        return self * gate * (1 / 6)
