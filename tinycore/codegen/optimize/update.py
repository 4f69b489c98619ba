"""UPDATE: a tile of an accumulator is read, added to in registers and written back.

Comes in: a kernel whose accumulator has grown too large for registers, since its outer reduction
loop has been moved outside the loops of the result. Goes out: the kernel with a register tile of
it; the outer reduction runs in order, and its first iteration reads identities under a mask. The
result itself is the accumulator's place where the finish only copies it (IR.md 5, K split).
"""

from __future__ import annotations

from collections.abc import Callable

from tinycore.codegen.optimize.edit import (
    Illegal,
    Statements,
    atom_of,
    buffer_named,
    changed,
    constraint,
    edit,
    fresh,
    in_block,
    loops_in,
    names_in,
    read,
)
from tinycore.codegen.optimize.stage import Layout, listed_dims
from tinycore.uop.affine import atoms
from tinycore.uop.index import Index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import under
from tinycore.uop.table import MONOIDS
from tinycore.uop.tree import Access, Kernel, Rebuild, axis_of, both, buffer, load, loop, store

Home = Callable[[Access], tuple[UOp, Access]]


def update(kernel: Kernel, source: str, at: str, layout: Layout) -> Kernel:
    """UPDATE(buffer, axis, layout): each iteration of `axis` adds to a register tile of `buffer`.

    `layout` lists the tile's dimensions as STAGE does. Legal for an accumulator with one
    combining store, in a reduction loop that holds `axis` inside par loops alone.
    """
    wide = buffer_named(kernel, source)
    name = fresh(f"{source}.reg", names_in(kernel))
    return in_block(kernel, wide, lambda body: _updated(body, wide, at, layout, name))


def _updated(body: Statements, wide: UOp, at: str, layout: Layout, name: str) -> Statements:
    outer, node, made = _reduction(body, wide, at)
    inner = {one.arg.axis: one for one in loops_in(node.src)}
    dims = listed_dims(name, inner, layout)
    loops = [inner[axis] for group in layout for axis in group]
    place = made.arg.places[0]
    moving = {atom_of(one) for one in inner.values()}
    used = {atom for index in place.indices for atom in atoms(index)}
    if used & moving != {atom_of(one) for one in loops} - {None}:
        raise Illegal(f"UPDATE: the layout lists other axes than the index of {name} holds")
    tile = buffer(name, wide.dtype, [dim.extent for dim in dims], "reg")
    inside = Access(tuple([dim.places[0] for dim in dims]))
    home, finish = _home(body, wide)
    target, there = home(Access(place.indices))
    started = both(there.mask, constraint(axis_of(outer) - 1))
    identity = MONOIDS[wide.arg.init].identity
    first = load(target, there._replace(mask=started, fill=identity or None))
    made_near = made.replace(
        src=(tile, made.src[1]), arg=made.arg._replace(places=(inside._replace(mask=place.mask),))
    )
    inner_body = Rebuild({made: made_near}, {}).body(node.src)
    back = store(target, there, load(tile, inside))
    filled = (tile, _over(loops, store(tile, inside, first)), *inner_body, _over(loops, back))
    near = node.replace(src=filled)
    done = edit([outer], lambda one: (near,) if one is node else (one,))[0]
    done = done.replace(arg=outer.arg._replace(kind="ser"))
    kept = [] if finish is not None else [_plain(wide)]
    rest = [done if one is outer else one for one in body if one not in (wide, finish)]
    return Rebuild({} if finish else {wide: _plain(wide)}, {}).body((*kept, *rest))


def _reduction(body: Statements, wide: UOp, at: str) -> Statements:
    """The loop that adds to the accumulator, the loop of `at` in it, and the combining store."""
    writers = [one for one in body if wide in changed([one])]
    stores = [one for one in under(writers) if one.op is Ops.STORE and wide in changed([one])]
    loops = [one for one in loops_in(writers) if wide in changed([one])]
    names = [one.arg.axis for one in loops]
    depth = names.index(at) if at in names else 0
    if not depth or len(stores) != 1 or len(writers) != 1 or wide in read(writers):
        raise Illegal(f"UPDATE: {wide.arg.name} has no one store inside {at} in a reduction")
    kinds = [one.arg.kind for one in loops[: depth + 1]]
    arg = stores[0].arg
    if kinds != ["red"] + ["par"] * depth or not wide.arg.init or arg.rebase:
        raise Illegal(f"UPDATE: {wide.arg.name} is not summed by a reduction of par loops to {at}")
    return loops[0], loops[depth], stores[0]


def _home(body: Statements, wide: UOp) -> tuple[Home, UOp | None]:
    """Where the accumulator lives: in what the finish copies it to, or in its own memory."""
    readers = [one for one in body if wide in read([one])]
    stores = [one for one in under(readers) if one.op is Ops.STORE]
    final = stores[0] if len(stores) == 1 and len(readers) == 1 else None
    if final is None or not _is_copy(final, wide):
        return lambda access: (_plain(wide), access), None
    source, place, target = final.src[1].arg.indices, final.arg.places[0], final.src[0]
    elsewhere = [one for one in body if one is not readers[0]]
    keys = [index.terms[0][0] for index in source if index.terms]
    if target in read(body) | changed(elsewhere) or len(set(keys)) < len(keys):
        return lambda access: (_plain(wide), access), None

    def home(access: Access) -> tuple[UOp, Access]:
        pairs = zip(source, access.indices, strict=True)
        env = {old.terms[0][0]: new for old, new in pairs if old.terms}
        moved = Rebuild({}, env).node(store(target, place, final.src[1]))
        return target, moved.arg.places[0]

    return home, readers[0]


def _is_copy(final: UOp, wide: UOp) -> bool:
    """True for a plain store of the accumulator's element at plain axes, as it is."""
    value, arg = final.src[1], final.arg
    plain = value.op is Ops.LOAD and value.src[0] is wide and not value.arg.mask
    if not plain or arg.combine or len(arg.places) > 1 or final.src[0].arg.init:
        return False
    return all(_is_axis(index) for index in value.arg.indices)


def _is_axis(index: Index) -> bool:
    return index.const == 0 and [factor for _, factor in index.terms] in ([], [1])


def _plain(wide: UOp) -> UOp:
    return wide.replace(arg=wide.arg._replace(init="", space="packed"))


def _over(loops: list[UOp], statement: UOp) -> UOp:
    for one in reversed(loops):
        statement = loop("par", one.arg.axis, one.arg.extent, [statement], one.arg.map)
    return statement
