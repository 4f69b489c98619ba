"""SPLIT, FUSE, MAP, PEEL, MASK, OVERLAP, FILL: how an axis is cut, joined, placed and unmasked.

In: a kernel and an axis name. Out: the kernel, or Illegal. i splits into i.0 and i.1; copies of it
have primes (docs/ir.md rules 4, 7). Next file: pieces.py.
"""

from collections.abc import Iterable
from functools import reduce

from tinycore.codegen.optimize.edit import (
    Illegal,
    Statements,
    atom_of,
    atoms_in,
    changed,
    declared,
    direct,
    edit_loops,
    find,
    fresh,
    is_inside,
    loads,
    loops_in,
    loops_of,
    names_declared,
    names_in,
    own_places,
    place_of,
    placed,
    read,
    readdressed,
    refit,
    renewed,
)
from tinycore.codegen.optimize.pieces import UNBOUNDED, as_plan, settled
from tinycore.dtype import dtypes
from tinycore.uop import Ops, UOp
from tinycore.uop.index import Index, Mask, alias, atoms, axis, make, mask_of
from tinycore.uop.ops import factors, toposort
from tinycore.uop.sites import TILES, declared_name, under, written
from tinycore.uop.tree import STORES, Access, Kernel, Rebuild, loop, rebuild

PLACES = ("grid", "warpgroup", "warp", "thread", "lane", "reg", "vec", "unroll")
PLACES_OF = {"par": PLACES, "red": ("thread", "lane", "vec", "unroll"), "ser": ("unroll",)}


def split(kernel: Kernel, name: str, factor: int) -> Kernel:
    """SPLIT(axis, n): a becomes a.0 (outer) and a.1 of n iterations; masks cut the remainder.

    Always legal on an axis without a place.
    """

    def change(node: UOp) -> Statements:
        times = node.extent.hi
        if node.map:
            raise Illegal(f"SPLIT: axis {name} is mapped to {node.map}")
        if factor < 1 or (factor > 1 and times == 1):
            raise Illegal(f"SPLIT: factor {factor} of axis {name}, which runs {times} times")
        return (tiled(node, factor),)

    return edit_loops(kernel, name, change)


def tiled(node: UOp, factor: int) -> UOp:
    """A loop in tiles of `factor` iterations, the last one masked where they do not fit."""
    name, extent, kind, _ = node.arg
    count = (extent + (factor - 1)) // factor
    value = axis(f"{name}.0", count) * factor + axis(f"{name}.1", factor)
    mask = mask_of([extent - 1 - value])
    if mask and atom_of(node) in atoms(*[one.extent for one in loops_in(node.src)]):
        raise Illegal(f"SPLIT: extents depend on {name}, which {factor} does not divide")
    inner = loop(kind, f"{name}.1", factor, placed(node.src, {node.index: value}, mask))
    return loop(kind, f"{name}.0", count, [inner])


def fuse(kernel: Kernel, first: str, second: str) -> Kernel:
    """FUSE(a, b): a loop and the only loop in its body become one axis a_b.

    Legal for a perfect pair of one kind with constant extents.
    """

    def change(node: UOp) -> Statements:
        inner = node.source
        if node.src != (inner,) or not inner.is_loop or inner.name != second:
            raise Illegal(f"FUSE: {second} is not the whole body of {first}")
        if node.kind != inner.kind or node.map or inner.map:
            raise Illegal(f"FUSE: {first} and {second} differ in kind or are mapped")
        if not node.extent.is_const or not inner.extent.is_const:
            raise Illegal(f"FUSE: extents of {first} and {second} are not constant")
        return (fused(node, inner),)

    return edit_loops(kernel, first, change)


