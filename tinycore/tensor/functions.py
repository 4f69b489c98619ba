"""Functions of every element: powers, logarithms, angles, rounding, and activations.

Comes in: tensors; integers become the default float. Goes out: lazy tensors, without NaN for large
arguments; at a kink the gradient is PyTorch's. Next: movement.py.
"""

import math
from collections.abc import Sequence
from math import inf, nan, pi
from typing import Self

from tinycore.dtype import Scalar, dtypes
from tinycore.errors import DTypeError
from tinycore.tensor.arithmetic import Arithmetic
from tinycore.tensor.base import Operand
from tinycore.tensor.spelling import choice, spelled
from tinycore.uop import Ops, graph

_DIRECT_POWER = 64
_TWO_OVER_SQRT_PI = 2 / math.sqrt(pi)


class Functions(Arithmetic):
    """Tensor methods of one number."""

    __slots__ = ()

    def exp(self) -> Self:
        """e to the power of self.

        >>> Tensor(0).exp().item()
        1.0
        """
        return self._floating()._unary(Ops.EXP)

    def exp2(self) -> Self:
        """2 to the power of self.

        >>> Tensor(0).exp2().item()
        1.0
        """
        x = self._floating() * math.log(2)
        return x.exp()

    def log(self) -> Self:
        """The natural logarithm.

        >>> Tensor(1).log().item()
        0.0
        """
        return self._floating()._unary(Ops.LOG)

    def log2(self) -> Self:
        """The logarithm to base 2.

        >>> Tensor(1).log2().item()
        0.0
        """
        return self.log() * (1 / math.log(2))

    def log10(self) -> Self:
        """The logarithm to base 10.

        >>> Tensor(1).log10().item()
        0.0
        """
        return self.log() * (1 / math.log(10))

    def sqrt(self) -> Self:
        """The square root.

        >>> Tensor(4).sqrt().item()
        2.0
        """
        return self._floating()._unary(Ops.SQRT)

    def rsqrt(self) -> Self:
        """1 / sqrt(self).

        >>> Tensor(4).rsqrt().item()
        0.5
        """
        return self.sqrt().reciprocal()

    def square(self) -> Self:
        """self * self.

        >>> Tensor(3).square().item()
        9
        """
        return self * self

    # powers

    @spelled
    def pow(self, x: Operand, reverse: bool = False) -> Self:
        """self to the power x.

        Raises: DTypeError for an integer to a negative power.

        >>> (Tensor(-3) ** 3).item()
        -27
        """
        if not reverse and isinstance(x, int | float):
            return self._pow_number(x)
        base, exponent = self._both(x, "pow", reverse)
        if base.dtype.is_float:
            return base._general_pow(exponent)
        wide = exponent.double()
        power = base.double()._general_pow(wide)
        return power.round().cast(base.dtype)

    def _pow_number(self, x: int | float) -> Self:
        if self.dtype.is_int and isinstance(x, int) and x < 0:
            raise DTypeError(
                f"pow: integers of type {self.dtype!r} to the power {x}; expected a power of 0 or "
                "more. Cast to a floating-point type"
            )
        if x == 0.5:
            return self.sqrt()
        if x == -0.5:
            return self.rsqrt()
        is_direct = float(x).is_integer() and abs(x) <= _DIRECT_POWER
        if not is_direct:
            x = float(x)
            base, exponent = self._floating()._both(x, "pow")
            return base._general_pow(exponent)
        base = self._floating() if isinstance(x, float) else self
        power = base._repeated(int(abs(x)))
        if x < 0:
            return power.reciprocal()
        return power

    def _repeated(self, count: int) -> Self:
        if count == 0:
            ones = graph.full(self.shape, 1, self.dtype)
            return self.of_uop(ones)
        if count == 1:
            return self
        half = self._repeated(count // 2)
        square = half * half
        if count % 2:
            return square * self
        return square

    def _general_pow(self, exponent: Self) -> Self:
        """exp(y log |x|), with sign, zeros and NaN as in IEEE 754 9.2.1."""
        is_zero = self.eq(0)
        size = is_zero.where(1.0, self.abs())
        product = exponent * size.log()
        is_neutral = size.eq(1) | exponent.eq(0)
        is_one = is_neutral & product.isnan()
        power = is_one.where(1.0, product.exp())
        unbounded = (exponent < 0).where(inf, 0.0)
        otherwise = exponent.isnan().where(exponent, unbounded)
        at_zero = exponent.eq(0).where(1.0, otherwise)
        half = exponent * 0.5
        is_whole = exponent.trunc().eq(exponent)
        is_odd = is_whole & half.trunc().ne(half)
        signed = is_odd.where(-power, power)
        is_real = is_whole | size.eq(inf)
        turned = is_real.where(signed, nan)
        elsewhere = (self < 0).where(turned, power)
        return is_zero.where(at_zero.cast(self.dtype), elsewhere)

    # angles

    def sin(self) -> Self:
        """The sine of radians.

        >>> Tensor(0).sin().item()
        0.0
        """
        return self._floating()._unary(Ops.SIN)

    def cos(self) -> Self:
        """The cosine of radians.

        >>> Tensor(0).cos().item()
        1.0
        """
        half = (self._floating() * 0.5).sin()
        return 1.0 - half * half * 2.0

    def tan(self) -> Self:
        """The tangent of radians; of float32 to 1e-7 / |cos x|.

        >>> Tensor(0).tan().item()
        0.0
        """
        return self.sin() / self.cos()

    # hyperbolic functions

    def tanh(self) -> Self:
        """The hyperbolic tangent.

        >>> Tensor(0).tanh().item()
        0.0
        """
        x = self._floating()
        is_negative = x < 0
        size = is_negative.where(-x, x)
        is_small = size < 0.5
        decay = (size * -2.0).exp()
        large = (1.0 - decay) / (1.0 + decay)
        signed = is_negative.where(-large, large)
        near = is_small.where(x, 0.0)._tanh_fraction()
        return is_small.where(near, signed)

    def _tanh_fraction(self) -> Self:
        """x / (1 + x^2/(3 + x^2/(5 + ..))), as one quotient, for |x| <= 1/2.

        Source: Lambert 1761; DLMF 4.39.1. Relative error below 1e-10 after 9 (float32), 1e-18 after
        15.
        """
        square = self * self
        last = 15 if self._is_double() else 9
        above: Self | float = 1.0
        below: Self | float = float(last)
        for odd in range(last - 2, 0, -2):
            whole = below * float(odd)
            above, below = below, square * above + whole
        return self * above / below

    def _is_double(self) -> bool:
        return self.dtype is dtypes.float64

    def expm1(self) -> Self:
        """exp(x) - 1, accurate near 0.

        >>> Tensor(0).expm1().item()
        0.0
        """
        x = self._floating()
        is_positive = x > 0
        below = is_positive.where(-x, x)._expm1()
        return is_positive.where(-below * x.exp(), below)

    def _expm1(self) -> Self:
        """exp(x) - 1 of x <= 0: 2t / (1 - t) with t = tanh(x/2)."""
        half = (self * 0.5).tanh()
        return half * 2.0 / (1.0 - half)

    def log1p(self) -> Self:
        """log(1 + x), accurate near 0.

        >>> Tensor(0).log1p().item()
        0.0
        """
        x = self._floating()
        is_near = (x >= -0.5) & (x <= 1.0)
        near = is_near.where(x, 0.0)._log1p()
        far = (x + 1.0).log()
        return is_near.where(near, far)

    def _log1p(self) -> Self:
        """log(1 + t) of -1/2 <= t <= 1: 2 artanh(t / (2 + t)), a series in s^2 <= 1/9.

        Source: DLMF 4.6.4, z = (1 + s) / (1 - s). Relative error below 2e-9 after 8 terms
        (float32), 2e-17 after 16.
        """
        s = self / (self + 2.0)
        square = s * s
        terms = 16 if self._is_double() else 8
        odds = range(1, 2 * terms, 2)
        coefficients = [1 / odd for odd in odds]
        return square._polynomial(coefficients) * s * 2.0

    def sinh(self) -> Self:
        """The hyperbolic sine.

        >>> Tensor(0).sinh().item()
        0.0
        """
        t = (self._floating() * 0.5).tanh()
        is_small = self.abs() < 1.0
        near = is_small.where(t, 0.0)
        small = near * 2.0 / (1.0 - near * near)
        mirrored = (-self).exp()
        difference = self.exp() - mirrored
        large = difference * 0.5
        return is_small.where(small, large)

    def cosh(self) -> Self:
        """The hyperbolic cosine.

        >>> Tensor(0).cosh().item()
        1.0
        """
        mirrored = (-self).exp()
        total = self.exp() + mirrored
        return total * 0.5

    def erf(self) -> Self:
        """The error function, to 2e-7.

        Source: Abramowitz and Stegun 7.1.26 for |x| >= 1/2; below, 7.1.5.

        >>> Tensor(0).erf().item()
        0.0
        """
        x = self._floating()
        is_negative = x < 0
        size = is_negative.where(-x, x)
        is_small = size < 0.5
        t = (size * 0.3275911 + 1.0).reciprocal()
        series = t._polynomial(_ERF_TAIL) * t
        tail = (-(size * size)).exp()
        large = 1.0 - series * tail
        signed = is_negative.where(-large, large)
        near = is_small.where(x, 0.0)
        square = near * near
        small = square._polynomial(_ERF_SERIES) * near
        return is_small.where(small, signed)

    def _polynomial(self, coefficients: Sequence[float]) -> Self:
        total: Self | float = coefficients[-1]
        for coefficient in reversed(coefficients[:-1]):
            total = self * total + coefficient
        assert not isinstance(total, float), "a polynomial of two coefficients or more"
        return total

    # rounding

    def ceil(self) -> Self:
        """Rounded up.

        >>> Tensor(-1.5).ceil().item()
        -1.0
        """
        if not self.dtype.is_float:
            return self
        whole = self.trunc()
        is_below = self > whole
        return is_below.where(whole + 1, whole)

    def round(self) -> Self:
        """Rounded to the nearest whole number, halves to even.

        >>> Tensor(1.5).round().item()
        2.0
        """
        if not self.dtype.is_float:
            return self
        below = self.floor()
        rest = self - below
        half = below * 0.5
        is_odd = half.floor().ne(half)
        is_tie = rest.eq(0.5)
        up = (rest > 0.5) | (is_tie & is_odd)
        return up.where(below + 1, below)

    # two arguments

    @spelled
    def logaddexp(self, other: Operand) -> Self:
        """log(exp(self) + exp(other)), without overflow.

        >>> Tensor(0).logaddexp(-1000).item()
        0.0
        """
        x, y = self._floating()._both(other, "logaddexp")
        high = x.maximum(y)
        gap = x.minimum(y) - high
        total = high + gap.exp()._log1p()
        # equal infinities have no distance
        return high.isinf().where(high, total)

    def __pow__(self, x: Operand) -> Self:
        return self.pow(x)

    def __rpow__(self, x: Scalar) -> Self:
        return self.pow(x, True)

    # activations

    def relu(self) -> Self:
        """x where it is positive, else 0.

        >>> Tensor(-1).relu().item()
        0
        """
        return (self <= 0).where(0, self)

    @spelled
    def leaky_relu(self, neg_slope: float = 0.01) -> Self:
        """x where it is positive, else neg_slope * x.

        >>> Tensor(-1.0).leaky_relu(0.5).item()
        -0.5
        """
        return (self <= 0).where(self * neg_slope, self)

    def relu6(self) -> Self:
        """x limited to 0 .. 6.

        >>> Tensor(7).relu6().item()
        6
        """
        return self.hardtanh(0, 6)

    @spelled
    def hardtanh(self, min_val: float = -1, max_val: float = 1) -> Self:
        """x limited to min_val .. max_val; no gradient at the limits.

        >>> Tensor(-3.0).hardtanh().item()
        -1.0
        """
        is_below = self <= min_val
        is_above = self >= max_val
        raised = is_below.where(min_val, self)
        return is_above.where(max_val, raised)

    def sigmoid(self) -> Self:
        """1 / (1 + exp(-x)), without overflow.

        >>> Tensor(0).sigmoid().item()
        0.5
        """
        x = self._floating()
        is_negative = x < 0
        decay = is_negative.where(x, -x).exp()
        upper = (1.0 + decay).reciprocal()
        return is_negative.where(decay * upper, upper)

    @spelled
    def softplus(self, beta: float = 1.0) -> Self:
        """log(1 + exp(beta * x)) / beta, a smooth relu.

        >>> Tensor(1000).softplus().item()
        1000.0
        """
        x = self._floating() * beta
        is_negative = x < 0
        decay = is_negative.where(x, -x).exp()
        total = is_negative.where(0.0, x) + decay._log1p()
        return total * (1 / beta)

    def logsigmoid(self) -> Self:
        """log(sigmoid(x)).

        >>> Tensor(-1000).logsigmoid().item()
        -1000.0
        """
        return -(-self).softplus()

    def softsign(self) -> Self:
        """x / (1 + |x|).

        >>> Tensor(1).softsign().item()
        0.5
        """
        return self / (1 + self.abs())

    def silu(self) -> Self:
        """x * sigmoid(x).

        >>> Tensor(0).silu().item()
        0.0
        """
        return self * self.sigmoid()

    swish = silu

    @spelled
    def gelu(self, approximate: str = "tanh") -> Self:
        """x times the normal distribution function of x; "tanh" approximates, "none" does not.

        Raises: ArgumentError for another word.
        Source: Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2; (1 + tanh z)/2 is
        sigmoid(2z).

        >>> Tensor(0).gelu().item()
        0.0
        """
        choice("gelu", "approximate", approximate, ("tanh", "none"))
        x = self._floating()
        if approximate == "none":
            scaled = x * math.sqrt(0.5)
            twice = scaled.erf() + 1.0
            return x * twice * 0.5
        cubic = x * (x * x * 0.044715 + 1.0)
        inner = cubic * math.sqrt(8 / pi)
        return x * inner.sigmoid()

    def quick_gelu(self) -> Self:
        """x * sigmoid(1.702 x), a rough gelu. Source: as gelu.

        >>> Tensor(0).quick_gelu().item()
        0.0
        """
        return self * (self * 1.702).sigmoid()

    def mish(self) -> Self:
        """x * tanh(softplus(x)).

        >>> Tensor(0).mish().item()
        0.0
        """
        return self * self.softplus().tanh()

    @spelled
    def elu(self, alpha: float = 1.0) -> Self:
        """x where it is positive, else alpha * (exp(x) - 1).

        >>> Tensor(2).elu().item()
        2.0
        """
        x = self._floating()
        is_positive = x > 0
        below = is_positive.where(0.0, x)._expm1()
        return is_positive.where(x, below * alpha)

    @spelled
    def celu(self, alpha: float = 1.0) -> Self:
        """x where it is positive, else alpha * (exp(x / alpha) - 1).

        >>> Tensor(2).celu().item()
        2.0
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

        >>> Tensor(0).selu().item()
        0.0
        """
        return self.elu(alpha) * gamma

    @spelled
    def hardsigmoid(self, alpha: float = 1 / 6, beta: float = 0.5) -> Self:
        """alpha * x + beta, limited to 0 .. 1.

        >>> Tensor(0).hardsigmoid().item()
        0.5
        """
        return (self * alpha + beta).hardtanh(0, 1)

    def hardswish(self) -> Self:
        """x * relu6(x + 3) / 6.

        >>> Tensor(6).hardswish().item()
        6.0
        """
        gate = (self + 3).relu6()
        return self * gate * (1 / 6)


def _erf_term(n: int) -> float:
    """2/sqrt(pi) (-1)^n / (n! (2n + 1)): Abramowitz and Stegun 7.1.5."""
    divisor = math.factorial(n) * (2 * n + 1)
    term = _TWO_OVER_SQRT_PI / divisor
    if n % 2:
        return -term
    return term


# Coefficients of t, t^2, .. in Abramowitz and Stegun 7.1.26.
_ERF_TAIL = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_ERF_SERIES = tuple(map(_erf_term, range(9)))
