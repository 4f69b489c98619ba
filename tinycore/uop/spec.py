"""What a kernel must be at each boundary of the compiler, as a table of small rules.

Comes in: a `Kernel` and a boundary, "schedule", "action" or "sync" (with barriers). Goes out:
SpecError if a rule is broken. Next file: lowered.py.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

from tinycore.errors import SpecError
from tinycore.uop import sites
from tinycore.uop.index import NEVER, Atom, Index, atoms, of_atom
from tinycore.uop.lowered import Defects, misfits
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp, toposort
from tinycore.uop.printer import Printer, show
from tinycore.uop.sites import Site, axes, declared, under, written
from tinycore.uop.tree import BODIES, DEPENDENT, GLOBAL, Kernel, dependents, indices, values, walk
from tinycore.util import np, prod

_SCHEDULED = {Ops.VARIABLE, Ops.BUFFER, Ops.LOOP, Ops.LET, Ops.STORE, Ops.IF}
_ALL = _SCHEDULED | {*sites.TILES, Ops.BLOCK}
STATEMENTS = {"schedule": _SCHEDULED, "action": _ALL - {Ops.BARRIER}, "sync": _ALL}
VALUES = ELEMENTWISE | {Ops.CONST, Ops.INDEX, Ops.MASK, Ops.BUFFER, Ops.LOAD, Ops.LET}

_PLACES = ("reg", "packed", "global")
PLAIN: dict[str, dict[str, tuple[object, ...]]] = {
    "schedule": {"map": ("",), "space": _PLACES, "slots": (1,), "own": (None,)},
    "action": {"space": (*_PLACES, "group", "image")},
}
"""Values of fields until actions, or lowering, fill them."""

POINTS = 1 << 14  # tried on an index
NEAR = {"packed", "group"}
RINGS = (Ops.COPY, Ops.WAIT, Ops.FREE)
RANKS = {"grid": 0, "warpgroup": 1, "warp": 2, "thread": 3, "lane": 4, "own": 4, "reg": 5, "vec": 6}
MAPS = (*RANKS, "unroll", "")
TEAMS = ("warpgroup", "warp")
"""Places whose iterations run side by side and wait for each other."""

Rule = Callable[[Site], Defects]


def check(kernel: Kernel, boundary: str) -> None:
    """Raises: SpecError if `kernel` breaks a rule of `boundary`."""
    if boundary == "sync" and not kernel.spmd:
        raise SpecError(f"spec: the head of kernel {kernel.name} lacks spmd; expected it by now.")
    for site in sites.sites(kernel, boundary):
        for rule in (*_RULES, *_RULES_OF.get(site.statement.op, ())):
            for found in rule(site):
                name = rule.__name__.replace("_", " ")
                text = show(site.statement)
                raise SpecError(f"spec, {name}: `{text}` of kernel {kernel.name}: {found}")


def _names(values: Iterable[Index]) -> set[str]:
    return {atom.name for atom in atoms(*values)}


# Rules of every statement


def ops_are_known(site: Site) -> Defects:
    """The tree holds the ops and fields of its boundary."""
    op, boundary = site.statement.op, site.boundary
    known = STATEMENTS[boundary]
    if op not in known:
        names = sorted(one.name for one in known)
        yield f"statement {op.name} at boundary {boundary}; expected one of {names}."
    for field, plain in PLAIN.get(boundary, {}).items():
        found = getattr(site.statement.arg, field, plain[0])
        if found not in plain:
            yield f"{field} {found} at boundary {boundary}; expected one of {plain}."
    for node in site.nodes:
        if node.op not in VALUES:
            yield f"{node.op.name} in an expression; expected a scalar op of kernels."


def names_are_new(site: Site) -> Defects:
    """A name means one thing wherever it is in scope."""
    for name in (*declared(site.statement), *axes(site.statement)):
        if name in site.names:
            yield f"{name} is a name in scope already; expected a new one."


def names_are_in_scope(site: Site) -> Defects:
    """What is named is declared before, in a block around; no index holds an alias."""
    known = site.names | axes(site.statement)
    statement = site.statement
    for node in (*site.nodes, *(() if statement.op in BODIES else statement.src)):
        for name, meaning in declared(node).items():
            if known.get(name) is not meaning:
                yield f"`{show(node)}` is not in scope; expected it before, or around."
    nodes = (*site.nodes, statement)  # `own` has names of its own
    args = [node.shape if node.is_buffer else node.arg for node in nodes]
    for value in indices((*args,)):
        if value.unalias() is not value:
            yield f"index {Printer().index(value)} holds an alias; expected unalias before."
        for atom in atoms(value):
            if atom.kind != "gather" and known.get(atom.name) is not of_atom(atom):
                found = f"{atom.kind} {atom.name} of {atom.lo}..{atom.hi} is not in scope"
                yield f"{found}; expected a loop around or a head with it."


def types_match(site: Site) -> Defects:
    """Sources have one type; what is loaded or stored has the type of its buffer."""
    for node in site.nodes:
        for found in misfits(node) if node.op in ELEMENTWISE else ():
            yield f"`{show(node)}` {found}. Cast it."
    moved = [(node.source, node) for node in site.nodes if node.is_load]
    if site.statement.op is not Ops.MMA:
        moved += zip(site.statement.src, values(site.statement), strict=False)
    for buffer, value in moved:
        if value.dtype is not buffer.dtype:
            text = f"{value.dtype.short} at {buffer.name} of {buffer.dtype.short}"
            yield f"{text}; expected one type. Cast it."


def ranks_match(site: Site) -> Defects:
    """A place has one index a dimension, and a slot if there are several."""
    for use in site.uses:
        arg = use.buffer.arg
        found, expected = len(use.access.indices), len(arg.shape)
        if found != expected:
            yield f"{found} indices into {arg.name}; expected {expected}, one a dimension."
        if arg.slots > 1 and not use.access.sequence:
            yield f"{arg.name} has {arg.slots} slots; expected b[e; ..]."


def indices_are_in_bounds(site: Site) -> Defects:
    """Where its mask holds, an index is in 0 .. extent - 1."""
    around = [value for outer in (*site.around, site.statement) for value in sites.limits(outer)]
    for use in site.uses:
        pairs = zip(use.access.indices, use.buffer.shape, strict=True)
        goals = [(value, extent - 1 - value) for value, extent in pairs]
        goals += [(value, value) for value in indices(use.access._replace(mask=()))]
        for value, goal in goals:
            point = counterexample(goal, [*around, *use.access.mask])
            if point is not None:
                place = f"{Printer().index(value)} of {use.buffer.name}"
                number = value.evaluate(point.__getitem__)
                yield f"index {place} is {number} at {point}; expected a mask or a larger extent."


def counterexample(value: Index, given: Sequence[Index]) -> dict[Atom, int] | None:
    """A point where every constraint holds and `value` < 0, if trying points finds one."""
    if value.lo >= 0 or any((value - known).lo >= 0 for known in given):
        return None
    random = np().random.default_rng(0)
    points = {}
    for atom in sorted(atoms(value, *given), key=repr):
        beyond = (atom.hi - atom.lo + 1) // 2  # a quarter of the points is on each bound
        numbers = random.integers(atom.lo - beyond, atom.hi + beyond, POINTS, endpoint=True)
        points[atom] = numbers.clip(atom.lo, atom.hi)
    wrong: Any = True
    for known in (-1 - value, *given):
        wrong &= known.evaluate(points.__getitem__) >= 0
    for place in np().flatnonzero(wrong):
        return {atom: int(column[place]) for atom, column in points.items()}
    return None


def roles_hold_roles(site: Site) -> Defects:
    """The children of roles are roles, and roles stand nowhere else."""
    outer = getattr(site.around[-1].arg, "kind", "")
    inner = getattr(site.statement.arg, "kind", "")
    if (outer == "roles") != (inner == "role"):
        yield "a role outside roles, or another statement in them; expected roles in roles."


# State


def iterations_stay_apart(site: Site) -> Defects:
    """Iterations of a par loop or a role write no common place of a buffer that outlives them;
    those of a red loop combine there. Masks and gathered indices pass: only values could tell."""
    masks = [value for outer in site.around if outer.op is Ops.IF for value in outer.arg]
    for use in written(site.statement):
        named = _names([*indices(use.access), *masks])
        for outer in site.around:
            for name, value in axes(outer).items():
                kind = outer.kind
                overwrites = kind in ("par", "role") or (kind == "red" and use.how == "store")
                meets = value.terms and name not in named and use.access.mask != NEVER
                if overwrites and meets and use.buffer not in under(outer.src):
                    yield f"iterations of {kind} {name} write one place; expected {name} in it."


def states_are_rebased(site: Site) -> Defects:
    """A red loop combines a state in one way; `rebase` moves what depends on a state."""
    loop = site.statement
    inner = under(loop.src) if loop.kind == "red" else []
    ways: dict[UOp, str] = {}
    moved: dict[UOp, set[UOp]] = defaultdict(set)
    for use, statement in [(use, one) for one in inner for use in written(one)]:
        if use.how == "store" or use.buffer in inner:
            continue
        if use.how != ways.setdefault(use.buffer, use.how):
            yield f"{use.buffer.name} is combined in two ways; expected one. Use two buffers."
        if loop.name not in _names(use.access.indices):
            moved[use.buffer] |= {*dependents(statement)}
    depends = defaultdict(set, {state: {state} for state in moved})
    for statement in inner:
        read = {state for node in sites.evaluated(statement) for state in depends[node]}
        for target in (statement, *[use.buffer for use in written(statement)]):
            if target in inner:
                depends[target] |= read
                continue
            for state in read:
                if target not in moved[state]:
                    text = f"`{show(statement)}` depends on {state.name}, which changes"
                    yield f"{text}; expected {target.name} in its rebase."


def rebase_fits(site: Site) -> Defects:
    """A rebase follows the leading states that its rule names."""
    arg = site.statement.arg
    rules = {name: row.leads for name, row in DEPENDENT.items()}
    leads = (arg.combine,) * len(arg.places)
    if arg.rebase and rules.get(arg.rebase) != leads:
        yield f"rebase {arg.rebase} of another state; expected one of {rules}."


# Maps


def maps_are_known(site: Site) -> Defects:
    """A grid is counted from variables alone, teams are constant; agents reduce nothing after the
    pass reduce."""
    arg = site.statement.arg
    if arg.map not in MAPS:
        yield f"map @{arg.map}; expected one of {MAPS}."
    if site.boundary == "sync" and arg.kind == "red" and arg.map in ("thread", "lane"):
        yield f"red @{arg.map} after the pass reduce; expected partials, shuffles and a join."
    if arg.map in TEAMS and not arg.extent.is_const:
        yield f"as many teams as {Printer().index(arg.extent)}; expected a constant."
    for atom in atoms(arg.extent):
        if arg.map == "grid" and atom.kind != "variable":
            yield f"a grid loop counts to {atom}; expected an extent of variables alone."


def maps_nest(site: Site) -> Defects:
    """Every statement stands in loops that may hold it."""
    for found in misplaced(site.statement, site.loops):
        yield f"{found}; expected {' > '.join(RANKS)}, and agents together outside their loops."


def misplaced(statement: UOp, loops: Iterable[UOp]) -> Defects:
    """The loops around that may not hold a statement: places nest by rank, a grid stands in grid or
    serial loops, agents act together outside finer loops."""
    place = statement.map if statement.is_loop else ""
    scope = statement.arg.engine if statement.op is Ops.MMA else "warp"
    for loop in loops:
        outer = loop.map
        rank = RANKS.get(outer, 0)
        is_apart = statement.op in sites.TILES and outer != "reg" and rank > RANKS.get(scope, 0)
        is_deep = place in RANKS and rank > RANKS[place]
        is_late = place == "grid" and outer != "grid" and loop.kind != "ser"
        if is_apart or is_deep or is_late:
            name = sites.declared_name(statement) or statement.op.name
            yield f"{name} stands in {loop.name} @{outer or 'nothing'}"


# Fragments and MMA


def own_names_dimensions(site: Site) -> Defects:
    """A fragment is in registers, and its relation names its dimensions."""
    arg = site.statement.arg
    if not arg.own:
        return
    if arg.space != "reg" or len(arg.names) != len(arg.shape):
        yield f"own in space {arg.space}; expected reg, and names as in f32[r:64, c:32]."
    for name in _names([arg.own.element]) - {*arg.names}:
        yield f"own speaks of {name}; expected a dimension's name."


def own_loops_touch_fragments(site: Site) -> Defects:
    """A loop @own runs where a fragment lives."""
    held = any(use.buffer.arg.own for use in site.uses)
    for loop in site.loops:
        if loop.map == "own" and not held:
            yield f"no fragment inside {loop.name} @own; expected one among the operands."


def mma_contracts(site: Site) -> Defects:
    """Each box axis is in two of acc, A and B; what A and B alone share is contracted."""
    product, scope = site.statement.src[1], site.statement.arg.engine
    if product.op is not Ops.MUL or any(not factor.is_load for factor in product.src):
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


def rings_turn(site: Site) -> Defects:
    """A slot is waited for after a COPY and freed before the next; a COPY runs ahead by fewer
    sequence numbers than there are slots."""
    buffer = site.statement
    steps = walk(site.around[-1].src) if buffer.space in NEAR else ()
    of_rings = [step for step in steps if step[0].op in RINGS]
    turns = [step for step in of_rings if buffer in toposort(step[0].src)]
    copies, waits, frees = [[turn for turn in turns if turn[0].op is op] for op in RINGS]
    filled = [(copy, loops) for copy, loops in copies if copy.source is buffer]
    again = any(loop.extent.hi > 1 for _, loops in filled for loop in loops)
    if filled and not waits:
        yield "copied to and never waited for; expected a WAIT."
    if again and not frees:
        yield "filled again and never freed; expected a FREE."
    if turns and not copies:
        yield "waited for or freed, and never copied; expected a COPY."
    for (copy, loops), (wait, others) in product(filled, waits):
        ahead = copy.place.sequence
        waited = wait.arg[wait.src.index(buffer)]
        in_turn = loops and loops == others and ahead and waited
        if in_turn and (ahead - waited).lo >= buffer.arg.slots:
            yield "a COPY runs as far ahead of its WAIT as it has slots; expected more slots."


def copies_fit(site: Site) -> Defects:
    """A COPY fills a whole near slot, or empties one into global memory."""
    target, arg = site.statement.source.arg, site.statement.arg
    spaces = {use.buffer.space for use in site.uses}
    if not spaces & NEAR:
        yield f"a COPY between {sorted(spaces)}; expected a slot at one end, packed or group."
    box = [extent.hi for _, extent in arg.box]
    shape = [extent.hi for extent in target.shape]
    if target.space != GLOBAL and (site.statement.place.mask or prod(box) != prod(shape)):
        yield f"a box of {box} into {shape}; expected the whole slot filled, without a mask."


_RULES: tuple[Rule, ...] = (
    ops_are_known,
    names_are_new,
    names_are_in_scope,
    ranks_match,
    types_match,
    indices_are_in_bounds,
    roles_hold_roles,
    maps_nest,
)
_RULES_OF: dict[Ops, tuple[Rule, ...]] = {
    Ops.BUFFER: (own_names_dimensions, rings_turn),
    Ops.LOOP: (states_are_rebased, maps_are_known),
    Ops.STORE: (iterations_stay_apart, rebase_fits, own_loops_touch_fragments),
    Ops.COPY: (iterations_stay_apart, copies_fit),
    Ops.MMA: (iterations_stay_apart, mma_contracts),
}
