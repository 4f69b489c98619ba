"""Cuts the text of kernels into lines of tokens, and says where reading stopped.

Comes in: text. Goes out: `Cursor`s, one a line, with number and indentation. The signs and words
of the notation are here because printer and parser share them; uop/parser.py comes next.
"""

from __future__ import annotations

import re
from typing import NoReturn

from tinycore.errors import ParseError
from tinycore.uop.ops import Ops

# How tightly an infix sign binds. `in` makes a gathered index: ids[b] in 20.
OR, XOR, AND, COMPARE, RANGE, SUM, PRODUCT, ATOM = range(1, 9)
LEVELS = {
    "or": OR,
    "^": XOR,
    "&": AND,
    "<": COMPARE,
    "<=": COMPARE,
    ">": COMPARE,
    ">=": COMPARE,
    "==": COMPARE,
    "in": RANGE,
    "+": SUM,
    "-": SUM,
    "*": PRODUCT,
    "/": PRODUCT,
    "//": PRODUCT,
    "%": PRODUCT,
}
INFIX = {
    Ops.OR: "or",
    Ops.XOR: "^",
    Ops.AND: "&",
    Ops.LT: "<",
    Ops.EQ: "==",
    Ops.ADD: "+",
    Ops.MUL: "*",
}
RESERVED = frozenset({"or", "in", "else", "over", "rebase", "inf", "nan", "true", "false"})
LANES = 128  # a lane axis of `own` counts the threads of a warpgroup where nothing else is said

_TOKENS = re.compile(
    r"(?:max|min)=(?!=)"
    r"|[A-Za-z_](?:[\w']|\.\w)*"
    r"|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
    r"|<-|<=|>=|==|\+=|\*=|\.\.|//"
    r"|\S"
)


class Cursor:
    """One line of text, read token by token; `token` is the next one, empty at the end."""

    __slots__ = ("at", "indent", "number", "text", "token", "tokens")

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.text = text.strip()
        self.indent = len(text) - len(text.lstrip())
        self.tokens: list[str] = _TOKENS.findall(text)
        self.tokens.append("")
        self.at = 0
        self.token = self.tokens[0]

    def advance(self) -> str:
        """The next token, taken."""
        taken = self.token
        if taken:
            self.at += 1
            self.token = self.tokens[self.at]
        return taken

    def accept(self, token: str) -> bool:
        """True, and taken, if `token` comes next."""
        if self.token != token:
            return False
        self.at += 1
        self.token = self.tokens[self.at]
        return True

    def expect(self, token: str) -> None:
        """Take `token`."""
        if not self.accept(token):
            self.fail(f"'{token}'")

    def name(self, what: str) -> str:
        """Take a name; `what` says of what."""
        token = self.token
        if not (token[:1].isalpha() or token[:1] == "_") or token in RESERVED:
            self.fail(what)
        return self.advance()

    def peek(self) -> str:
        """The token after the next one."""
        return self.tokens[self.at + 1] if self.token else ""

    def seek(self, token: str) -> bool:
        """True, and the cursor after it, if `token` stands further on in this statement."""
        depth = 0
        for at in range(self.at, len(self.tokens)):
            found = self.tokens[at]
            depth += (found == "[") - (found == "]")
            if found == token:
                self.move(at + 1)
                return True
            if found == ";" and depth == 0:
                return False
        return False

    def move(self, at: int) -> None:
        """Go to token number `at`."""
        self.at = at
        self.token = self.tokens[at]

    def fail(self, expected: str) -> NoReturn:
        """Raise ParseError at the next token."""
        found = f"'{self.token}'" if self.token else "the end of the line"
        self.refuse(f"found {found}; expected {expected}.")

    def refuse(self, message: str) -> NoReturn:
        """Raise ParseError about this line."""
        raise ParseError(f"parse: line {self.number}, `{self.text}`: {message}")


def cut(text: str) -> list[Cursor]:
    """The lines of `text` that hold anything besides a comment."""
    lines = [line.split("#", 1)[0] for line in text.splitlines()]
    return [Cursor(number, line) for number, line in enumerate(lines, 1) if line.strip()]
