"""UPDATE: a reduction adds to a tile of its own, and the tile to an accumulator kept in memory.

Comes in: a kernel whose accumulator has grown too large for registers, since its outer reduction
loop has been moved outside the loops of the result. Goes out: the kernel with a register tile for
what the inner reduction adds, combined once an iteration of the outer one
(docs/decisions/0008-update.md).
"""

from __future__ import annotations

from tinycore.codegen.optimize.edit import (
    Illegal,
    Statements,
    atom_of,
    buffer_named,
    edit,
    fresh,
    in_block,
    loops_in,
    names_in,
    read,
    refit,
    stores_to,
)
from tinycore.codegen.optimize.stage import Layout, listed_dims
from tinycore.uop.affine import atoms
from tinycore.uop.index import axis
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Access, Kernel, buffer, load, rebuild, store


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
        loops = _loops(body, wide, at)
        begun = body.index(loops[0]) + 1
        tiled = edit(body[:begun], lambda one: _tiled(one, loops[-1], wide, name, layout))
        return (*tiled, *_apart(body[begun:], taken))

    return in_block(kernel, wide, change)


def _loops(body: Statements, wide: UOp, at: str) -> list[UOp]:
    """The loops around the store that adds to `wide`, up to that of the tile. Raises: Illegal."""
    name = wide.arg.name
    loops = [one for one in loops_in(body) if stores_to([one], wide)]
    names = [one.arg.axis for one in loops]
    depth = names.index(at) if at in names else 0
    stores = stores_to(body, wide)
    if not depth or len(stores) != 1 or wide in read(loops):
        raise Illegal(f"UPDATE: {name} has no one store inside {at} in a reduction")
    kinds = [one.arg.kind for one in loops[: depth + 1]]
    plain = wide.arg.init and not stores[0].arg.rebase
    if kinds != ["red", *["par"] * depth] or not plain:
        raise Illegal(f"UPDATE: {name} is not summed by a reduction of par loops to {at}")
    return loops[: depth + 1]


def _tiled(one: UOp, node: UOp, wide: UOp, name: str, layout: Layout) -> Statements:
    """The loop of the tile, with the tile declared in it and combined at its end."""
    if one is not node:
        return (one,)
    inner = {found.arg.axis: found for found in loops_in(node.src)}
    dims = listed_dims(name, inner, layout)
    listed = [inner[each] for group in layout for each in group]
    [added] = stores_to(node.src, wide)
    [place] = added.arg.places
    moving = {atom_of(found) for found in inner.values()}
    kept = {atom_of(found) for found in listed}
    if atoms(*place.indices) & moving != kept - {None}:
        raise Illegal(
            f"UPDATE: the layout lists other axes than the index of {wide.arg.name} holds"
        )
    shape = [dim.extent for dim in dims]
    tile = buffer(name, wide.dtype, shape, "reg", init=wide.arg.init)
    inside = Access(tuple([dim.places[0] for dim in dims]))
    near = refit(added, places=(inside._replace(mask=place.mask),))
    body = rebuild(node.src, {added: near.replace(src=(tile, added.src[1]))})
    outer = [value for value in place.mask if not atoms(value) & (moving - kept)]
    total = place._replace(mask=tuple(outer))
    combined = store(wide, total, load(tile, inside), wide.arg.init)
    for found in reversed(listed):
        combined = refit(found, kind="par").replace(src=(combined,))
    return (node.replace(src=(tile, *body, combined)),)


def _apart(body: Statements, taken: set[str]) -> Statements:
    """`body` with new names for its axes."""

    def change(one: UOp) -> Statements:
        if one.op is not Ops.LOOP:
            return (one,)
        name, atom = fresh(one.arg.axis, taken), atom_of(one)
        env = {} if atom is None else {atom: axis(name, one.arg.extent)}
        return (refit(one, axis=name).replace(src=rebuild(one.src, {}, env)),)

    return edit(body, change)
