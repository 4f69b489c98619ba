"""RFACTOR, UPDATE and FILL: what states a reduction combines into, and under which masks.

Comes in: a kernel, and a red axis or an accumulator. Goes out, for RFACTOR, the kernel in which
each iteration of the axis combines into a state of its own: MAP then says whether the states are
lanes, registers, threads, or grid blocks (docs/ir.md rule 8). For UPDATE, whose accumulator has
grown too large for registers, a register tile for what the inner reduction adds, combined once an
iteration of the outer one (docs/decisions/0008-update.md). For FILL, sums without masks under
which a factor of the product reads 0 anyway; a product with an infinity outside the mask changes,
as the identity of the combine is used (rule 6).
"""

from __future__ import annotations

from collections.abc import Set
from functools import partial

from tinycore.codegen.optimize.edit import (
    UNBOUNDED,
    Illegal,
    Statements,
    atom_of,
    buffer_named,
    changed,
    declared,
    each,
    edit,
    find,
    fresh,
    in_block,
    loops_in,
    loops_of,
    names_in,
    read,
    refit,
    stores_to,
    targets,
)
from tinycore.codegen.optimize.pieces import widened, widening
from tinycore.codegen.optimize.stage import Layout, listed_dims
from tinycore.uop.affine import Mask, atoms
from tinycore.uop.index import axis
from tinycore.uop.ops import Ops, UOp, factors, toposort
from tinycore.uop.sites import TILES, evaluated
from tinycore.uop.tree import Access, Kernel, buffer, load, loop, rebuild, store


def rfactor(kernel: Kernel, name: str) -> Kernel:
    """RFACTOR(axis): partial states along a red axis, and join loops over axis.j.

    Legal where the red loops of the axis change what lies outside the reduction only by combining
    stores to register buffers, which nothing else in the reduction touches.
    """
    reds = [found for found in loops_of(kernel, name) if found.arg.kind == "red"]
    if not reds or any(found.arg.map for found in reds):
        raise Illegal(f"RFACTOR: axis {name} is no free reduction axis")
    for node in reds:
        stores = _combining(node)
        kernel = in_block(kernel, next(iter(stores)), partial(_factored, node, stores))
    return kernel


def _combining(node: UOp) -> dict[UOp, UOp]:
    """The states that a loop combines into, and the stores that do."""
    name, own = node.name, declared([node])
    others = find(node.src, *TILES, Ops.IF, Ops.BLOCK)
    if others:
        raise Illegal(f"RFACTOR: {others[0].op.name} under axis {name}")
    stores = [one for one in find(node.src, Ops.STORE) if one.arg.combine]
    found = {one.src[0]: one for one in stores if one.src[0] not in own}
    for state, made in found.items():
        if len(made.arg.places) > 1 or made.arg.rebase not in ("", "exp"):
            raise Illegal(f"RFACTOR: axis {name} carries a state that cannot be merged")
        if state.arg.space != "reg" or not state.arg.init:
            raise Illegal(f"RFACTOR: a state of {name} is no register that starts as one")
        if not found.keys() >= {*targets(made)}:
            raise Illegal(f"RFACTOR: {state.name} moves what {name} does not combine into")
    if not found:
        raise Illegal(f"RFACTOR: axis {name} combines into no state")
    return found


def _factored(node: UOp, stores: dict[UOp, UOp], body: Statements) -> Statements:
    """The block that declares the states, with partial ones, the loop as one of these, and joins.

    The states hold identities before, so that they are joined one by one, leading states first,
    and nothing needs to be moved.
    """
    name, extent, _, _ = node.arg
    holders = [k for k, one in enumerate(body) if node in loops_in([one])]
    if not holders:
        return body
    [at] = holders
    leads = [state for state, made in stores.items() if made.arg.rebase]
    _check_alone(node, stores.keys(), body, at)
    if leads and stores.keys() & changed(body[:at]):
        raise Illegal(f"RFACTOR: a state of {name} has a value before its loop")
    parts = {state: widened(state, node, f".{name}") for state in stores}
    here = axis(f"{name}.j", extent)

    def part(state: UOp, place: Access) -> UOp:
        return load(parts[state], Access((here, *place.indices)))

    def joined(state: UOp, place: Access) -> UOp:
        """state combine= its partial, moved to the joined leading state if it depends on one."""
        value = part(state, place)
        for lead in leads:
            if state in targets(stores[lead])[1:]:
                shared = Access(place.indices[: len(lead.arg.shape)])
                now = load(lead, shared).alu(Ops.FIN)
                value = value * (part(lead, shared) - now).alu(Ops.EXP)
        return store(state, place, value, stores[state].arg.combine)

    par = loop("par", name, extent, widening(node.src, parts, node))
    cut = edit([body[at]], lambda one: [par if one is node else one])
    joins = []
    for states in (leads, [state for state in stores if state not in leads]):
        joining = [each(state, f"{name}.j", partial(joined, state)) for state in states]
        joins += [loop("red", f"{name}.j", extent, joining)] if states else []
    return (*body[:at], *parts.values(), *cut, *joins, *body[at + 1 :])


