"""Gives every scalar op a form that the target has.

In: a kernel tree that reduces in no lanes. Out: the same tree; a float that is only stored is
computed in its wider type and rounded after every op. Next file: floats.py.
"""

import math
from collections.abc import Callable
from functools import partial

from tinycore.codegen.lower.floats import absolute, exp, log, narrow, sin, to_odd, widen
from tinycore.dtype import COMPUTE, DType, dtypes
from tinycore.runtime.contract import Caps, Unsupported
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
