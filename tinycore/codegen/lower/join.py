"""Joins the states of lanes: halves combine until one is left.

Comes in: states, the buffers that hold one of each a lane. Goes out: statements that bring them
together. reduce.py puts them after its loop; expand.py makes shuffles of the halves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tinycore.codegen.lower.vectors import nested
from tinycore.uop.index import Index, as_index, axis
from tinycore.uop.ops import Ops, UOp, alu
from tinycore.uop.table import DEPENDENT, MONOIDS
from tinycore.uop.tree import Access, StoreArg, buffer, load, loop, store
from tinycore.util import prod

MAX_UNROLLED = 64
Place = tuple[Index, ...]


def joined(
    rebases: Sequence[UOp], states: Mapping[UOp, str], own: Mapping[UOp, UOp], name: str
) -> list[UOp]:
    """The statements that bring every state of the lanes into the state itself.

    Leading states come first; then each dependent moves, in every lane, from the lane's leading
    state to the joined one, and is joined like any other.
    """
    found: list[UOp] = []
    done: set[UOp] = set()
    for rebase in dict.fromkeys(rebases):
        count = len(rebase.arg.places)
        leads, dependents = rebase.src[:count], rebase.src[2 * count :]
        if leads[0] not in own or leads[0] in done:
            continue
        found += _leads(rebase, leads, dependents, own, name)
        found += [_moved(rebase, leads, dependent, own, name) for dependent in dependents]
        done.update(leads)
    for state, combine in states.items():
        if state not in done:
            found += _single(state, own[state], combine, name)
    return found


def _leads(
    rebase: UOp, leads: Sequence[UOp], dependents: Sequence[UOp], own: Mapping[UOp, UOp], name: str
) -> list[UOp]:
    """Join the leading states, in one store that moves the dependents of the state so far."""

    def at(place: Place) -> list[UOp]:
        found, values = [], []
        for lead in leads:
            statements, value = _halved(own[lead], place, rebase.arg.combine, name)
            found += statements
            values.append(value)
        arg = StoreArg((Access(place),) * len(leads), rebase.arg.combine, rebase.arg.rebase)
        src = (*leads, *values, *dependents)
        return [*found, UOp(Ops.STORE, rebase.dtype, src, arg)]

    return _everywhere(leads[0], f"{name}.{leads[0].arg.name}", at)


def _moved(
    rebase: UOp, leads: Sequence[UOp], dependent: UOp, own: Mapping[UOp, UOp], name: str
) -> UOp:
    """Move a dependent of every lane from the lane's leading state to the joined one."""
    lanes = own[dependent].arg.shape[-1]
    lane = axis(f"{name}.move", lanes)
    rank = len(leads[0].arg.shape)

    def at(place: Place) -> list[UOp]:
        lead = place[:rank]
        old = tuple([load(own[r], Access((*lead, lane))) for r in leads])
        new = tuple([load(r, Access(lead)) for r in leads])
        here = Access((*place, lane))
        value = DEPENDENT[rebase.arg.rebase].moved(old, new, load(own[dependent], here))
        return [loop("par", f"{name}.move", lanes, [store(own[dependent], here, value)], "vec")]

    return _everywhere(dependent, f"{name}.{dependent.arg.name}.moved", at)[0]


def _single(state: UOp, own: UOp, combine: str, name: str) -> list[UOp]:
    """Join one state that no other leads."""

    def at(place: Place) -> list[UOp]:
        statements, value = _halved(own, place, combine, name)
        return [*statements, store(state, Access(place), value, combine)]

    return _everywhere(state, f"{name}.{state.arg.name}", at)


def _halved(own: UOp, place: Place, combine: str, name: str) -> tuple[list[UOp], UOp]:
    """Statements that combine halves of the lanes, and the value that is left."""
    op = MONOIDS[combine].op
    found: list[UOp] = []
    rest: list[UOp] = []
    source, lanes = own, own.arg.shape[-1].const
    while lanes > 1:
        half = lanes // 2
        if lanes % 2:
            rest.append(load(source, Access((*place, as_index(lanes - 1)))))
        lane = axis(f"{name}.h{half}", half)
        low, high = (load(source, Access((*place, lane + k))) for k in (0, half))
        target = buffer(f"{own.arg.name}.h{half}", own.dtype, (*own.arg.shape[:-1], half), "reg")
        step = store(target, Access((*place, lane)), alu(op, low, high))
        found += [target, loop("par", f"{name}.h{half}", half, [step], "vec")]
        source, lanes = target, half
    value = load(source, Access((*place, as_index(0))))
    for part in rest:
        value = alu(op, value, part)
    return found, value


def _everywhere(state: UOp, name: str, at: Callable[[Place], list[UOp]]) -> list[UOp]:
    """`at` for every element of a state."""
    shape = state.arg.shape
    names = [f"{name}.{k}" for k in range(len(shape))]
    place = tuple([axis(n, extent) for n, extent in zip(names, shape, strict=True)])
    small = prod([extent.hi for extent in shape]) <= MAX_UNROLLED
    kind = "reg" if small else ""
    return nested([(n, e, kind) for n, e in zip(names, shape, strict=True)], at(place))
