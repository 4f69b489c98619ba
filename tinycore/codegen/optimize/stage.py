"""STAGE: what a loop reads again and again is first copied to a contiguous tile in a nearer place.

Comes in: a kernel, a buffer, the axis at which the tile is filled, its space and layout. Goes out:
the kernel with a COPY and a WAIT (for registers: stores) at the top of that loop, and unmasked
reads of the tile: masks move into the COPY, and so does what is computed from an element alone (an
activation in front of a convolution). Packing on a CPU, group memory on a GPU, the padded image of
a convolution are this one action (docs/ir.md rule 9).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tinycore.codegen.optimize.edit import (
    Illegal,
    Statements,
    atom_of,
    changed,
    constraint,
    edit,
    edit_loops,
    fresh,
    loads,
    loops_in,
    loops_of,
    names_in,
    nested,
    read,
)
from tinycore.codegen.optimize.split import masks_of
from tinycore.dtype import dtypes
from tinycore.uop.affine import Mask, atoms, mask_of, substitute
from tinycore.uop.index import Atom, Index, axis, digit, make
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp, toposort
from tinycore.uop.sites import under
from tinycore.uop.tree import Access, Kernel, StoreArg, buffer, load, loop, rebuild, store, values

Layout = tuple[tuple[str, ...], ...]
Loops = Mapping[str, UOp]
Moving = set[Atom | None]
BOX = "box"
_PURE = ELEMENTWISE | {Ops.LET}
ENGINES = {"reg": "", "packed": "loop", "group": "thread"}


def stage(kernel: Kernel, source: str, at: str, space: str, layout: Layout | str) -> Kernel:
    """STAGE(buffer, axis, space, layout): a tile of `buffer`, filled at each iteration of `axis`.

    `layout` lists the tile's dimensions, outermost first, each the axes inside `axis` that it
    runs over: [j.1][k][j.2 j.3]; all reads have one index then. `box` is the bounding box, in each
    dimension of the buffer, of what is read inside. Legal if nothing inside writes the buffer, and
    every mask of a read is told by the place in the tile or keeps its iteration from storing.
    """
    if space not in ENGINES:
        raise Illegal(f"STAGE: {space!r} is no tile space; expected one of {', '.join(ENGINES)}")
    if not isinstance(layout, tuple) and layout != BOX:
        raise Illegal(f"STAGE: {layout!r} is no layout; expected [axes][axes] or {BOX}")
    if not any(_reads(node, source) for node in loops_of(kernel, at)):
        raise Illegal(f"STAGE: {source} is not read inside {at}")
    taken = names_in(kernel)

    def on_loop(node: UOp) -> list[UOp]:
        name = fresh(f"{source}.{space}", taken)
        return [_staged(node, source, name, space, layout)]

    return nested(edit_loops(kernel, at, on_loop), "STAGE")


def _reads(node: UOp, source: str) -> list[UOp]:
    if source in [target.name for target in changed(node.src)]:
        raise Illegal(f"STAGE: {source} is written inside {node.name}")
    copies = [statement for statement in under(node.src) if statement.op is Ops.COPY]
    if source in [one.name for one in read(copies)]:
        raise Illegal(f"STAGE: {source} is staged inside {node.name} already")
    return [found for found in loads(node.src) if found.source.name == source]


def _staged(node: UOp, source: str, name: str, space: str, layout: Layout | str) -> UOp:
    reads = _reads(node, source)
    if not reads:
        return node
    inner = {found.name: found for found in loops_in(node.src)}
    moving: Moving = {atom_of(found) for found in inner.values()}
    _check(reads, moving, inner)
    if isinstance(layout, str):
        tile = _box(name, reads, moving)
    else:
        tile = _listed(name, reads, inner, layout)
    masks = {_mask(node.src, tile, number, one, moving) for number, one in enumerate(reads)}
    if len(masks) > 1:
        raise Illegal(f"STAGE: reads of {source} have several masks")
    shape = [dim.extent for dim in tile.dims]
    first = reads[0]
    element = load(first.src[0], first.arg._replace(indices=tile.source, mask=masks.pop()))
    use = used_alone(node.src, reads)
    value = use.of(first, element)
    held = buffer(name, value.dtype, shape, space)
    places = zip(*[dim.places for dim in tile.dims], strict=True) if shape else [()] * len(reads)
    now = [load(held, Access(tuple(place))) for place in places]
    body = edit(node.src, lambda one: [] if one in use.lets else [one])
    body = rebuild(body, dict(zip(use.results, now, strict=True)))
    return node.replace(src=(held, *_filled(held, value, tile), *body))


class Use(NamedTuple):
    """What is computed from each read alone, and the LETs on the way, which nothing else uses."""

    results: list[UOp]
    lets: list[UOp]

    def of(self, read: UOp, element: UOp, number: int = 0) -> UOp:
        """Result `number` with `element` in place of its read."""
        nodes = {read: element}
        for one in self.lets:
            [nodes[one]] = rebuild(one.src, nodes)
        return rebuild([self.results[number]], nodes)[0]


def used_alone(body: Statements, reads: list[UOp]) -> Use:
    """The widest expressions of one read each, if all reads enter the rest of `body` by the same.

    Otherwise the reads themselves.
    """
    statements = under(body)
    roots = [value for one in statements for value in values(one)]
    order = toposort(roots)
    origin: dict[UOp, UOp] = {}
    for node in order:
        sources = [origin.get(one, node) for one in node.src if one.op is not Ops.CONST]
        if node in reads:
            origin[node] = node
        elif node.op in _PURE and len(set(sources)) == 1 and sources[0] is not node:
            origin[node] = sources[0]
    inside = [one for one in statements if one.op is Ops.LET and one in origin]
    ends = [one for node in order if node not in origin for one in node.src]
    ends += [value for one in statements if one.op is not Ops.LET for value in values(one)]
    found = [{_plain(end) for end in ends if origin.get(end) is read} for read in reads]
    plain = Use(reads, [])
    if any(len(tops) != 1 for tops in found):
        return plain
    use = Use([tops.pop() for tops in found], [one for one in inside if one not in ends])
    functions = {use.of(read, reads[0], number) for number, read in enumerate(reads)}
    if len(functions) > 1 or use.results[0].dtype is dtypes.bool:
        return plain
    return use


def _plain(node: UOp) -> UOp:
    return _plain(node.source) if node.op is Ops.LET else node


def _check(reads: list[UOp], moving: Moving, inner: Loops) -> None:
    name = reads[0].source.name
    used = [atom for read in reads for atom in atoms(*read.arg.indices, *read.arg.mask)]
    if reads[0].arg.sequence is not None or any(atom.kind == "gather" for atom in used):
        raise Illegal(f"STAGE: {name} is a ring or is gathered")
    if moving & atoms(*[found.arg.extent for found in inner.values()]):
        raise Illegal(f"STAGE: loops that read {name} have extents that vary")
    if len({read.arg.fill for read in reads}) > 1:
        raise Illegal(f"STAGE: reads of {name} have several fills")


def _filled(target: UOp, value: UOp, tile: _Tile) -> Statements:
    """A COPY with its WAIT, or plain stores into registers."""
    place = Access(tuple([dim.value for dim in tile.dims]))
    if target.arg.space == "reg":
        found = store(target, place, value)
        for dim in reversed(tile.dims):
            found = loop("par", dim.name, dim.extent, [found])
        return (found,)
    box = tuple([(dim.name, make(dim.extent)) for dim in tile.dims])
    engine = ENGINES[target.arg.space]
    arg = StoreArg((place,), box=box, engine=engine)
    copy = UOp(Ops.COPY, dtypes.void, (target, value), arg)
    return (copy, UOp(Ops.WAIT, dtypes.void, (target,), (None,)))


class _Dim(NamedTuple):
    """One dimension of a tile: its axis and extent, and for each read its index there."""

    name: str
    extent: int
    places: tuple[Index, ...]

    @property
    def value(self) -> Index:
        """The axis of the dimension."""
        return axis(self.name, self.extent)


class _Tile(NamedTuple):
    """The dimensions of a tile, the index it is copied from, and constraints in its axes.

    `told(number, value)` is what a constraint of a read means in the tile; what it cannot tell
    still speaks of axes inside.
    """

    dims: list[_Dim]
    source: tuple[Index, ...]
    told: Callable[[int, Index], Index]


def _mask(body: Statements, tile: _Tile, number: int, read: UOp, moving: Moving) -> Mask:
    """The mask of the copy as one read wants it; a tile may be larger than the buffer."""
    found: list[Index] = []
    for value in read.arg.mask:
        new = tile.told(number, value)
        if not atoms(new) & moving:
            found += constraint(new)
        elif not _is_dead(body, value):
            raise Illegal(f"STAGE: a mask of {read.src[0].name} is not told by the tile")
    for index, extent in zip(tile.source, read.source.arg.shape, strict=True):
        found += [*constraint(index), *constraint(extent - 1 - index)]
    return mask_of(found)


def _is_dead(body: Statements, value: Index) -> bool:
    """True if no iteration in which `value` is negative stores anything."""
    for atom in atoms(value):
        masks = masks_of(body, atom)
        if masks and all(value in mask for mask in masks):
            return True
    return False


def _listed(name: str, reads: list[UOp], inner: Loops, layout: Layout) -> _Tile:
    """The layout that the action lists: axes become digits of the dimension they lie in."""
    indices = reads[0].arg.indices
    if any(read.arg.indices != indices for read in reads):
        raise Illegal(f"STAGE: {reads[0].source.name} is read at several places; use box")
    dims = listed_dims(name, inner, layout)
    env = {}
    for dim in dims:
        for atom, stride in dim.places[0].terms:
            env[atom] = digit(dim.value, stride, atom.hi + 1)
    source = tuple([substitute(index, env) for index in indices])
    used = atoms(*indices)
    if not env.keys() <= used or used & {atom_of(found) for found in inner.values()} - env.keys():
        raise Illegal(f"STAGE: the layout lists other axes than the index of {name} holds")
    same = [dim._replace(places=dim.places * len(reads)) for dim in dims]
    return _Tile(same, source, lambda number, value: substitute(value, env))


def listed_dims(name: str, inner: Loops, layout: Layout) -> list[_Dim]:
    """The dimensions of a tile, each over the axes listed for it.

    Raises: Illegal if one of them is no inner axis of constant extent.
    """
    dims = []
    for number, group in enumerate(layout):
        inside, stride = make(0), 1
        for each in reversed(group):
            extent = _extent(inner, each)
            inside = inside + axis(each, extent) * stride
            stride *= extent
        dims.append(_Dim(f"{name}.{number}", stride, (inside,)))
    return dims


def _extent(inner: Loops, name: str) -> int:
    if name not in inner or not inner[name].arg.extent.is_const:
        raise Illegal(f"STAGE: {name} is no inner axis of constant extent")
    return int(inner[name].arg.extent.const)


def _box(name: str, reads: list[UOp], moving: Moving) -> _Tile:
    """A dimension for each of the buffer's that moves inside, as wide as all reads together."""
    dims: list[_Dim] = []
    source = []
    for column in zip(*[one.arg.indices for one in reads], strict=True):
        inside = [_moving_part(index, moving) for index in column]
        base = {index - part for index, part in zip(column, inside, strict=True)}
        if len(base) > 1:
            raise Illegal(f"STAGE: reads of {reads[0].source.name} lie in several boxes")
        lo = min(part.lo for part in inside)
        extent = max(part.hi for part in inside) - lo + 1
        dim = _Dim(f"{name}.{len(dims)}", extent, tuple([part - lo for part in inside]))
        source.append(base.pop() + lo + dim.value)
        dims += [dim] if extent > 1 else []

    def told(number: int, value: Index) -> Index:
        for new, old in zip(source, reads[number].arg.indices, strict=True):
            value = _shifted(value, _moving_part(old, moving), new - old)
        return value

    return _Tile(dims, tuple(source), told)


def _moving_part(index: Index, moving: Moving) -> Index:
    """The terms of an index that move inside, and its number."""
    part = make(index.const)
    for atom, factor in index.terms:
        term = make(0, ((atom, factor),))
        if atoms(term) & moving:
            part = part + term
            if atoms(term) - moving:
                raise Illegal("STAGE: a digit of the index mixes axes inside and outside")
    return part


def _shifted(value: Index, part: Index, change: Index) -> Index:
    """`value` with a multiple of `part` replaced by what the tile says for it."""
    factors = dict(value.terms)
    for atom, factor in part.terms[:1]:
        if factors.get(atom, 0) % factor == 0:
            value = value + change * (factors.get(atom, 0) // factor)
    return value
