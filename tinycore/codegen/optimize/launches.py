"""A mapped kernel as a plan: what one launch can hold, and what takes several.

Comes in: a kernel after its actions. Goes out: a `Plan`. Nothing orders two grid loops in one
kernel, so a grid loop with something beside it at the root is a launch of its own, and what its
launch shares with others becomes a temporary (IR.md 3.18).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tinycore.codegen.optimize.edit import (
    Illegal,
    Statements,
    changed,
    fresh,
    names_in,
    touched,
)
from tinycore.codegen.optimize.reorder import Piece, crossing_values
from tinycore.uop.index import axis
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import under
from tinycore.uop.spec_loops import TILES
from tinycore.uop.tree import GLOBAL, Access, Kernel, Launch, Plan, Rebuild, load, loop, store


def as_plan(kernel: Kernel) -> Plan:
    """The launches of `kernel` in order: each grid loop at the root, and what stands between.

    Raises: Illegal if launches would have to share more than values they only read.
    """
    buffers = [one for one in kernel.body if one.op is Ops.BUFFER]
    made, parts = separated(buffers, _parts(kernel.body), names_in(kernel))
    temps = [*made, *[one for one in buffers if one.arg.space == GLOBAL and one not in made]]
    launches = []
    for number, part in enumerate(parts):
        used = touched(part)
        params = tuple([one for one in (*kernel.params, *temps) if one in used])
        name = kernel.name if len(parts) == 1 else f"{kernel.name}_{number}"
        if len(parts) == 1:
            params = (*kernel.params, *temps)
        local = [one for one in buffers if one in used and one not in temps]
        piece = Kernel(name, params, kernel.variables, (*local, *part), kernel.spmd)
        launches.append(Launch(name, tuple([one.arg.name for one in params]), piece))
    return Plan(kernel.name, kernel.params, kernel.variables, tuple(temps), tuple(launches))


def _parts(body: Statements) -> list[Statements]:
    """Grid loops alone, other statements together; all together if there is no grid loop."""
    parts: list[Statements] = []
    between: Statements = ()
    for one in body:
        if one.op is Ops.LOOP and one.arg.map == "grid":
            parts += [between, (one,)]
            between = ()
        elif one.op is not Ops.BUFFER:
            between = (*between, one)
    return [part for part in (*parts, between) if part]


def separated(
    buffers: Iterable[UOp], parts: Sequence[Statements], taken: set[str]
) -> tuple[list[UOp], list[Statements]]:
    """Parts that share nothing but global memory, and that memory.

    A sum that others read is copied to a place of its own when it is complete.
    Raises: Illegal if a tile or a sum is written by several parts.
    """
    pieces, made = crossing_values([Piece(part, True) for part in parts], GLOBAL)
    bodies = [piece.body for piece in pieces]
    for one in buffers:
        users = [k for k, body in enumerate(bodies) if one in touched(body)]
        if len(users) < 2:
            continue
        writers = [k for k in users if one in changed(bodies[k])]
        tiles = [inner for inner in under([s for b in bodies for s in b]) if inner.op in TILES]
        if one in touched(tiles) or (one.arg.init and writers != users[:1]):
            raise Illegal(f"{one.arg.name} is filled by more than one of the launches that use it")
        name = fresh(one.arg.name + ".t", taken) if one.arg.init else one.arg.name
        new = one.replace(arg=one.arg._replace(name=name, space=GLOBAL, init=""))
        made.append(new)
        moved = Rebuild({one: new}, {})
        for k in users:
            if one.arg.init and k == writers[0]:
                bodies[k] = (*bodies[k], _copied(one, new))
            else:
                bodies[k] = moved.body(bodies[k])
    return made, bodies


def _copied(source: UOp, target: UOp) -> UOp:
    place = whole(source)
    return over(source, store(target, place, load(source, place)))


def whole(buffer: UOp) -> Access:
    """Every element of a buffer, by axes that `over` gives loops to."""
    axes = enumerate(buffer.arg.shape)
    return Access(tuple([axis(f"{buffer.arg.name}.{k}", extent) for k, extent in axes]))


def over(buffer: UOp, statement: UOp) -> UOp:
    """A statement for every element of a buffer."""
    for k, extent in reversed([*enumerate(buffer.arg.shape)]):
        statement = loop("par", f"{buffer.arg.name}.{k}", extent, [statement])
    return statement