def fused(node: UOp, inner: UOp) -> UOp:
    """A perfect pair of loops, the inner one of constant extent, as one loop."""
    count = inner.extent.const
    name, extent = f"{node.name}_{inner.name}", node.extent * count
    whole = axis(name, extent)
    places = {node.index: whole // count, inner.index: whole % count}
    return loop(node.kind, name, extent, placed(inner.src, places), node.map)


def map_axis(kernel: Kernel, name: str, place: str) -> Kernel:
    """MAP(axis, place): where the iterations of an axis run.

    Legal for par loops everywhere, for red loops on thread, lane, vec and unroll; loops of the axis
    that cannot run there or have a place stay as they are, and those that would repeat loops of the
    program in registers, unless no others are left. All but grid and thread need constant
    extents; places nest from grid to vec, from the outside in.
    """
    if place not in PLACES:
        raise Illegal(f"MAP: {place!r} is no place; expected one of {', '.join(PLACES)}")
    able = [node for node in loops_of(kernel, name) if place in PLACES_OF[node.kind]]
    if not able:
        raise Illegal(f"MAP: no loop of {name} can run on {place}")
    free = [node for node in able if not node.map]
    if not free:
        raise Illegal(f"MAP: axis {name} is mapped to {able[0].map} already")
    if place == "reg":
        free = [node for node in free if all(map(place_of, loops_in(node.src)))] or free
    for node in free:
        extent = node.extent
        if place not in ("grid", "thread") and not extent.is_const:
            raise Illegal(f"MAP: axis {name} has no constant extent")
        if place == "grid" and any(atom.kind != "variable" for atom in atoms(extent)):
            raise Illegal(f"MAP: the extent of {name} is not known at launch")
    mapped = edit_loops(kernel, name, lambda one: [refit(one, map=place) if one in free else one])
    if place == "grid" and len(mapped.body) > 1:
        mapped = settled(mapped)
        as_plan(mapped)
    return mapped


# Remainders


def peel(kernel: Kernel, name: str) -> Kernel:
    """PEEL(axis): the last iteration of a loop stands alone, after the others.

    Legal on an axis of constant extent above one without a place, or on a grid: there both copies
    stay in the one loop, under conditions.
    """
    primes = _Primes(kernel, name)

    def change(node: UOp) -> Statements:
        extent = node.extent
        if node.map not in ("", "grid") or not extent.is_const or extent.const < 2:
            raise Illegal(f"PEEL: axis {name} is mapped or has no constant extent above one")
        last = extent.const - 1
        copy = primes.copy(node, make(last))
        copy = reduce(_cut, loops_in(copy), copy)
        if not node.map:
            return (renewed(node, extent=make(last)), *copy)
        here = node.index
        before = alias(here, 0, last - 1)
        main = placed(placed(node.src, {here: before}), {before: here})
        most = _if([last - 1 - here], main)
        return (node.over((most, _if([here - last], copy))),)

    return edit_loops(kernel, name, change)


def _if(conditions: Iterable[Index], body: Statements) -> UOp:
    return UOp(Ops.IF, dtypes.void, body, mask_of(conditions))


def mask(kernel: Kernel, name: str) -> Kernel:
    """MASK(axis): iterations in which nothing is stored are skipped, by an IF around the body.

    Legal where all stores inside have a mask that tells it and that no loop inside changes.
    """

    def change(node: UOp) -> Statements:
        here, inside = atom_of(node), atoms_in(node.src)
        masks = masks_of((node,), node.index) or [()]
        shared = {one for one in masks[0] if atoms(one).isdisjoint(inside) and here in atoms(one)}
        shared = shared.intersection(*masks[1:])
        if not shared:
            raise Illegal(f"MASK: no mask tells where all of {name} stores nothing")

        def known(buffer: UOp, place: Access) -> Access:
            return place._replace(mask=tuple(one for one in place.mask if one not in shared))

        body = Rebuild(look=lambda one: readdressed(one, known)).body(node.src)
        return (node.over((_if(shared, body),)),)

    return edit_loops(kernel, name, change)


def overlap(kernel: Kernel, name: str, factor: int) -> Kernel:
    """OVERLAP(axis, n): the axis in whole tiles of n, and a last tile shifted back to end with it.

    Legal on a par axis of constant extent >= n whose body stores without combining and reads
    nothing it writes: some elements are computed twice, alike.
    """
    primes = _Primes(kernel, name)

    def change(node: UOp) -> Statements:
        extent = node.extent.const
        if node.kind != "par" or node.map or not node.extent.is_const or extent < factor:
            raise Illegal(f"OVERLAP: axis {name} is not a free par axis of at least {factor}")
        own = declared(node.src)
        combining = [one for one in find(node.src, *STORES) if one.combine]
        if changed(combining) - own:
            raise Illegal(f"OVERLAP: {name} holds a combining store")
        if (changed(node.src) - own) & read(node.src):
            raise Illegal(f"OVERLAP: {name} reads what it writes")
        rest = extent % factor
        tiles = tiled(renewed(node, extent=make(extent - rest)), factor)
        if not rest:
            return (tiles,)
        last = f"{name}.1{primes.marks}"
        copy = primes.copy(node, axis(last, factor) + (extent - factor))
        return (tiles, loop("par", last, factor, copy))

    return edit_loops(kernel, name, change)


class _Primes:
    """Gives copies new names: as many primes as make every name of a kernel new."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.taken = names_in(kernel)
        self.marks = "'"
        copied = names_declared(loops_of(kernel, name)) | {f"{name}.1"}
        while any(old + self.marks in self.taken for old in copied):
            self.marks += "'"

    def copy(self, node: UOp, value: Index) -> Statements:
        """The body of a loop at one value of its axis, with new names for all it declares."""
        own = names_declared(node.src)

        def look(new: UOp) -> UOp:
            name = declared_name(new)
            if name not in own or new.op is Ops.BLOCK:
                return new
            if new.is_loop:
                return refit(new, axis=name + self.marks)
            name = fresh(name + self.marks, self.taken)
            return refit(new, name=name) if new.is_buffer else new.replace(arg=name)

        old = sorted(atoms_in(node.src))  # new atoms are in order of making, as old ones are
        axes = {atom: axis(atom.name + self.marks, atom.hi + 1) for atom in old}
        copy = Rebuild({}, axes, look).body(node.src)
        return placed(copy, {node.index: value})


# Extents that a mask shrinks


def _cut(body: Statements, node: UOp) -> Statements:
    """The body with one axis cut; a mask `c - axis >= 0` lets c + 1 iterations through."""
    here = node.index
    masks = masks_of(body, here)
    limits = [[one.const + 1 for one in mask if (one + here).is_const] for mask in masks]
    extent = max([min(found, default=here.hi + 1) for found in limits], default=0)
    if not 0 < extent <= here.hi:
        return body
    nodes = {}
    for tile, at in _private(body, here).items():
        shape = [*tile.shape]
        shape[at] = make(extent)
        nodes[tile] = refit(tile, shape=tuple(shape))
    ours = [one for one in loops_in(body) if one.index is here]
    cut = rebuild(body, {one: renewed(one, extent=make(extent)) for one in ours})
    return rebuild(cut, nodes)


def masks_of(body: Statements, here: Index) -> list[Mask]:
    """The masks of all stores by which iterations of an axis of `body` reach anything else.

    None of them if they reach it otherwise, or in order. Tiles of which each iteration has its own
    part do not count.
    """
    loops = [found for found in loops_in(body) if found.index is here]
    own = declared(loops) | _private(body, here).keys()
    if find(loops, *TILES, Ops.BLOCK) or any(one.kind == "ser" for one in loops):
        return []
    places = [use for statement in under(loops) for use in written(statement)]
    return [use.access.mask for use in places if use.buffer not in own]


def _private(body: Statements, here: Index) -> dict[UOp, int]:
    own, places = declared(body), own_places(body, here)
    return {tile: min(found) for tile, found in places.items() if found and tile in own}


# FILL


def fill(kernel: Kernel, name: str) -> Kernel:
    """FILL(buffer): sums into `buffer` without the masks that a factor's fill makes needless.

    Legal if the place is in the buffer anyway, a factor is a load that reads 0 outside the mask,
    and no factor can become infinite there (docs/ir.md rule 6).
    """
    stores = [one for one in find(kernel.body, Ops.STORE) if one.source.name == name]
    body = rebuild(kernel.body, {one: _filled(one) for one in stores})
    if body == kernel.body:
        raise Illegal(f"FILL: no store to {name} has a mask that a factor's zero makes needless")
    return kernel._replace(body=body)


def _filled(statement: UOp) -> UOp:
    place, *others = statement.places

    def unmasked(buffer: UOp, access: Access) -> Access:
        if not is_inside(buffer, access):
            return access
        kept = [value for value in access.mask if value not in place.mask]
        return access._replace(mask=tuple(kept))

    filled = readdressed(statement, unmasked)
    if others or filled is statement or statement.combine != "sum":
        return statement
    value = statement.src[1]
    reads = direct(factors(value), Ops.LOAD)
    zeros = [one for one in reads if not one.arg.fill and {*place.mask} <= {*one.arg.mask}]
    if not zeros or direct(toposort([value]), *UNBOUNDED):
        return statement
    still = [one for one in loads([statement]) if one is not zeros[0]]
    return rebuild([filled], {one: readdressed(one, unmasked) for one in still})[0]
