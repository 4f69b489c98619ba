"""Cuts the text of kernels into tokens, and says where reading stopped.

Comes in: text. Goes out: a `Cursor` that is read token by token, a line at a time. How tightly
signs bind is told here too, for reader and printer alike; uop/reader.py comes next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, NoReturn

from tinycore.errors import ParseError

SIGNS = ("or", "^", "&", "< <= > >= ==", "in", "+ -", "* / // %")
LEVELS = {sign: level for level, row in enumerate(SIGNS, 1) for sign in row.split()}
"""How tightly an infix sign binds. `in` makes a gathered index: ids[b] in 20."""
ATOM = len(SIGNS) + 1  # numbers, names and calls

_TOKENS = re.compile(
    r"(?:max|min)=(?!=)"
    r"|[A-Za-z_](?:[\w']|\.\w)*"
    r"|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
    r"|<=|>=|==|\+=|\*=|\.\.|//"
    r"|\S"
)


class Line(NamedTuple):
    """A line that says something: by how much it is indented, its number, its text."""

    indent: int
    number: int
    text: str


class Cursor:
    """Reads a text; `lines` are those to come, the last first, below them one without indent.

    `token` is the next one, empty at the end of a line.
    """

    def __init__(self, text: str) -> None:
        self.lines = [Line(-1, 0, "")]
        for number, line in reversed([*enumerate(text.splitlines(), 1)]):
            code = line.split("#")[0]
            if code.strip():
                self.lines.append(Line(len(code) - len(code.lstrip()), number, code.strip()))
        self.tokens: list[str] = []

    def open(self) -> None:
        """Go to the start of the next line."""
        self.line = self.lines.pop()
        self.tokens = ["", *reversed(_TOKENS.findall(self.line.text))]
        self.token = self.tokens[-1]

    def advance(self) -> str:
        """The next token, taken."""
        taken = self.tokens.pop()
        self.token = self.tokens[-1]
        return taken

    def accept(self, token: str) -> bool:
        """True, and taken, if `token` comes next."""
        if self.token != token:
            return False
        self.advance()
        return True

    def expect(self, token: str) -> None:
        """Take `token`."""
        if not self.accept(token):
            self.fail(f"'{token}'")

    def name(self, what: str) -> str:
        """Take a name; `what` says of what."""
        if not self.token[:1].isidentifier() or self.token in LEVELS:
            self.fail(what)
        return self.advance()

    def one_of(self, words: Iterable[str]) -> str:
        """Take a word of a table."""
        if self.token not in words:
            self.fail(f"one of {', '.join(words)}")
        return self.advance()

    def end(self) -> None:
        """The line ends here."""
        if self.token:
            self.fail("the end of the line")

    def fail(self, expected: str) -> NoReturn:
        """Raise ParseError at the next token."""
        found = f"'{self.token}'" if self.token else "the end of the line"
        self.refuse(f"found {found}; expected {expected}.")

    def refuse(self, message: str) -> NoReturn:
        """Raise ParseError about this line."""
        raise ParseError(f"parse: line {self.line.number}, `{self.line.text}`: {message}")
