"""Joins the states of lanes: halves combine until one is left.

Comes in: states, the buffers that hold one of each a lane. Goes out: statements that bring them
together. reduce.py puts them after its loop; expand.py makes shuffles of the halves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tinycore.codegen.lower.vectors import Named, nested
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
        before, after = place[: self.at], place[self.at :]
        return Access((*before, lane, *after))

    def load(self, place: Place, lane: Index | int) -> UOp:
        """The state of a lane."""
        return load(self.buffer, self.place(place, as_index(lane)))

    @property
    def extent(self) -> int:
        """How many lanes there are."""
        extent: Index = self.buffer.arg.shape[self.at]
        return extent.const


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
        leads = rebase.src[:count]
        if leads[0] not in job.own or leads[0] in done:
            continue
        dependents = rebase.src[2 * count :]
        found += _leads(rebase, leads, dependents, job)
        for dependent in dependents:
            found += _moved(rebase, leads, dependent, job)
        done.update(leads)
    for state, combine in job.states.items():
        if state not in done:
            found += _single(state, combine, job)
    return found


def _leads(rebase: UOp, leads: Sequence[UOp], dependents: Sequence[UOp], job: Joining) -> list[UOp]:
    """Join the leading states; dependents of a state that held something move with it."""
    is_fresh = {*leads, *dependents} <= job.fresh
    combine = rebase.arg.combine

    def at(place: Place) -> list[UOp]:
        found, values = [], []
        for lead in leads:
            statements, value = _halved(job.own[lead], place, combine, job.name)
            found += statements
            values.append(value)
        here = Access(place)
        if is_fresh:
            for lead, value in zip(leads, values, strict=True):
                found.append(store(lead, here, value))
            return found
        arg = StoreArg((here,) * len(leads), combine, rebase.arg.rebase)
        src = (*leads, *values, *dependents)
        return [*found, UOp(Ops.STORE, rebase.dtype, src, arg)]

    return _everywhere(leads[0], f"{job.name}.{leads[0].arg.name}", at)


def _moved(rebase: UOp, leads: Sequence[UOp], dependent: UOp, job: Joining) -> list[UOp]:
    """Move a dependent of every lane from the lane's leading state to the joined one."""
    own = job.own[dependent]
    name = f"{job.name}.move"
    lane = axis(name, own.extent)
    moved = DEPENDENT[rebase.arg.rebase].moved

    def at(place: Place) -> list[UOp]:
        lead = place[: own.at]
        old = tuple([job.own[state].load(lead, lane) for state in leads])
        new = tuple([load(state, Access(lead)) for state in leads])
        value = moved(old, new, own.load(place, lane))
        body = store(own.buffer, own.place(place, lane), value)
        return [loop("par", name, own.extent, [body], "vec")]

    return _everywhere(dependent, f"{job.name}.{dependent.arg.name}.moved", at)


def _single(state: UOp, combine: str, job: Joining) -> list[UOp]:
    """Join one state, which moves with no other any more."""
    into = "" if state in job.fresh else combine

    def at(place: Place) -> list[UOp]:
        found, value = _halved(job.own[state], place, combine, job.name)
        found.append(store(state, Access(place), value, into))
        return found

    return _everywhere(state, f"{job.name}.{state.arg.name}", at)


def _halved(own: Lanes, place: Place, combine: str, name: str) -> tuple[list[UOp], UOp]:
    """Statements that combine halves of the lanes, and the value that is left."""
    op = MONOIDS[combine].op
    found: list[UOp] = []
    rest: list[UOp] = []
    source, lanes = own, own.extent
    while lanes > 1:
        if lanes % 2:
            rest.append(source.load(place, lanes - 1))
        lanes //= 2
        lane = axis(f"{name}.h{lanes}", lanes)
        value = alu(op, source.load(place, lane), source.load(place, lane + lanes))
        half = buffer(f"{own.buffer.arg.name}.h{lanes}", own.buffer.dtype, (lanes,), "reg")
        body = store(half, Access((lane,)), value)
        found += [half, loop("par", f"{name}.h{lanes}", lanes, [body], "vec")]
        source, place = Lanes(half, 0), ()
    value = source.load(place, 0)
    for part in rest:
        value = alu(op, value, part)
    return found, value


def _everywhere(state: UOp, name: str, at: Callable[[Place], list[UOp]]) -> list[UOp]:
    """`at` for every element of a state."""
    shape = state.arg.shape
    few = prod([extent.hi for extent in shape]) <= MAX_UNROLLED
    loops: list[Named] = []
    for k, extent in enumerate(shape):
        loops.append((f"{name}.{k}", extent, "reg" if few else ""))
    place = tuple([axis(axis_name, extent) for axis_name, extent, _ in loops])
    return nested(loops, at(place))
