"""Rules for index values and masks used as numbers.

Comes in: INDEX and MASK nodes among scalar ops. Goes out: one INDEX or MASK where the arithmetic
on them is affine, so that uop/index.py decides what is left of it. Next file: simplify.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import NEVER, Mask, at_least_zero, mask_of
from tinycore.uop.index import Index, digit, make
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.pattern import Result, UPat, rule, rules_in
from tinycore.uop.tree import both, index_value, mask_value

index = UPat(Ops.INDEX, dtypes.ints, name="x")
place = UPat((Ops.INDEX, Ops.CONST), name="y")
mask, other_mask = UPat(Ops.MASK, name="x"), UPat(Ops.MASK, name="y")
yes = UPat.const(dtypes.bool, True)

# Arithmetic: what an op makes of index values, None where that is no index value


def quotient(x: Index, y: Index) -> Index | None:
    """Rounding down and rounding toward zero agree where x >= 0 and y > 0."""
    if y.terms or y.const <= 0 or x.lo < 0:
        return None
    return digit(x, y.const, 0)


def remainder(x: Index, y: Index) -> Index | None:
    """As the quotient."""
    if y.terms or y.const <= 0 or x.lo < 0:
        return None
    return digit(x, 1, y.const)


def shifted_left(x: Index, y: Index) -> Index | None:
    """x << y is x * 2^y where it does not wrap."""
    if y.terms or not 0 <= y.const < WIDEST:
        return None
    return x * (1 << y.const)


def shifted_right(x: Index, y: Index) -> Index | None:
    """x >> y is x / 2^y rounded down, also where x is negative."""
    if y.terms or not 0 <= y.const < WIDEST:
        return None
    return digit(x, 1 << y.const, 0)


def low_bits(x: Index, y: Index) -> Index | None:
    """x & (2^k - 1) is x modulo 2^k rounded down, also where x is negative: two's complement."""
    if y.terms or y.const <= 0 or y.const & (y.const + 1):
        return None
    return digit(x, 1, y.const + 1)


WIDEST = 64
AFFINE: dict[Ops, Callable[..., Index | None]] = {
    Ops.NEG: lambda x: -x,
    Ops.CAST: lambda x: x,
    Ops.ADD: lambda x, y: x + y,
    Ops.MUL: lambda x, y: x * y,
    Ops.IDIV: quotient,
    Ops.MOD: remainder,
    Ops.SHL: shifted_left,
    Ops.SHR: shifted_right,
    Ops.AND: low_bits,
}


@rule((Ops.NEG, Ops.CAST), index, dtype=dtypes.ints)
def one_index(node: UOp) -> Result:
    """-x is an index value, and so is x in another integer type."""
    return affine(node)


@rule(tuple(AFFINE), index, place)
def two_indices(node: UOp) -> Result:
    """x + y, x * y, and quotients by constants are index values."""
    return affine(node)


def affine(node: UOp) -> Result:
    """`node` as one INDEX, if neither it nor its sources ever wrap."""
    values = [value_of(source) for source in node.src]
    if None in values:
        return None
    found = AFFINE[node.op](*values)
    if found is None or not fits(found, node.dtype):
        return None
    return index_value(found, node.dtype)


def value_of(node: UOp) -> Index | None:
    """The index value of an INDEX or integer CONST; None if its type may wrap it."""
    value = node.arg if node.op is Ops.INDEX else make(node.arg)
    return value if fits(value, node.dtype) else None


def fits(value: Index, dtype: DType) -> bool:
    """True if the bounds of `value` lie in `dtype`."""
    return bool(dtype.min <= value.lo and value.hi <= dtype.max)


# Comparisons and masks


@rule(Ops.LT, index, place)
def index_below(x: UOp, y: UOp) -> Result:
    """x < y is y - x - 1 >= 0."""
    return compared(x, y, lambda first, second: [second - first - 1])


@rule(Ops.LT, UPat(Ops.CONST, dtypes.ints, name="y"), index)
def index_above(x: UOp, y: UOp) -> Result:
    """y < x is x - y - 1 >= 0."""
    return compared(x, y, lambda first, second: [first - second - 1])


@rule(Ops.EQ, index, place)
def index_equal(x: UOp, y: UOp) -> Result:
    """x == y is x - y >= 0 and y - x >= 0."""
    return compared(x, y, lambda first, second: [first - second, second - first])


def compared(x: UOp, y: UOp, parts: Callable[[Index, Index], list[Index]]) -> Result:
    """The MASK that all `parts` of the two index values are at least zero."""
    first, second = value_of(x), value_of(y)
    if first is None or second is None:
        return None
    return all_of(parts(first, second))


def all_of(values: Iterable[Index]) -> UOp:
    """The MASK that all of `values` are at least zero."""
    return mask_value(mask_of([at_least_zero(value) for value in values]))


@rule(Ops.AND, mask, other_mask)
def and_masks(x: UOp, y: UOp) -> UOp:
    """Two conjunctions are one."""
    return mask_value(tightened(both(x.arg, y.arg)))


def tightened(conjunction: Mask) -> Mask:
    """`conjunction` without what the rest implies (v >= u >= 0); NEVER if two parts sum below 0."""
    kept = list(conjunction)
    for value in conjunction:
        others = [other for other in kept if other is not value]
        if any((value + other).hi < 0 for other in others):
            return NEVER
        if any((value - other).lo >= 0 for other in others):
            kept = others
    return tuple(kept)


@rule(Ops.OR, mask, other_mask)
def or_masks(x: UOp, y: UOp) -> Result:
    """A conjunction or one of its parts is that part."""
    if set(x.arg) >= set(y.arg):
        return y
    return x if set(y.arg) >= set(x.arg) else None


@rule(Ops.XOR, mask, yes)
def not_mask(x: UOp) -> Result:
    """Not (v >= 0) is -v - 1 >= 0; the negative of several at once is no conjunction."""
    return all_of([-x.arg[0] - 1]) if len(x.arg) == 1 else None


INDEX_RULES = rules_in(globals())
