"""Scalar ops over indices stay index arithmetic: IOTA + 1 is an index, IOTA < n is a mask.

Comes in: an op and expressions of the kernel level. Goes out: the expression, with causal masks,
one-hot rows and ranges folded to INDEX and MASK. push.py builds every value through here.
"""

from __future__ import annotations

from collections.abc import Callable

from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import Mask, at_least_zero, mask_of
from tinycore.uop.index import Index, as_index, digit, multiply
from tinycore.uop.ops import CASTS, Ops, UOp, alu, cast
from tinycore.uop.tree import both, index_value, mask_value


def scalar(node: UOp, src: tuple[UOp, ...]) -> UOp:
    """The scalar op of graph node `node` over expressions."""
    rule = _RULES.get(node.op)
    found = rule(node.dtype, *src) if rule is not None else None
    if found is not None:
        return found
    if node.op in CASTS:
        return UOp(node.op, node.dtype, src)
    return alu(node.op, *src)


def as_number(value: Index, dtype: DType) -> UOp:
    """An index as a number of `dtype`, also where it does not fit."""
    if _fits(value, dtype):
        return index_value(value, dtype)
    return UOp(Ops.CAST, dtype, (index_value(value, dtypes.int64),))


def index_of(node: UOp) -> Index | None:
    """The index that an integer expression is, if it is one."""
    if node.op is Ops.INDEX:
        return node.arg  # type: ignore[no-any-return]
    if node.op is Ops.CONST and node.dtype.is_int:
        return as_index(node.arg)
    return None


def negation(mask: Mask) -> UOp | None:
    """not mask, where that is a conjunction again."""
    return _holds(-mask[0] - 1) if len(mask) == 1 else None


def choose(mask: Mask, value: UOp, fill: UOp) -> UOp:
    """`value` where the mask holds, else `fill`."""
    condition = mask_value(mask)
    found = _where(value.dtype, condition, value, fill)
    return alu(Ops.WHERE, condition, value, fill) if found is None else found


def _fits(value: Index, dtype: DType) -> bool:
    return dtype.is_int and dtype.min <= value.lo and value.hi <= dtype.max


def _number(value: Index, dtype: DType) -> UOp | None:
    return index_value(value, dtype) if _fits(value, dtype) else None


def _holds(*values: Index) -> UOp:
    return mask_value(mask_of([at_least_zero(value) for value in values]))


def _pair(a: UOp, b: UOp) -> tuple[Index, Index] | None:
    """Both as indices, unless neither is more than a constant."""
    x, y = index_of(a), index_of(b)
    if x is None or y is None or a.op is b.op is Ops.CONST:
        return None
    return x, y


def _add(dtype: DType, a: UOp, b: UOp) -> UOp | None:
    pair = _pair(a, b)
    return None if pair is None else _number(pair[0] + pair[1], dtype)


def _mul(dtype: DType, a: UOp, b: UOp) -> UOp | None:
    pair = _pair(a, b)
    return None if pair is None else _number(multiply(*pair), dtype)


def _neg(dtype: DType, a: UOp) -> UOp | None:
    return _number(-a.arg, dtype) if a.op is Ops.INDEX else None


def _less(dtype: DType, a: UOp, b: UOp) -> UOp | None:
    pair = _pair(a, b)
    return None if pair is None else _holds(pair[1] - pair[0] - 1)


def _equal(dtype: DType, a: UOp, b: UOp) -> UOp | None:
    pair = _pair(a, b)
    if pair is not None:
        return _holds(pair[0] - pair[1], pair[1] - pair[0])
    if a.op is Ops.MASK and b.op is Ops.CONST:
        return a if b.arg else negation(a.arg)
    if b.op is Ops.MASK and a.op is Ops.CONST:
        return b if a.arg else negation(b.arg)
    return None


def _and(dtype: DType, a: UOp, b: UOp) -> UOp | None:
    return mask_value(both(a.arg, b.arg)) if a.op is b.op is Ops.MASK else None


def _xor(dtype: DType, a: UOp, b: UOp) -> UOp | None:
    for mask, other in ((a, b), (b, a)):
        if mask.op is Ops.MASK and other.op is Ops.CONST:
            return negation(mask.arg) if other.arg else mask
    return None


def _quotient(dtype: DType, a: UOp, b: UOp) -> UOp | None:
    return _divided(dtype, a, b, 0)


def _remainder(dtype: DType, a: UOp, b: UOp) -> UOp | None:
    return _divided(dtype, a, b, 1)


def _divided(dtype: DType, a: UOp, b: UOp, part: int) -> UOp | None:
    """Division that rounds toward zero is a digit where nothing is negative."""
    if a.op is not Ops.INDEX or b.op is not Ops.CONST or a.arg.lo < 0 or b.arg <= 0:
        return None
    return index_value(digit(a.arg, 1, b.arg) if part else digit(a.arg, b.arg, 0), dtype)


def _cast(dtype: DType, a: UOp) -> UOp | None:
    if a.op is Ops.INDEX and dtype.is_int:
        return _number(a.arg, dtype)
    return cast(a, dtype) if a.op is Ops.CONST or a.dtype is dtype else None


def _where(dtype: DType, condition: UOp, a: UOp, b: UOp) -> UOp | None:
    """where(c, true, false) = c; where(c, x, false) = c and x."""
    if dtype is not dtypes.bool or b.op is not Ops.CONST:
        return None
    if a.op is Ops.CONST and a.arg != b.arg:
        return condition if a.arg else _not(condition)
    return _and(dtype, condition, a) if not b.arg else None


def _not(condition: UOp) -> UOp | None:
    return negation(condition.arg) if condition.op is Ops.MASK else None


_RULES: dict[Ops, Callable[..., UOp | None]] = {
    Ops.ADD: _add,
    Ops.MUL: _mul,
    Ops.NEG: _neg,
    Ops.LT: _less,
    Ops.EQ: _equal,
    Ops.AND: _and,
    Ops.XOR: _xor,
    Ops.IDIV: _quotient,
    Ops.MOD: _remainder,
    Ops.CAST: _cast,
    Ops.WHERE: _where,
}
