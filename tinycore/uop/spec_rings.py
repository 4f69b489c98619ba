"""Rules of tiles and agents: COPY, WAIT, FREE, MMA, barriers, roles, and where loops are mapped.

Comes in: a `Site`. Goes out: what is wrong with its statement, or None. Next: uop/spec.py.
"""

from __future__ import annotations

from tinycore.uop.affine import atoms
from tinycore.uop.index import Index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import ROLE, ROLES, Rule, Site, box_axes, under, uses
from tinycore.uop.tree import GLOBAL, walk
from tinycore.util import prod

NEAR = ("packed", "group")
RANKS = {"grid": 0, "warpgroup": 1, "warp": 2, "thread": 3, "lane": 4, "own": 4, "reg": 5, "vec": 6}
UNRANKED = ("", "unroll")
LANES = ("thread", "lane", "own", "vec")  # loops of which a statement for all agents stands outside
FINER = {"thread": ("lane", "own", "vec"), "warp": LANES, "warpgroup": ("warp", *LANES)}


# Loops


def maps_nest(site: Site) -> str | None:
    """grid > warpgroup > warp > thread > lane > reg > vec, from the outside in."""
    place = site.statement.arg.map
    if place not in RANKS and place not in UNRANKED:
        return f"map @{place}; expected one of {', '.join([*RANKS, 'unroll'])}."
    for outer in site.around:
        around = outer.arg.map if outer.op is Ops.LOOP else ""
        if RANKS.get(around, 0) > RANKS.get(place, len(RANKS)):
            return f"@{place} inside @{around}; expected {place} outside {around}. Reorder them."
    return None


def grid_extents_are_known(site: Site) -> str | None:
    """What is launched is counted from variables alone."""
    arg = site.statement.arg
    if arg.map != "grid":
        return None
    names = sorted(atom.name for atom in atoms(arg.extent) if atom.kind != "variable")
    if not names:
        return None
    return f"a grid loop counts to {names[0]}; expected an extent of variables alone."


def threads_are_joined(site: Site) -> str | None:
    """After the pass reduce no red loop runs over agents."""
    arg = site.statement.arg
    if arg.kind != "red" or arg.map not in ("thread", "lane"):
        return None
    return f"red @{arg.map} after the pass reduce; expected partials, shuffles and a join."


def head_says_spmd(site: Site) -> str | None:
    """A kernel with barriers in it says so."""
    return None if site.kernel.spmd else "the head lacks spmd; expected it after the pass sync."


def agents_act_together(site: Site) -> str | None:
    """What agents do together stands outside their loops."""
    op = site.statement.op
    finer = FINER[site.statement.arg.scope] if op is Ops.MMA else LANES
    for outer in site.around:
        if outer.op is Ops.LOOP and outer.arg.map in finer:
            name = f"{op.name} inside {outer.arg.kind} {outer.arg.axis} @{outer.arg.map}"
            return f"{name}; expected it outside the loops of single agents."
    return None


def roles_hold_roles(site: Site) -> str | None:
    """The children of roles are roles, and no role stands elsewhere."""
    parent = site.around[-1] if site.around else None
    in_roles = parent is not None and parent.op is Ops.BLOCK and parent.arg.kind == ROLES
    is_role = site.statement.op is Ops.BLOCK and site.statement.arg.kind == ROLE
    if in_roles == is_role:
        return None
    return "a role outside roles." if is_role else "no role, inside roles; expected roles alone."


# Buffers


def own_names_dimensions(site: Site) -> str | None:
    """A fragment is a register buffer whose relation speaks of its dimensions by name."""
    arg = site.statement.arg
    if arg.names and len(arg.names) != len(arg.shape):
        return f"{len(arg.names)} names of {len(arg.shape)} dimensions; expected all or none."
    if arg.own is None:
        return None
    if arg.space != "reg":
        return f"own in space {arg.space}; expected reg."
    if not arg.names:
        return "own without names of the dimensions; expected f32[r:64, c:32]."
    unknown = {atom.name for atom in atoms(arg.own.element)} - set(arg.names)
    return f"own speaks of {min(unknown)}; expected a dimension's name." if unknown else None


def own_loops_touch_fragments(site: Site) -> str | None:
    """A loop @own runs where a fragment lives."""
    names = [outer.arg.axis for outer in site.around if outer.op is Ops.LOOP and _is_own(outer)]
    if not names or any(use.buffer.arg.own is not None for use in uses(site.statement)):
        return None
    return f"no buffer with own inside {names[0]} @own; expected a fragment among the operands."


def _is_own(loop: UOp) -> bool:
    return bool(loop.arg.map == "own")


# Rings


def rings_balance(site: Site) -> str | None:
    """A slot that is copied to is waited for, and freed where it is filled again."""
    buffer = site.statement
    if buffer.arg.space not in NEAR:
        return None
    name = buffer.arg.name
    steps = [(node, loops) for node, loops in walk(site.body) if buffer in node.src]
    found = {node.op for node, _ in steps}
    filled = [loops for node, loops in steps if node.op is Ops.COPY and node.src[0] is buffer]
    if filled and Ops.WAIT not in found:
        return f"{name} is copied to and never waited for; expected wait {name}[..]."
    repeats = any(loop.arg.extent.hi > 1 for loops in filled for loop in loops)
    if repeats and Ops.FREE not in found:
        return f"{name} is filled again and never freed; expected free {name}[..]."
    if Ops.FREE in found and not filled:
        return f"{name} is freed and never copied to; expected a COPY into it."
    if Ops.WAIT in found and not filled and not _drained(site):
        return f"{name} is waited for and never copied; expected a COPY into it or out of it."
    return None


