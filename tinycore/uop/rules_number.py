"""Rules for constants, arithmetic, quotients, shifts and conversions.

Comes in: scalar expressions. Goes out: equal ones, bit for bit: what changed a NaN, the sign of a
zero (but for x + 0, see uop/table.py) or the wrap of an integer would be wrong. So x * 0,
recip(recip(x)), log(exp(x)) and sums of floating point stay as they are. Patterns look for
constants on the right, where `constant_right` puts them. Next file: rules_logic.py.
"""

from __future__ import annotations

from tinycore.dtype import DType, dtypes
from tinycore.uop.bounds import bounds
from tinycore.uop.fold import FORMATS, fold, fold_bitcast, fold_cast
from tinycore.uop.ops import BINARY, COMMUTATIVE, UNARY, Ops, UOp, alu, cast
from tinycore.uop.pattern import Result, UPat, of, rule, rules_in

FOLDED = (*UNARY, *BINARY, Ops.FMA)
GATHERED = (Ops.ADD, Ops.MUL, Ops.AND, Ops.OR, Ops.XOR, Ops.MAX, Ops.MIN)
QUOTIENTS = (Ops.IDIV, Ops.MOD)
SHIFTS = (Ops.SHL, Ops.SHR)
CONVERSIONS = (Ops.CAST, Ops.BITCAST)
WHOLE = (*dtypes.ints, dtypes.bool)
SIGNED = tuple([row for row in dtypes.all if row.kind in "if"])

x, y = UPat.var("x"), UPat.var("y")
c, d = UPat.cvar("c"), UPat.cvar("d")
constant = UPat(Ops.CONST)
zero = UPat.const(None, 0)
one = UPat.const(None, 1)
minus_one = UPat.const(None, -1)
whole_number = UPat.any(UPat(Ops.TRUNC), UPat.var(dtype=WHOLE).cast())

# Constants

folded = rule(UPat(FOLDED, src=constant))(fold)
folded_cast = rule(Ops.CAST, constant)(fold_cast)
folded_bits = rule(Ops.BITCAST, constant)(fold_bitcast)


@rule(COMMUTATIVE, constant, x)
def constant_right(node: UOp) -> Result:
    """c + x = x + c."""
    left, right = node.src
    if right.op is Ops.CONST:
        return None
    return node.replace(src=(right, left))


@rule(GATHERED, of(GATHERED, x, c).named("inner"), d)
def gather_constants(node: UOp, inner: UOp, x: UOp, c: UOp, d: UOp) -> Result:
    """(x + c) + d = x + (c + d): integers wrap, so that + and * associate; floats round."""
    if inner.op is not node.op:
        return None
    if node.dtype.is_float and node.op in (Ops.ADD, Ops.MUL):
        return None
    return alu(node.op, x, alu(node.op, c, d))


# Arithmetic


@rule(Ops.ADD, x, zero)
def add_zero(x: UOp) -> UOp:
    """x + 0 = x; the sign of -0.0 + 0.0 is given up, as uop/table.py says."""
    return x


@rule(UPat(Ops.ADD, dtypes.ints, [x, -x]))
def add_negated(x: UOp) -> UOp:
    """x + (2^n - x) = 2^n = 0; in floating point inf - inf is NaN."""
    return x.const_like(0)


@rule(Ops.MUL, x, one)
def multiply_by_one(x: UOp) -> UOp:
    """x * 1 = x."""
    return x


@rule(Ops.MUL, x, zero, dtype=dtypes.ints)
def multiply_by_zero(x: UOp) -> UOp:
    """x * 0 = 0 for integers; inf * 0 is NaN."""
    return x.const_like(0)


@rule(Ops.MUL, x, minus_one, dtype=SIGNED)
def multiply_by_minus_one(x: UOp) -> UOp:
    """x * -1 = -x: nothing is rounded."""
    return -x


@rule(Ops.MUL, -x, c)
def multiply_negated(x: UOp, c: UOp) -> UOp:
    """-x * c = x * -c: the sign of a product is that of its factors, rounding is symmetric."""
    return x * -c


@rule(Ops.NEG, of(Ops.MUL, x, c))
def negate_product(x: UOp, c: UOp) -> UOp:
    """-(x * c) = x * -c."""
    return x * -c


@rule(Ops.NEG, -x)
def negate_twice(x: UOp) -> UOp:
    """--x = x."""
    return x


