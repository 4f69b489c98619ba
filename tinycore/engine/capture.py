"""Replays the launches of one call of a function on other inputs.

In: what run.py recorded and the buffers that were inputs. Out: a `Captured`. Next: tensor/jit.py,
which decides when a replay is legal.
"""

import weakref
from itertools import compress, groupby
from operator import attrgetter

from tinycore.config import DEBUG, JIT
from tinycore.engine.cell import PENDING, PINNED, Cell, buffer_of, buffers_read
from tinycore.engine.run import BOUND, Buffers, Recorded, Recording, bound, copied, count, launch
from tinycore.runtime.registry import Device
from tinycore.uop.ops import UOp, toposort

# Held weakly, so that what a call drops is not computed for its readers.
Versions = weakref.WeakKeyDictionary[Cell, UOp]


def versions() -> Versions:
    """The pending cells, and what is pending in each."""
    return Versions({cell: cell.uop for cell in PENDING})


def written_since(before: Versions) -> list[Cell]:
    """The pending cells that existed before and were written since."""
    return [cell for cell in PENDING if cell.stored or before.get(cell, cell.uop) is not cell.uop]


class Captured:
    """The launches of one captured call, in runs on one device each."""

    def __init__(self, recorded: Recording, inputs: Buffers, before: Versions) -> None:
        by_device = groupby(recorded.launches, key=attrgetter("device"))
        self.runs = [_Run(device, list(launches), inputs) for device, launches in by_device]
        touched = {buffer for launch in recorded.launches for buffer in launch.buffers}
        self.used = touched.difference(inputs)
        self.written = recorded.written
        self.changed = [k for k, buffer in enumerate(inputs) if buffer in self.written]
        PINNED.update(self.used)
        read = set(toposort(recorded.roots))
        kept = {cell: uop for cell, uop in before.items() if cell.uop is not uop or uop in read}
        self.before = Versions(kept)

    def holds(self) -> bool:
        """True if no cell that was pending and used at the capture was written since."""
        return all(cell.uop is uop for cell, uop in self.before.items())

    def waiting(self, inputs: Buffers) -> list[Cell]:
        """The pending cells to store first: where a replay reads or writes, or what reads that."""
        written = self.written.union(inputs[k] for k in self.changed)
        return [
            cell
            for cell in PENDING
            if (cell.stored and buffer_of(cell.stored) in self.used)
            or written & buffers_read(cell.uop)
        ]

    def replay(self, inputs: Buffers) -> None:
        """Run every launch again; an input that a launch uses itself is copied first.

        Raises: LaunchError, DeviceLost.
        """
        inputs = [copied(one, one.device) if one in self.used else one for one in inputs]
        for run in self.runs:
            run.replay(inputs)


class _Run:
    """Consecutive launches on one device; calls are made anew for changed inputs or variables."""

    def __init__(self, device: str, launches: list[Recorded], inputs: Buffers) -> None:
        self.device = device
        self.steps, used, _ = zip(*launches, strict=True)
        self.calls = list(map(bound, self.steps, used))
        self.inputs = inputs
        given = set(inputs)
        self.now = inputs, {**BOUND}
        changing = [step.values or not given.isdisjoint(used) for step, used, _ in launches]
        self.changing = [*compress(enumerate(launches), changing)]

    def replay(self, inputs: Buffers) -> None:
        if self.now != (inputs, BOUND):
            swap = dict(zip(self.inputs, inputs, strict=True))
            for k, (step, buffers, _) in self.changing:
                swapped = [swap.get(buffer, buffer) for buffer in buffers]
                self.calls[k] = bound(step, swapped)
            self.now = inputs, {**BOUND}
        device = Device[self.device]
        graph = device.device.graph
        if not graph or DEBUG.value >= 2 or JIT.value == 2:
            launch(self.steps, self.calls, device)
            return
        with device.guard("graph replay"):
            graph.replay(self.calls)
        count(self.steps)
