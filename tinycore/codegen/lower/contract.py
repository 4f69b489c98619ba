"""Joins a product and a sum into one rounding, where the target's arithmetic does.

Comes in: a decomposed kernel tree. Goes out: the same with FMA. Runs before lanes exist, so that
a product costs one decision however many lanes it has. Next: tasks.py.
"""

from __future__ import annotations

from tinycore.codegen.lower.decompose import spells
from tinycore.dtype import dtypes
from tinycore.runtime.caps import Caps
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.pattern import Rule, UPat
from tinycore.uop.rewrite import PatternMatcher, sweep
from tinycore.uop.tree import Kernel


def contract(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with a*b + c rounded once, if the device may and can."""
    if not caps.contraction or not spells(caps, Ops.FMA):
        return kernel
    return kernel._replace(body=sweep(kernel.body, RULES, None, "contract"))


def _fused(x: UOp, c: UOp) -> UOp:
    """a*b + c with one rounding."""
    return UOp(Ops.FMA, c.dtype, (*x.src, c))


def _fused_negative(x: UOp, c: UOp) -> UOp:
    """c - a*b with one rounding: a sign is exact."""
    a, b = x.src[0].src
    return UOp(Ops.FMA, c.dtype, (-a, b, c))


_FLOATS = (dtypes.float32, dtypes.float64)
_PRODUCT = UPat(Ops.MUL, name="x")
_NEGATIVE = UPat(Ops.NEG, src=(UPat(Ops.MUL),), name="x")
_ADDED, _SUBTRACTED = [
    UPat(Ops.ADD, _FLOATS, src=[UPat.var("c"), product]) for product in (_PRODUCT, _NEGATIVE)
]
RULES = PatternMatcher(
    [
        Rule("multiply_add", _ADDED, _fused),
        Rule("multiply_subtract", _SUBTRACTED, _fused_negative),
    ]
)
