"""The simplifier: what the expressions of kernels are made through, one scalar op at a time.

Comes in: an op over simple expressions. Goes out: an equal expression, bit for bit, with less to
compute: ranges and causal masks become INDEX and MASK. A rule makes one node over what it was
given.
"""

from collections.abc import Callable

from tinycore.dtype import DType, Scalar, dtypes, promote
from tinycore.uop.index import Index, Mask, as_index, both
from tinycore.uop.ops import BINARY, CASTS, COMMUTATIVE, SHIFTS, UNARY, Ops, UOp, alu, const
from tinycore.uop.tree import all_of, index_value, mask_value
from tinycore.uop.upat import COUNTERS, PatternMatcher, Result, Rule, UPat, rule
from tinycore.util import np

x, y, a, b, m = map(UPat.var, "xyabm")
c = UPat.cvar("c")
mask_x, mask_y = map(UPat(Ops.MASK).named, "xy")
place = UPat((Ops.INDEX, Ops.CONST), dtypes.ints)
place_x, place_y = map(place.named, "xy")

# Constants

FOLDED = (UNARY | BINARY) - SHIFTS - {Ops.NEG}  # alu folds NEG; shifts may be too far


@rule(UPat(FOLDED, src=UPat.cvar()))
def folded(node: UOp) -> Result:
    """Constants, by the op's numpy reference if numpy has the type."""
    numpy = np()
    reference = node.op.row.reference
    kind = node.source.dtype.name
    if reference is None or kind not in numpy.sctypeDict:
        return None
    operands = [numpy.asarray(source.arg, kind) for source in node.src]
    with numpy.errstate(all="ignore"):
        value = reference(numpy, *operands).item()
    return const(value, node.dtype)


@rule(UPat(COMMUTATIVE, src=(c, x)))
def constant_right(node: UOp, c: UOp, x: UOp) -> Result:
    """c + x = x + c."""
    if x.is_const:
        return None
    return alu(node.op, x, c)


@rule(-x * c)
def multiply_negated(x: UOp, c: UOp) -> UOp:
    """-x * c = x * -c: rounding is symmetric."""
    return x * -c


@rule(-(x * c))
def negate_product(x: UOp, c: UOp) -> UOp:
    """-(x * c) = x * -c."""
    return x * -c


# Conversions


@rule(x.cast())
def cast_nothing(node: UOp, x: UOp) -> UOp:
    """To the same type, or of an exact constant, `cast` makes no node."""
    return x.cast(node.dtype)


@rule(x.cast().cast())
def cast_twice(node: UOp, x: UOp) -> Result:
    """The type between holds every x, or integers only lose bits."""
    start, middle, end = x.dtype, node.source.dtype, node.dtype
    if start.is_int and middle.is_float:
        return None
    narrows = start.is_int and end.is_int and end.bits <= middle.bits
    exact = promote(start, middle) is middle
    if narrows or exact:
        return x.cast(end)
    return None


# Index values

AFFINE: dict[Ops, Callable[..., Index]] = {
    Ops.CAST: as_index,
    Ops.NEG: Index.__neg__,
    Ops.ADD: Index.__add__,
    Ops.MUL: Index.__mul__,
}


@rule(UPat(AFFINE, dtypes.ints, src=place))
def index_arithmetic(node: UOp) -> Result:
    """Where they do not wrap, sums and products of index values are index values."""
    operands = [as_index(source.arg) for source in node.src]
    found = AFFINE[node.op](*operands)
    if not _fits(found, node.dtype):
        return None
    return index_value(found, node.dtype)


_whole = UPat(Ops.INDEX, dtypes.ints, name="x")


@rule(UPat((Ops.IDIV, Ops.MOD), src=(_whole, c)))
def index_digit(node: UOp, x: UOp, c: UOp) -> Result:
    """Rounding down and toward zero agree where x >= 0 and c > 0."""
    if x.arg.lo < 0 or c.arg <= 0:
        return None
    found = x.arg // c.arg if node.op is Ops.IDIV else x.arg % c.arg
    return index_value(found, node.dtype)


@rule(place_x < place_y)
def index_below(x: UOp, y: UOp) -> UOp:
    """x < y is y - x - 1 >= 0."""
    return all_of(as_index(y.arg - x.arg) - 1)


@rule(place_x.eq(place_y))
def index_equal(x: UOp, y: UOp) -> UOp:
    """x == y is x - y >= 0 and y - x >= 0."""
    difference = as_index(x.arg - y.arg)
    return all_of(difference, -difference)


def _fits(value: Index, dtype: DType) -> bool:
    return dtype.is_int and dtype.min <= value.lo and value.hi <= dtype.max


# Masks and flags


@rule(mask_x & mask_y)
def and_masks(x: UOp, y: UOp) -> UOp:
    """Two conjunctions are one."""
    return mask_value(both(x.arg, y.arg))


@rule(~mask_x)
def not_mask(x: UOp) -> Result:
    """Not (v >= 0) is -v - 1 >= 0; of several at once it is no conjunction."""
    if len(x.arg) > 1:
        return None
    return all_of(-x.arg[0] - 1)


@rule(UPat.var("x", dtypes.bool).eq(c))
def equal_flag(x: UOp, c: UOp) -> UOp:
    """x == true is x, x == false is not x."""
    return x if c.arg else x ^ True


# Choices


@rule(UPat(Ops.WHERE, dtypes.bool, (m, a, b)))
def choose_flags(m: UOp, a: UOp, b: UOp) -> Result:
    """m ? true : b is m or b; m ? a : false is m and a; m ? false : true is not m."""
    if a.is_const and a.arg:
        return m | b
    if b.is_const and not b.arg:
        return m & a
    if a.op is b.op is Ops.CONST:
        return m ^ True
    return None


@rule((~m).where(a, b))
def choose_by_negation(m: UOp, a: UOp, b: UOp) -> UOp:
    """Negation swaps the two."""
    return m.where(b, a)


@rule(m.where(m.where(a, b), y))
def choose_again(m: UOp, a: UOp, y: UOp) -> UOp:
    """Where m holds, an inner choice by m takes its first."""
    return m.where(a, y)


@rule(mask_x.where(mask_y.where(a, b), b))
def choose_by_both(x: UOp, y: UOp, a: UOp, b: UOp) -> UOp:
    """a needs both masks."""
    return mask_value(both(x.arg, y.arg)).where(a, b)


simplify = PatternMatcher(entry for entry in globals().values() if isinstance(entry, Rule))


def simple(node: UOp) -> UOp:
    """`node`, whose sources are simple, made simple."""
    new: Result = node
    while new:
        node, new = new, simplify.rewrite(new, None, COUNTERS["simplify"])
    return node


def scalar(op: Ops, dtype: DType, *src: UOp) -> UOp:
    """A scalar op over simple expressions; a conversion is to `dtype`."""
    if op in CASTS:
        return simple(UOp(op, dtype, src))
    return simple(alu(op, *src))


def choose(mask: Mask, value: UOp, fill: Scalar) -> UOp:
    """`value` where the mask holds, else `fill`."""
    return simple(mask_value(mask).where(value, fill))


def number(value: Index, dtype: DType) -> UOp:
    """An index as a number of `dtype`, wrapped where it does not fit."""
    if _fits(value, dtype):
        return index_value(value, dtype)
    return scalar(Ops.CAST, dtype, index_value(value, dtypes.int64))


def index_of(node: UOp) -> Index | None:
    """The index that an integer expression is, if any."""
    if node.op in place.ops and node.dtype.is_int:
        return as_index(node.arg)
    return None
