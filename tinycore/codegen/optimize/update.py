"""UPDATE: a tile of an accumulator is read, added to in registers and written back.

Comes in: a kernel whose accumulator has grown too large for registers, since its outer reduction
loop has been moved outside the loops of the result. Goes out: the kernel with a register tile of
it; the outer reduction runs in order, and its first iteration reads identities under a mask. The
result itself is the accumulator's place where the finish only copies it (IR.md 5, K split).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tinycore.codegen.optimize.edit import (
    Illegal,
    Statements,
    atom_of,
    buffer_named,
    changed,
    constraint,
    edit,
    find,
    fresh,
    in_block,
    loops_in,
    names_in,
    read,
    stores_to,
)
from tinycore.codegen.optimize.stage import Layout, listed_dims
from tinycore.uop.affine import Mask, atoms
from tinycore.uop.index import Index, axis
from tinycore.uop.monoids import MONOIDS
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import (
    Access,
    Kernel,
    Rebuild,
    axis_of,
    both,
    buffer,
    load,
    rebuild,
    store,
)


def update(kernel: Kernel, source: str, at: str, layout: Layout) -> Kernel:
    """UPDATE(buffer, axis, layout): each iteration of `axis` adds to a register tile of `buffer`.

    `layout` lists the tile's dimensions as STAGE does. What reads the sums afterwards gets axes of
    its own, with a prime, since it need not run as the tiles do. Legal for an accumulator with one
    combining store, in a reduction loop that holds `axis` inside par loops alone.
    """
    wide = buffer_named(kernel, source)
    taken = names_in(kernel)
    name = fresh(f"{source}.reg", taken)

    def change(body: Statements) -> Statements:
        total = _Sum.of(body, wide, at)
        begun = body.index(total.outer) + 1
        return _updated((*body[:begun], *_apart(body[begun:], taken)), total, name, layout)

    return in_block(kernel, wide, change)


def _apart(body: Statements, taken: set[str]) -> Statements:
    """`body` with new names for its axes."""

    def change(one: UOp) -> Statements:
        if one.op is not Ops.LOOP:
            return (one,)
        arg = one.arg._replace(axis=fresh(one.arg.axis, taken))
        atom = atom_of(one)
        env = {} if atom is None else {atom: axis(arg.axis, arg.extent)}
        return (one.replace(src=rebuild(one.src, {}, env), arg=arg),)

    return edit(body, change)


class _Sum(NamedTuple):
    """An accumulator, the loop that adds to it, the loop of the tile in it, and the store."""

    wide: UOp
    outer: UOp
    node: UOp
    store: UOp

    @property
    def place(self) -> Access:
        """Where the store adds."""
        found: Access = self.store.arg.places[0]
        return found

    @staticmethod
    def of(body: Statements, wide: UOp, at: str) -> _Sum:
        """What adds to `wide` in a block. Raises: Illegal."""
        name = wide.arg.name
        writers = [one for one in body if wide in changed([one])]
        stores = stores_to(writers, wide)
        loops = [one for one in loops_in(writers) if stores_to([one], wide)]
        names = [one.arg.axis for one in loops]
        depth = names.index(at) if at in names else 0
        if not depth or len(stores) != 1 or wide in read(writers):
            raise Illegal(f"UPDATE: {name} has no one store inside {at} in a reduction")
        kinds = [one.arg.kind for one in loops[: depth + 1]]
        plain = wide.arg.init and not stores[0].arg.rebase
        if kinds != ["red", *["par"] * depth] or not plain:
            raise Illegal(f"UPDATE: {name} is not summed by a reduction of par loops to {at}")
        return _Sum(wide, loops[0], loops[depth], stores[0])


class _Home(NamedTuple):
    """Where an accumulator lives: `target` at `place`, for the element at the axes of `source`.

    `finish` is the statement that copied it there, which is needed no more.
    """

    target: UOp
    place: Access
    source: tuple[Index, ...]
    finish: UOp | None = None

    def at(self, indices: tuple[Index, ...]) -> Access:
        """The place of the element at `indices`."""
        pairs = zip(self.source, indices, strict=True)
        env = {atom: new for old, new in pairs for atom, _ in old.terms}
        moved: Access = Rebuild({}, env).node(load(self.target, self.place)).arg
        return moved


def _updated(body: Statements, total: _Sum, name: str, layout: Layout) -> Statements:
    inner = {one.arg.axis: one for one in loops_in(total.node.src)}
    dims = listed_dims(name, inner, layout)
    loops = [inner[each] for group in layout for each in group]
    limits = _limits(total, inner.values(), loops)
    tile = buffer(name, total.wide.dtype, [dim.extent for dim in dims], "reg")
    inside = Access(tuple([dim.places[0] for dim in dims]))
    home = _home(body, total.wide)
    there = home.at(total.place.indices)
    there = there._replace(mask=both(there.mask, limits))
    later = both(there.mask, constraint(axis_of(total.outer) - 1))
    start = MONOIDS[total.wide.arg.init].identity or None
    first = load(home.target, there._replace(mask=later, fill=start))
    back = store(home.target, there, load(tile, inside))
    filled = [tile, _over(loops, store(tile, inside, first))]
    filled += rebuild(total.node.src, {total.store: _near(total, tile, inside)})
    near = total.node.replace(src=(*filled, _over(loops, back)))
    [outer] = edit([total.outer], lambda one: (near,) if one is total.node else (one,))
    nodes = {total.outer: outer.replace(arg=outer.arg._replace(kind="ser"))}
    if home.finish is None:
        nodes[total.wide] = home.target
    else:
        body = tuple([one for one in body if one not in (total.wide, home.finish)])
    return rebuild(body, nodes)


def _limits(total: _Sum, inner: Iterable[UOp], loops: list[UOp]) -> Mask:
    """The constraints of the store that say where the buffer ends, in axes around or listed.

    Raises: Illegal if others are in its index, or an element is left out: it would not be filled.
    """
    name = total.wide.arg.name
    moving = {atom_of(one) for one in inner} - {None}
    listed = {atom_of(one) for one in loops} - {None}
    place, shape = total.place, total.wide.arg.shape
    used = {atom for index in place.indices for atom in atoms(index)}
    if used & moving != listed:
        raise Illegal(f"UPDATE: the layout lists other axes than the index of {name} holds")
    ends: set[Index] = set()
    for index, extent in zip(place.indices, shape, strict=True):
        ends.update(constraint(extent - 1 - index))
        if not _covers(index, extent.hi):
            raise Illegal(f"UPDATE: elements of {name} are left out")
    outer = [value for value in place.mask if not atoms(value) & (moving - listed)]
    if not ends.issuperset(outer):
        raise Illegal(f"UPDATE: elements of {name} are left out")
    return tuple(outer)


def _covers(index: Index, extent: int) -> bool:
    """True if the numbers below `extent` are all values of the index: its digits leave no gap."""
    reach = 1
    for atom, factor in sorted(index.terms, key=lambda term: term[1]):
        if not 0 < factor <= reach or atom.lo != 0:
            return False
        reach = factor * atom.hi + reach
    return index.const == 0 and reach >= extent


def _near(total: _Sum, tile: UOp, inside: Access) -> UOp:
    """The combining store, into the tile."""
    place = inside._replace(mask=total.place.mask)
    arg = total.store.arg._replace(places=(place,))
    return total.store.replace(src=(tile, total.store.src[1]), arg=arg)


def _home(body: Statements, wide: UOp) -> _Home:
    """In what the finish copies the accumulator to, or in memory of its own."""
    arg = wide.arg._replace(init="", space="packed")
    own = tuple([axis(f"{k}", extent) for k, extent in enumerate(arg.shape)])
    plain = _Home(wide.replace(arg=arg), Access(own), own)
    readers = [one for one in body if wide in read([one])]
    stores = find(readers, Ops.STORE)
    if len(stores) != 1 or len(readers) != 1 or not _is_copy(stores[0], wide):
        return plain
    target, value = stores[0].src
    elsewhere = [one for one in body if one is not readers[0]]
    if target in read(body) | changed(elsewhere):
        return plain
    return _Home(target, stores[0].arg.places[0], value.arg.indices, readers[0])


def _is_copy(final: UOp, wide: UOp) -> bool:
    """True for a plain store of the accumulator's element at axes that are all different."""
    value, arg = final.src[1], final.arg
    if arg.combine or len(arg.places) > 1 or final.src[0].arg.init:
        return False
    if value.op is not Ops.LOAD or value.src[0] is not wide or value.arg.mask:
        return False
    terms = [term for index in value.arg.indices for term in index.terms]
    plain = all(index.const == 0 and len(index.terms) < 2 for index in value.arg.indices)
    return plain and len({atom for atom, factor in terms if factor == 1}) == len(terms)


def _over(loops: list[UOp], statement: UOp) -> UOp:
    for one in reversed(loops):
        arg = one.arg._replace(kind="par")
        statement = one.replace(src=(statement,), arg=arg)
    return statement
