"""How each loop of a kernel tree runs once it is expanded.

Comes in: loops of the tree. Goes out: what expand.py does with each, and what registers.py may
assume; nothing here changes the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from tinycore.codegen.optimize.edit import atom_of
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import walk

EACH, LANES, SERIAL = "each", "lanes", "serial"
"""How a loop runs: copied for each number, as lanes, as a loop of the program."""

MAX_COPIES = 64
MAX_LANES = 128


class Modes:
    """How the loops of one kernel run; each is asked about once."""

    def __init__(self) -> None:
        self.of = cache(self._of)

    def around(self, loops: Iterable[UOp]) -> tuple[frozenset[Atom], Atom | None]:
        """The axes among those of `loops` that are expanded, and the one that lanes run along."""
        expanded: set[Atom | None] = set()
        lane = None
        for loop in loops:
            mode = self.of(loop)
            if mode != SERIAL:
                expanded.add(atom_of(loop))
            if mode == LANES:
                lane = atom_of(loop)
        return frozenset([atom for atom in expanded if atom is not None]), lane

    def _of(self, loop: UOp) -> str:
        extent, place = loop.arg.extent, loop.arg.map
        if extent.terms:
            return SERIAL
        if place == "vec":
            place = "unroll" if extent.const <= MAX_COPIES else ""
            if self._has_lanes(loop):
                return LANES
        return EACH if extent.const <= 1 or place in ("reg", "unroll") else SERIAL

    def _has_lanes(self, loop: UOp) -> bool:
        """True if every iteration takes the same way through the body, one vector loop deep."""
        lane = atom_of(loop)
        if lane is None or lane.hi >= MAX_LANES or loop.arg.kind != "par":
            return False
        for statement, _ in walk(loop.src):
            extents = _EXTENTS.get(statement.op)
            if extents is not None and _depends(extents(statement), lane):
                return False
            if statement.op is Ops.LOOP and self.of(statement) == LANES:
                return False
        return True


_EXTENTS: dict[Ops, Callable[[UOp], Iterable[Index]]] = {
    Ops.LOOP: lambda node: (node.arg.extent,),
    Ops.IF: lambda node: node.arg,
    Ops.BUFFER: lambda node: node.arg.shape,
}
"""What must be the same in every lane of a vector loop around a statement."""


def _depends(values: Iterable[Index], lane: Atom) -> bool:
    """True if values may differ from lane to lane."""
    return any(atom is lane or atom.kind == "gather" for atom in atoms(*values))
