"""Reads the expressions of kernel text: index values, masks, places in buffers, scalar values.

Comes in: text and the names in scope. Goes out: `Index`, `Mask`, `Access` or a node, never folded:
printed text is read back as it was. Next file: parser.py, for statements.
"""

import math
import re
from collections.abc import Callable, Iterable
from functools import reduce
from typing import NamedTuple, NoReturn, TypeVar

from tinycore.dtype import DType, dtypes
from tinycore.errors import ParseError
from tinycore.uop.index import NEVER, Index, Mask, as_index, axis, both, digit, gather
from tinycore.uop.ops import BINARY, ELEMENTWISE, SHIFTS, Ops, UOp, const, unfolded
from tinycore.uop.tree import Access, all_of, index_value, load, mask_value

Term = Index | UOp | float  # a float or a constant Index has no type yet
Item = TypeVar("Item")

_SIGNS = ("or", "^", "&", "< <= > >= ==", "in", "+ -", "* / // %")
LEVELS = {sign: level for level, row in enumerate(_SIGNS, 1) for sign in row.split()}
"""How tightly infix signs bind; `in` makes a gathered index, ids[b] in 20."""
ATOM = len(_SIGNS) + 1  # numbers, names and calls


TYPES = {row.short: row for row in dtypes.all}
SIGNS = {op.row.text: op for op in BINARY if op.row.text in LEVELS}
FUNCTIONS = {(op.row.text, op.row.sources): op for op in ELEMENTWISE if op.row.text.isalpha()}

_TOKENS = re.compile(
    r"(?:max|min)=(?!=)"
    r"|[A-Za-z_](?:[\w']|\.\w)*"
    r"|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
    r"|<=|>=|==|\+=|\*=|\.\.|//"
    r"|\S"
)


class Line(NamedTuple):
    """A line that is not empty."""

    indent: int
    number: int
    text: str


