"""Cuts a body in pieces: loops (REORDER), launches (`as_plan`, with sums of their own), or partial
states (RFACTOR).

In: a kernel and axes. Out: the kernel, in which buffers shared between pieces are one dimension
larger, or a `Plan` (docs/ir.md rules 8, 9, 11). Next file: place.py.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, groupby, permutations, starmap

from tinycore.codegen.optimize.edit import (
    Illegal,
    Indices,
    Nodes,
    Statements,
    atom_of,
    atoms_in,
    changed,
    declared,
    direct,
    each,
    edit,
    edit_loops,
    find,
    fresh,
    in_block,
    loops_in,
    loops_named,
    loops_of,
    names_in,
    nodes_in,
    place_of,
    read,
    readdressed,
    refit,
    renewed,
    targets,
    touched,
)
from tinycore.uop import Ops, UOp
from tinycore.uop.index import atoms, mask_of
from tinycore.uop.ops import ELEMENTWISE, UNARY, toposort
from tinycore.uop.sites import TILES, declared_name, under, uses
from tinycore.uop.tree import (
    GLOBAL,
    Access,
    Kernel,
    Launch,
    Plan,
    Rebuild,
    buffer,
    gathered,
    indices,
    let,
    load,
    rebuild,
    store,
)

Resize = Callable[[Indices], Indices]
Pieces = tuple[list[Statements], list[UOp]]  # and the buffers of all
UNBOUNDED = UNARY - {Ops.NEG, Ops.TRUNC, Ops.FIN} | {Ops.IDIV, Ops.MOD}
"""What takes many instructions, and may be infinite where its operands are not."""
_CHEAP_OPS = 2


def reorder(kernel: Kernel, moved: str, below: str) -> Kernel:
    """REORDER(a, b): loop a, which holds loop b, goes just inside b.

    Legal for a perfect pair of par and red loops, for a par loop around anything, and for a red
    loop around statements that meet in values alone. Refused where an extent, a shape or an IF
    between depends on a.
    """
    taken = names_in(kernel)
    new = edit_loops(kernel, moved, lambda node: _moved(node, below, taken))
    if new == kernel:
        raise Illegal(f"REORDER: no loop {below} inside {moved}")
    return new


def _moved(node: UOp, below: str, taken: set[str]) -> Statements:
    """A loop inside the loops of an axis, and over each run of what stands beside them; those of a
    red one have axes of their own."""
    inner = loops_named(node.src, below)
    if not inner:
        return (node,)
    if node.src == (inner[0],) and "ser" not in (node.kind, inner[0].kind):
        return _entered(node, below, taken)
    pieces = runs(node.src, lambda one: loops_named([one], below))
    if node.kind != "par" and (node.kind == "ser" or any(starmap(met, permutations(pieces, 2)))):
        raise Illegal(f"REORDER: {node.name} is no par loop and {below} not its whole body")
    out: list[UOp] = []
    for one in distributed(node, pieces):
        if loops_named([one], below):
            out += _entered(one, below, taken)
        elif one.is_loop and node.kind == "red":
            out.append(renewed(one, axis=fresh(one.name, taken)))
        else:
            out.append(one)
    return tuple(out)


def _entered(node: UOp, below: str, taken: set[str]) -> Statements:
    """What holds the loops of an axis, with a loop around it moved inside."""
    *buffers, inner = node.src
    if atom_of(node) in atoms(*indices(inner.arg)):
        name = declared_name(inner) or "an IF"
        raise Illegal(f"REORDER: the extent of {name} depends on {node.name}")
    body = _moved(node.over(inner.src), below, taken)
    return _hoisted(node, buffers, [inner.over(body)])


def tied(statements: Nodes) -> list[set[UOp]]:
    """The states that a rebase moves together with their leading one."""
    return [set(targets(one)) for one in find(statements, Ops.STORE) if one.arg.rebase]


def met(first: Statements, second: Statements) -> set[UOp]:
    """The buffers by which two groups of statements depend on each other's order."""
    return changed(first) & touched(second) | changed(second) & read(first)


