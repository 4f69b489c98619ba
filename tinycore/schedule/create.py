"""create_schedule: from the sinks of a graph to kernels in order, as a list of passes.

Comes in: nodes to store, each with the buffer its cell had. Goes out: a `Schedule` of scheduled
kernels, fused wherever no element is computed twice. Every pass walks stages or nodes once; the
text of a kernel is uop/printer.py's, its actions are codegen/'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinycore.config import SPEC
from tinycore.runtime.caps import Caps
from tinycore.schedule.bodies import choose_places, make_bodies
from tinycore.schedule.emit import emit
from tinycore.schedule.expression import sorted_by
from tinycore.schedule.groups import Grouping
from tinycore.schedule.recompute import find_stages
from tinycore.schedule.sinks import home_of, lower_sinks
from tinycore.schedule.stages import WRITES
from tinycore.schedule.types import Limits, Schedule
from tinycore.uop.ops import UOp, arena
from tinycore.uop.spec import check

Sinks = Sequence[tuple[UOp, UOp | None]]


def create_schedule(sinks: Sinks, caps: Caps) -> Schedule:
    """The kernels that store every sink.

    A sink is a node and the BUFFER its cell was stored in before, or None. The cells and who runs
    along are the engine's (GRAPH.md 3).
    Raises: SpecError if SPEC asks for the check and a kernel is not legal.
    """
    schedule = schedule_within(sinks, Limits(caps.units, caps.row))
    for scheduled in schedule.kernels if SPEC.value else ():
        check(scheduled.kernel, "schedule")
    return schedule


def schedule_within(sinks: Sinks, limits: Limits) -> Schedule:
    """The schedule under given thresholds: any of them gives the same values."""
    writes = {node for node, old in sinks if node.op in WRITES and node.src[0] is old}
    with arena():
        found = _attempt(sinks, writes, limits)
        while not isinstance(found, Schedule):
            writes -= found
            found = _attempt(sinks, writes, limits)
        return found


def _attempt(sinks: Sinks, writes: set[UOp], limits: Limits) -> Schedule | set[UOp]:
    """The schedule, or the writes through views that found no place and become selects."""
    lowered = lower_sinks([node for node, _ in sinks], writes)
    pairs = list(zip(lowered, sinks, strict=True))
    olds = {home_of(low): old for low, (_, old) in pairs if old is not None}
    grouping = Grouping(find_stages(lowered, limits), olds, limits)
    bodies = make_bodies(grouping.groups, olds)
    reach = grouping.reach
    places = choose_places(bodies, olds, reach)
    lost = {node for low, (node, _) in pairs if low.op in WRITES and low not in places}
    if lost:
        return lost
    order = sorted_by(lambda number: sorted(reach.direct[number]), bodies)
    kernels = [emit(bodies[number], places, f"k{k}") for k, number in enumerate(order)]
    ends = tuple([places.get(node, node) for node in lowered])
    stored = dict.fromkeys([kernel.buffers[k] for kernel in kernels for k in kernel.outputs])
    kept = set(ends)
    temporaries = [node for node in stored if node not in kept]
    return Schedule(tuple(kernels), ends, tuple(temporaries))
