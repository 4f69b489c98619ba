"""A graph to run becomes a list of launches over numbered slots, kept for the next equal graph.

Comes in: sinks (a node and the buffer its cell had). Goes out: an `ExecutionPlan` and the leaves
it reads. The key is the graph with buffers numbered by first appearance, so that the second
training step, on other buffers or the same, costs one walk. Next: run.py binds slots and launches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tinycore import config
from tinycore.engine.compile import load_kernel
from tinycore.engine.memory import Lifetime, plan_memory
from tinycore.engine.run import Step
from tinycore.runtime.device import OpenDevice
from tinycore.schedule import create_schedule
from tinycore.uop.ops import Ops, UOp, arena, toposort
from tinycore.uop.shape import size_of


class Sink(NamedTuple):
    """A node to store, and the BUFFER its cell was stored in before."""

    node: UOp
    old: UOp | None


class ExecutionPlan(NamedTuple):
    """Launches over slots: first the leaves, then the sinks, then the regions of temporaries.

    Units: `region_bytes` in bytes. A sink in place uses the slot of its old buffer.
    """

    steps: tuple[Step, ...]
    in_place: tuple[bool, ...]
    region_bytes: tuple[int, ...]


_plans: dict[Any, ExecutionPlan] = {}


def plan_for(sinks: Sequence[Sink], device: OpenDevice) -> tuple[ExecutionPlan, list[UOp]]:
    """The plan of these sinks on `device`, and the BUFFERs behind its leaf slots.

    Raises: CompileError, Unsupported.
    """
    key, leaves = graph_key(sinks)
    full = (key, device.name, config.key())
    plan = _plans.get(full) if config.SCACHE.value else None
    if plan is None:
        with arena():
            plan = _plans[full] = _plan(sinks, leaves, device)
    return plan, leaves


def graph_key(sinks: Sequence[Sink]) -> tuple[Any, list[UOp]]:
    """The graph as a tuple of numbers and arguments, and its BUFFERs in order of appearance.

    Buffers and CONTIGUOUS numbers are replaced by their order, so equal graphs over other data,
    aliased alike, have one key.
    """
    roots = [sink.node for sink in sinks]
    olds = [sink.old for sink in sinks if sink.old is not None]
    place: dict[UOp, int] = {}
    leaves: list[UOp] = []
    rows: list[Any] = []
    for node in toposort([*roots, *olds]):
        place[node] = len(place)
        arg = node.arg
        if node.op is Ops.BUFFER:
            arg = (len(leaves), arg.shape)
            leaves.append(node)
        elif node.op is Ops.CONTIGUOUS:
            arg = None
        elif node.op is Ops.CONST:
            arg = repr(arg)
        rows.append((node.op, node.dtype, arg, *[place[source] for source in node.src]))
    ends = [(place[s.node], None if s.old is None else place[s.old]) for s in sinks]
    return (tuple(rows), tuple(ends)), leaves


def _plan(sinks: Sequence[Sink], leaves: Sequence[UOp], device: OpenDevice) -> ExecutionPlan:
    """The steps of a schedule, with temporaries packed into shared regions."""
    schedule = create_schedule([(sink.node, sink.old) for sink in sinks], device.caps)
    slot = {leaf: k for k, leaf in enumerate(leaves)}
    for number, place in enumerate(schedule.places, len(leaves)):
        slot.setdefault(place, number)
    first_region = len(leaves) + len(sinks)
    born: list[tuple[int, int]] = []
    steps: list[Step] = []

    def temporary(size_bytes: int) -> int:
        born.append((size_bytes, len(steps)))
        return first_region + len(born) - 1

    for kernel, buffers, _ in schedule.kernels:
        loaded = load_kernel(kernel, device)
        for node in buffers:
            if node not in slot:
                slot[node] = temporary(size_of(node) * node.dtype.itemsize)
        arguments = [slot[node] for node in buffers]
        arguments += [temporary(dtype.itemsize * count) for dtype, count in loaded.temps]
        steps += [_with_slots(step, arguments) for step in loaded.steps]
    last = {number: at for at, step in enumerate(steps) for number in step.slots}
    temporaries = enumerate(born, first_region)
    lives = [Lifetime(size, first, last.get(k, first)) for k, (size, first) in temporaries]
    memory = plan_memory(lives)
    regions = [*range(first_region), *[first_region + chosen for chosen in memory.region_of]]
    packed = tuple([_with_slots(step, regions) for step in steps])
    ends = zip(schedule.places, sinks, strict=True)
    in_place = tuple([place is sink.old for place, sink in ends])
    return ExecutionPlan(packed, in_place, memory.region_bytes)


def _with_slots(step: Step, numbers: Sequence[int]) -> Step:
    return step._replace(slots=tuple([numbers[slot] for slot in step.slots]))
