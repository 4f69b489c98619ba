"""Joins a product and a sum into one rounding, where the target's arithmetic does.

Comes in: a decomposed kernel tree. Goes out: the same with FMA. Runs before lanes exist, so that
a product costs one decision however many lanes it has.
"""

from __future__ import annotations

from tinycore.codegen.lower.sweeping import swept
from tinycore.dtype import dtypes
from tinycore.runtime.caps import Caps
from tinycore.uop.matcher import PatternMatcher
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.pattern import Rule, UPat
from tinycore.uop.tree import Kernel

_FLOATS = (dtypes.float32, dtypes.float64)


def contract(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with a*b + c rounded once, if the device may and can."""
    can = not caps.ops or Ops.FMA.name in caps.ops
    return swept(kernel, RULES, None, "contract") if caps.contraction and can else kernel


def _fused(a: UOp, b: UOp, c: UOp) -> UOp:
    return UOp(Ops.FMA, c.dtype, (a, b, c))


def _product_first(x: UOp, c: UOp) -> UOp | None:
    return _fused(x.src[0], x.src[1], c) if x.op is Ops.MUL else None


def _negated_product(x: UOp, c: UOp) -> UOp:
    product = x.src[0]
    return _fused(-product.src[0], product.src[1], c)


_MUL = UPat(Ops.MUL, name="x")
_NEG = UPat(Ops.NEG, src=(UPat(Ops.MUL),), name="x")
_C = UPat.var("c")
RULES = PatternMatcher(
    [
        Rule("multiply_add", UPat(Ops.ADD, _FLOATS, src=(_C, _MUL)), _product_first),
        Rule("multiply_add_left", UPat(Ops.ADD, _FLOATS, src=(_MUL, _C)), _product_first),
        Rule("multiply_subtract", UPat(Ops.ADD, _FLOATS, src=[_C, _NEG]), _negated_product),
    ]
)