def runs(statements: Nodes, alone: Callable[[UOp], object]) -> list[Statements]:
    """Each statement for which `alone` holds by itself, and those between such together."""
    # no key is another's, so that such statements stay apart in a row
    groups = groupby(statements, lambda one: object() if alone(one) else None)
    return [tuple(group) for _, group in groups]


def distributed(node: UOp, pieces: Sequence[Statements], space: str = "reg") -> Statements:
    """A par loop as a loop over each piece of its body.

    What one piece writes and another reads is held outside, with one more dimension.
    """
    if find(node.src, *TILES, Ops.BLOCK):
        raise Illegal("REORDER: copies or tiles are in the body; reorder before STAGE")
    pieces, buffers = crossing_values(pieces, space)
    seen = [touched(piece) for piece in pieces]
    shared = {one for one in buffers if sum(one in used for used in seen) != 1}
    for group in tied(node.src):
        shared |= group if group & shared else set()
    loops = []
    for piece, used in zip(pieces, seen, strict=True):
        own = [one for one in buffers if one in used - shared]
        is_sum = any(one.combine for one in find(piece, Ops.STORE))
        kind = node.kind if is_sum else "par"
        loops.append(refit(node, kind=kind).over((*own, *piece)))
    return _hoisted(node, [one for one in buffers if one in shared], loops)


def _hoisted(node: UOp, buffers: list[UOp], loops: list[UOp]) -> Statements:
    """What a loop has become, after its buffers, which get a dimension for its axis."""
    for one in buffers:
        if atom_of(node) in atoms(*one.arg.shape):
            raise Illegal(f"REORDER: the shape of {one.name} depends on {node.name}")
    names = {one: one.name for one in buffers}
    wide, inner = widened(loops, names, node) if buffers else ({}, loops)
    return (*wide.values(), *inner)


def crossing_values(pieces: Sequence[Statements], space: str) -> Pieces:
    """Pieces that read no LET of another, and the buffers they need, also for such values.

    A cheap value is written out again if nothing it reads is stored to since.
    """
    whole: dict[UOp, UOp] = {}
    made: list[UOp] = []
    buffers = direct(chain(*pieces), Ops.BUFFER)
    left: dict[UOp, Statements] = dict.fromkeys(buffers, ())
    for at, piece in enumerate(pieces, 1):
        after = [*chain(*pieces[at:])]
        for one in direct(piece, Ops.LET):
            [whole[one]] = rebuild(one.src, whole)
            if one not in nodes_in(after):
                continue
            left[one] = ()
            steps = direct(toposort([whole[one]]), *ELEMENTWISE)
            if (
                len(steps) > _CHEAP_OPS
                or direct(steps, *UNBOUNDED)
                or read([let("", whole[one])]) & changed([*piece, *after])
            ):
                made.append(buffer(f"{one.arg}.v", one.dtype, (), space))
                left[one] = (store(made[-1], Access(()), one.source),)
                whole[one] = load(made[-1], Access(()))
    crossing = {one: whole[one] for one in left if one in whole}
    kept = [[new for one in piece for new in left.get(one, (one,))] for piece in pieces]
    return [rebuild(piece, crossing) for piece in kept if piece], [*made, *buffers]


def widened(
    statements: Nodes, names: Mapping[UOp, str], node: UOp
) -> tuple[dict[UOp, UOp], Statements]:
    """Buffers with new names and a leading dimension for the axis of a loop; what uses them."""
    place, wide = node.index, {}
    for one, name in names.items():
        wide[one] = refit(one, name=name, shape=(node.extent, *one.shape))
    return wide, resized(statements, wide, lambda indices: (place, *indices))


def resized(statements: Nodes, buffers: Mapping[UOp, UOp], change: Resize) -> Statements:
    """Statements with other buffers, at other indices, in place of some."""
    new = set(buffers.values())

    def moved(buffer: UOp, place: Access) -> Access:
        return place._replace(indices=change(place.indices)) if buffer in new else place

    return Rebuild(buffers, look=lambda node: readdressed(node, moved)).body(statements)


