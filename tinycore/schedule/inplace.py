"""Which sinks overwrite the buffer their cell had, and what must run before them.

Comes in: bodies with their store loops, and the old buffer of each sink. Goes out: the nodes that
are stored in place. A sink may do so if, in its own kernel, every read of the buffer is at the
stored element or comes before the store in the same iteration, and if no kernel that must follow
reads the buffer. Other readers run first: an edge in `Reach`. emit.py comes next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinycore.schedule.bodies import Body, Member, Store
from tinycore.schedule.expression import loads
from tinycore.schedule.reach import Reach
from tinycore.schedule.stages import REDUCTION, SCATTER, WRITE
from tinycore.uop.ops import UOp
from tinycore.uop.shape import shape_of
from tinycore.uop.tree import Access


def choose_places(
    bodies: Sequence[Body], olds: Mapping[UOp, UOp | None], reach: Reach
) -> dict[UOp, UOp]:
    """For each sink in place, the old buffer it overwrites; `reach` gains what must run before."""
    readers: dict[UOp, list[Body]] = {}
    for body in bodies:
        for node in body.reads:
            readers.setdefault(node, []).append(body)
    places: dict[UOp, UOp] = {}
    for body in bodies:
        for node, member in body.members.items():
            old = olds.get(node)
            if old is None or not _fits(node, old) or not _allows(body, member, old):
                continue
            others = [other for other in readers.get(old, []) if other is not body]
            if any(reach.follows(other.number, body.number) for other in others):
                continue
            places[node] = old
            for other in others:
                reach.edge(body.number, other.number)
    return places


def _fits(node: UOp, old: UOp) -> bool:
    return shape_of(node) == shape_of(old) and node.dtype is old.dtype


def _allows(body: Body, sink: Member, old: UOp) -> bool:
    """True if the kernel of a sink reads `old` only where and when it may still be read."""
    if old not in body.reads:
        return True
    if sink.stage.kind == SCATTER:
        base = [] if sink.base is None else loads([sink.base])
        own = [at.indices == sink.axes for at in _of(base, old)]
        return all(own) and len(own) == len(_of(sink.reads, old))
    number, store = body.position(sink)
    for member in body.members.values():
        reads = _of(member.reads, old) if member.stage.kind == REDUCTION else []
        if not all(_apart(body, store, at) for at in reads):
            return False
    for position, loop in enumerate(body.loops):
        for other in loop.stores:
            for at in _of(other.reads, old):
                same = at.indices == store.place
                if position > number or not (same or position < number):
                    return False
                if not same and not _apart(body, store, at):
                    return False
    return True


def _apart(body: Body, store: Store, at: Access) -> bool:
    """True if no other iteration of the group's loops stores what this one reads."""
    if store.member.stage.kind == WRITE:
        return at.indices == store.place
    dims = body.group.dims[store.member.stage]
    return all(at.indices[dim] is store.axes[dim] for dim in dims)


def _of(reads: Sequence[UOp], old: UOp) -> list[Access]:
    """Where `old` is read."""
    return [load.arg for load in reads if load.src[0] is old]
