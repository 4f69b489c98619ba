"""The one spelling of a kernel: equal programs get equal text, and so one key.

Comes in: a `Kernel` with the names its writer chose. Goes out: its text with axes i0, i1, buffers
b0, b1 and values v0, v1 numbered by first appearance, and box and lane axes x0, x1. An axis keeps
its history (i0.0 is a child of a SPLIT of i0, i0_i1 a FUSE, a prime a PEEL); variables keep their
names, since a launch binds them by name. Caches key on `kernel_key`; uop/spec.py comes next.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from hashlib import blake2b

from tinycore.uop.lexer import ATOM
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.parser import parse
from tinycore.uop.printer import Axes, Piece, Printer
from tinycore.uop.tree import Kernel

LONG = 4096
_BASE = re.compile(r"(^|_)([^._']+)")  # the parts of an axis name without their history


def canonical(kernel: Kernel) -> Kernel:
    """`kernel` with names by first appearance; applied twice it changes nothing more."""
    found = parse(canonical_text(kernel))["k"]
    assert isinstance(found, Kernel), "canonical: a kernel is read as a plan"
    return found


def canonical_text(kernel: Kernel, limit: float = math.inf) -> str:
    """The text of `kernel` with names by first appearance, and a digest for an expression longer
    than `limit` characters: with shared parts its text may grow without bound."""
    return _Renamed(kernel, limit).kernel(kernel._replace(name="k"))


def kernel_key(kernel: Kernel) -> str:
    """A hash of what the kernel does: hexadecimal, equal for two spellings of one program."""
    return _digest(canonical_text(kernel, LONG))


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=20).hexdigest()


class _Renamed(Printer):
    """Writes names by first appearance; `local` ones belong to one statement."""

    def __init__(self, kernel: Kernel, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.taken = {variable.arg[0] for variable in kernel.variables}
        self.counts: Counter[str] = Counter()
        self.bases: dict[str, str] = {}
        self.local: dict[str, str] = {}
        self.names: dict[UOp, str] = {}

    def fresh(self, letter: str) -> str:
        """The next name of a letter that is no variable's."""
        name = f"{letter}{self.counts[letter]}"
        self.counts[letter] += 1
        return self.fresh(letter) if name in self.taken else name

    def name(self, node: UOp) -> str:
        """The new name of a buffer or of a value."""
        return self.names[node]

    def axis(self, name: str) -> str:
        """The new name of an axis, its history kept."""
        return self.local.get(name) or _BASE.sub(self._base, name)

    def _base(self, found: re.Match[str]) -> str:
        sign, base = found.groups()
        if base not in self.bases:
            self.bases[base] = self.fresh("i")
        return sign + self.bases[base]

    def box(self, axes: Axes) -> str:
        """The axes of one statement, under names of their own."""
        named = list(axes)
        self.local |= {name: self.fresh("x") for name, _ in named}
        return super().box(named)

    def statement(self, node: UOp) -> str:
        """A statement: here a value gets its name, also one that a scope before declared."""
        self.local, self.pieces = {}, {}
        self.counts["x"] = 0
        if node.op is Ops.LET:
            self.names[node] = self.fresh("v")
        return super().statement(node)

    def declaration(self, node: UOp) -> str:
        """A buffer, which gets its name."""
        self.names[node] = self.fresh("b")
        return super().declaration(node)

    def piece(self, node: UOp) -> Piece:
        """The text of a node, or its digest."""
        text, level = super().piece(node)
        return (text, level) if len(text) < self.limit else (f"#{_digest(text)}", ATOM)
