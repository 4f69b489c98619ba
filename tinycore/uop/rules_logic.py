"""Rules for bits, comparisons, extremes and choices.

Comes in: scalar expressions, constants on the right. Goes out: equal ones, bit for bit; a
comparison with NaN is false, and max and min hand NaN on. Next file: rules_index.py.
"""

from __future__ import annotations

from tinycore.dtype import DType, dtypes
from tinycore.uop.bounds import bounds
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.pattern import Result, UPat, of, rule, rules_in

IDEMPOTENT = (Ops.AND, Ops.OR, Ops.MAX, Ops.MIN)
WHOLE = (*dtypes.ints, dtypes.bool)

x, y, m = UPat.var("x"), UPat.var("y"), UPat.var("m")
a, b = UPat.var("a"), UPat.var("b")
c, d = UPat.cvar("c"), UPat.cvar("d")
constant = UPat(Ops.CONST)
flag = UPat.var("x", dtypes.bool)
zero = UPat.const(None, 0)
yes = UPat.const(dtypes.bool, True)
not_x = of(Ops.XOR, x, yes)
not_m = of(Ops.XOR, m, yes)

# Bits and truth


@rule(IDEMPOTENT, x, x)
def with_itself(x: UOp) -> UOp:
    """x & x = x | x = max(x, x) = min(x, x) = x."""
    return x


@rule(Ops.XOR, x, x)
def differs_from_itself(x: UOp) -> UOp:
    """x ^ x = 0."""
    return x.const_like(0)


@rule(Ops.AND, x, c)
def and_constant(x: UOp, c: UOp) -> Result:
    """x & 0 = 0, x & 1...1 = x."""
    if c.arg == 0:
        return c
    return x if c.arg == ones(c.dtype) else None


@rule(Ops.OR, x, c)
def or_constant(x: UOp, c: UOp) -> Result:
    """x | 0 = x, x | 1...1 = 1...1."""
    if c.arg == 0:
        return x
    return c if c.arg == ones(c.dtype) else None


@rule(Ops.XOR, x, zero)
def xor_zero(x: UOp) -> UOp:
    """x ^ 0 = x."""
    return x


@rule(UPat(Ops.AND, src=[x, not_x]))
def and_not(x: UOp) -> UOp:
    """x and not x is false."""
    return x.const_like(False)


@rule(UPat(Ops.OR, src=[x, not_x]))
def or_not(x: UOp) -> UOp:
    """x or not x is true."""
    return x.const_like(True)


def ones(dtype: DType) -> int:
    """All bits set."""
    return int(dtype.scalar.cast(-1))


def negation(x: UOp) -> UOp:
    """Not x, of a bool."""
    return x ^ True


# Comparisons


@rule(Ops.EQ, flag, c)
def equal_flag(x: UOp, c: UOp) -> UOp:
    """x == True is x."""
    return x if c.arg else negation(x)


@rule(Ops.EQ, flag.cast(), c)
def equal_flag_as_number(x: UOp, c: UOp) -> UOp:
    """A bool made a number is 0 or 1."""
    if c.arg not in (0, 1):
        return x.const_like(False)
    return x if c.arg else negation(x)


@rule(Ops.LT, flag, c)
def below_flag(x: UOp, c: UOp) -> UOp:
    """x < True is not x; nothing is below False."""
    return negation(x) if c.arg else c


@rule(Ops.LT, c, flag)
def above_flag(x: UOp, c: UOp) -> UOp:
    """False < x is x; nothing is above True."""
    return x.const_like(False) if c.arg else x


@rule(Ops.EQ, of(Ops.ADD, x, c, dtype=dtypes.ints), d)
def equal_sum(x: UOp, c: UOp, d: UOp) -> UOp:
    """x + c == d is x == d - c: adding c is one to one, wrap included."""
    return x.alu(Ops.EQ, d - c)


