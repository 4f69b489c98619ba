"""STAGE and UPDATE: tiles in a nearer place, of what a loop reads or adds to again and again.

In: a kernel, a buffer, an axis, a space and a layout. Out: the kernel with a tile; a COPY takes
over masks and what is computed from an element and others at its indices (docs/ir.md rule 9,
docs/decisions/0008-update.md). Next file: actions.py.
"""

from collections.abc import Callable
from typing import NamedTuple

from tinycore.codegen.optimize.edit import (
    Illegal,
    Indices,
    Statements,
    atoms_in,
    buffer_named,
    changed,
    each,
    edit,
    edit_loops,
    find,
    fresh,
    in_block,
    loads_of,
    loops_in,
    names_in,
    nodes_in,
    read,
    refit,
    renewed,
    stores_to,
    values_around,
)
from tinycore.codegen.optimize.place import pruned
from tinycore.codegen.optimize.split import masks_of
from tinycore.dtype import dtypes
from tinycore.uop import Ops, UOp
from tinycore.uop.index import Atom, Index, Mask, atoms, axes_over, axis, make, mask_of, of_atom
from tinycore.uop.ops import ELEMENTWISE
from tinycore.uop.sites import under
from tinycore.uop.tree import (
    Access,
    Kernel,
    Rebuild,
    buffer,
    indices,
    load,
    rebuild,
    store,
    values,
)

Layout = tuple[tuple[str, ...], ...]

_PURE = ELEMENTWISE | {Ops.LET}
ENGINES = {"reg": "", "packed": "loop", "group": "thread"}


def stage(kernel: Kernel, source: str, at: str, space: str, layout: Layout | str) -> Kernel:
    """STAGE(buffer, axis, space, layout): a tile of `buffer`, filled at each iteration of `axis`.

    `layout` lists the tile's dimensions, outermost first, each the axes inside `axis` that it runs
    over: [j.1][k][j.2 j.3]; all reads that move along these alone have one index then. `box` is the
    bounding box of what is read inside. Legal if nothing inside writes the buffer, and every mask
    of a read is told by the place in the tile or keeps its iteration from storing.
    """
    if space not in ENGINES:
        raise Illegal(f"STAGE: {space!r} is no tile space; expected one of {', '.join(ENGINES)}")
    if not isinstance(layout, tuple) and layout != "box":
        raise Illegal(f"STAGE: {layout!r} is no layout; expected [axes][axes] or box")
    wide, taken = buffer_named(kernel, source), names_in(kernel)

    def on_loop(node: UOp) -> Statements:
        return (_staged(node, wide, fresh(f"{source}.{space}", taken), space, layout),)

    staged = edit_loops(kernel, at, on_loop)
    if staged == kernel:
        raise Illegal(f"STAGE: {source} is not read inside {at}")
    return staged


def _staged(node: UOp, source: UOp, name: str, space: str, layout: Layout | str) -> UOp:
    reads = _reads(node, source)
    if not reads:
        return node
    if isinstance(layout, str):
        tile = _box(name, node, reads)
    else:
        tile = _listed(name, node, reads, layout)
    reads = [*tile.places]
    masks = {_mask(node, tile, one) for one in reads}
    if len(masks) > 1:
        raise Illegal(f"STAGE: reads of {source.name} have several masks")
    first = reads[0].arg
    element = load(source, first._replace(indices=tile.origin, mask=masks.pop()))
    results = used_alone(node.src, reads)
    value = _function(results[reads[0]], reads[0], element)
    held = buffer(name, value.dtype, tile.shape, space)
    now = values_around(node.src)
    now |= {results[one]: load(held, Access(tile.places[one])) for one in reads}
    body = pruned(rebuild(node.src, now))
    return node.over((held, *_filled(held, value), *body))


def _reads(node: UOp, source: UOp) -> list[UOp]:
    name, copied = source.name, loads_of(find(node.src, Ops.COPY), source)
    reads = [one for one in loads_of(node.src, source) if one not in copied]
    if source in changed(node.src):
        raise Illegal(f"STAGE: {name} is written inside {node.name}")
    used = atoms(*indices(tuple(one.arg for one in reads)))
    if any(atom.kind == "gather" for atom in used) or any(one.arg.sequence for one in reads):
        raise Illegal(f"STAGE: {name} is a ring or is gathered")
    if reads and atoms_in(node.src) & atoms(*[one.extent for one in loops_in(node.src)]):
        raise Illegal(f"STAGE: loops that read {name} have extents that vary")
    if len({one.arg.fill for one in reads}) > 1:
        raise Illegal(f"STAGE: reads of {name} have several fills")
    return reads


