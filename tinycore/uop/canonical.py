"""The one spelling of a kernel: equal programs get equal text, and so one key.

Comes in: a `Kernel` with the names its writer chose. Goes out: the same kernel with axes i0, i1,
buffers b0, b1 and values v0, v1 numbered by first appearance. An axis keeps its history (i0.0 is a
child of a SPLIT of i0, i0_i1 a FUSE, a prime a PEEL); variables keep their names, since a launch
binds them by name. Caches key on `kernel_key`; legality is checked in uop/spec.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b

from tinycore.uop.affine import atoms, substitute
from tinycore.uop.index import Atom, Index, axis
from tinycore.uop.lexer import ATOM
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.printer import Piece, Printer
from tinycore.uop.tree import BufferArg, Kernel, Own, Rebuild, let

LONG = 4096  # characters
_BASE = re.compile(r"[^._']+")  # what is left of an axis name without its history


def canonical(kernel: Kernel) -> Kernel:
    """`kernel` with names by first appearance; applied twice it changes nothing more."""
    naming = _Naming({variable.arg[0] for variable in kernel.variables})
    params = [naming.buffer(param) for param in kernel.params]
    body = naming.body(kernel.body)
    return Kernel("k", tuple(params), kernel.variables, body, kernel.spmd)


def kernel_key(kernel: Kernel) -> str:
    """A hash of what the kernel does: hexadecimal, equal for two spellings of one program."""
    text = _Shortened().kernel(canonical(kernel))
    return _digest(text)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=20).hexdigest()


class _Shortened(Printer):
    """Writes a digest for a long expression: with shared parts its text may grow without bound."""

    def piece(self, node: UOp) -> Piece:
        """The text of a node, or its digest."""
        text, level = super().piece(node)
        return (text, level) if len(text) < LONG else (f"#{_digest(text)}", ATOM)


class _Axes(Mapping[Atom, Index]):
    """Every axis under its new name; `local` axes belong to one statement or buffer."""

    def __init__(self, naming: _Naming, local: Mapping[str, str]) -> None:
        self.naming = naming
        self.local = local

    def __contains__(self, atom: object) -> bool:
        return isinstance(atom, Atom) and atom.kind == "axis"

    def __getitem__(self, atom: Atom) -> Index:
        name = self.local.get(atom.name) or self.naming.axis(atom.name)
        return axis(name, atom.hi + 1)

    def __iter__(self) -> Iterator[Atom]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _Naming:
    """The new names so far, and the nodes they were given to."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self.counts: dict[str, int] = {}
        self.bases: dict[str, str] = {}
        self.nodes: dict[UOp, UOp] = {}
        self.rebuild = Rebuild({}, _Axes(self, {}))

    # names

    def fresh(self, letter: str) -> str:
        """The next name of a letter that is no variable's."""
        count = self.counts.get(letter, 0)
        while f"{letter}{count}" in self.taken:
            count += 1
        self.counts[letter] = count + 1
        return f"{letter}{count}"

    def axis(self, name: str) -> str:
        """The new name of an axis, its history kept."""
        return _BASE.sub(self._base, name)

    def _base(self, found: re.Match[str]) -> str:
        text = found.group()
        if found.start() and found.string[found.start() - 1] == ".":
            return text
        if text not in self.bases:
            self.bases[text] = self.fresh("i")
        return self.bases[text]

    def declare(self, old: UOp, new: UOp) -> UOp:
        """From here on `old` is `new`, also where it was declared before in another scope."""
        known = old in self.nodes
        self.nodes[old] = new
        if known:
            self.rebuild = Rebuild(self.nodes, _Axes(self, {}))
        else:
            self.rebuild.memo[old] = new
        return new

    # statements

    def body(self, statements: Iterable[UOp]) -> tuple[UOp, ...]:
        """Statements in order."""
        return tuple([self.statement(statement) for statement in statements])

    def statement(self, node: UOp) -> UOp:
        """One statement with everything in it renamed."""
        if node.op is Ops.BUFFER:
            return self.buffer(node)
        if node.op is Ops.LET:
            value = self.rebuild.node(node.src[0])
            return self.declare(node, let(self.fresh("v"), value))
        if node.op in (Ops.COPY, Ops.MMA):
            return self._boxed(node)
        if node.op not in (Ops.LOOP, Ops.IF, Ops.BLOCK):
            return self.rebuild.node(node)
        head = self._head(node)
        return head.replace(src=self.body(node.src))

    def _head(self, node: UOp) -> UOp:
        """A LOOP, IF or BLOCK without its body."""
        arg = node.arg
        if node.op is not Ops.IF and arg.axis:
            arg = arg._replace(axis=self.axis(arg.axis))
        bare = node.replace(src=(), arg=arg)
        return self.rebuild.node(bare)

    def _boxed(self, node: UOp) -> UOp:
        """Box axes live in one statement, where they are numbered anew."""
        local = _numbered(dict(node.arg.box), "x")
        rebuild = Rebuild(self.nodes, _Axes(self, local))
        found = rebuild.node(node)
        box = tuple([(local[name], extent) for name, extent in found.arg.box])
        arg = found.arg._replace(box=box)
        return found.replace(arg=arg)

    def buffer(self, node: UOp) -> UOp:
        """A buffer; the names of its dimensions matter where `own` speaks of them."""
        arg: BufferArg = node.arg
        shape = tuple([self.rebuild.index(extent) for extent in arg.shape])
        new = arg._replace(name=self.fresh("b"), shape=shape, names=())
        if arg.own is not None:
            new = self._owned(new, arg.names, arg.own)
        return self.declare(node, node.replace(arg=new))

    def _owned(self, arg: BufferArg, names: tuple[str, ...], own: Own) -> BufferArg:
        dimensions = _numbered(names, "d")
        lanes = _numbered(sorted({atom.name for atom in atoms(own.lane)}), "t")
        lane = substitute(own.lane, _Axes(self, lanes))
        element = substitute(own.element, _Axes(self, dimensions))
        return arg._replace(names=tuple(dimensions.values()), own=Own(lane, element))


def _numbered(names: Iterable[str], letter: str) -> dict[str, str]:
    return {name: f"{letter}{count}" for count, name in enumerate(names)}
