"""create_schedule: from the sinks of a graph to kernels in order, as a list of passes.

Comes in: nodes to store, each with the buffer its cell had. Goes out: a `Schedule` of scheduled
kernels, fused wherever no element is computed twice. Every pass walks stages or nodes once; the
text of a kernel is uop/printer.py's, its actions are codegen/'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from tinycore.config import SPEC
from tinycore.schedule.bodies import Body, make_bodies
from tinycore.schedule.emit import emit
from tinycore.schedule.expression import reductions
from tinycore.schedule.groups import Grouping
from tinycore.schedule.inplace import choose_places
from tinycore.schedule.limits import Capacity, Limits
from tinycore.schedule.reach import Reach
from tinycore.schedule.recompute import find_stages
from tinycore.schedule.runs import Run, find_runs
from tinycore.schedule.sinks import lower_sinks
from tinycore.schedule.stages import Graph
from tinycore.schedule.types import Schedule
from tinycore.uop.ops import Ops, UOp, arena
from tinycore.uop.spec import check

Sinks = Sequence[tuple[UOp, UOp | None]]


def create_schedule(sinks: Sinks, caps: Capacity) -> Schedule:
    """The kernels that store every sink.

    A sink is a node and the BUFFER its cell was stored in before, or None. The cells and who runs
    along are the engine's (GRAPH.md 3).
    Raises: SpecError if SPEC asks for the check and a kernel is not legal.
    """
    schedule = schedule_within(sinks, Limits.of(caps))
    for scheduled in schedule.kernels if SPEC.value else ():
        check(scheduled.kernel, "schedule")
    return schedule


def schedule_within(sinks: Sinks, limits: Limits) -> Schedule:
    """The schedule under given thresholds: any of them gives the same values."""
    writes = frozenset(node for node, old in sinks if _may_write(node, old))
    with arena():
        found = _attempt(sinks, writes, limits)
        while not isinstance(found, Schedule):
            writes -= found
            found = _attempt(sinks, writes, limits)
        return found


def _may_write(node: UOp, old: UOp | None) -> bool:
    return node.op is Ops.STORE and old is not None and node.src[0] is old


def _attempt(sinks: Sinks, writes: frozenset[UOp], limits: Limits) -> Schedule | frozenset[UOp]:
    """The schedule, or the writes through views that found no place and become selects."""
    lowered = lower_sinks([node for node, _ in sinks], writes)
    olds = {node: old for node, (_, old) in zip(lowered, sinks, strict=True)}
    stages = find_stages(Graph(lowered), limits)
    grouping = Grouping(stages, olds, limits)
    bodies = make_bodies(grouping.groups, olds)
    places = choose_places(bodies, olds, grouping.reach)
    pairs = zip(sinks, lowered, strict=True)
    lost = [node for (node, _), low in pairs if low.op is Ops.STORE and low not in places]
    if lost:
        return frozenset(lost)
    ordered = in_run_order(bodies, grouping.reach)
    runs = [find_runs(body) for body in ordered]
    written = [
        emit(body, found, places, f"k{number}")
        for number, (body, found) in enumerate(zip(ordered, runs, strict=True))
    ]
    ends = tuple([places.get(node, node) for node in lowered])
    stored = {kernel.buffers[k]: None for kernel in written for k in kernel.outputs}
    for node in ends:
        stored.pop(node, None)
    return Schedule(tuple(written), ends, tuple(stored), _decisions(ordered, runs))


def in_run_order(bodies: Sequence[Body], reach: Reach) -> list[Body]:
    """Every body after those it needs, ties by first appearance."""
    by_number = {body.number: body for body in bodies}
    waiting = {number: len(reach.direct[number]) for number in by_number}
    users: dict[int, list[int]] = {number: [] for number in by_number}
    for number in by_number:
        for needed in reach.direct[number]:
            users[needed].append(number)
    ready = [number for number, count in waiting.items() if count == 0]
    heapify(ready)
    order = []
    while ready:
        number = heappop(ready)
        order.append(by_number[number])
        for user in users[number]:
            waiting[user] -= 1
            if waiting[user] == 0:
                heappush(ready, user)
    assert len(order) == len(bodies), "schedule: kernels wait for each other"
    return order


def _decisions(bodies: Sequence[Body], runs: Sequence[Sequence[Run]]) -> Counter[str]:
    """How often each rule of fusion was used."""
    counts: Counter[str] = Counter()
    for body in bodies:
        counts.update(body.group.joins)
        for member in body.members.values():
            counts["recomputed"] += len(reductions(member.stage.value))
            counts["nested"] += bool(member.stage.mask)
    for run in (run for found in runs for run in found):
        counts["shared loop"] += len(run.sums) - 1
        counts["factor"] += len(run.after)
        counts["rebase"] += sum(len(one.moved) for one in run.sums)
    return counts
