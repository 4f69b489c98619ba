"""A graph to run becomes a list of launches over numbered slots, kept for the next equal graph.

Comes in: sinks (a node and the buffer its cell had). Goes out: an `ExecutionPlan` and the leaves
it reads. The key is the graph with buffers numbered by first appearance, so that the second
training step, on other buffers or the same, costs one walk. Next: run.py binds slots and launches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tinycore import config
from tinycore.engine.compile import Loaded, load_kernel
from tinycore.engine.memory import Lifetime, plan_memory
from tinycore.engine.run import Step
from tinycore.engine.work import Work, work_of
from tinycore.runtime.opened import OpenDevice
from tinycore.schedule import Schedule, ScheduledKernel, create_schedule
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
            schedule = create_schedule([(s.node, s.old) for s in sinks], device.caps)
            plan = _plans[full] = _Builder(schedule, sinks, leaves, device).plan()
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


class _Builder:
    """Turns a schedule into steps, numbering what each step touches."""

    def __init__(
        self,
        schedule: Schedule,
        sinks: Sequence[Sink],
        leaves: Sequence[UOp],
        device: OpenDevice,
    ) -> None:
        self.schedule = schedule
        self.device = device
        self.slot: dict[UOp, int] = {leaf: k for k, leaf in enumerate(leaves)}
        ends = list(zip(schedule.places, sinks, strict=True))
        self.in_place = tuple([place is sink.old for place, sink in ends])
        for number, place in enumerate(schedule.places):
            self.slot.setdefault(place, len(leaves) + number)
        self.first_region = len(leaves) + len(sinks)
        self.steps: list[Step] = []
        self.lifetimes: list[Lifetime] = []
        self.temporary: dict[UOp, int] = {}

    def plan(self) -> ExecutionPlan:
        """The steps, with temporaries packed into shared regions."""
        for scheduled in self.schedule.kernels:
            self._add(scheduled)
        memory = plan_memory(self.lifetimes)
        region = {
            self.first_region + number: self.first_region + chosen
            for number, chosen in enumerate(memory.region_of)
        }
        steps = [s._replace(slots=tuple([region.get(k, k) for k in s.slots])) for s in self.steps]
        return ExecutionPlan(tuple(steps), self.in_place, memory.region_bytes)

    def _add(self, scheduled: ScheduledKernel) -> None:
        loaded = load_kernel(scheduled.kernel, self.device)
        work = work_of(scheduled.kernel)
        at = len(self.steps)
        slots = [self._slot_of(node, at) for node in scheduled.buffers]
        slots += [self._new_temporary(d.itemsize * n, at) for d, n in loaded.artifact.temps]
        for step in _steps(loaded, slots, work):
            self._touch(step.slots)
            self.steps.append(step)

    def _slot_of(self, node: UOp, at: int) -> int:
        if node not in self.slot:
            self.slot[node] = self._new_temporary(size_of(node) * node.dtype.itemsize, at)
        return self.slot[node]

    def _new_temporary(self, size_bytes: int, at: int) -> int:
        self.lifetimes.append(Lifetime(size_bytes, at, at))
        return self.first_region + len(self.lifetimes) - 1

    def _touch(self, slots: Sequence[int]) -> None:
        for slot in slots:
            number = slot - self.first_region
            if number >= 0:
                self.lifetimes[number] = self.lifetimes[number]._replace(last=len(self.steps))


def _steps(loaded: Loaded, slots: Sequence[int], work: Work) -> list[Step]:
    """The launches of one scheduled kernel; the first carries the count of its work."""
    steps: list[Step] = []
    for part, program in zip(loaded.artifact.parts, loaded.programs, strict=True):
        args = tuple([slots[number] for number in part.args])
        counted = (0, 0) if steps else (work.operations, work.traffic_bytes)
        steps.append(Step(program, part.name, args, part.values, part.launch, *counted))
    return steps