def _drained(site: Site) -> bool:
    """True if a COPY reads the buffer that the site declares."""
    copies = [node for node in under(site.body) if node.op is Ops.COPY]
    return any(_source(copy) is site.statement for copy in copies)


def _source(copy: UOp) -> UOp | None:
    """The buffer a COPY loads as it is."""
    value = copy.src[1]
    return value.src[0] if value.op is Ops.LOAD else None


def copies_fit(site: Site) -> str | None:
    """A COPY fills a whole near slot, or empties one into global memory."""
    target = site.statement.src[0]
    if target.arg.space == GLOBAL:
        source = _source(site.statement)
        near = source is not None and source.arg.space in NEAR
        return None if near else "a COPY to global memory; expected one near slot as its source."
    if target.arg.space not in NEAR:
        return f"a COPY to space {target.arg.space}; expected packed, group or global."
    return _fills(site.statement, target)


def _fills(copy: UOp, target: UOp) -> str | None:
    place = copy.arg.place
    if place.mask:
        return "a masked destination; expected the whole slot filled. Mask the source."
    box = [extent.hi for _, extent in copy.arg.box]
    shape = [extent.hi for extent in target.arg.shape]
    whole = all(_covers(pair) for pair in zip(place.indices, target.arg.shape, strict=False))
    if whole and prod(box) == prod(shape):
        return None
    return f"a box of {box} into {target.arg.name} of {shape}; expected the whole slot filled."


def _covers(pair: tuple[Index, Index]) -> bool:
    index, extent = pair
    return index.lo == 0 and index.hi == extent.hi - 1


def copies_stay_within_slots(site: Site) -> str | None:
    """A COPY that runs ahead of the WAIT of its loop needs as many slots."""
    steps = _sequences(site.statement.src)
    for buffer, ahead in steps[Ops.COPY]:
        for other, waited in steps[Ops.WAIT]:
            distance = (ahead - waited) if other is buffer else None
            if distance is not None and not distance.terms and distance.const >= buffer.arg.slots:
                return (
                    f"{buffer.arg.name} is copied {distance.const} ahead of its WAIT; "
                    f"expected less than its {buffer.arg.slots} slots."
                )
    return None


def _sequences(body: tuple[UOp, ...]) -> dict[Ops, list[tuple[UOp, Index]]]:
    """COPYs and WAITs of one iteration, also those under an IF, with their sequence numbers."""
    found: dict[Ops, list[tuple[UOp, Index]]] = {Ops.COPY: [], Ops.WAIT: []}
    for node, loops in walk(body):
        if loops or node.op not in found:
            continue
        sequences = node.arg if node.op is Ops.WAIT else (node.arg.place.sequence,)
        pairs = zip(node.src, sequences, strict=False)
        found[node.op] += [(buffer, number) for buffer, number in pairs if number is not None]
    return found


# MMA


def mma_contracts(site: Site) -> str | None:
    """Each box axis is in two of acc, A and B; what is in A and B alone is contracted."""
    arg = site.statement.arg
    if arg.scope not in FINER:
        return f"scope @{arg.scope}; expected one of {', '.join(FINER)}."
    if any(place.mask for place in (arg.acc, arg.a, arg.b)):
        return "a masked operand; expected fills that add nothing. Mask the COPY."
    places = [_axes(place.indices) for place in (arg.acc, arg.a, arg.b)]
    for name, value in box_axes(site.statement).items():
        count = sum(name in place for place in places)
        if value.terms and count != 2:
            return f"box axis {name} is in {count} of acc, A and B; expected two."
    return None


def _axes(indices: tuple[Index, ...]) -> set[str]:
    return {atom.name for index in indices for atom in atoms(index)}


def places_name_slots(site: Site) -> str | None:
    """A place in a buffer of several slots says which."""
    for use in uses(site.statement):
        if use.buffer.arg.slots > 1 and use.access.sequence is None:
            return f"{use.buffer.arg.name} has {use.buffer.arg.slots} slots; expected b[e; ..]."
    return None


RULES: dict[Rule, tuple[Ops, ...]] = {
    maps_nest: (Ops.LOOP,),
    grid_extents_are_known: (Ops.LOOP,),
    roles_hold_roles: (),
    own_names_dimensions: (Ops.BUFFER,),
    own_loops_touch_fragments: (Ops.STORE,),
    rings_balance: (Ops.BUFFER,),
    places_name_slots: (),
    copies_fit: (Ops.COPY,),
    copies_stay_within_slots: (Ops.LOOP,),
    mma_contracts: (Ops.MMA,),
    agents_act_together: (Ops.COPY, Ops.WAIT, Ops.FREE, Ops.MMA, Ops.BARRIER),
}
"""Rules of transformed trees, with the statements they speak of; () is every statement."""

SYNCED: dict[Rule, tuple[Ops, ...]] = {
    threads_are_joined: (Ops.LOOP,),
    head_says_spmd: (),
}
"""Rules after the passes reduce and sync."""
