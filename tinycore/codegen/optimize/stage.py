"""STAGE: what a loop reads again and again is first copied to a contiguous tile in a nearer place.

Comes in: a kernel, a buffer, the axis at which the tile is filled, its space and layout. Goes out:
the kernel with a COPY and a WAIT at the top of that loop, and unmasked reads of the tile: masks
move into the COPY. Packing on a CPU, group memory on a GPU, the padded image of a convolution are
this one action (IR.md 5).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import NamedTuple

from tinycore.codegen.optimize.edit import Illegal, atom_of, edit_loops
from tinycore.codegen.optimize.reorder import targets
from tinycore.dtype import dtypes
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index, axis, digit, make
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.tree import (
    Access,
    CopyArg,
    Kernel,
    Rebuild,
    buffer,
    load,
    values,
    walk,
)

Layout = tuple[tuple[str, ...], ...]
SPACES = ("reg", "packed", "group")


def stage(kernel: Kernel, source: str, at: str, space: str, layout: Layout) -> Kernel:
    """STAGE(buffer, axis, space, layout): a tile of `buffer`, filled at each iteration of `axis`.

    `layout` lists the tile's dimensions, outermost first, each the axes inside `axis` that it
    runs over: [j.1][k][j.2 j.3]. Legal if nothing inside writes the buffer, its loads there have
    one index, and the layout names exactly the inner axes of that index, of constant extents.
    """
    if space not in SPACES:
        raise Illegal(f"STAGE: {space!r} is no tile space; expected one of {', '.join(SPACES)}")
    return edit_loops(kernel, at, lambda node: [_staged(node, source, space, layout)])


def _staged(node: UOp, source: str, space: str, layout: Layout) -> UOp:
    found = _Loads(node, source)
    if found.read is None:
        return node
    tile = _Tile(found, f"{source}.{space}", space, layout)
    body = Rebuild({found.read: tile.read}, {}).body(node.src)
    return node.replace(src=(tile.buffer, tile.copy, tile.wait, *body))


class _Loads:
    """The one load of a buffer inside a loop, and the loops between."""

    def __init__(self, node: UOp, source: str) -> None:
        reads: set[UOp] = set()
        self.inner: dict[str, UOp] = {}
        for statement, _ in walk(node.src):
            if statement.op is Ops.LOOP:
                self.inner[statement.arg.axis] = statement
            if statement.op is Ops.STORE and source in {b.arg.name for b in targets(statement)}:
                raise Illegal(f"STAGE: {source} is written inside {node.arg.axis}")
            reads |= {n for n in _loads(statement) if n.src[0].arg.name == source}
        if len(reads) > 1:
            raise Illegal(f"STAGE: {source} is read at {len(reads)} indices in {node.arg.axis}")
        self.read = next(iter(reads), None)
        self.source = source


def _loads(statement: UOp) -> Iterable[UOp]:
    return [inner for inner in toposort(values(statement)) if inner.op is Ops.LOAD]


class _Dim(NamedTuple):
    """One dimension of a tile: its box axis, extent, and its index in terms of the loops."""

    name: str
    extent: int
    place: Index


class _Tile:
    """The buffer, the copy that fills it, and the load that replaces the staged one."""

    def __init__(self, found: _Loads, name: str, space: str, layout: Layout) -> None:
        assert found.read is not None
        self.found = found
        self.env: dict[Atom, Index] = {}
        dims = [self._dim(f"{name}.{k}", group) for k, group in enumerate(layout)]
        self._check(found.read)
        self.buffer = buffer(name, found.read.dtype, [dim.extent for dim in dims], space)
        self.read = load(self.buffer, Access(tuple([dim.place for dim in dims])))
        self.copy = self._copy(found.read, dims)
        self.wait = UOp(Ops.WAIT, dtypes.void, (self.buffer,), (None,))

    def _dim(self, name: str, group: tuple[str, ...]) -> _Dim:
        loops = [self._loop(axis_name) for axis_name in group]
        extents = [loop.arg.extent.const for loop in loops]
        place = axis(name, prod(extents))
        inside, stride = make(0), 1
        for loop, extent in zip(reversed(loops), reversed(extents), strict=True):
            atom = atom_of(loop)
            inside = inside + axis(loop.arg.axis, extent) * stride
            if atom is not None:
                self.env[atom] = digit(place, stride, extent)
            stride *= extent
        return _Dim(name, stride, inside)

    def _loop(self, name: str) -> UOp:
        loop = self.found.inner.get(name)
        if loop is None or not loop.arg.extent.is_const:
            raise Illegal(f"STAGE: {name} is no inner axis of constant extent")
        return loop

    def _check(self, read: UOp) -> None:
        own = {atom_of(loop) for loop in self.found.inner.values()} - {None}
        access: Access = read.arg
        used: set[Atom] = set()
        for value in (*access.indices, *access.mask):
            used |= atoms(value)
        if used & own != set(self.env):
            names = sorted(atom.name for atom in used & own)
            raise Illegal(f"STAGE: {self.found.source} depends on {names}; the layout on others")
        if access.sequence is not None or any(atom.kind == "gather" for atom in used):
            raise Illegal(f"STAGE: {self.found.source} is a ring or is gathered")

    def _copy(self, read: UOp, dims: list[_Dim]) -> UOp:
        source = Rebuild({}, self.env).node(read)
        place = Access(tuple([axis(dim.name, dim.extent) for dim in dims]))
        box = tuple([(dim.name, make(dim.extent)) for dim in dims])
        return UOp(Ops.COPY, dtypes.void, (self.buffer, source), CopyArg(place, box, "loop"))
