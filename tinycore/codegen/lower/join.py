"""Joins the states of lanes: halves combine until one is left.

Comes in: states, the buffers that hold one of each a lane. Goes out: statements that bring them
together. reduce.py puts them after its loop; expand.py makes shuffles of the halves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tinycore.codegen.lower.vectors import nested
from tinycore.uop.index import Index, as_index, axis
from tinycore.uop.ops import Ops, UOp, alu
from tinycore.uop.table import DEPENDENT, MONOIDS
from tinycore.uop.tree import Access, StoreArg, buffer, load, loop, store
from tinycore.util import prod

MAX_UNROLLED = 64
Place = tuple[Index, ...]


class Lanes(NamedTuple):
    """A buffer with a state for each lane; the lane is dimension `at`: for a dependent after those
    that its leading state has, so that it still moves with it."""

    buffer: UOp
    at: int

    def place(self, place: Place, lane: Index) -> Access:
        """Where a lane has the state that was at `place`."""
        return Access((*place[: self.at], lane, *place[self.at :]))


class Joining(NamedTuple):
    """What is joined: states with their monoids, the buffers of their lanes, and which of them
    hold nothing yet; `name` starts the names of new axes."""

    states: Mapping[UOp, str]
    own: Mapping[UOp, Lanes]
    fresh: frozenset[UOp]
    name: str


def joined(rebases: Sequence[UOp], job: Joining) -> list[UOp]:
    """The statements that bring every state of the lanes into the state itself.

    Leading states come first; then each dependent moves, in every lane, from the lane's leading
    state to the joined one, and is joined like any other.
    """
    found: list[UOp] = []
    done: set[UOp] = set()
    for rebase in dict.fromkeys(rebases):
        count = len(rebase.arg.places)
        leads, dependents = rebase.src[:count], rebase.src[2 * count :]
        if leads[0] not in job.own or leads[0] in done:
            continue
        found += _leads(rebase, leads, dependents, job)
        found += [_moved(rebase, leads, dependent, job) for dependent in dependents]
        done.update(leads)
    for state, combine in job.states.items():
        if state not in done:
            found += _single(state, combine, job)
    return found


def _leads(rebase: UOp, leads: Sequence[UOp], dependents: Sequence[UOp], job: Joining) -> list[UOp]:
    """Join the leading states; dependents of a state that held something move with it."""
    is_fresh = {*leads, *dependents} <= job.fresh

    def at(place: Place) -> list[UOp]:
        found, values = [], []
        for lead in leads:
            statements, value = _halved(job.own[lead], place, rebase.arg.combine, job.name)
            found += statements
            values.append(value)
        if is_fresh:
            pairs = zip(leads, values, strict=True)
            return found + [store(lead, Access(place), value) for lead, value in pairs]
        arg = StoreArg((Access(place),) * len(leads), rebase.arg.combine, rebase.arg.rebase)
        src = (*leads, *values, *dependents)
        return [*found, UOp(Ops.STORE, rebase.dtype, src, arg)]

    return _everywhere(leads[0], f"{job.name}.{leads[0].arg.name}", at)


def _moved(rebase: UOp, leads: Sequence[UOp], dependent: UOp, job: Joining) -> UOp:
    """Move a dependent of every lane from the lane's leading state to the joined one."""
    own, name = job.own[dependent], f"{job.name}.move"
    lanes = own.buffer.arg.shape[own.at]
    lane = axis(name, lanes)

    def at(place: Place) -> list[UOp]:
        lead = place[: own.at]
        old = tuple([load(job.own[r].buffer, job.own[r].place(lead, lane)) for r in leads])
        new = tuple([load(r, Access(lead)) for r in leads])
        here = own.place(place, lane)
        value = DEPENDENT[rebase.arg.rebase].moved(old, new, load(own.buffer, here))
        return [loop("par", name, lanes, [store(own.buffer, here, value)], "vec")]

    return _everywhere(dependent, f"{job.name}.{dependent.arg.name}.moved", at)[0]


def _single(state: UOp, combine: str, job: Joining) -> list[UOp]:
    """Join one state, which moves with no other any more."""

    def at(place: Place) -> list[UOp]:
        statements, value = _halved(job.own[state], place, combine, job.name)
        into = "" if state in job.fresh else combine
        return [*statements, store(state, Access(place), value, into)]

    return _everywhere(state, f"{job.name}.{state.arg.name}", at)


def _halved(own: Lanes, place: Place, combine: str, name: str) -> tuple[list[UOp], UOp]:
    """Statements that combine halves of the lanes, and the value that is left."""
    op = MONOIDS[combine].op
    found: list[UOp] = []
    rest: list[UOp] = []
    source, lanes = own, own.buffer.arg.shape[own.at].const
    while lanes > 1:
        half = lanes // 2
        if lanes % 2:
            rest.append(load(source.buffer, source.place(place, as_index(lanes - 1))))
        lane = axis(f"{name}.h{half}", half)
        low, high = (load(source.buffer, source.place(place, lane + k)) for k in (0, half))
        target = buffer(f"{own.buffer.arg.name}.h{half}", own.buffer.dtype, (half,), "reg")
        step = store(target, Access((lane,)), alu(op, low, high))
        found += [target, loop("par", f"{name}.h{half}", half, [step], "vec")]
        source, lanes, place = Lanes(target, 0), half, ()
    value = load(source.buffer, source.place(place, as_index(0)))
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
