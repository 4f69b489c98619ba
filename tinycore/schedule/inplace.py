"""Which sinks overwrite the buffer their cell had, and what must run before them.

Comes in: bodies with their store loops, and the old buffer of each sink. Goes out: the nodes that
are stored in place. A sink may do so if, in its own kernel, every read of the buffer is at the
stored element or comes before the store in the same iteration, and if no kernel that must follow
reads the buffer. Other readers run first: an edge in `Reach`. emit.py comes next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tinycore.schedule.bodies import Body
from tinycore.schedule.expression import loads
from tinycore.schedule.reach import Reach
from tinycore.schedule.stages import REDUCTION, SCATTER, WRITE, Stage
from tinycore.uop.ops import UOp
from tinycore.uop.shape import shape_of
from tinycore.uop.tree import Access


def choose_places(
    bodies: Mapping[int, Body], olds: Mapping[UOp, UOp], reach: Reach
) -> dict[UOp, UOp]:
    """For each sink in place, the old buffer it overwrites; `reach` gains what must run before."""
    readers: dict[UOp, list[int]] = {}
    for number, body in bodies.items():
        for node in body.reads:
            readers.setdefault(node, []).append(number)
    places: dict[UOp, UOp] = {}
    for number, body in bodies.items():
        for node in [node for node in body.stages if node in olds]:
            old = olds[node]
            fits = shape_of(node) == shape_of(old) and node.dtype is old.dtype
            others = [other for other in readers.get(old, []) if other != number]
            follow = any(reach.follows(other, number) for other in others)
            if fits and not follow and _allows(body, body.stages[node], old):
                places[node] = old
                for other in others:
                    reach.edge(number, other)
    return places


def _allows(body: Body, sink: Stage, old: UOp) -> bool:
    """True if the kernel of a sink reads `old` only where and when it may still be read."""
    if old not in body.reads:
        return True
    if sink.kind == SCATTER:
        base = _reads([sink.base], old)
        return all(at.indices == sink.axes for at in base) and len(base) == len(_of(sink, old))
    for stage in body.stages.values():
        reads = _of(stage, old) if stage.kind == REDUCTION else []
        if not all(_apart(body, sink, at) for at in reads):
            return False
    number = [sink in loop.stages for loop in body.loops].index(True)
    for position, loop in enumerate(body.loops):
        for at in _reads([stage.stored_value for stage in loop.stages], old):
            before = position < number and _apart(body, sink, at)
            if position > number or not (before or at.indices == sink.place):
                return False
    return True


def _apart(body: Body, sink: Stage, at: Access) -> bool:
    """True if no other iteration of the group's loops stores what this one reads."""
    if sink.kind == WRITE:
        return at.indices == sink.place
    return all(at.indices[dim] is sink.axes[dim] for dim in body.group.dims[sink])


def _of(stage: Stage, old: UOp) -> list[Access]:
    return [load.arg for load in stage.reads if load.src[0] is old]


def _reads(values: Iterable[UOp | None], old: UOp) -> list[Access]:
    """Where some expressions read `old`."""
    found = loads([value for value in values if value is not None])
    return [load.arg for load in found if load.src[0] is old]
