"""Replays a run: the launches one call of a function made, on other inputs.

Comes in: what run.py recorded and the buffers that were inputs. Goes out: a `Captured`, whose
replay costs one native call where the device has graphs. tensor/jit.py decides what is captured
and when a replay is legal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from tinycore.config import DEBUG, JIT
from tinycore.engine.run import Recorded, Recording, Step, count, run_steps
from tinycore.runtime.buffer import Buffer
from tinycore.runtime.program import Call
from tinycore.runtime.registry import Device


class Captured:
    """The launches of one captured call, in order, in runs on one device each."""

    def __init__(self, recorded: Recording, inputs: Sequence[Buffer]) -> None:
        by_device = groupby(recorded.launches, key=attrgetter("device"))
        self.runs = [_Run(device, list(launches), inputs) for device, launches in by_device]

    @property
    def kernel_count(self) -> int:
        """How many launches one replay makes."""
        return sum(len(run.launches) for run in self.runs)

    def replay(self, inputs: Sequence[Buffer], values: Mapping[str, int]) -> None:
        """Run every launch again, on these inputs. Raises: LaunchError, DeviceLost."""
        for run in self.runs:
            run.replay(inputs, values)


class _Run:
    """Consecutive launches on one device; a launch is rebuilt only where an input or a variable
    stands in it and has changed."""

    def __init__(self, device: str, launches: list[Recorded], inputs: Sequence[Buffer]) -> None:
        self.device = device
        self.launches = launches
        self.steps = [launch.step for launch in launches]
        number = {buffer: k for k, buffer in enumerate(inputs)}
        self.changing: list[tuple[int, list[tuple[int, int]]]] = []
        for position, launch in enumerate(launches):
            places = [(k, number[b]) for k, b in enumerate(launch.buffers) if b in number]
            if places or launch.step.values:
                self.changing.append((position, places))
        self.calls: list[Call] | None = None
        self.bound: tuple[Buffer, ...] = tuple(inputs)
        self.values: dict[str, int] = {}

    def replay(self, inputs: Sequence[Buffer], values: Mapping[str, int]) -> None:
        device = Device[self.device]
        graph = device.device.graph
        if graph is None or DEBUG.value >= 2 or JIT.value == 2:
            self._one_by_one(inputs, values)
            return
        if self.calls is None:
            self.calls = [_call(launch, launch.buffers, values) for launch in self.launches]
        self._rebind(self.calls, inputs, values)
        with device.guard("graph replay"):
            graph.replay(self.calls)
        count(self.steps)

    def _rebind(
        self, calls: list[Call], inputs: Sequence[Buffer], values: Mapping[str, int]
    ) -> None:
        changed = tuple(inputs) != self.bound or values != self.values
        if not changed:
            return
        for position, places in self.changing:
            launch = self.launches[position]
            calls[position] = _call(launch, _with_inputs(launch, places, inputs), values)
        self.bound = tuple(inputs)
        self.values = dict(values)

    def _one_by_one(self, inputs: Sequence[Buffer], values: Mapping[str, int]) -> None:
        places_at = dict(self.changing)
        for position, launch in enumerate(self.launches):
            buffers = _with_inputs(launch, places_at.get(position, []), inputs)
            step = launch.step._replace(slots=tuple(range(len(buffers))))
            run_steps([step], buffers, values, Device[self.device])


def _with_inputs(
    launch: Recorded, places: Iterable[tuple[int, int]], inputs: Sequence[Buffer]
) -> list[Buffer]:
    buffers = list(launch.buffers)
    for place, number in places:
        buffers[place] = inputs[number]
    return buffers


def _call(launch: Recorded, buffers: Sequence[Buffer], values: Mapping[str, int]) -> Call:
    step: Step = launch.step
    handles = tuple([buffer.handle for buffer in buffers])
    return Call(step.program, handles, tuple([values[n] for n in step.values]), step.launch)