def as_plan(kernel: Kernel) -> Plan:
    """The launches of `kernel` in order: each grid loop at the root, and what stands between.

    Raises: Illegal if launches would have to share more than values they only read.
    """
    name, params, variables, body, spmd = kernel
    pieces = runs(body, lambda one: place_of(one) == "grid")
    parts, buffers = separated(pieces, names_in(kernel))
    temps = tuple(one for one in buffers if one.space == GLOBAL)
    launches = []
    for number, part in enumerate(parts):
        used = touched(part)
        given = tuple(one for one in (*params, *temps) if one in used)
        local = [one for one in buffers if one in used and one not in temps]
        title = name if len(parts) == 1 else f"{name}_{number}"
        piece = Kernel(title, given, variables, (*local, *part), spmd)
        launches.append(Launch(title, tuple(one.name for one in given), piece))
    return Plan(name, params, variables, temps, tuple(launches))


def separated(pieces: Sequence[Statements], taken: set[str]) -> Pieces:
    """The pieces of a block and their buffers, first those that they share, in global memory.

    A complete sum that others read is copied. Raises: Illegal if several pieces write a tile or a
    sum.
    """
    shared = []
    bodies, own = crossing_values(pieces, GLOBAL)
    tiles = touched(find(chain(*bodies), *TILES))
    for one in [*own]:
        users = [k for k, body in enumerate(bodies) if one in touched(body)]
        if len(users) < 2:
            continue
        name, is_sum = one.name, one.init
        writers = [k for k in users if one in changed(bodies[k])]
        is_grid = place_of(bodies[users[0]][0]) == "grid"  # beside which nothing stands
        if one in tiles or (is_sum and (is_grid or writers != users[:1])):
            told = "more than one of the launches that use it, or by a grid"
            raise Illegal(f"{name} is filled by {told}")
        new = refit(one, name=fresh(f"{name}.t", taken) if is_sum else name, space=GLOBAL, init="")
        shared.append(new)
        if is_sum:
            bodies[users.pop(0)] += (_copied(one, new),)
        else:
            own.remove(one)
        for k in users:
            bodies[k] = rebuild(bodies[k], {one: new})
    return bodies, [*shared, *own]


def _copied(source: UOp, target: UOp) -> UOp:
    name = f"{source.name}."
    return each(source, name, lambda place: store(target, place, load(source, place)))


# Sums over part of a grid


def settled(kernel: Kernel) -> Kernel:
    """`kernel`, where sums that a grid loop leaves to statements after it go to global memory."""
    body, taken = kernel.body, names_in(kernel)
    for held in direct(body, Ops.BUFFER):
        first, *others = [one for one in body if held in touched([one])] or [held]
        if place_of(first) == "grid" and held.init and held not in changed(others):
            stored = refit(held, space=GLOBAL, init="")
            sums = refit(held, name=fresh(f"{held.name}.g", taken), shape=())
            added = _added(first, held, stored, sums)
            body = rebuild(body, {**added, held: stored}) if added else body
    return kernel._replace(body=body)


def _added(node: UOp, held: UOp, stored: UOp, sums: UOp) -> dict[UOp, UOp]:
    """The loop that adds to one place alone, as one that adds to `sums` and stores them at its end.

    Nothing if there is none.
    """
    found = [use for one in under([node]) for use in uses(one) if use.buffer is held]
    places = {use.access.indices for use in found}
    changes = {use.how for use in found} - {"load"}
    is_fixed = len(places) == 1 and not gathered((*found,))
    if not is_fixed or not changes or "store" in changes:
        return {}
    [indices] = places
    while atoms(*indices) & atoms_in(node.src):
        inside = [one for one in node.src if held in touched([one])]
        if len(inside) > 1 or node.kind != "par":
            return {}
        [node] = inside
    bounds = [extent - 1 - at for at, extent in zip(indices, held.arg.shape, strict=True)]
    mask = mask_of([*indices, *bounds])  # what is masked otherwise is a sum of nothing
    total = store(stored, Access(indices, mask), load(sums, Access(())))
    body = resized(node.src, {held: sums}, lambda _: ())
    return {node: node.over((sums, *body, total))}