class Reader:
    """Reads a text whose lines to come are `lines`, the last first.

    `token` is the next one, empty at the end of a line; `names` are those in scope.
    """

    names: dict[str, Index | UOp]

    def __init__(self, text: str) -> None:
        self.lines = [Line(-1, 0, "")]
        for number, line in reversed([*enumerate(text.splitlines(), 1)]):
            code = line.split("#")[0].rstrip()
            if code:
                text = code.lstrip()
                self.lines.append(Line(len(code) - len(text), number, text))
        self.tokens: list[str] = []

    def open(self) -> None:
        """Go to the start of the next line."""
        self.line = self.lines.pop()
        self.tokens = ["", *reversed(_TOKENS.findall(self.line.text))]
        self.token = self.tokens[-1]

    def advance(self) -> str:
        """Take the next token."""
        taken = self.tokens.pop()
        self.token = self.tokens[-1]
        return taken

    def accept(self, token: str) -> bool:
        """Take `token` if it comes next; True if it did."""
        if self.token != token:
            return False
        self.advance()
        return True

    def expect(self, token: str) -> None:
        """Take `token`."""
        if not self.accept(token):
            self.fail(f"'{token}'")

    def name(self, what: str) -> str:
        """Take a name; `what` describes it in errors."""
        if not self.token[:1].isidentifier() or self.token in LEVELS:
            self.fail(what)
        return self.advance()

    def one_of(self, words: Iterable[str]) -> str:
        """Take a word of a table."""
        if self.token not in words:
            self.fail(f"one of {', '.join(words)}")
        return self.advance()

    def end(self) -> None:
        """Fail unless the line ends here."""
        if self.token:
            self.fail("the end of the line")

    def fail(self, expected: str) -> NoReturn:
        """Raise ParseError at the next token."""
        found = f"'{self.token}'" if self.token else "the end of the line"
        self.refuse(f"found {found}; expected {expected}.")

    def refuse(self, message: str) -> NoReturn:
        """Raise ParseError about this line."""
        raise ParseError(f"parse: line {self.line.number}, `{self.line.text}`: {message}")

    # what expressions are made of

    def index(self, above: int = 0) -> Index:
        """An index value; see `term`."""
        term = self.term(above)
        if not isinstance(term, Index):
            self.refuse("found a value; expected an index. A loaded x becomes one by 'x in 8'.")
        return term

    def integer(self, above: int = 0, least: float = -math.inf) -> int:
        """A known integer, at least `least`."""
        value = self.index(above)
        if value.terms or value.const < least:
            self.refuse("found an axis, a variable or too small a number; expected an integer.")
        return value.const

    def axis(self) -> tuple[str, Index]:
        """i:4, an axis from here on"""
        name = self.name("an axis")
        self.expect(":")
        extent = self.index()
        self.names[name] = axis(name, extent)
        return name, extent

    def mask(self) -> Mask:
        """Comparisons, all of which hold."""
        return reduce(both, self.listed(self._constraint))

    def place(self) -> tuple[UOp, Access]:
        """b[sequence; indices | mask else fill]"""
        buffer = self.buffer()
        return buffer, self._access(buffer.dtype)

    def buffer(self) -> UOp:
        """The buffer of a name."""
        name = self.name("a buffer")
        found = self.names.get(name)
        if not isinstance(found, UOp) or not found.is_buffer:
            self.refuse(f"'{name}' is no buffer in scope; expected one.")
        return found

    def listed(self, read: Callable[[], Item], *ends: str) -> list[Item]:
        """What `read` reads, with commas between, up to a token of `ends`."""
        found = []
        while self.token not in ends:
            found.append(read())
            if not self.accept(","):
                break
        return found

    def group(self, read: Callable[[], Item], signs: str = "()") -> list[Item]:
        """(A, B)"""
        self.expect(signs[0])
        found = self.listed(read, signs[1])
        self.expect(signs[1])
        return found

    # places

    def _access(self, dtype: DType) -> Access:
        if not self.accept("["):
            return Access(())
        sequence = None
        indices = self.listed(self.index, "]", "|")
        if len(indices) == 1 and self.accept(";"):
            sequence, indices = indices[0], self.listed(self.index, "]", "|")
        mask = self.mask() if self.accept("|") else ()
        fill = self.typed(self.term() if self.accept("else") else as_index(0), dtype)
        if not fill.is_const:
            self.refuse("found a value after else; expected a number.")
        self.expect("]")
        return Access(tuple(indices), mask, sequence, fill.arg)

    def _constraint(self) -> Mask:
        node = self.typed(self.term())
        if node.op is Ops.MASK:
            return tuple(node.arg)
        if not node.is_const or node.dtype is not dtypes.bool:
            self.refuse("found a value in a mask; expected comparisons of index values.")
        return () if node.arg else NEVER

    # terms

    def term(self, above: int = 0) -> Term:
        """An expression whose infix signs bind more tightly than `above`."""
        left = self._unary()
        while LEVELS.get(self.token, 0) > above:
            sign = self.advance()
            narrows = sign in ("//", "%", "in")
            left = self._narrowed(left, sign) if narrows else self._infix(left, sign)
        return left

    def _narrowed(self, left: Term, sign: str) -> Index:
        """x//d%m is one digit: two steps might simplify it to another form."""
        if sign == "in":
            if not isinstance(left, UOp) or not left.dtype.is_int:
                self.refuse("'in' makes an index of a loaded value; expected an integer before it.")
            return gather(left, self.integer(LEVELS[sign], 1))
        if not isinstance(left, Index):
            self.refuse(f"found '{sign}' after a value; expected an index. Use idiv or mod.")
        divisor = self.integer(LEVELS[sign], 1) if sign == "//" else 1
        narrows = sign == "%" or self.accept("%")
        modulus = self.integer(LEVELS[sign], 1) if narrows else 0
        return digit(left, divisor, modulus)

    def _infix(self, left: Term, sign: str) -> Term:
        right = self.term(LEVELS[sign])
        if sign[0] == ">":
            left, right, sign = right, left, sign.replace(">", "<")
        if sign == "-":
            sign, right = "+", _negated(right)
        if isinstance(left, Index) and isinstance(right, Index) and sign in _INDEX_SIGNS:
            return _INDEX_SIGNS[sign](left, right)
        first, second = self._alike(left, right)
        if sign == "/" and first.is_float:
            sign, second = "*", unfolded(Ops.RECIP, second)
        if sign not in SIGNS:
            found = f"found '{sign}' of {first.dtype.short}"
            self.refuse(f"{found}; expected one of - > {' '.join(sorted(SIGNS))}.")
        return unfolded(SIGNS[sign], first, second)

    def _unary(self) -> Term:
        if self.accept("-"):
            return _negated(self._unary())
        if self.accept("("):
            term = self.term()
            self.expect(")")
            return term
        if self.token[:1].isdigit():
            number = self.advance()
            return as_index(int(number)) if number.isdigit() else float(number)
        return self._word(self.name("a number, a name, '-' or '('"))

    def _word(self, name: str) -> Term:
        if self.token == "(":  # before names: a canonical axis may be called i32
            return self._call(name)
        found = self.names.get(name)
        if isinstance(found, UOp) and found.is_buffer:
            return load(found, self._access(found.dtype))
        if found:
            return found
        if name in ("inf", "nan"):
            return float(name)
        if name in ("true", "false"):
            return const(name == "true", dtypes.bool)
        self.refuse(f"'{name}' is not in scope; expected an axis, a buffer, a value or a size.")

    def _call(self, name: str) -> UOp:
        """max(a, b), mask(i < 3, j < 4), bitcast.i32(x), or f32(x)"""
        if name == "mask":
            return mask_value(reduce(both, self.group(self._constraint)))
        terms = self.group(self.term)
        count = len(terms)
        word, _, kind = name.partition(".")
        dtype = TYPES.get(kind or name)
        if dtype and count == 1 and word in ("bitcast", name):
            node = self.typed(terms[0], None if kind else dtype)
            if node.dtype is dtype and not kind:
                return node
            return UOp(Ops.BITCAST if kind else Ops.CAST, dtype, (node,))
        op = FUNCTIONS.get((name, count))
        if not op:
            known = [text for text, number in FUNCTIONS if number == count]
            found = f"found {name} with {count} arguments"
            self.refuse(f"{found}; expected one of {', '.join(sorted(known))}.")
        return unfolded(op, *(map(self.typed, terms) if op in SHIFTS else self._alike(*terms)))

    # types

    def typed(self, term: Term, dtype: DType | None = None) -> UOp:
        """`term` as a node; a number takes `dtype` where it can."""
        if isinstance(term, UOp):
            return term
        if isinstance(term, Index):
            dtype = dtype or dtypes.int32
            return index_value(term, dtypes.int32 if term.terms and dtype.is_float else dtype)
        dtype = dtype or dtypes.float32
        if not dtype.is_float:
            self.refuse(f"found {term!r} beside {dtype.short}; expected an integer, or a cast.")
        return const(term, dtype)

    def _alike(self, *terms: Term) -> list[UOp]:
        types = dict.fromkeys([term.dtype for term in terms if isinstance(term, UOp)])
        types.pop(dtypes.bool, None)
        if len(types) > 1:
            names = " and ".join(dtype.short for dtype in types)
            self.refuse(f"operands have types {names}; expected one type. Cast one of them.")
        return [self.typed(term, next(iter(types), None)) for term in terms]


def _negated(term: Term) -> Term:
    return unfolded(Ops.NEG, term) if isinstance(term, UOp) else -term


_INDEX_SIGNS: dict[str, Callable[[Index, Index], Term]] = {
    "+": Index.__add__,
    "*": Index.__mul__,
    "<": lambda a, b: all_of(b - a - 1),
    "<=": lambda a, b: all_of(b - a),
    "==": lambda a, b: all_of(a - b, b - a),
}
