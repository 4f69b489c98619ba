"""Replays a run: the launches one call of a function made, on other inputs.

Comes in: what run.py recorded and the buffers that were inputs. Goes out: a `Captured`, whose
replay costs one native call where the device has graphs, and which names the pending cells that
must be stored before. tensor/jit.py decides what is captured and when a replay is legal.
"""

import weakref
from itertools import groupby
from operator import attrgetter

from tinycore.config import DEBUG, JIT
from tinycore.engine.cell import PENDING, PINNED, Cell, buffer_of, buffers_read
from tinycore.engine.run import BOUND, Buffers, Recorded, Recording, bound, copied, count, launch
from tinycore.runtime.registry import Device
from tinycore.uop.ops import UOp, toposort

# Held weakly: what a call drops shall not be computed for those that read what it writes.
Versions = weakref.WeakKeyDictionary[Cell, UOp]


def versions() -> Versions:
    """The pending cells, and what is pending in each."""
    return Versions({cell: cell.uop for cell in PENDING})


def written_since(before: Versions) -> list[Cell]:
    """The pending cells that were written since then, of those that existed: what was stored was
    stored then too."""
    return [cell for cell in PENDING if cell.stored or before.get(cell, cell.uop) is not cell.uop]


class Captured:
    """The launches of one captured call, in order, in runs on one device each.

    `before` are the cells that were pending before the call; a replay is legal while those that it
    read or wrote are as they were.
    """

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
        """True if no cell that was pending when this was captured, and used, was written since."""
        return all(cell.uop is uop for cell, uop in self.before.items())

    def waiting(self, inputs: Buffers) -> list[Cell]:
        """The pending cells to store before a replay: those stored where it reads or writes, and
        those that read what it overwrites."""
        written = self.written.union(inputs[k] for k in self.changed)
        return [
            cell
            for cell in PENDING
            if (cell.stored and buffer_of(cell.stored) in self.used)
            or written & buffers_read(cell.uop)
        ]

    def replay(self, inputs: Buffers) -> None:
        """Run every launch again, on these inputs; one that lies where a launch reads or writes,
        such as the last result, is copied first. Raises: LaunchError, DeviceLost."""
        if not self.used.isdisjoint(inputs):
            inputs = [copied(one, one.device) if one in self.used else one for one in inputs]
        for run in self.runs:
            run.replay(inputs)


class _Run:
    """Consecutive launches on one device; a call is made anew only where an input or a variable
    stands in it and has changed."""

    def __init__(self, device: str, launches: list[Recorded], inputs: Buffers) -> None:
        self.device = device
        self.launches = launches
        self.steps = [one.step for one in launches]
        self.calls = [bound(one.step, one.buffers) for one in launches]
        self.inputs = inputs
        self.now = (inputs, {**BOUND})
        self.changing: list[int] = []
        for k, (step, buffers, _) in enumerate(launches):
            if step.values or not set(inputs).isdisjoint(buffers):
                self.changing.append(k)

    def replay(self, inputs: Buffers) -> None:
        if self.now != (inputs, BOUND):
            swap = dict(zip(self.inputs, inputs, strict=True))
            for k in self.changing:
                step, buffers, _ = self.launches[k]
                swapped = [swap.get(buffer, buffer) for buffer in buffers]
                self.calls[k] = bound(step, swapped)
            self.now = (inputs, {**BOUND})
        device = Device[self.device]
        graph = device.device.graph
        if not graph or DEBUG.value >= 2 or JIT.value == 2:
            launch(self.steps, self.calls, device)
            return
        with device.guard("graph replay"):
            graph.replay(self.calls)
        count(self.steps)
