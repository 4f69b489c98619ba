"""Arithmetic, comparison, bits and choice, element by element.

Comes in: tensors and numbers. Goes out: lazy tensors. Next: functions.py.
"""

from collections.abc import Callable
from math import inf, nan
from typing import Self, TypeVar

from tinycore.dtype import Scalar
from tinycore.errors import DTypeError
from tinycore.tensor.base import (
    Conversion,
    Frame,
    Operand,
    aligned,
    common_dtype,
    nearest,
)
from tinycore.tensor.spelling import choice, spelled
from tinycore.uop import Ops, graph

A = TypeVar("A")
X = TypeVar("X")


def _reflected(method: Callable[[A, X, bool], A]) -> Callable[[A, X], A]:
    def operator(self: A, x: X) -> A:
        return method(self, x, True)

    return operator


class Arithmetic(Conversion):
    """The methods behind the operators."""

    __slots__ = ()

    @spelled
    def add(self, x: Operand, reverse: bool = False) -> Self:
        """self + x.

        >>> (Tensor([1, 2]) + 3).tolist()
        [4, 5]
        """
        return self._combined(Ops.ADD, x, reverse)

    @spelled
    def sub(self, x: Operand, reverse: bool = False) -> Self:
        """self - x, or x - self.

        >>> (Tensor(1) - 3).item()
        -2
        """
        left, right = self._both(x, "sub", reverse)
        negative = right._unary(Ops.NEG)
        return left._combined(Ops.ADD, negative)

    @spelled
    def mul(self, x: Operand, reverse: bool = False) -> Self:
        """self * x.

        >>> (Tensor(2) * 3).item()
        6
        """
        return self._combined(Ops.MUL, x, reverse)

    @spelled
    def div(
        self,
        x: Operand,
        reverse: bool = False,
        rounding_mode: str | None = None,
    ) -> Self:
        """self / x; rounding_mode "trunc" or "floor" keeps integers integer.

        Raises: ArgumentError for another mode.

        >>> (Tensor(3) / 2).item()
        1.5
        """
        choice("div", "rounding_mode", rounding_mode, (None, "trunc", "floor"))
        left, right = self._both(x, "div", reverse)
        if rounding_mode == "floor":
            return left._floor_quotient(right)
        if rounding_mode == "trunc" and left.dtype.is_float:
            divisor = right.abs()
            size = left.abs()._floor_quotient(divisor)
            return size * left.sign() * right.sign()
        if rounding_mode == "trunc":
            return left._combined(Ops.IDIV, right)
        dividend = left._floating()
        inverse = right.reciprocal()
        return dividend._combined(Ops.MUL, inverse)

    def _both(
        self,
        x: Operand,
        operation: str,
        reverse: bool = False,
    ) -> tuple[Self, Self]:
        left, right = self._operands(x, operation, reverse)
        return self.of_uop(left), self.of_uop(right)

    def _floor_quotient(self, x: Self) -> Self:
        if self.dtype.is_float:
            return self._float_quotient(x)[0]
        quotient = self._combined(Ops.IDIV, x)
        rest = self._combined(Ops.MOD, x)
        excess = rest._overshoots(x)
        return quotient - excess.cast(self.dtype)

    def _float_quotient(self, x: Self) -> tuple[Self, Self]:
        """floor(self / x) and the rest; by it a quotient rounded to a whole number is put right."""
        quotient = (self / x).floor()
        rest = self - quotient._times(x)
        is_high = rest._overshoots(x)
        is_low = rest.abs() >= x.abs()
        down = is_high.where(-1.0, 0.0)
        change = is_low.where(1.0, down)
        step = change.cast(self.dtype)
        return quotient + step, rest - step._times(x)

    def _times(self, x: Self) -> Self:
        """self * x, but 0 where self is 0 and x infinite."""
        product = self * x
        return self.eq(0).where(0, product)

    def _overshoots(self, divisor: Self) -> Self:
        """Where a remainder has the wrong sign for rounding down."""
        differs = (self < 0) ^ (divisor < 0)
        return self.ne(0) & differs

    @spelled
    def mod(self, x: Operand, reverse: bool = False) -> Self:
        """The remainder with the sign of the divisor, as Python's %.

        >>> (Tensor(-3) % 2).item()
        1
        """
        left, right = self._both(x, "mod", reverse)
        if left.dtype.is_float:
            return left._float_quotient(right)[1]
        rest = left._combined(Ops.MOD, right)
        is_beyond = rest._overshoots(right)
        correction = is_beyond.where(right, 0)
        return rest + correction

    @spelled
    def fmod(self, x: Operand) -> Self:
        """The remainder with the sign of the dividend, as C's fmod.

        >>> Tensor(-3).fmod(2).item()
        -1
        """
        left, right = self._both(x, "fmod")
        if not left.dtype.is_float:
            return left._combined(Ops.MOD, right)
        divisor = right.abs()
        _, rest = left.abs()._float_quotient(divisor)
        return rest * left.sign()

    def neg(self) -> Self:
        """-self.

        >>> (-Tensor(1)).item()
        -1
        """
        if self.dtype.kind == "b":
            return self.logical_not()
        return self._unary(Ops.NEG)

    def abs(self) -> Self:
        """The distance from zero.

        >>> abs(Tensor(-3)).item()
        3
        """
        if self.dtype.kind not in "if":
            return self
        # a maximum of 0.0 and -0.0 may be either
        larger = self.maximum(-self)
        return self.eq(0).where(0, larger)

    def sign(self) -> Self:
        """-1, 0 or 1; NaN stays.

        >>> Tensor(-3).sign().item()
        -1
        """
        above = (self > 0).cast(self.dtype)
        below = (self < 0).cast(self.dtype)
        signs = above - below
        if not self.dtype.is_float:
            return signs
        return self.isnan().where(self, signs)

    def floor(self) -> Self:
        """Rounded down.

        >>> Tensor(-1.5).floor().item()
        -2.0
        """
        if not self.dtype.is_float:
            return self
        whole = self.trunc()
        is_above = self < whole
        return is_above.where(whole - 1, whole)

    def trunc(self) -> Self:
        """Rounded toward zero.

        >>> Tensor(-1.5).trunc().item()
        -1.0
        """
        if not self.dtype.is_float:
            return self
        return self._unary(Ops.TRUNC)

    @spelled
    def maximum(self, x: Operand) -> Self:
        """The larger of two, or NaN.

        >>> Tensor(1).maximum(3).item()
        3
        """
        return self._combined(Ops.MAX, x)

    @spelled
    def minimum(self, x: Operand) -> Self:
        """The smaller of two, or NaN.

        >>> Tensor(1).minimum(3).item()
        1
        """
        return self._combined(Ops.MIN, x)

    # comparison

    def lt(self, x: Operand) -> Self:
        """self < x.

        >>> (Tensor(1) < 2).item()
        True
        """
        return self._combined(Ops.LT, x)

    def gt(self, x: Operand) -> Self:
        """self > x.

        >>> (Tensor(1) > 2).item()
        False
        """
        return self._combined(Ops.LT, x, True)

    @spelled
    def eq(self, x: Operand) -> Self:
        """self == x.

        >>> (Tensor(1) == 2).item()
        False
        """
        return self._combined(Ops.EQ, x)

    @spelled
    def ne(self, x: Operand) -> Self:
        """self != x; true for NaN.

        >>> (Tensor(1) != 2).item()
        True
        """
        return self.eq(x).logical_not()

    def isnan(self) -> Self:
        """True for NaN.

        >>> Tensor(float("nan")).isnan().item()
        True
        """
        return self.ne(self)

    @spelled
    def isinf(self, detect_positive: bool = True, detect_negative: bool = True) -> Self:
        """True for infinities of the signs asked for.

        >>> Tensor(float("inf")).isinf().item()
        True
        """
        highest = inf if detect_positive else nan
        lowest = -inf if detect_negative else nan
        return self.eq(highest) | self.eq(lowest)

    def isfinite(self) -> Self:
        """True for neither infinities nor NaN.

        >>> Tensor(1.0).isfinite().item()
        True
        """
        return self.abs() < inf

    @spelled
    def isclose(
        self,
        other: Self,
        rtol: float = 1e-05,
        atol: float = 1e-08,
        equal_nan: bool = False,
    ) -> Self:
        """True where |self - other| <= atol + rtol * |other|; infinities equal themselves.

        >>> Tensor(1.0).isclose(Tensor(1.1)).item()
        False
        """
        distance = (self - other).abs()
        is_near = distance <= other.abs() * rtol + atol
        is_finite = other.isfinite()
        is_close = (is_near & is_finite) | self.eq(other)
        if not equal_nan:
            return is_close
        are_nan = self.isnan() & other.isnan()
        return is_close | are_nan

    # bits and truth

    def logical_not(self) -> Self:
        """True for zeros.

        >>> Tensor(0).logical_not().item()
        True
        """
        return self.bool()._combined(Ops.XOR, True)

    @spelled
    def bitwise_and(self, x: Operand, reverse: bool = False) -> Self:
        """Bits set in both.

        >>> (Tensor(6) & 3).item()
        2
        """
        return self._bits(Ops.AND, x, "bitwise_and", reverse)

    @spelled
    def bitwise_or(self, x: Operand, reverse: bool = False) -> Self:
        """Bits set in either.

        >>> (Tensor(6) | 3).item()
        7
        """
        return self._bits(Ops.OR, x, "bitwise_or", reverse)

    @spelled
    def bitwise_xor(self, x: Operand, reverse: bool = False) -> Self:
        """Bits set in one of the two.

        >>> (Tensor(6) ^ 3).item()
        5
        """
        return self._bits(Ops.XOR, x, "bitwise_xor", reverse)

    def bitwise_not(self) -> Self:
        """Every bit turned around; not, for bools.

        >>> (~Tensor(0)).item()
        -1
        """
        ones = self.dtype.cast(-1)
        return self._bits(Ops.XOR, ones, "bitwise_not")

    @spelled
    def lshift(self, x: Self | int, reverse: bool = False) -> Self:
        """Bits moved up by x.

        >>> (Tensor(1) << 3).item()
        8
        """
        return self._bits(Ops.SHL, x, "lshift", reverse)

    @spelled
    def rshift(self, x: Self | int, reverse: bool = False) -> Self:
        """Bits moved down by x; a signed number keeps its sign.

        >>> (Tensor(8) >> 3).item()
        1
        """
        return self._bits(Ops.SHR, x, "rshift", reverse)

    def _bits(self, op: Ops, x: Operand, operation: str, reverse: bool = False) -> Self:
        left, right = self._both(x, operation, reverse)
        if left.dtype.is_float:
            raise DTypeError(
                f"{operation}: an operand has type {left.dtype!r}; expected integers or bool. "
                "Cast it"
            )
        return left._combined(op, right)

    # choice

    @spelled
    def where(self, x: Operand, y: Operand) -> Self:
        """x where this condition holds, else y.

        >>> Tensor(True).where(1, 2).item()
        1
        """
        condition = self.bool()
        dtype = common_dtype([x, y])
        choices = [self._operand(value, dtype) for value in (x, y)]
        nodes = [graph.cast(node, dtype) for node in choices]
        parts = aligned("where", condition.uop, *nodes)
        node = graph.elementwise(Ops.WHERE, *parts)
        return self.of_uop(node)

    @spelled
    def clip(
        self,
        min_: Operand | None = None,
        max_: Operand | None = None,
    ) -> Self:
        """Limited to `min_` .. `max_`.

        >>> Tensor(5).clip(0, 3).item()
        3
        """
        result = self
        if min_ is not None:
            result = result._limited(min_, Ops.MAX)
        if max_ is not None:
            result = result._limited(max_, Ops.MIN)
        return result

    clamp = clip

    def _limited(self, limit: Operand, op: Ops) -> Self:
        """At a limit that is a number the whole gradient passes, as in PyTorch; between equal
        tensors half."""
        if isinstance(limit, Frame):
            return self._combined(op, limit)
        if isinstance(limit, int):
            limit = nearest(limit, self.dtype)
        compared = self.lt if op is Ops.MAX else self.gt
        return compared(limit).where(limit, self)

    @spelled
    def masked_fill(self, mask: Self, value: Operand) -> Self:
        """`value` where `mask` is true, else self.

        >>> Tensor(1).masked_fill(Tensor(True), 0).item()
        0
        """
        return mask.where(value, self)

    @spelled
    def lerp(self, end: Self, weight: Operand) -> Self:
        """self + (end - self) * weight.

        >>> Tensor(0).lerp(Tensor(2), 0.5).item()
        1.0
        """
        return self + (end - self) * weight

    @spelled
    def copysign(self, other: Operand) -> Self:
        """The size of self with the sign of `other`; -0.0 counts as negative.

        >>> Tensor(1).copysign(-0.0).item()
        -1.0
        """
        size = self._floating().abs()
        size, model = size._both(other, "copysign")
        inverse = model.reciprocal()
        is_minus_zero = model.eq(0) & (inverse < 0)
        is_negative = (model < 0) | is_minus_zero
        return is_negative.where(-size, size)

    def reciprocal(self) -> Self:
        """1 / self.

        >>> Tensor(4).reciprocal().item()
        0.25
        """
        return self._floating()._unary(Ops.RECIP)

    # operators

    __add__ = add
    __sub__ = sub
    __mul__ = mul
    __truediv__ = div
    __mod__ = mod
    __and__ = bitwise_and
    __or__ = bitwise_or
    __xor__ = bitwise_xor
    __lshift__ = lshift
    __rshift__ = rshift
    __lt__ = lt
    __gt__ = gt
    __neg__ = neg
    __abs__ = abs
    __invert__ = bitwise_not
    __radd__ = _reflected(add)
    __rsub__ = _reflected(sub)
    __rmul__ = _reflected(mul)
    __rtruediv__ = _reflected(div)
    __rmod__ = _reflected(mod)
    __rand__ = _reflected(bitwise_and)
    __ror__ = _reflected(bitwise_or)
    __rxor__ = _reflected(bitwise_xor)
    __rlshift__ = _reflected(lshift)
    __rrshift__ = _reflected(rshift)

    def __floordiv__(self, x: Operand) -> Self:
        return self.div(x, rounding_mode="floor")

    def __rfloordiv__(self, x: Scalar) -> Self:
        return self.div(x, True, "floor")

    def __ge__(self, x: Operand) -> Self:
        return self.gt(x) | self.eq(x)

    def __le__(self, x: Operand) -> Self:
        return self.lt(x) | self.eq(x)

    def __eq__(self, x: object) -> Self:  # type: ignore[override]
        return self.eq(x) if _comparable(x) else NotImplemented  # type: ignore[arg-type]

    def __ne__(self, x: object) -> Self:  # type: ignore[override]
        return self.ne(x) if _comparable(x) else NotImplemented  # type: ignore[arg-type]

    __hash__ = object.__hash__
    __array_ufunc__ = None  # numpy leaves operators with a tensor on the right to the tensor


def _comparable(x: object) -> bool:
    """Python compares others, such as None, by identity."""
    return x is not None and not isinstance(x, str)