def used_alone(body: Statements, reads: list[UOp]) -> dict[UOp, UOp]:
    """The widest expression of each read and of elements beside it, if all enter `body` by the
    same; else the read."""
    stored = changed(body)
    leaves: dict[UOp, frozenset[UOp]] = {}
    for node in (order := nodes_in(body)):
        if node.is_load and node.source not in stored:
            leaves[node] = frozenset([node])
        elif node.is_const or (node.op in _PURE and leaves.keys() >= {*node.src}):
            leaves[node] = frozenset().union(*[leaves[one] for one in node.src])
    origin = {}
    for node, found in leaves.items():
        for one in found.intersection(reads):
            if all(_is_beside(one, other) for other in found):
                origin[node] = one
    ends = [one for node in order if node not in origin for one in node.src]
    ends += [value for one in under(body) if not one.is_let for value in values(one)]
    tops = {(origin[end], _plain(end)) for end in ends if end in origin}
    results = dict(tops)
    if len(tops) == len(results) == len(reads):
        functions = {_function(top, one, reads[0]) for one, top in tops}
        if len(functions) == 1 and functions.pop().dtype is not dtypes.bool:
            return results
    return {one: one for one in reads}


def _is_beside(one: UOp, other: UOp) -> bool:
    """True if the indices of `other` are some of those of `one`, all different, and are inside its
    buffer wherever they are inside the other."""
    room = dict(zip(one.arg.indices, one.source.arg.shape, strict=True))
    moving = [index for index in one.arg.indices if index.terms]
    if len({*moving}) < len(moving) or other.arg.mask != one.arg.mask:
        return False
    for index, extent in zip(other.arg.indices, other.source.arg.shape, strict=True):
        if index.terms and (index not in room or (extent - room[index]).lo < 0):
            return False
    return not other.arg.sequence


def _plain(node: UOp) -> UOp:
    return _plain(node.source) if node.is_let else node


def _function(result: UOp, one: UOp, element: UOp) -> UOp:
    """What is computed from a read and what is beside it, of another element; LETs on the way are
    written out."""
    pairs = zip(one.arg.indices, element.arg.indices, strict=True)
    to = {old: new for old, new in pairs if old.terms}

    def look(node: UOp) -> UOp:
        if not node.is_load:
            return _plain(node)
        new = tuple(to.get(index, index) for index in node.arg.indices)
        return load(node.source, node.arg._replace(indices=new, mask=element.arg.mask))

    return Rebuild({one: element}, look=look).node(result)


def _filled(target: UOp, value: UOp) -> Statements:
    filled = each(target, f"{target.name}.", lambda place: store(target, place, value))
    if target.space == "reg":
        return (filled,)
    *loops, filled = under([filled])
    box = tuple((one.name, one.extent) for one in loops)
    copy = refit(filled, box=box, engine=ENGINES[target.space]).replace(op=Ops.COPY)
    return (copy, UOp(Ops.WAIT, dtypes.void, (target,), (None,)))


class _Tile(NamedTuple):
    """The dimensions of a tile, the indices it is copied from, and the place of each read in it.

    `told(read, value)` is a constraint of a read in the tile's axes, as far as it can tell.
    """

    shape: list[int]
    origin: Indices
    places: dict[UOp, Indices]
    told: Callable[[UOp, Index], Index]


def _mask(node: UOp, tile: _Tile, read: UOp) -> Mask:
    """The mask of the copy as one read wants it; a tile may be larger than the buffer."""
    source, moving = read.source, atoms_in(node.src)
    found = []
    for value in read.arg.mask:
        new = tile.told(read, value)
        if not atoms(new) & moving:
            found.append(new)
        elif not _is_dead(node.src, value):
            raise Illegal(f"STAGE: a mask of {source.name} is not told by the tile")
    for index, extent in zip(tile.origin, source.arg.shape, strict=True):
        found += (index, extent - 1 - index)
    return mask_of(found)


def _is_dead(body: Statements, value: Index) -> bool:
    """True if no iteration in which `value` is negative stores anything."""
    every = [masks_of(body, of_atom(atom)) for atom in atoms(value)]
    return any(masks and all(value in mask for mask in masks) for masks in every)


def _listed(name: str, node: UOp, reads: list[UOp], layout: Layout) -> _Tile:
    inside = _place("STAGE", node, layout)
    reads = [one for one in reads if _moves_along(one.arg.indices, node, inside)]
    found = {one.arg.indices for one in reads}
    if not found:
        raise Illegal(f"STAGE: the layout lists other axes than an index of {name} holds")
    if len(found) > 1:
        raise Illegal(f"STAGE: {reads[0].source.name} is read at several places; use box")
    [places] = found
    env = {}
    shape = [place.hi + 1 for place in inside]
    for whole, place in zip(axes_over(f"{name}.", shape), inside, strict=True):
        for atom, stride in place.terms:
            env[atom] = whole // stride % (atom.hi + 1)
    origin = tuple(index.substitute(env) for index in places)
    return _Tile(
        shape, origin, dict.fromkeys(reads, inside), lambda _, value: value.substitute(env)
    )