# Quotients and shifts


@rule(Ops.IDIV, x, c)
def divide(x: UOp, c: UOp) -> Result:
    """0 where |x| < |c|, a shift by a power of two where x >= 0; x / 0 = 0 by definition."""
    if c.arg == 1:
        return x
    if c.arg == 0 or _below(x, c):
        return x.const_like(0)
    if bounds(x).lo < 0 or not _is_power(c):
        return None
    return x >> (int(c.arg).bit_length() - 1)


@rule(Ops.MOD, x, c)
def remainder(x: UOp, c: UOp) -> Result:
    """x where |x| < |c|, the low bits for a power of two where x >= 0; x mod 0 = x."""
    if c.arg == 1:
        return x.const_like(0)
    if c.arg == 0 or _below(x, c):
        return x
    if bounds(x).lo < 0 or not _is_power(c):
        return None
    return x.alu(Ops.AND, c.const_like(c.arg - 1))


def _below(x: UOp, c: UOp) -> bool:
    """True if |x| < |c| over the bounds of x."""
    found = bounds(x)
    greatest = max(-found.lo, found.hi)
    return bool(greatest < abs(c.arg))


def _is_power(c: UOp) -> bool:
    value = int(c.arg)
    return value > 0 and value.bit_count() == 1


@rule((*QUOTIENTS, *SHIFTS), zero.named("x"), y)
def nothing_divided(x: UOp) -> UOp:
    """0 / y = 0 mod y = 0 << y = 0 >> y = 0, also where y = 0."""
    return x


@rule(SHIFTS, x, zero)
def shift_by_none(x: UOp) -> UOp:
    """x << 0 = x >> 0 = x."""
    return x


@rule(SHIFTS, of(SHIFTS, x, c).named("inner"), d)
def shift_twice(node: UOp, inner: UOp, x: UOp, c: UOp, d: UOp) -> Result:
    """Two shifts one way are one; with all bits gone 0 is left, or the sign of a signed x >> n."""
    if node.op is not inner.op:
        return None
    width = node.dtype.bits
    if not 0 <= c.arg < width > d.arg >= 0:
        return None
    total = c.arg + d.arg
    keeps_sign = node.op is Ops.SHR and node.dtype.kind == "i"
    if total >= width and not keeps_sign:
        return x.const_like(0)
    total = min(total, width - 1)
    return alu(node.op, x, c.const_like(total))


# Conversions


@rule(CONVERSIONS, x)
def convert_to_itself(node: UOp, x: UOp) -> Result:
    """A conversion to the type it has is none."""
    return x if x.dtype is node.dtype else None


@rule(Ops.CAST, x.cast().named("inner"))
def cast_twice(node: UOp, inner: UOp, x: UOp) -> Result:
    """Through a type that holds every value of x, or from integer to integer to fewer bits."""
    start, middle, end = [value.dtype.scalar for value in (x, inner, node)]
    narrows = start.is_int and middle.is_int and end.is_int
    if holds(middle, start) or (narrows and end.bits <= middle.bits):
        return cast(x, node.dtype)
    return None


def holds(wide: DType, narrow: DType) -> bool:
    """True if every value of `narrow` is one of `wide`, both scalar."""
    if wide is narrow or narrow.kind == "b":
        return True
    if wide.is_int and narrow.is_int:
        return wide.min <= narrow.min and narrow.max <= wide.max
    if not wide.is_float:
        return False
    outer = FORMATS[wide.name]
    if narrow.is_int:
        return int(narrow.max).bit_length() <= outer.bits
    inner = FORMATS[narrow.name]
    if outer.bits < inner.bits or outer.greatest < inner.greatest:
        return False
    return outer.least - outer.bits <= inner.least - inner.bits


@rule(Ops.BITCAST, of(Ops.BITCAST, x))
def bits_of_bits(node: UOp, x: UOp) -> UOp:
    """The bits of the bits of x are its bits."""
    return node.replace(src=(x,))


@rule(Ops.TRUNC, whole_number.named("x"))
def truncate_whole(x: UOp) -> UOp:
    """A whole number has nothing after the point."""
    return x


@rule(Ops.FIN, x)
def finite_already(x: UOp) -> Result:
    """fin changes -inf alone."""
    return x if bounds(x).lo > x.dtype.min else None


NUMBER_RULES = rules_in(globals())
