"""Rules of what loops may do to state: par iterations do not meet, red iterations combine.

Comes in: a `Site`. Goes out: what is wrong with its statement, or None. Next: uop/spec_rings.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycore.uop.affine import atoms
from tinycore.uop.monoids import DEPENDENT
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.printer import show_statement
from tinycore.uop.prove import never
from tinycore.uop.sites import Rule, Site, Use, axis_value, evaluated, loads, under, written

PAR, RED = "par", "red"


def par_stores_apart(site: Site) -> str | None:
    """Two iterations of a par loop write no common place of a buffer that outlives them."""
    for use, loop in _shared_by(site, PAR):
        return (
            f"iterations of par {loop.arg.axis} write one place of {use.buffer.arg.name}; "
            f"expected {loop.arg.axis} among its indices. A loop that combines is red."
        )
    return None


def red_combines(site: Site) -> str | None:
    """A red loop changes what outlives an iteration by combining alone."""
    for use, loop in _shared_by(site, RED):
        if use.how == "store":
            return (
                f"red {loop.arg.axis} overwrites {use.buffer.arg.name} in each iteration; "
                "expected a combining STORE. A loop that carries a value is ser."
            )
    return None


def _shared_by(site: Site, kind: str) -> Iterable[tuple[Use, UOp]]:
    """Writes with the loops around them whose axis says nothing about the place written."""
    for use in written(site.statement):
        if never([*site.given, *use.access.mask]):
            continue
        loops = [outer for outer in site.inside(use.buffer) if _runs(outer, kind)]
        named = _axes_in(site, use)
        for loop in loops:
            if loop.arg.axis not in named:
                yield use, loop


def _runs(outer: UOp, kind: str) -> bool:
    """A role that is replicated is a par loop."""
    if outer.op is Ops.LOOP:
        return outer.arg.kind == kind and bool(axis_value(outer).terms)
    return kind == PAR and outer.op is Ops.BLOCK and outer.arg.replicas > 1


def _axes_in(site: Site, use: Use) -> set[str]:
    """The axes in the place; one in a mask may leave a single iteration, which REF decides.

    What a gathered index depends on is not counted: two rows may have one number.
    """
    masks = list(use.access.mask)
    for outer in site.around:
        if outer.op is Ops.IF:
            masks += outer.arg
    return {atom.name for value in [*use.indices, *masks] for atom in atoms(value)}


def one_combine(site: Site) -> str | None:
    """Order is free only while one combine changes a state: sums and maxima do not commute."""
    if site.statement.arg.kind != RED:
        return None
    seen: dict[UOp, str] = {}
    for statement in under(site.statement.src):
        for use in written(statement):
            first = seen.setdefault(use.buffer, use.how)
            outer = use.buffer.arg.name in site.names
            if outer and use.how != first and "store" not in (first, use.how):
                return (
                    f"{use.buffer.arg.name} is combined by {first} and by {use.how}; "
                    "expected one combine. Use two buffers."
                )
    return None


# What a red loop reads of its own state


def state_is_rebased(site: Site) -> str | None:
    """What depends on a state that still changes is moved when it changes, by `rebase`."""
    if site.statement.arg.kind != RED:
        return None
    inner = under(site.statement.src)
    states = _states(site, inner)
    depends: dict[UOp, set[UOp]] = {}
    for statement in inner:
        read = _states_read(statement, states, depends)
        if statement.op is Ops.LET:
            depends[statement] = read
        for use in written(statement):
            if use.buffer.arg.name not in site.names:
                depends.setdefault(use.buffer, set()).update(read)
                continue
            left = [state.arg.name for state in read if use.buffer not in states[state]]
            if left:
                return (
                    f"`{show_statement(statement)}` depends on {min(left)}, which the loop still "
                    f"changes; expected {use.buffer.arg.name} in the rebase of {min(left)}."
                )
    return None


def _states(site: Site, inner: list[UOp]) -> dict[UOp, set[UOp]]:
    """The buffers a red loop combines into, each with the buffers that are moved with it."""
    name = site.statement.arg.axis
    states: dict[UOp, set[UOp]] = {}
    for statement in inner:
        for use in written(statement):
            held = {atom.name for value in use.indices for atom in atoms(value)}
            if use.how != "store" and use.buffer.arg.name in site.names and name not in held:
                states.setdefault(use.buffer, set()).update(_moved(statement))
    return states


def _moved(statement: UOp) -> tuple[UOp, ...]:
    return statement.src[2 * len(statement.arg.places) :] if statement.op is Ops.STORE else ()


def _states_read(
    statement: UOp, states: dict[UOp, set[UOp]], depends: dict[UOp, set[UOp]]
) -> set[UOp]:
    nodes = evaluated(statement)
    sources = [node.src[0] for node in loads(nodes)]
    if statement.op is Ops.MMA:
        sources += statement.src[1:]
    found = {source for source in sources if source in states}
    for node in [*nodes, *sources]:
        found |= depends.get(node, set())
    return found


def rebase_fits(site: Site) -> str | None:
    """A rebase has the leading states that its rule names."""
    arg = site.statement.arg
    if not arg.rebase:
        return None
    rule = DEPENDENT.get(arg.rebase)
    if rule is None:
        return f"rebase by {arg.rebase}; expected one of {', '.join(DEPENDENT)}."
    leads = (arg.combine,) * len(arg.places)
    if leads != rule.leads:
        found = ", ".join(leads) or "none"
        return f"rebase {arg.rebase} of states ({found}); expected ({', '.join(rule.leads)})."
    return None if _moved(site.statement) else f"rebase {arg.rebase} moves nothing; name a buffer."


RULES: dict[Rule, tuple[Ops, ...]] = {
    par_stores_apart: (Ops.STORE, Ops.COPY, Ops.MMA),
    red_combines: (Ops.STORE, Ops.COPY),
    one_combine: (Ops.LOOP,),
    rebase_fits: (Ops.STORE,),
    state_is_rebased: (Ops.LOOP,),
}
"""Rules of all boundaries, with the statements they speak of."""