def _place(action: str, node: UOp, layout: Layout) -> Indices:
    found = []
    extents = {one.name: one.extent for one in loops_in(node.src)}
    for group in layout:
        inside = make(0)
        for listed in group:
            if listed not in extents or not extents[listed].is_const:
                raise Illegal(f"{action}: {listed} is no inner axis of constant extent")
            inside = inside * extents[listed].const + axis(listed, extents[listed])
        found.append(inside)
    return tuple(found)


def _moves_along(places: Indices, node: UOp, inside: Indices) -> bool:
    return atoms(*places) & atoms_in(node.src) == atoms(*inside)


def _box(name: str, node: UOp, reads: list[UOp]) -> _Tile:
    """A dimension for each of the buffer's that moves inside, as wide as all reads together."""
    moving, origin, shape = atoms_in(node.src), list[Index](), list[int]()
    places: dict[UOp, Indices] = dict.fromkeys(reads, ())
    for column in zip(*[one.arg.indices for one in reads], strict=True):
        inside = [moving_part(index, moving) + index.const for index in column]
        if atoms(*inside) - moving:
            raise Illegal("STAGE: a digit of the index mixes axes inside and outside")
        base = {index - part for index, part in zip(column, inside, strict=True)}
        if len(base) > 1:
            raise Illegal(f"STAGE: reads of {reads[0].source.name} lie in several boxes")
        lo = min(part.lo for part in inside)
        extent = max(part.hi for part in inside) - lo + 1
        origin.append(base.pop() + lo + axis(f"{name}.{len(shape)}", extent))
        if extent > 1:
            shape.append(extent)
            for one, part in zip(reads, inside, strict=True):
                places[one] += (part - lo,)

    def told(read: UOp, value: Index) -> Index:
        for new, old in zip(origin, read.arg.indices, strict=True):
            for atom, factor in moving_part(old, moving).terms[:1]:
                times, rest = divmod(dict(value.terms).get(atom, 0), factor)
                value += 0 if rest else (new - old) * times
        return value

    return _Tile(shape, tuple(origin), places, told)


def moving_part(index: Index, moving: frozenset[Atom]) -> Index:
    """The terms of an index that depend on some axes."""
    terms = [one for one in index.terms if not moving.isdisjoint(atoms(make(0, (one,))))]
    return make(0, tuple(terms))


# UPDATE


def update(kernel: Kernel, source: str, at: str, layout: Layout) -> Kernel:
    """UPDATE(buffer, axis, layout): each iteration of `axis` adds to a register tile of `buffer`.

    `layout` is as for STAGE. What reads the sums afterwards gets new axes. Legal for an accumulator
    with one combining store, in a reduction loop that holds `axis` inside par loops alone.
    """
    wide, taken = buffer_named(kernel, source), names_in(kernel)
    name = fresh(f"{source}.reg", taken)

    def apart(one: UOp) -> list[UOp]:
        return [renewed(one, axis=fresh(one.name, taken)) if one.is_loop else one]

    def change(body: Statements) -> Statements:
        path = _loops_to(body, wide, at)
        begun = body.index(path[0]) + 1
        node = path[-1]
        tiled = rebuild(body[:begun], {node: _with_tile(node, wide, name, layout)})
        return tiled + edit(body[begun:], apart)

    return in_block(kernel, wide, change)


def _loops_to(body: Statements, wide: UOp, at: str) -> list[UOp]:
    first = [one for one in body if stores_to([one], wide)][:1]
    loops = [one for one in loops_in(first) if stores_to([one], wide)]
    names = [one.name for one in loops]
    stores = stores_to(first, wide)
    if at not in names or len(stores) != 1 or wide in read(loops) or find(first, Ops.IF):
        raise Illegal(f"UPDATE: {wide.name} has no one store inside {at} in a reduction")
    path = loops[: names.index(at) + 1]
    plain = wide.init and stores[0].arg[1:3] == (wide.init, "")
    if any(one.kind != "par" for one in path[1:]) or not plain:
        raise Illegal(f"UPDATE: {wide.name} is not summed by a reduction of par loops to {at}")
    return path


def _with_tile(node: UOp, wide: UOp, name: str, layout: Layout) -> UOp:
    [added] = stores_to(node.src, wide)
    place = added.place
    inside = _place("UPDATE", node, layout)
    if not _moves_along(place.indices, node, inside):
        raise Illegal(f"UPDATE: the layout lists other axes than the index of {wide.name} holds")
    shape = [index.hi + 1 for index in inside]
    tile = buffer(name, wide.dtype, shape, "reg", init=wide.init)
    near = store(tile, place._replace(indices=inside), added.src[1], added.combine)
    gone = atoms_in(node.src) - atoms(*inside)
    outer = tuple(value for value in place.mask if not atoms(value) & gone)
    total = load(tile, Access(inside))
    combined = store(wide, place._replace(mask=outer), total, wide.init)
    inner = {one.name: one for one in loops_in(node.src)}
    for listed in reversed(dict.fromkeys(sum(layout, ()))):
        combined = refit(inner[listed], kind="par").over((combined,))
    return node.over((tile, *rebuild(node.src, {added: near}), combined))
