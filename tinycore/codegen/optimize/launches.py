"""A mapped kernel as a plan: what one launch can hold, and what takes several.

Comes in: a kernel after its actions. Goes out: a `Plan`. Nothing orders two grid loops in one
kernel, so a grid loop with something beside it at the root is a launch of its own, and what its
launch shares with others becomes a temporary (docs/ir.md rule 11).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from tinycore.codegen.optimize.edit import (
    Illegal,
    Statements,
    changed,
    direct,
    each,
    find,
    fresh,
    names_in,
    refit,
    runs,
    touched,
)
from tinycore.codegen.optimize.reorder import crossing_values
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import TILES
from tinycore.uop.tree import GLOBAL, Kernel, Launch, Plan, load, rebuild, store


def as_plan(kernel: Kernel) -> Plan:
    """The launches of `kernel` in order: each grid loop at the root, and what stands between.

    Raises: Illegal if launches would have to share more than values they only read.
    """
    name, params, variables, body, spmd = kernel
    pieces = runs(body, lambda one: one.op is Ops.LOOP and one.arg.map == "grid")
    made, own, parts = separated(pieces, names_in(kernel))
    temps = (*made, *[one for one in own if one.arg.space == GLOBAL])
    launches = []
    for number, part in enumerate(parts):
        used = touched(part)
        given = tuple([one for one in (*params, *temps) if one in used])
        local = [one for one in own if one in used and one not in temps]
        title = name if len(parts) == 1 else f"{name}_{number}"
        piece = Kernel(title, given, variables, (*local, *part), spmd)
        launches.append(Launch(title, tuple([one.arg.name for one in given]), piece))
    return Plan(name, params, variables, temps, tuple(launches))


def separated(
    pieces: Sequence[Statements], taken: set[str]
) -> tuple[list[UOp], list[UOp], list[Statements]]:
    """The global memory that pieces of a block share, other buffers, and the pieces, which share
    nothing else.

    A sum that others read is copied to a place of its own when it is complete.
    Raises: Illegal if a tile or a sum is written by several parts.
    """
    own = direct(chain(*pieces), Ops.BUFFER)
    bodies, made = crossing_values(pieces, GLOBAL)
    tiles = touched(find(chain(*bodies), *TILES))
    for one in [*own]:
        users = [k for k, body in enumerate(bodies) if one in touched(body)]
        if len(users) < 2:
            continue
        name, is_sum = one.arg.name, bool(one.arg.init)
        writers = [k for k in users if one in changed(bodies[k])]
        if one in tiles or (is_sum and writers != users[:1]):
            raise Illegal(f"{name} is filled by more than one of the launches that use it")
        new = refit(one, name=fresh(f"{name}.t", taken) if is_sum else name, space=GLOBAL, init="")
        made.append(new)
        if is_sum:
            first = users.pop(0)
            bodies[first] += (_copied(one, new),)
        else:
            own.remove(one)
        for k in users:
            bodies[k] = rebuild(bodies[k], {one: new})
    return made, own, bodies


def _copied(source: UOp, target: UOp) -> UOp:
    """Statements that copy each element."""
    name = f"{source.arg.name}."
    return each(source, name, lambda place: store(target, place, load(source, place)))
