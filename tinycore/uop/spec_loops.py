"""Rules of loops and agents: what iterations do to state, where loops are mapped, rings of slots.

Comes in: a `Site`. Goes out: what is wrong with its statement. Next: uop/spec.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tinycore.uop.affine import NEVER, atoms
from tinycore.uop.index import Index
from tinycore.uop.monoids import DEPENDENT
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.printer import show
from tinycore.uop.sites import Rule, Site, axes, declared_name, evaluated, under, uses, written
from tinycore.uop.tree import GLOBAL, indices, walk
from tinycore.util import prod

RINGS = (Ops.COPY, Ops.WAIT, Ops.FREE)
NEAR = {"packed", "group"}
RANKS = {"grid": 0, "warpgroup": 1, "warp": 2, "thread": 3, "lane": 4, "own": 4, "reg": 5, "vec": 6}
MAPS = (*RANKS, "unroll", "")
TILES = frozenset({Ops.COPY, Ops.MMA, Ops.WAIT, Ops.FREE, Ops.BARRIER})
"""Statements of a team as a whole."""


def _names(values: Iterable[Index]) -> set[str]:
    return {atom.name for atom in atoms(*values)}


# State


def iterations_stay_apart(site: Site) -> Iterator[str]:
    """Iterations of a par loop, or of a role that is replicated, write no common place of a buffer
    that outlives them; those of a red loop combine there.

    An axis in a mask may leave a single iteration, which REF decides. What a gathered index
    depends on is not counted: two rows may have one number.
    """
    masks = [value for outer in site.around if outer.op is Ops.IF for value in outer.arg]
    for use in written(site.statement):
        named = _names([*indices(use.access), *masks])
        for outer in site.around:
            for axis, value in axes(outer).items():
                kind = outer.arg.kind
                overwrites = kind in ("par", "role") or (kind == "red" and use.how == "store")
                meets = value.terms and axis not in named and use.access.mask != NEVER
                if overwrites and meets and use.buffer not in under(outer.src):
                    yield f"iterations of {kind} {axis} write one place; expected {axis} in it."


def states_are_rebased(site: Site) -> Iterator[str]:
    """What a red loop changes has one combine, as sums and maxima do not commute; what depends on
    a state that still changes is moved with it, by `rebase`."""
    loop = site.statement
    inner = under(loop.src) if loop.arg.kind == "red" else []
    ways: dict[UOp, str] = {}
    moved: dict[UOp, set[UOp]] = {}
    for use, statement in [(use, one) for one in inner for use in written(one)]:
        if use.how == "store" or use.buffer in inner:
            continue
        if use.how != ways.setdefault(use.buffer, use.how):
            yield f"{use.buffer.arg.name} is combined in two ways; expected one. Use two buffers."
        if loop.arg.axis not in _names(use.access.indices):
            count = len(statement.arg.places)
            moved.setdefault(use.buffer, set()).update(statement.src[2 * count :])
    depends = defaultdict(set, {state: {state} for state in moved})
    for statement in inner:
        loaded = [use.buffer for use in uses(statement) if use.how == "load"]
        read = {state for node in (*evaluated(statement), *loaded) for state in depends[node]}
        for target in (statement, *[use.buffer for use in written(statement)]):
            if target in inner:
                depends[target] |= read
                continue
            for state in read:
                if target not in moved[state]:
                    text = f"`{show(statement)}` depends on {state.arg.name}, which changes"
                    yield f"{text}; expected {target.arg.name} in its rebase."


def rebase_fits(site: Site) -> Iterator[str]:
    """A rebase has the leading states that its rule names."""
    arg = site.statement.arg
    rules = {name: row.leads for name, row in DEPENDENT.items()}
    leads = (arg.combine,) * len(arg.places)
    if arg.rebase and rules.get(arg.rebase) != leads:
        yield f"rebase {arg.rebase} of another state; expected one of {rules}."


# Maps


def maps_are_known(site: Site) -> Iterator[str]:
    """A grid is counted from variables alone; after the pass reduce agents reduce nothing."""
    arg = site.statement.arg
    if arg.map not in MAPS:
        yield f"map @{arg.map}; expected one of {MAPS}."
    if site.boundary == "sync" and arg.kind == "red" and arg.map in ("thread", "lane"):
        yield f"red @{arg.map} after the pass reduce; expected partials, shuffles and a join."
    for atom in atoms(arg.extent):
        if arg.map == "grid" and atom.kind != "variable":
            yield f"a grid loop counts to {atom}; expected an extent of variables alone."


def maps_nest(site: Site) -> Iterator[str]:
    """Every statement stands in loops that may hold it."""
    for found in misplaced(site.statement, site.loops):
        yield f"{found}; expected {' > '.join(RANKS)}, and agents together outside their loops."


def misplaced(statement: UOp, loops: Iterable[UOp]) -> Iterator[str]:
    """The loops around that may not hold a statement: places nest as they are ranked, a grid stands
    in a grid or in serial loops, and what agents do together stands outside finer loops."""
    place = statement.arg.map if statement.op is Ops.LOOP else ""
    scope = statement.arg.engine if statement.op is Ops.MMA else "warp"
    name = declared_name(statement) or statement.op.name
    for loop in loops:
        outer = loop.arg.map
        is_finer = outer != "reg" and RANKS.get(outer, 0) > RANKS.get(scope, 0)
        is_apart = statement.op in TILES and is_finer
        is_deep = place in RANKS and RANKS.get(outer, 0) > RANKS[place]
        is_late = place == "grid" and outer != "grid" and loop.arg.kind != "ser"
        if is_apart or is_deep or is_late:
            yield f"{name} stands in {loop.arg.axis} @{outer or 'nothing'}"


def roles_hold_roles(site: Site) -> Iterator[str]:
    """The children of roles are roles, and no role stands elsewhere."""
    outer = getattr(site.around[-1].arg, "kind", "")
    inner = getattr(site.statement.arg, "kind", "")
    if (outer == "roles") != (inner == "role"):
        yield "a role outside roles, or another statement in them; expected roles in roles."


# Fragments and MMA


def own_names_dimensions(site: Site) -> Iterator[str]:
    """A fragment is a register buffer whose relation speaks of its dimensions by name."""
    arg = site.statement.arg
    if arg.own is None:
        return
    if arg.space != "reg" or len(arg.names) != len(arg.shape):
        yield f"own in space {arg.space}; expected reg, and names as in f32[r:64, c:32]."
    for name in _names([arg.own.element]) - {*arg.names}:
        yield f"own speaks of {name}; expected a dimension's name."


def own_loops_touch_fragments(site: Site) -> Iterator[str]:
    """A loop @own runs where a fragment lives."""
    held = any(use.buffer.arg.own for use in site.uses)
    for loop in site.loops:
        if loop.arg.map == "own" and not held:
            yield f"no fragment inside {loop.arg.axis} @own; expected one among the operands."


def mma_contracts(site: Site) -> Iterator[str]:
    """Each box axis is in two of acc, A and B; what is in A and B alone is contracted."""
    product, scope = site.statement.src[1], site.statement.arg.engine
    if product.op is not Ops.MUL or any(factor.op is not Ops.LOAD for factor in product.src):
        yield "a value that is no product of two LOADs; expected one."
    if scope not in ("thread", "warp", "warpgroup"):
        yield f"scope @{scope}; expected thread, warp or warpgroup."
    if any(use.access.mask for use in site.uses):
        yield "a masked operand; expected fills that add nothing. Mask the COPY."
    for name, value in axes(site.statement).items():
        count = sum(name in _names(use.access.indices) for use in site.uses)
        if value.terms and count != 2:
            yield f"box axis {name} is in {count} of acc, A and B; expected two."


# Rings


def rings_turn(site: Site) -> Iterator[str]:
    """A slot that is copied to is waited for, and freed where it is filled again; a COPY that runs
    ahead of the WAIT of its loop needs as many slots."""
    buffer = site.statement
    steps = walk(site.around[-1].src) if buffer.arg.space in NEAR else ()
    turns = [(node, loops) for node, loops in steps if node.op in RINGS]
    turns = [(node, loops) for node, loops in turns if buffer in toposort(node.src)]
    found = {node.op for node, _ in turns}
    copies = [turn for turn in turns if turn[0].op is Ops.COPY and turn[0].src[0] is buffer]
    again = [loop for _, loops in copies for loop in loops if loop.arg.extent.hi > 1]
    if copies and Ops.WAIT not in found:
        yield "copied to and never waited for; expected a WAIT."
    if again and Ops.FREE not in found:
        yield "filled again and never freed; expected a FREE."
    if found and Ops.COPY not in found:
        yield "waited for or freed, and never copied; expected a COPY."
    for copy, loops in copies:
        for wait in [node for node, others in turns if node.op is Ops.WAIT and loops == others]:
            ahead = copy.arg.places[0].sequence
            waited = wait.arg[wait.src.index(buffer)]
            if loops and ahead and waited and (ahead - waited).lo >= buffer.arg.slots:
                yield "a COPY runs as far ahead of its WAIT as it has slots; expected more slots."


def copies_fit(site: Site) -> Iterator[str]:
    """A COPY fills a whole near slot, or empties one into global memory."""
    target, arg = site.statement.src[0].arg, site.statement.arg
    spaces = {use.buffer.arg.space for use in site.uses}
    if not spaces & NEAR:
        yield f"a COPY between {sorted(spaces)}; expected a slot at one end, packed or group."
    box = [extent.hi for _, extent in arg.box]
    shape = [extent.hi for extent in target.shape]
    if target.space != GLOBAL and (arg.places[0].mask or prod(box) != prod(shape)):
        yield f"a box of {box} into {shape}; expected the whole slot filled, without a mask."


RULES: dict[Rule, tuple[Ops, ...]] = {
    iterations_stay_apart: (Ops.STORE, Ops.COPY, Ops.MMA),
    states_are_rebased: (Ops.LOOP,),
    rebase_fits: (Ops.STORE,),
    maps_are_known: (Ops.LOOP,),
    maps_nest: (Ops.LOOP, *TILES),
    roles_hold_roles: (),
    own_names_dimensions: (Ops.BUFFER,),
    own_loops_touch_fragments: (Ops.STORE,),
    mma_contracts: (Ops.MMA,),
    rings_turn: (Ops.BUFFER,),
    copies_fit: (Ops.COPY,),
}
"""The rules, with the statements they speak of; () is every statement."""