# RFACTOR


def rfactor(kernel: Kernel, name: str) -> Kernel:
    """RFACTOR(axis): partial states along a red axis, and join loops over axis.j.

    Legal where its red loops change what is outside only by combining stores to register buffers,
    which nothing else in the reduction touches.
    """
    reds = [found for found in loops_of(kernel, name) if found.kind == "red"]
    if not reds or any(found.map for found in reds):
        raise Illegal(f"RFACTOR: axis {name} is no free reduction axis")
    for node in reds:
        stores = _combining(node)
        change = partial(_factored, node, stores, names_in(kernel))
        kernel = in_block(kernel, next(iter(stores)), change)
    return kernel


def _combining(node: UOp) -> dict[UOp, UOp]:
    name, own = node.name, declared([node])
    for one in find(node.src, *TILES, Ops.IF, Ops.BLOCK):
        raise Illegal(f"RFACTOR: {one.op.name} under axis {name}")
    stores = [one for one in find(node.src, Ops.STORE) if one.combine]
    found = {one.source: one for one in stores if one.source not in own}
    for state, made in found.items():
        if len(made.places) > 1 or made.arg.rebase not in ("", "exp"):
            raise Illegal(f"RFACTOR: axis {name} carries a state that cannot be merged")
        if state.space != "reg" or state.init != made.combine:
            raise Illegal(f"RFACTOR: a state of {name} is no register that starts as one")
        if not found.keys() >= {*targets(made)}:
            raise Illegal(f"RFACTOR: {state.name} moves what {name} does not combine into")
    if not found:
        raise Illegal(f"RFACTOR: axis {name} combines into no state")
    return found


def _factored(node: UOp, stores: dict[UOp, UOp], taken: set[str], body: Statements) -> Statements:
    """The block with partial states, the loop over them, and joins.

    Joined one by one from identities, leading states first, none needs to be moved.
    """
    name = node.name
    at = next(k for k, one in enumerate(body) if node in loops_in([one]))
    before, [now, *after] = body[:at], body[at:]
    around = edit([now], lambda one: () if one is node else (one,))
    if stores.keys() & changed(before) and any(made.arg.rebase for made in stores.values()):
        raise Illegal(f"RFACTOR: a state of {name} has a value before its loop")
    if not stores.keys() <= {*body}:
        raise Illegal(f"RFACTOR: axis {name} combines into no one block of states")
    if atoms(node.extent) & atoms_in([now]):
        raise Illegal(f"RFACTOR: the extent of {name} depends on a loop around it")
    if stores.keys() & touched(around):
        raise Illegal(f"RFACTOR: a state of {name} is used around its loop")
    names = {one: fresh(f"{one.name}.{name}", taken) for one in stores}
    parts, inner = widened(node.src, names, node)
    joined = refit(node, axis=f"{name}.j")

    def part(state: UOp, place: Access) -> UOp:
        return load(parts[state], Access((joined.index, *place.indices)))

    def combined(state: UOp, place: Access) -> UOp:
        """state combine= its partial, moved to the joined leading state if it depends on one."""
        value = part(state, place)
        for lead, made in stores.items():
            if state in targets(made)[1:]:
                shared = Access(place.indices[: len(lead.shape)])
                now = load(lead, shared).alu(Ops.FIN)
                value = value * (part(lead, shared) - now).alu(Ops.EXP)
        return store(state, place, value, stores[state].combine)

    joins = []
    for rebase in ("exp", ""):
        states = [state for state in stores if stores[state].arg.rebase == rebase]
        own = [each(state, joined.name, partial(combined, state)) for state in states]
        joins += [joined.over(tuple(own))] if own else []
    par = refit(node, kind="par").over(inner)
    return (*before, *parts.values(), *rebuild([now], {node: par}), *joins, *after)
