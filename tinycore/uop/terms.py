"""What the signs and functions of kernel text mean: index arithmetic, or nodes of one type.

Comes in: the terms beside a sign. Goes out: an `Index`, or a node that is never folded, so that
what was printed is read back as it was. A number takes the type of what stands beside it, float32
or int32 where nothing does. uop/expressions.py reads the text.
"""

from __future__ import annotations

from collections.abc import Callable

from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import Mask, mask_of
from tinycore.uop.index import Index, digit, gather
from tinycore.uop.lexer import COMPARE, INFIX, LEVELS, Cursor
from tinycore.uop.ops import CASTS, ELEMENTWISE, Ops, Scalar, UOp, const, result_dtype
from tinycore.uop.table import TABLE
from tinycore.uop.tree import index_value, mask_value

Term = Index | UOp | float  # a float is a number that has no type yet; so is a constant Index

_NAMED = ELEMENTWISE - CASTS - INFIX.keys()
FUNCTIONS = {TABLE[op].text: op for op in _NAMED if TABLE[op].text.isidentifier()}


def typed(cursor: Cursor, term: Term, dtype: DType | None) -> UOp:
    """`term` as a node; numbers and index values become `dtype` where they can."""
    if isinstance(term, UOp):
        return term
    if isinstance(term, float):
        return _number(cursor, term, dtype or dtypes.float32)
    if not term.terms:
        return _number(cursor, term.const, dtype or dtypes.int32)
    return index_value(term, dtype if dtype is not None and dtype.is_int else dtypes.int32)


def alike(cursor: Cursor, *terms: Term) -> list[UOp]:
    """The terms as nodes of one type: that of a term that has one."""
    known = [term.dtype for term in terms if isinstance(term, UOp)]
    weak = dtypes.float32 if any(isinstance(term, float) for term in terms) else None
    near = known[0] if known else weak
    nodes = [typed(cursor, term, near) for term in terms]
    if len({node.dtype for node in nodes}) > 1:
        names = " and ".join(node.dtype.short for node in nodes)
        cursor.refuse(f"operands have types {names}; expected one type. Cast one of them.")
    return nodes


def compared(left: Index, sign: str, right: Index) -> Mask:
    """The mask that a comparison of index values stands for."""
    return mask_of(_COMPARISONS[sign](left, right))


def positive(cursor: Cursor, term: Term) -> int:
    """`term` as a divisor, a modulus or the extent of a gathered index."""
    if not isinstance(term, Index) or term.terms or term.const < 1:
        cursor.refuse("found an unknown divisor, modulus or extent; expected a positive integer.")
    return term.const


def negated(term: Term) -> Term:
    """-term."""
    return _node(Ops.NEG, term) if isinstance(term, UOp) else -term


def infix(cursor: Cursor, left: Term, sign: str, right: Term) -> Term:
    """`left sign right`."""
    if sign == "in":
        return _gathered(cursor, left, right)
    if isinstance(left, Index) and isinstance(right, Index):
        return _index_infix(cursor, left, sign, right)
    if sign == "-":
        return _subtracted(cursor, left, right)
    if sign == "/":
        return _divided(cursor, left, right)
    if sign == ">":
        return _node(Ops.LT, *alike(cursor, right, left))
    op = _VALUE_SIGNS.get(sign)
    if op is None:
        cursor.refuse(f"found '{sign}' between values; {_ADVICE[sign]}")
    return _node(op, *alike(cursor, left, right))


def call(cursor: Cursor, name: str, arguments: list[Term]) -> UOp:
    """`name(arguments)`."""
    op = FUNCTIONS.get(name)
    if op is None or TABLE[op].sources != len(arguments):
        known = ", ".join(sorted([*FUNCTIONS, "bitcast", "index", "mask"]))
        found = f"found {name} with {len(arguments)} arguments"
        cursor.refuse(f"{found}; expected one of {known}, or the name of a type.")
    if op is Ops.WHERE:
        condition = typed(cursor, arguments[0], dtypes.bool)
        return _node(op, condition, *alike(cursor, *arguments[1:]))
    if op in (Ops.SHL, Ops.SHR) and all(isinstance(term, UOp) for term in arguments):
        return _node(op, *[typed(cursor, term, None) for term in arguments])
    return _node(op, *alike(cursor, *arguments))


def converted(cursor: Cursor, dtype: DType, arguments: list[Term]) -> UOp:
    """f32(x) casts a value; f32(2.0) is a number with its type."""
    if len(arguments) != 1:
        cursor.refuse(f"found {dtype.short} with {len(arguments)} arguments; expected one.")
    term = arguments[0]
    if isinstance(term, float) or (isinstance(term, Index) and not term.terms):
        return typed(cursor, term, dtype)
    node = typed(cursor, term, None)
    return node if node.dtype is dtype else UOp(Ops.CAST, dtype, (node,))


def _node(op: Ops, *sources: UOp) -> UOp:
    return UOp(op, result_dtype(op, sources), sources)


def _number(cursor: Cursor, value: Scalar, dtype: DType) -> UOp:
    if isinstance(value, float) and not dtype.is_float:
        cursor.refuse(f"found {value!r} beside {dtype.short}; expected an integer, or a cast.")
    return const(value, dtype)


def _gathered(cursor: Cursor, left: Term, right: Term) -> Index:
    if not isinstance(left, UOp) or not left.dtype.is_int:
        cursor.refuse("'in' makes an index of a loaded value; expected an integer value before it.")
    return gather(left, positive(cursor, right))


def _index_infix(cursor: Cursor, left: Index, sign: str, right: Index) -> Term:
    simple = _INDEX_SIGNS.get(sign)
    if simple is not None:
        return simple(left, right)
    if LEVELS[sign] == COMPARE:
        return mask_value(compared(left, sign, right))
    number = positive(cursor, right)
    if sign == "//":
        return digit(left, number, 0)
    if sign == "%":
        return digit(left, 1, number)
    cursor.refuse(f"found '{sign}' between index values; expected one of + - * // %.")


def _subtracted(cursor: Cursor, left: Term, right: Term) -> UOp:
    if not isinstance(right, UOp):
        return _node(Ops.ADD, *alike(cursor, left, -right))
    first, second = alike(cursor, left, right)
    return _node(Ops.ADD, first, _node(Ops.NEG, second))


def _divided(cursor: Cursor, left: Term, right: Term) -> UOp:
    first, second = alike(cursor, left, right)
    if not first.dtype.is_float:
        cursor.refuse(f"found '/' of {first.dtype.short}; expected floats. Use idiv(a, b).")
    inverse = _node(Ops.RECIP, second)
    is_one = not isinstance(left, UOp) and first.arg == 1
    return inverse if is_one else _node(Ops.MUL, first, inverse)


_COMPARISONS: dict[str, Callable[[Index, Index], tuple[Index, ...]]] = {
    "<": lambda a, b: (b - a - 1,),
    "<=": lambda a, b: (b - a,),
    ">": lambda a, b: (a - b - 1,),
    ">=": lambda a, b: (a - b,),
    "==": lambda a, b: (a - b, b - a),
}
_INDEX_SIGNS: dict[str, Callable[[Index, Index], Index]] = {
    "+": Index.__add__,
    "-": Index.__sub__,
    "*": Index.__mul__,
}
_VALUE_SIGNS = {sign: op for op, sign in INFIX.items()}
_ADVICE = {
    "//": "expected index values. Use idiv(a, b).",
    "%": "expected index values. Use mod(a, b).",
    "<=": "expected <, > or ==, which say what NaN does.",
    ">=": "expected <, > or ==, which say what NaN does.",
}
