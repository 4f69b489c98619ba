"""Gives every scalar op a form that the target has.

In: a kernel tree that reduces in no lanes. Out: the same tree; a float that is only stored is
computed in its wider type and rounded after every op; exp, log and sin are polynomials. Sums are
Taylor's; reductions follow Cody and Waite, Software Manual for the Elementary Functions, 1980.
Next file: expand.py.
Legend: a narrow float is sign, exponent field, mantissa; float32 has 23 mantissa bits, bias 127.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from tinycore.dtype import COMPUTE, NARROW, DType, dtypes, to_dtype
from tinycore.runtime.contract import Caps, Unsupported
from tinycore.uop.lowered import fused
from tinycore.uop.ops import BINARY, UNARY, Ops, UOp, alu, const
from tinycore.uop.tree import Kernel
from tinycore.uop.upat import PatternMatcher, UPat, rule, sweep


def decompose(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` in ops that the target has. Raises: Unsupported if there is no way."""
    return kernel._replace(body=sweep(kernel.body, RULES, caps, "decompose"))


@rule(UPat(UNARY | BINARY))
def compute(node: UOp, ctx: Caps) -> UOp | None:
    """An op in a type that the target computes; what stands for one computes in a wide type.

    Caps that name no ops allow all.
    """
    op, dtype = node.op, node.src[-1].dtype
    means = ALWAYS.get(op)
    if not means and ctx.ops and op.name not in ctx.ops:
        means = DECOMPOSITIONS.get(op)
        if not means:
            what = f"{op.name} on {dtype!r}"
            raise Unsupported(f"lower: the target has no {what}, nor is there a way")
    is_native = dtype.name in ctx.dtypes and not means
    wide = dtype if is_native else COMPUTE.get(dtype, dtype)
    if wide is dtype:
        return means(*node.src) if means else None
    src = [_converted(source, wide, ctx) for source in node.src]
    found = means(*src) if means else alu(op, *src)
    return _converted(found, node.dtype, ctx)


@rule(UPat(Ops.CAST))
def cast(node: UOp, ctx: Caps) -> UOp:
    """A conversion that the target has, or its arithmetic."""
    return _converted(node.source, node.dtype, ctx)


def _converted(x: UOp, dtype: DType, ctx: Caps) -> UOp:
    if x.dtype is dtype:
        return x
    if x.dtype in COMPUTE:
        single = widen(x) if x.dtype.name in ctx.emulated else x.cast(dtypes.float32)
        if x.is_const:
            single = const(x.dtype.constant(x.arg), dtypes.float32)
        return _converted(single, dtype, ctx)
    if dtype not in COMPUTE:
        return x.cast(dtype)
    if x.dtype.itemsize >= 4 and x.dtype is not dtypes.float32:
        x = to_odd(x.cast(dtypes.float64))
    single = x.cast(dtypes.float32)
    return narrow(single, dtype) if dtype.name in ctx.emulated else single.cast(dtype)


# Decompositions


def either(a: UOp, b: UOp, is_b: UOp) -> UOp:
    """b where `is_b`, else a; NaN if either is."""
    found = is_b.where(b, a)
    if b.is_const or not a.is_float:
        return found
    return b.eq(b).where(found, b)


