"""Reads the expressions of kernel text: index values, masks, places in buffers, scalar values.

Comes in: a `Cursor` and the names in scope. Goes out: `Index`, `Mask`, `Access` or a node. What an
expression is follows from its names: axes and integers make index values, buffers and LETs make
values (uop/terms.py). Statements: uop/parser.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import NEVER, Mask, mask_of
from tinycore.uop.index import Index, as_index, axis, digit
from tinycore.uop.lexer import COMPARE, LEVELS, PRODUCT, SUM, Cursor
from tinycore.uop.ops import Ops, Scalar, UOp, const
from tinycore.uop.terms import (
    Term,
    call,
    compared,
    converted,
    infix,
    negated,
    positive,
    typed,
)
from tinycore.uop.tree import Access, index_value, load, mask_value

Names = dict[str, Index | UOp]
Box = dict[str, Index]

TYPES = {row.short: row for row in dtypes.all} | {row.name: row for row in dtypes.all}
NUMBERS = {"inf": math.inf, "nan": math.nan}


class Expressions:
    """A reader of one line; axes that a COPY or a MMA introduces in place go into `box`."""

    def __init__(self, cursor: Cursor, names: Names, box: Box | None = None) -> None:
        self.cursor = cursor
        self.names = names
        self.box = box

    # what a statement asks for

    def index(self) -> Index:
        """An index value."""
        term = self.term()
        if not isinstance(term, Index):
            self.cursor.refuse(
                "found a value where an index belongs; expected axes, variables and integers. "
                "A loaded value becomes an index by 'in <extent>'."
            )
        return term

    def integer(self) -> int:
        """An integer, or an expression of integers."""
        value = self.index()
        if value.terms:
            self.cursor.refuse("found an axis or a variable; expected an integer.")
        return value.const

    def value(self, dtype: DType | None = None) -> UOp:
        """A scalar; a number alone is `dtype`, or float32 or int32."""
        return typed(self.cursor, self.term(), dtype)

    def mask(self) -> Mask:
        """Comparisons of index values, all of which hold."""
        constraints = self._constraint()
        while self.cursor.accept(","):
            constraints += self._constraint()
        return mask_of(constraints)

    def load(self, buffer: UOp) -> UOp:
        """What stands in brackets after the name of `buffer`, loaded."""
        if self.cursor.token != "[" and buffer.arg.shape:
            self.cursor.fail(f"'[': {buffer.arg.name} has {len(buffer.arg.shape)} dimensions")
        return load(buffer, self.place(buffer.dtype))

    def place(self, dtype: DType) -> Access:
        """[sequence; indices | mask else fill], or nothing for a scalar."""
        cursor = self.cursor
        if not cursor.accept("["):
            return Access(())
        sequence, indices = self._indices()
        mask: Mask = ()
        if cursor.accept("|") and cursor.token != "else":
            mask = self.mask()
        fill = self._fill(dtype) if cursor.accept("else") else None
        cursor.expect("]")
        return Access(tuple(indices), mask, sequence, fill)

    def sequence(self) -> Index | None:
        """[k], the slot of a WAIT or FREE, or []."""
        self.cursor.expect("[")
        found = None if self.cursor.token == "]" else self.index()
        self.cursor.expect("]")
        return found

    def element_type(self) -> DType:
        """The name of a type."""
        found = TYPES.get(self.cursor.token)
        if found is None:
            self.cursor.fail("a type such as f32")
        self.cursor.advance()
        return found

    def boxed(self, name: str, box: Box) -> Index:
        """The extent after `name:`, which becomes an axis."""
        extent = self.term(SUM - 1)
        if not isinstance(extent, Index):
            self.cursor.refuse(f"found a value as extent of {name}; expected an index value.")
        box[name] = extent
        self.names[name] = axis(name, extent)
        return axis(name, extent)

    def _indices(self) -> tuple[Index | None, list[Index]]:
        cursor = self.cursor
        sequence = None
        indices: list[Index] = []
        while cursor.token not in ("|", "]"):
            indices.append(self.index())
            if sequence is None and cursor.accept(";"):
                sequence = indices.pop()
            elif not cursor.accept(",") and cursor.token not in ("|", "]"):
                cursor.fail("',', '|' or ']'")
        return sequence, indices

    def _fill(self, dtype: DType) -> Scalar:
        node = self.value(dtype)
        if node.op is not Ops.CONST:
            self.cursor.refuse("found a value after else; expected a number.")
        fill: Scalar = node.arg
        return fill

    def _constraint(self) -> Mask:
        if self.cursor.token in ("true", "false"):
            return () if self.cursor.advance() == "true" else NEVER
        left = self.term(COMPARE)
        if LEVELS.get(self.cursor.token) != COMPARE:
            self.cursor.fail("one of < <= > >= ==")
        sign = self.cursor.advance()
        right = self.term(COMPARE)
        if not (isinstance(left, Index) and isinstance(right, Index)):
            self.cursor.refuse("found a value in a mask; expected comparisons of index values.")
        return compared(left, sign, right)

    # terms

    def term(self, above: int = 0) -> Term:
        """An expression whose infix signs bind more tightly than `above`."""
        cursor = self.cursor
        left = self._unary()
        while True:
            sign = cursor.token
            level = LEVELS.get(sign, 0)
            if level <= above:
                return left
            cursor.advance()
            right = self.term(level)
            if sign == "//" and cursor.accept("%"):
                left = self._digit(left, right)
            else:
                left = infix(cursor, left, sign, right)

    def _digit(self, left: Term, right: Term) -> Term:
        """x//d%m is one digit: in two steps it might simplify to another form."""
        if not isinstance(left, Index):
            return infix(self.cursor, left, "//", right)
        modulus = positive(self.cursor, self.term(PRODUCT))
        return digit(left, positive(self.cursor, right), modulus)

    def _unary(self) -> Term:
        cursor = self.cursor
        token = cursor.token
        first = token[:1]
        if first.isalpha() or first == "_":
            return self._named(cursor.advance())
        if first.isdigit():
            cursor.advance()
            return as_index(int(token)) if token.isdigit() else float(token)
        if cursor.accept("-"):
            return negated(self._unary())
        if not cursor.accept("("):
            cursor.fail("a number, a name, '-' or '('")
        term = self.term()
        cursor.expect(")")
        return term

    def _named(self, name: str) -> Term:
        if self.box is not None and self.cursor.accept(":"):
            return self.boxed(name, self.box)
        found = self.names.get(name)
        if found is None:
            return self._word(name)
        if isinstance(found, UOp) and found.op is Ops.BUFFER:
            return self.load(found)
        return found

    def _word(self, name: str) -> Term:
        if name in NUMBERS:
            return NUMBERS[name]
        if name in ("true", "false"):
            return const(name == "true", dtypes.bool)
        if self.cursor.accept("("):
            return self._called(name)
        self.cursor.refuse(
            f"'{name}' is not in scope; expected an axis, a variable, a buffer or a value. "
            "Sizes are keyword arguments of parse."
        )

    # calls

    def _called(self, name: str) -> UOp:
        special = _SPECIAL.get(name)
        node = self._plain_call(name) if special is None else special(self)
        self.cursor.expect(")")
        return node

    def _plain_call(self, name: str) -> UOp:
        arguments = [self.term()]
        while self.cursor.accept(","):
            arguments.append(self.term())
        if name in TYPES:
            return converted(self.cursor, TYPES[name], arguments)
        return call(self.cursor, name, arguments)

    def mask_call(self) -> UOp:
        """mask(i >= n, j < 4): a conjunction as a value."""
        return mask_value(self.mask())

    def index_call(self) -> UOp:
        """index(i + 3), index(i, i64): an index value as a value."""
        index = self.index()
        dtype = self.element_type() if self.cursor.accept(",") else dtypes.int32
        return index_value(index, dtype)

    def bitcast_call(self) -> UOp:
        """bitcast(x, i32)."""
        node = self.value()
        self.cursor.expect(",")
        return UOp(Ops.BITCAST, self.element_type(), (node,))


_SPECIAL: dict[str, Callable[[Expressions], UOp]] = {
    "mask": Expressions.mask_call,
    "index": Expressions.index_call,
    "bitcast": Expressions.bitcast_call,
}
