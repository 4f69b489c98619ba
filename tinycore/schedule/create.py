"""create_schedule: from the sinks of a graph to kernels in order, as a list of passes.

Comes in: nodes to store, each with the buffer its cell had. Goes out: a `Schedule`, fused wherever
no element is computed twice. Next file: nodes.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tinycore.config import SPEC
from tinycore.runtime.contract import Caps
from tinycore.schedule.emit import ScheduledKernel, emit
from tinycore.schedule.groups import Grouping
from tinycore.schedule.nodes import WRITES, Limits, below, home_of, lower_sinks
from tinycore.schedule.stages import find_stages
from tinycore.uop.ops import Nodes, Ops, UOp, arena
from tinycore.uop.spec import check

_TILE = 8  # rows that a core holds at once; threads of a group would hold theirs in registers
Sinks = Sequence[tuple[UOp, UOp | None]]


class Schedule(NamedTuple):
    """Kernels in an order that respects reads and writes.

    Buffers are named by graph nodes: a BUFFER, or the node that is stored. `places[k]` is where
    sink k lies, its old BUFFER or a node that needs a new one; other nodes need one during the run.
    """

    kernels: tuple[ScheduledKernel, ...]
    places: Nodes


def create_schedule(sinks: Sinks, caps: Caps) -> Schedule:
    """The kernels that store every sink: a node, and the BUFFER its cell was stored in or None.

    Raises: SpecError if SPEC asks for the check and a kernel is not legal.
    """
    cached = sum(caps.cache_bytes[1:2]) // 16
    held = 0 if caps.max_group_threads > 1 else cached // _TILE
    limits = Limits(caps.units, caps.row, caps.max_buffers, cached=cached, held=held)
    schedule = schedule_within(sinks, limits)
    for scheduled in schedule.kernels if SPEC.value else ():
        check(scheduled.kernel, "schedule")
    return schedule


def schedule_within(sinks: Sinks, limits: Limits) -> Schedule:
    """The schedule under given thresholds: any of them gives the same values."""
    sinks = [(below(node, {Ops.DETACH}), old) for node, old in sinks]
    writes = {node for node, old in sinks if node.op in WRITES and node.source is old}
    with arena():
        while True:
            lowered = lower_sinks([node for node, _ in sinks], writes)
            homes = tuple(map(home_of, lowered))
            pairs = list(zip(homes, sinks, strict=True))
            olds = {home: old for home, (_, old) in pairs if old and home.size}
            stages = find_stages([node for node in lowered if node.size], limits)
            grouping = Grouping(stages, olds, limits)
            places = grouping.places()
            lost = {node for home, (node, _) in pairs if home.op in WRITES and home not in places}
            if not lost:
                break
            writes -= lost  # found no place and must be lowered otherwise
        groups = enumerate(grouping.in_order())
        kernels = [emit(group, places, f"k{number}", limits) for number, group in groups]
    return Schedule(tuple(kernels), tuple(places.get(home, home) for home in homes))
