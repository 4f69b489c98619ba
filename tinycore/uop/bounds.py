"""Inclusive bounds of scalar values: one rule an op, computed once a node.

Comes in: a node. Goes out: the least and greatest number it can be, in every lane and element, and
whether it may be NaN. The rules of the simplifier fold comparisons and extremes by them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from tinycore.dtype import DType
from tinycore.uop.affine import NEVER
from tinycore.uop.fold import FORMATS, number
from tinycore.uop.index import as_index
from tinycore.uop.ops import MOVEMENT, Ops, UOp


class Bounds(NamedTuple):
    """lo <= value <= hi wherever the value is not NaN, which it is only if `nan`."""

    lo: Any
    hi: Any
    nan: bool = False

    @property
    def known(self) -> bool:
        """True if only one value is possible."""
        return bool(self.lo == self.hi) and not self.nan

    @property
    def infinite(self) -> bool:
        """True if the value may be infinite."""
        return math.isinf(self.lo) or math.isinf(self.hi)


ANY = Bounds(-math.inf, math.inf, True)
_MEMO: WeakKeyDictionary[UOp, Bounds] = WeakKeyDictionary()


def bounds(node: UOp) -> Bounds:
    """The bounds of a scalar, index or graph node; those of its type where no more is known."""
    found = _MEMO.get(node)
    if found is not None:
        return found
    stack = [node]
    while stack:
        inner = stack[-1]
        waiting = [source for source in _read(inner) if source not in _MEMO]
        if waiting:
            stack += waiting
            continue
        _MEMO[stack.pop()] = _compute(inner)
    return _MEMO[node]


def of_type(dtype: DType) -> Bounds:
    """All values of a type."""
    return Bounds(dtype.min, dtype.max, dtype.is_float)


def _read(node: UOp) -> tuple[UOp, ...]:
    """The sources that the rule of `node` looks at."""
    if node.op is Ops.REDUCE and node.arg.combine not in ("max", "min"):
        return ()
    known = node.op in OF_NODE or node.op in _of_values(node)
    return node.src if known else ()


def _of_values(node: UOp) -> dict[Ops, Rule]:
    return FLOATS if node.dtype.is_float else INTEGERS


def _compute(node: UOp) -> Bounds:
    parts = [_MEMO[source] for source in _read(node)]
    if node.op in OF_NODE:
        found = OF_NODE[node.op](node, *parts)
    else:
        rule = _of_values(node).get(node.op)
        found = ANY if rule is None else rule(*parts)
    whole = of_type(node.dtype)
    # what leaves an integer type wraps, and may then be anything
    fits = whole.lo <= found.lo and found.hi <= whole.hi
    return found if fits else whole


# Rules of the node: its argument or type matters


def _const(node: UOp) -> Bounds:
    value = number(node.arg, node.dtype)
    return Bounds(value, value) if value == value else ANY


def _variable(node: UOp) -> Bounds:
    _, lo, hi = node.arg
    return Bounds(lo, hi)


def _index(node: UOp) -> Bounds:
    return Bounds(node.arg.lo, node.arg.hi)


def _iota(node: UOp) -> Bounds:
    return Bounds(0, as_index(node.arg).hi - 1)


def _mask(node: UOp) -> Bounds:
    return Bounds(not node.arg, node.arg != NEVER)


def _pad(node: UOp, a: Bounds) -> Bounds:
    fill = node.arg.fill
    return _union(a, Bounds(fill, fill) if fill == fill else ANY)


def _reduce(node: UOp, a: Bounds = ANY) -> Bounds:
    return a


def _cast(node: UOp, a: Bounds) -> Bounds:
    if node.dtype.is_float:
        return _to_float(node.dtype, a)
    if node.dtype.kind == "b":
        always = a.lo > 0 or a.hi < 0
        never = a.lo == a.hi == 0
        return Bounds(always, not never or a.nan)
    if a.nan or a.infinite:
        return ANY
    return Bounds(int(a.lo), int(a.hi))


def _to_float(dtype: DType, a: Bounds) -> Bounds:
    """Numbers that the type holds stay; of others, which may round either way, the sign does."""
    lo, hi = a.lo, a.hi
    if number(lo, dtype) != lo:
        lo = -math.inf if lo < 0 else 0
    if number(hi, dtype) != hi:
        hi = math.inf if hi > 0 else 0
    return Bounds(lo, hi, a.nan)


def _fin(node: UOp, a: Bounds) -> Bounds:
    if a.lo > -math.inf:
        return a
    least = -FORMATS[node.dtype.name].greatest
    return Bounds(least, max(a.hi, 0), a.nan)


# Rules of the values, for any type


def _same(a: Bounds) -> Bounds:
    return a


def _or_zero(a: Bounds, *others: Bounds) -> Bounds:
    return _union(a, Bounds(0, 0))


def _union(*parts: Bounds) -> Bounds:
    lo = min([part.lo for part in parts])
    hi = max([part.hi for part in parts])
    return Bounds(lo, hi, any(part.nan for part in parts))


def _where(mask: Bounds, a: Bounds, b: Bounds) -> Bounds:
    if mask.known:
        return a if mask.lo else b
    return _union(a, b)


def _neg(a: Bounds) -> Bounds:
    return Bounds(-a.hi, -a.lo, a.nan)


def _max(a: Bounds, b: Bounds) -> Bounds:
    lo, hi = max(a.lo, b.lo), max(a.hi, b.hi)
    return Bounds(lo, hi, a.nan or b.nan)


def _min(a: Bounds, b: Bounds) -> Bounds:
    lo, hi = min(a.lo, b.lo), min(a.hi, b.hi)
    return Bounds(lo, hi, a.nan or b.nan)


# Integers: exact, in Python's own


def _corners(a: Bounds, b: Bounds, combine: Callable[[Any, Any], Any]) -> Bounds:
    pairs = product((a.lo, a.hi), (b.lo, b.hi))
    values = [combine(x, y) for x, y in pairs]
    return Bounds(min(values), max(values))


def _lt(a: Bounds, b: Bounds) -> Bounds:
    always = a.hi < b.lo and not (a.nan or b.nan)
    return Bounds(always, a.lo < b.hi)


def _eq(a: Bounds, b: Bounds) -> Bounds:
    always = a.known and b.known and a.lo == b.lo
    return Bounds(always, a.lo <= b.hi and b.lo <= a.hi)


def _add(a: Bounds, b: Bounds) -> Bounds:
    return Bounds(a.lo + b.lo, a.hi + b.hi)


def _mul(a: Bounds, b: Bounds) -> Bounds:
    return _corners(a, b, operator.mul)


def _idiv(a: Bounds, b: Bounds) -> Bounds:
    if b.lo <= 0 <= b.hi:
        most = max(abs(a.lo), abs(a.hi))
        return Bounds(-most if a.lo < 0 or b.lo < 0 else 0, most)
    return _corners(a, b, _truncated)


def _truncated(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _mod(a: Bounds, b: Bounds) -> Bounds:
    """The sign of the dividend and less than the divisor; x mod 0 is x."""
    most = max(abs(b.lo), abs(b.hi)) - 1
    if b.lo <= 0 <= b.hi:
        most = max(most, abs(a.lo), abs(a.hi))
    lo, hi = min(a.lo, 0), max(a.hi, 0)
    return Bounds(max(lo, -most), min(hi, most))


def _and(a: Bounds, b: Bounds) -> Bounds:
    if a.known and b.known:
        return _corners(a, b, operator.and_)
    ceilings = [part.hi for part in (a, b) if part.lo >= 0]
    return Bounds(0, min(ceilings)) if ceilings else ANY


def _or(a: Bounds, b: Bounds) -> Bounds:
    if a.lo < 0 or b.lo < 0:
        return ANY
    return Bounds(max(a.lo, b.lo), _all_ones(a, b))


def _xor(a: Bounds, b: Bounds) -> Bounds:
    if a.known and b.known:
        return _corners(a, b, operator.xor)
    if a.lo < 0 or b.lo < 0:
        return ANY
    return Bounds(0, _all_ones(a, b))


def _all_ones(a: Bounds, b: Bounds) -> int:
    greatest = int(max(a.hi, b.hi))
    return (1 << greatest.bit_length()) - 1


def _shl(a: Bounds, b: Bounds) -> Bounds:
    return _corners(a, b, operator.lshift) if _can_shift(b) else ANY


def _shr(a: Bounds, b: Bounds) -> Bounds:
    return _corners(a, b, operator.rshift) if _can_shift(b) else ANY


def _can_shift(b: Bounds) -> bool:
    return bool(b.lo >= 0 and b.hi < 64)


# Floating point: signs, which no rounding moves


def _float_add(a: Bounds, b: Bounds) -> Bounds:
    lo = 0 if a.lo >= 0 and b.lo >= 0 else -math.inf
    hi = 0 if a.hi <= 0 and b.hi <= 0 else math.inf
    opposed = math.inf in (a.hi, b.hi) and -math.inf in (a.lo, b.lo)  # inf - inf is NaN
    return Bounds(lo, hi, a.nan or b.nan or opposed)


def _float_mul(a: Bounds, b: Bounds) -> Bounds:
    signs = _corners(_signs(a), _signs(b), operator.mul)
    lo = 0 if signs.lo >= 0 else -math.inf
    hi = 0 if signs.hi <= 0 else math.inf
    wild = a.infinite or b.infinite  # 0 * inf is NaN
    return Bounds(lo, hi, a.nan or b.nan or wild)


def _signs(a: Bounds) -> Bounds:
    return Bounds(_sign(a.lo), _sign(a.hi))


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _exp(a: Bounds) -> Bounds:
    return Bounds(0, math.inf, a.nan)


def _sqrt(a: Bounds) -> Bounds:
    return Bounds(0, math.inf, a.nan or a.lo < 0)


def _recip(a: Bounds) -> Bounds:
    """1/x: zero has a sign, so that only away from it the sign of x is known."""
    lo = 0 if a.lo > 0 else -math.inf
    hi = 0 if a.hi < 0 else math.inf
    return Bounds(lo, hi, a.nan)


def _sin(a: Bounds) -> Bounds:
    return Bounds(-1, 1, a.nan or a.infinite)


def _log(a: Bounds) -> Bounds:
    return ANY if a.nan or a.lo < 0 else Bounds(-math.inf, math.inf)


def _trunc(a: Bounds) -> Bounds:
    if a.infinite:
        return a
    return Bounds(math.trunc(a.lo), math.trunc(a.hi), a.nan)


Rule = Callable[..., Bounds]
_EACH: dict[Ops, Rule] = {
    **dict.fromkeys(MOVEMENT, _same),
    Ops.SKEW: _or_zero,
    Ops.GATHER: _or_zero,
    Ops.DETACH: _same,
    Ops.CONTIGUOUS: _same,
    Ops.LET: _same,
    Ops.SHUFFLE: _union,
    Ops.WHERE: _where,
    Ops.NEG: _neg,
    Ops.MAX: _max,
    Ops.MIN: _min,
}
OF_NODE: dict[Ops, Rule] = {
    Ops.CONST: _const,
    Ops.VARIABLE: _variable,
    Ops.INDEX: _index,
    Ops.MASK: _mask,
    Ops.IOTA: _iota,
    Ops.PAD: _pad,
    Ops.REDUCE: _reduce,
    Ops.CAST: _cast,
    Ops.FIN: _fin,
}
INTEGERS: dict[Ops, Rule] = {
    **_EACH,
    Ops.LT: _lt,
    Ops.EQ: _eq,
    Ops.ADD: _add,
    Ops.MUL: _mul,
    Ops.IDIV: _idiv,
    Ops.MOD: _mod,
    Ops.AND: _and,
    Ops.OR: _or,
    Ops.XOR: _xor,
    Ops.SHL: _shl,
    Ops.SHR: _shr,
}
FLOATS: dict[Ops, Rule] = {
    **_EACH,
    Ops.ADD: _float_add,
    Ops.MUL: _float_mul,
    Ops.EXP: _exp,
    Ops.SQRT: _sqrt,
    Ops.RECIP: _recip,
    Ops.SIN: _sin,
    Ops.LOG: _log,
    Ops.TRUNC: _trunc,
}
"""The rules by op: those that see the node, and those that see the bounds of its sources only, for
integer and for floating-point results."""
