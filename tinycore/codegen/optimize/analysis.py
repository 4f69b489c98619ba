"""What the heuristic reads off a kernel: how each access moves along each axis.

In: a kernel tree. Out: references, each an access under its loops, and their strides in elements.
Next file: heuristic.py.
"""

from collections.abc import Iterable
from math import prod
from typing import NamedTuple

from tinycore.codegen.optimize.edit import atoms_in, loops_in
from tinycore.codegen.optimize.stage import moving_part, used_alone
from tinycore.dtype import dtypes
from tinycore.runtime.contract import Caps
from tinycore.uop import Nodes, Ops, UOp
from tinycore.uop.index import Index, atoms, make
from tinycore.uop.sites import uses
from tinycore.uop.tree import Access, Kernel, load, walk

_BYTES = [dtypes.int32, dtypes.int8, dtypes.int8]


class Reference(NamedTuple):
    """One access, its loops, and its place in the buffer in elements."""

    buffer: UOp
    access: Access
    loops: Nodes
    is_store: bool
    address: Index

    def stride(self, loop: UOp) -> int | None:
        """Elements the address moves in one step of the loop; None if that varies."""
        value = loop.index
        moved = moving_part(self.address, atoms(value))
        step = sum(dict(moved.terms).values())
        return step if moved is value * step else None

    def moves(self, loop: UOp) -> bool:
        """True if the address depends on the loop's axis."""
        return self.stride(loop) != 0

    def uses(self, loops: Nodes) -> int:
        """The iterations of loops in which an element stays the same."""
        return iterations([loop for loop in loops if not self.moves(loop)])

    def is_computed(self) -> bool:
        """True if what is used of the element is always one function of it alone."""
        element = load(self.buffer, self.access)
        return used_alone(self.loops[-1].src, [element])[element] is not element

    def box(self, depth: int) -> int:
        """Elements of the box that the loops inside loop number `depth` walk over."""
        inner = atoms_in(self.loops[depth].src)
        parts = [moving_part(index, inner) for index in self.access.indices]
        return prod(part.hi - part.lo + 1 for part in parts)


def references(statements: Iterable[UOp], loops: Nodes = ()) -> list[Reference]:
    """Every access to a buffer of several elements or outside registers, in source order."""
    return [
        Reference(buffer, access, around, how != "load", _address(buffer, access))
        for statement, around in walk(statements, loops)
        for buffer, access, how in uses(statement)
        if buffer.space != "reg" or buffer.shape
    ]


def _address(buffer: UOp, access: Access) -> Index:
    total = make(0)
    for index, extent in zip(access.indices, buffer.arg.shape, strict=True):
        total = total * extent.hi + index
    return total


def chain_of(body: Nodes, kind: str = "par") -> tuple[Nodes, Nodes]:
    """The loops of a kind that perfectly nest from the top, and the body of the innermost."""
    chain: Nodes = ()
    while len(body) == 1 and body[0].is_loop and body[0].kind == kind:
        chain += body
        body = body[0].src
    return chain, body


def perfect_pairs(statements: Iterable[UOp]) -> list[tuple[str, str]]:
    """The axes of each loop whose whole body is another, and of that."""
    outer = [one for one in loops_in(statements) if len(one.src) == 1]
    return [(one.name, one.source.name) for one in outer if one.source.is_loop]


def is_linear(kernel: Kernel) -> bool:
    """True if no index or mask has a digit, so that every axis moves at one pace."""
    found = references(kernel.body)
    values = [value for one in found for value in (one.address, *one.access.mask)]
    return all(part.kind != "digit" for value in values for part, _ in value.terms)


def extent_of(loop: UOp) -> int:
    """The number of iterations, at its upper bound."""
    return int(loop.extent.hi)


def iterations(loops: Iterable[UOp]) -> int:
    """The number of iterations of a nest of loops, at its upper bound."""
    return prod(map(extent_of, loops))


def names_of(loops: Iterable[UOp]) -> list[str]:
    """The axes of loops."""
    return [loop.name for loop in loops]


def imageable(kernel: Kernel, caps: Caps) -> list[str]:
    """The parameters that are not too large for an image, if the target has any."""
    held = {one: one.size * one.dtype.itemsize for one in kernel.params}
    return [one.name for one, size_bytes in held.items() if 0 < size_bytes <= caps.image_bytes]


def factors_of_bytes(made: UOp) -> Nodes:
    """What a STORE multiplies if it sums products of two int8 in int32; else nothing."""
    value = made.src[1]
    narrow = tuple(one.source for one in value.src if one.op is Ops.CAST)
    are_bytes = [one.dtype for one in (value, *narrow)] == _BYTES
    is_sum = value.op is Ops.MUL and made.combine == "sum"
    return narrow if is_sum and are_bytes else ()