def quotient(a: UOp, b: UOp) -> UOp:
    """a / b rounded toward zero; 0 where b is 0, and no trap where b is -1: there, a * b is it."""
    if a.is_float:
        return _float_quotient(a, b)
    if b.is_const and b.arg not in (0, -1):
        return a // b
    trap = b.eq(0)
    if a.dtype.kind == "i":
        trap |= b.eq(-1)
    return trap.where(a * b, a // trap.where(1, b))


def remainder(a: UOp, b: UOp) -> UOp:
    """a - quotient * b: the sign of a; a where b is 0."""
    if a.dtype.kind == "b":
        return b.where(False, a)
    return a - quotient(a, b) * b


def _float_quotient(a: UOp, b: UOp) -> UOp:
    """The estimate by a reciprocal is off by one at most; what is left of the size tells, and is
    NaN where b is infinite."""
    size, divisor = absolute(a), absolute(b)
    estimate = alu(Ops.TRUNC, size / divisor)
    left = size - estimate * divisor
    found = ((divisor < left) | divisor.eq(left)).where(estimate + 1.0, estimate)
    found = (left < 0.0).where(estimate - 1.0, found)
    signed = ((a < 0.0) ^ (b < 0.0)).where(-found, found)
    return b.eq(0.0).where(0.0, signed)


def shift(op: Ops, a: UOp, b: UOp) -> UOp:
    """a moved by b bits; only copies of the sign are left if b is outside 0 .. width."""
    widest = a.dtype.bits - 1
    if b.is_const and 0 <= b.arg <= widest:
        return alu(op, a, b.cast(a.dtype))
    is_far = b.const_like(widest) < b
    if b.dtype.kind == "i":
        is_far |= b < 0
    near = is_far.where(widest, b)
    moved = alu(op, a, near.cast(a.dtype))
    if op is Ops.SHR and a.dtype.kind == "i":
        return moved
    return is_far.where(0, moved)


# Functions of floats


class Format(NamedTuple):
    """What the functions need to know of a float type.

    `exp_coefficients` begin at x**2, `ln2` is a sum, `root_half` the bits of sqrt(1/2).
    """

    mantissa: int
    bias: int
    exp_range: tuple[float, float]
    exp_coefficients: Sequence[float]
    ln2: tuple[float, float]
    log_terms: int
    root_half: int


_SINGLE_EXP = (0.499999934, 0.166665204, 0.0416683908, 0.00836874512, 0.00138145405)
"""Fitted by Remez exchange on the reduced interval, relative error, weight 1."""

_SINGLE_LN2 = (0.693115234375, 3.1946184945309415e-05)
_DOUBLE_EXP = [1 / math.factorial(k) for k in range(2, 14)]
_DOUBLE_LN2 = (0.6931471803691238, 1.9082149292705877e-10)
FORMATS = {
    dtypes.float32: Format(23, 127, (-104.0, 89.0), _SINGLE_EXP, _SINGLE_LN2, 4, 0x3F3504F3),
    dtypes.float64: Format(
        52, 1023, (-746.0, 710.0), _DOUBLE_EXP, _DOUBLE_LN2, 9, 0x3FE6A09E667F3BCD
    ),
}

LOG2_E = 1.4426950408889634
PI = (3.141592651605606, 1.9841871583270443e-09, 1.034036596358821e-18)
"""pi as a sum: products of the first two, of 30 bits, with a number of 23 bits are exact."""

_TURN_BITS = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C4
TURN = [(_TURN_BITS >> k) % 2**29 * 2.0 ** (k - 174) for k in range(145, -1, -29)]
"""1 / (2*pi) to 174 bits, in parts of 29: enough for numbers below 2**128."""


def exp(x: UOp) -> UOp:
    """e to the power x: within 1.1 ULP, subnormal results and overflow included.

    x = n*ln2 + r with |r| <= ln2/2; e^r = 1 + r + r^2*q(r). The product with 2^n is made in two
    halves, so that neither leaves the range of normal numbers: n and both biases are in the last
    bits of a rounded number, and moved to where the fields of the exponents are.
    """
    row = FORMATS[x.dtype]
    low, high = row.exp_range
    x = (x < low).where(low, x)
    x = (x.const_like(high) < x).where(high, x)
    rounding = 1.5 * 2.0**row.mantissa + 2 * row.bias
    shifted = fused(x * LOG2_E + rounding)
    whole = shifted - rounding
    both = bits(shifted) << row.mantissa
    half = (both >> 1) & ((2 * row.bias + 1) << row.mantissa)
    r = fused(whole * -row.ln2[0] + x)
    r = fused(whole * -row.ln2[1] + r)
    power = fused(r * r * polynomial(r, row.exp_coefficients) + r) + 1.0
    return power * number(half, x.dtype) * number(both - half, x.dtype)


def log(x: UOp) -> UOp:
    """The natural logarithm: within 1 ULP; log(0) = -inf, of negative numbers NaN.

    x = 2^k * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); with s = f/(2 + f), log(1 + f) is
    2s + s*R(s^2). The order of the sum is that of fdlibm, e_log.c, Sun Microsystems 1993.
    """
    row = FORMATS[x.dtype]
    lift = row.mantissa + 1
    tiny = x < 2.0 ** (1 - row.bias)
    lifted = bits(tiny.where(x * 2.0**lift, x))
    k = (lifted - row.root_half) >> row.mantissa
    f = number(lifted - (k << row.mantissa), x.dtype) - 1.0
    exponent = k.cast(x.dtype) + tiny.where(x.const_like(-lift), 0.0)
    s = f / (f + 2.0)
    z = s * s
    rest = z * polynomial(z, [2 / (2 * k + 3) for k in range(row.log_terms)])
    half_square = f * f * 0.5
    correction = s * (half_square + rest) + exponent * row.ln2[1]
    found = exponent * row.ln2[0] + (f - (half_square - correction))
    found = (x < math.inf).where(found, x)
    found = (x < 0.0).where(math.nan, found)
    return x.eq(0.0).where(-math.inf, found)


def sin(x: UOp) -> UOp:
    """The sine: of every float32 within 1 ULP, and of float64 within 3 ULP for |x| <= 2**27.

    x = n*pi + r with |r| <= pi/2; sin(x) = (-1)^n * (r + r^3*P(r^2)) by Taylor's sum. In float64, r
    loses bits as |x| grows: the error is 2**-30 at 2**50, and from 2**51 on the result is NaN.
    """
    is_single = x.dtype is dtypes.float32
    rounding = 1.5 * 2.0**52
    if is_single:
        half_turns = _turns(x.cast(dtypes.float64)) * 2.0
        shifted = half_turns + rounding
        r = (half_turns - (shifted - rounding)) * math.pi
    else:
        shifted = fused(x * (1 / math.pi) + rounding)
        r = x
        for part in PI:
            r = fused((shifted - rounding) * -part + r)
    z = r * r
    terms = range(1, 8 if is_single else 11)
    tail = polynomial(z, [(-1) ** k / math.factorial(2 * k + 1) for k in terms])
    found = bits(fused(r * z * tail + r)) ^ (bits(shifted) << 63)
    found = number(found, dtypes.float64).cast(x.dtype)
    if is_single:
        return x.eq(0.0).where(x, found)
    return (absolute(x) < 2.0**51).where(found, math.nan)


def _turns(x: UOp) -> UOp:
    """x / (2*pi) less whole numbers, exactly: so are the products of 24 bits and each part.

    Source: Payne and Hanek, SIGNUM Newsletter 18(1), 1983.
    """
    turns = x.const_like(0.0)
    for part in TURN:
        product = x * part
        turns = turns + (product - alu(Ops.TRUNC, product))
    return turns


def polynomial(x: UOp, coefficients: Sequence[float]) -> UOp:
    """The sum of coefficients[k] * x**k, by Horner's rule."""
    total = x.const_like(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = fused(total * x + coefficient)
    return total


def bits(x: UOp) -> UOp:
    """The bits of a float as a signed integer."""
    return number(x, to_dtype(f"int{x.dtype.bits}"))


def number(x: UOp, dtype: DType) -> UOp:
    """The number of type `dtype` with the bits of `x`."""
    return UOp(Ops.BITCAST, dtype, (x,))


def absolute(x: UOp) -> UOp:
    """The size of a float."""
    return (x < 0.0).where(-x, x)


# Conversions

_SIGN, _SIZE, _INFINITY = 0x80000000, 0x7FFFFFFF, 0x7F800000


def widen(x: UOp) -> UOp:
    """A narrow float as float32, exactly, by integer arithmetic."""
    row, width = NARROW[x.dtype], x.dtype.bits
    stored = number(x, to_dtype(f"uint{width}")).cast(dtypes.uint32)
    if x.dtype is dtypes.bfloat16:
        return number(stored << 16, dtypes.float32)
    half = 1 << (width - 1)
    size = stored & (half - 1)
    # The field read as float32's is too small by a power of two; the product repairs it,
    # and normalises subnormal numbers.
    shifted = size << (23 - row.mantissa)
    found = number(shifted, dtypes.float32) * 2.0 ** (126 + row.exponent)
    first_nan = row.beyond + (row.beyond < row.nan)
    found = (size < row.beyond).where(found, math.inf)
    found = (size < first_nan).where(found, math.nan)
    sign = (stored & half) << (32 - width)
    signed = number(found, dtypes.uint32) | sign
    return number(signed, dtypes.float32)


def narrow(x: UOp, dtype: DType) -> UOp:
    """A float32 rounded to a narrow type, ties to even, by integer arithmetic."""
    row = NARROW[dtype]
    whole = number(x, dtypes.uint32)
    size = whole & _SIZE
    # Round the mantissa to fewer bits; a carry moves on into the exponent.
    drop = 23 - row.mantissa
    odd = (size >> drop) & 1
    half = (1 << (drop - 1)) - 1
    bias = (row.exponent + 126) << row.mantissa
    found = ((size + odd + half) >> drop) - bias
    if row.exponent > -126:
        # Adding a power of two leaves as last bit what is the last bit of a subnormal number.
        exponent = row.exponent + drop
        shifted = number(size, dtypes.float32) + 2.0**exponent
        subnormal = number(shifted, dtypes.uint32) - ((127 + exponent) << 23)
        least = (row.exponent + 127) << 23
        found = (size < least).where(subnormal, found)
    found = (found < row.beyond).where(found, row.beyond)
    found = (size < _INFINITY + 1).where(found, row.nan)
    sign = (whole & _SIGN) >> (32 - dtype.bits)
    stored = (found | sign).cast(to_dtype(f"uint{dtype.bits}"))
    return number(stored, dtype)


def to_odd(x: UOp) -> UOp:
    """A float64 as float32 such that rounding once more is rounding once.

    What is inexact is rounded to the neighbour with an odd last bit. Source: Boldo and Melquiond,
    Emulation of a FMA and Correctly Rounded Sums, IEEE Transactions on Computers 57, 2008.
    """
    nearest = x.cast(dtypes.float32)
    back = nearest.cast(dtypes.float64)
    whole = bits(nearest)
    toward_zero = (absolute(x) < absolute(back)).where(whole - 1, whole)
    odd = number(toward_zero | 1, dtypes.float32)
    return back.eq(x).where(nearest, odd)


# Tables

ALWAYS: dict[Ops, Callable[..., UOp]] = {
    Ops.IDIV: quotient,
    Ops.MOD: remainder,
    Ops.TRUNC: lambda a: alu(Ops.TRUNC, a) if a.is_float else a,
    Ops.SHL: partial(shift, Ops.SHL),
    Ops.SHR: partial(shift, Ops.SHR),
}
"""Ops that lowered programs define more narrowly than the tree does."""

DECOMPOSITIONS: dict[Ops, Callable[..., UOp]] = {
    Ops.EXP: exp,
    Ops.LOG: log,
    Ops.SIN: sin,
    Ops.FIN: lambda a: a.eq(-math.inf).where(0.0, a) if a.is_float else a,
    Ops.MAX: lambda a, b: either(a, b, a < b),
    Ops.MIN: lambda a, b: either(a, b, b < a),
}
"""Ops in terms of others, for targets that do not have them."""

RULES = PatternMatcher([compute, cast])