def _check_alone(node: UOp, states: Set[UOp], body: Statements, at: int) -> None:
    name = node.name
    around = edit([body[at]], lambda one: () if one is node else (one,))
    if not states <= {*body}:
        raise Illegal(f"RFACTOR: axis {name} combines into no one block of states")
    if states & (read(around) | changed(around)):
        raise Illegal(f"RFACTOR: a state of {name} is used around its loop")


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
    name = wide.name
    loops = [one for one in loops_in(body) if stores_to([one], wide)]
    names = [one.name for one in loops]
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
    inner = {found.name: found for found in loops_in(node.src)}
    dims = listed_dims(name, inner, layout)
    listed = [inner[each] for group in layout for each in group]
    [added] = stores_to(node.src, wide)
    [place] = added.arg.places
    moving = {atom_of(found) for found in inner.values()}
    kept = {atom_of(found) for found in listed}
    if atoms(*place.indices) & moving != kept - {None}:
        raise Illegal(f"UPDATE: the layout lists other axes than the index of {wide.name} holds")
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
        name, atom = fresh(one.name, taken), atom_of(one)
        env = {} if atom is None else {atom: axis(name, one.arg.extent)}
        return (refit(one, axis=name).replace(src=rebuild(one.src, {}, env)),)

    return edit(body, change)


def fill(kernel: Kernel, name: str) -> Kernel:
    """FILL(buffer): sums into `buffer` without the masks that a factor's fill makes needless.

    Legal if the place is in the buffer anyway, some store's mask is also that of a load that is a
    factor of its value and reads 0, and no factor can become infinite where loads read 0.
    """
    body = edit(kernel.body, lambda one: [_filled(one, name)])
    if body == kernel.body:
        raise Illegal(f"FILL: no store to {name} has a mask that a factor's zero makes needless")
    return kernel._replace(body=body)


def _filled(statement: UOp, name: str) -> UOp:
    if statement.op is not Ops.STORE or statement.src[0].name != name:
        return statement
    if statement.arg.combine != "sum" or len(statement.arg.places) > 1:
        return statement
    [place] = statement.arg.places
    target, value, *moved = statement.src
    zeros = [one for one in factors(value) if _reads_zero(one, place)]
    unbounded = any(node.op in UNBOUNDED for node in toposort([value]))
    if not zeros or not place.mask or unbounded or not _is_inside(target, place):
        return statement
    unmasked = {
        node: _without(node, place.mask)
        for node in evaluated(statement)
        if node.op is Ops.LOAD and node is not zeros[0]
    }
    new = rebuild([value], unmasked)
    plain = place._replace(mask=())
    arg = statement.arg._replace(places=(plain,))
    return statement.replace(src=(target, *new, *moved), arg=arg)


def _reads_zero(node: UOp, place: Access) -> bool:
    if node.op is not Ops.LOAD or node.arg.fill:
        return False
    return set(place.mask) <= set(node.arg.mask)


def _without(node: UOp, mask: Mask) -> UOp:
    """A load without those constraints, if its place is in the buffer anyway."""
    [source] = node.src
    if not _is_inside(source, node.arg):
        return node
    kept = [value for value in node.arg.mask if value not in mask]
    access = node.arg._replace(mask=tuple(kept))
    return load(source, access)


def _is_inside(buffer: UOp, access: Access) -> bool:
    for index, extent in zip(access.indices, buffer.arg.shape, strict=True):
        if index.lo < 0 or index.hi >= extent.lo:
            return False
    return True