@rule(Ops.LT, x, x)
def below_itself(node: UOp) -> UOp:
    """x < x is false."""
    return node.const_like(False)


@rule(Ops.EQ, UPat.var("x", WHOLE), x)
def equal_to_itself(node: UOp) -> UOp:
    """x == x is true but for NaN."""
    return node.const_like(True)


def bounded(op: Ops | tuple[Ops, ...]) -> UPat:
    """The pattern of an op that bounds may decide; of two unknown floats they know too little."""
    integers = of(op, UPat.var("a", WHOLE), b)
    return UPat.any(integers, of(op, a, constant.named("b")), of(op, constant.named("a"), b))


@rule(bounded((Ops.LT, Ops.EQ)))
def decided(node: UOp) -> Result:
    """A comparison that comes out one way over the bounds."""
    found = bounds(node)
    return node.const_like(found.lo) if found.lo == found.hi else None


@rule(bounded(Ops.MAX))
def greatest(a: UOp, b: UOp) -> Result:
    """max(a, b) = a where b, never NaN, never exceeds a; a NaN in a is the result either way."""
    if b.op is Ops.CONST:
        a, b = b, a  # the constant wins where both may stand
    first, second = bounds(a), bounds(b)
    if first.lo >= second.hi and not second.nan:
        return a
    if second.lo >= first.hi and not first.nan:
        return b
    return None


@rule(bounded(Ops.MIN))
def least(a: UOp, b: UOp) -> Result:
    """min(a, b) = a where b, never NaN, is never below a."""
    if b.op is Ops.CONST:
        a, b = b, a  # the constant wins where both may stand
    first, second = bounds(a), bounds(b)
    if first.hi <= second.lo and not second.nan:
        return a
    if second.hi <= first.lo and not first.nan:
        return b
    return None


# Choices


def choose(m: UOp, a: UOp, b: UOp) -> UOp:
    """a where m, else b."""
    return m.alu(Ops.WHERE, a, b)


@rule(Ops.WHERE, c, a, b)
def choose_by_constant(c: UOp, a: UOp, b: UOp) -> UOp:
    """True takes the first, False the second."""
    return a if c.arg else b


@rule(Ops.WHERE, m, a, a)
def choose_same(a: UOp) -> UOp:
    """Both ways are one."""
    return a


@rule(Ops.WHERE, not_m, a, b)
def choose_by_negation(m: UOp, a: UOp, b: UOp) -> UOp:
    """Not m turns the two around."""
    return choose(m, b, a)


@rule(Ops.WHERE, m, m.where(a, b), y)
def choose_again_in_yes(m: UOp, a: UOp, y: UOp) -> UOp:
    """Where m holds, an inner choice by m takes its first."""
    return choose(m, a, y)


@rule(Ops.WHERE, m, x, m.where(a, b))
def choose_again_in_no(m: UOp, x: UOp, b: UOp) -> UOp:
    """Where m fails, an inner choice by m takes its second."""
    return choose(m, x, b)


@rule(Ops.WHERE, m, x.where(a, b), b)
def choose_by_both(m: UOp, x: UOp, a: UOp, b: UOp) -> UOp:
    """a needs m and x."""
    return choose(m & x, a, b)


@rule(Ops.WHERE, m, a, x.where(a, b))
def choose_by_either(m: UOp, x: UOp, a: UOp, b: UOp) -> UOp:
    """b needs neither m nor x."""
    return choose(m | x, a, b)


@rule(Ops.WHERE, m, a, b, dtype=dtypes.bool)
def choose_flags(m: UOp, a: UOp, b: UOp) -> Result:
    """m ? true : b is m or b; m ? a : false is m and a; and so on."""
    if m.dtype is not a.dtype:
        return None
    if a.op is Ops.CONST:
        return m | b if a.arg else negation(m) & b
    if b.op is not Ops.CONST:
        return None
    return negation(m) | a if b.arg else m & a


LOGIC_RULES = rules_in(globals())
