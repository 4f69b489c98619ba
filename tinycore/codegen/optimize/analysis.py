"""What the heuristic reads off a kernel: how each access moves along each axis.

Comes in: a kernel tree. Goes out: references (an access under its loops) and their strides, in
elements. heuristic.py decides from these alone, never from shapes it has seen before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tinycore.codegen.optimize.edit import Statements, atom_of
from tinycore.codegen.optimize.stage import used_alone
from tinycore.uop import Ops, UOp
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index, make
from tinycore.uop.sites import evaluated
from tinycore.uop.tree import Access, load, walk


class Reference(NamedTuple):
    """One access to memory outside registers, and the loops around the statement it is in."""

    buffer: UOp
    access: Access
    loops: tuple[UOp, ...]
    is_store: bool

    def stride(self, loop: UOp) -> int | None:
        """Elements the address moves when the loop's axis moves by one; None if it varies."""
        atom = atom_of(loop)
        return 0 if atom is None else stride_of(self.address(), atom)

    def address(self) -> Index:
        """The place in the buffer as one number, counted in elements."""
        total, pitch = make(0), 1
        shape = self.buffer.arg.shape
        for index, extent in zip(reversed(self.access.indices), reversed(shape), strict=True):
            total = total + index * pitch
            pitch *= extent.hi
        return total

    def is_computed(self) -> bool:
        """True if what is used of the element is always one function of it alone."""
        element = load(self.buffer, self.access)
        return used_alone(self.loops[-1].src, [element]).results != [element]

    def box(self, depth: int) -> int:
        """Elements of the box that the loops inside loop number `depth` walk over."""
        inner = {atom_of(loop) for loop in self.loops[depth + 1 :]}
        total = 1
        for index in self.access.indices:
            moving = [term for term in index.terms if not inner.isdisjoint(atoms_of(term[0]))]
            part = make(0, tuple(moving))
            total *= part.hi - part.lo + 1
        return total


def atoms_of(atom: Atom) -> frozenset[Atom]:
    """The axes, variables and gathers under an atom."""
    return atoms(make(0, ((atom, 1),)))


def stride_of(address: Index, atom: Atom) -> int | None:
    """The coefficient of `atom`; None if it stands inside a digit, a product or a gather."""
    linear = 0
    for part, factor in address.terms:
        if part is atom:
            linear = factor
        elif atom in atoms_of(part):
            return None
    return linear


def references(statements: Iterable[UOp], loops: tuple[UOp, ...] = ()) -> list[Reference]:
    """Every access to a buffer outside registers, in source order."""
    found = []
    for statement, around in walk(statements, loops):
        for node in evaluated(statement):
            if node.op is Ops.LOAD and node.source.arg.space != "reg":
                found.append(Reference(node.source, node.arg, around, False))
        if statement.op is Ops.STORE:
            for place, target in zip(statement.arg.places, statement.src, strict=False):
                if target.arg.space != "reg":
                    found.append(Reference(target, place, around, True))
    return found


def par_chain(statements: Statements) -> tuple[list[UOp], Statements]:
    """The par loops that perfectly nest from the top, and the body of the innermost."""
    chain = []
    while len(statements) == 1 and statements[0].op is Ops.LOOP and statements[0].arg.kind == "par":
        chain.append(statements[0])
        statements = statements[0].src
    return chain, statements


def leaf_loops(statements: Iterable[UOp], loops: tuple[UOp, ...] = ()) -> list[tuple[UOp, ...]]:
    """Each loop that holds no other loop, after the loops around it."""
    found = []
    for statement, around in walk(statements, loops):
        if statement.op is Ops.LOOP and not any(s.op is Ops.LOOP for s, _ in walk(statement.src)):
            found.append((*around, statement))
    return found


def is_linear(statements: Iterable[UOp]) -> bool:
    """True if no access has a digit in its index or mask: every axis moves at one pace."""
    for reference in references(statements):
        for value in (reference.address(), *reference.access.mask):
            if any(part.kind == "digit" for part, _ in value.terms):
                return False
    return True


def extent_of(loop: UOp) -> int:
    """The number of iterations, at its upper bound."""
    extent: Index = loop.arg.extent
    return extent.hi
