"""Launches: slots are bound to memory, programs run in order, work is counted; and all that again.

In: steps of an execution plan and the memory behind its slots. Out: filled buffers, and a
`Recording` of what ran, which a `Captured` replays on other inputs. Next: tensor/jit.py, which
decides when a replay is legal.
"""

import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress, groupby, repeat
from operator import itemgetter
from typing import Any, NamedTuple

from tinycore.config import DEBUG, JIT
from tinycore.engine.cell import PENDING, PINNED, Cell, buffer_of, buffers_read
from tinycore.errors import CaptureError
from tinycore.runtime.buffer import Buffer, GlobalCounters
from tinycore.runtime.contract import Call, Launch
from tinycore.runtime.device import OpenDevice
from tinycore.runtime.registry import Device
from tinycore.uop.ops import UOp, toposort
from tinycore.util import format_seconds


class Step(NamedTuple):
    """One launch: its code, the slots of its buffers, the names of its variables, its work.

    The `program` is object code until it is loaded.
    Units: `operations` are arithmetic ones, `traffic_bytes` what it must at least move.
    """

    program: Any
    name: str
    slots: tuple[int, ...]
    values: tuple[str, ...]
    launch: Launch
    operations: int = 0
    traffic_bytes: int = 0


Buffers = Sequence[Buffer]
Steps = Sequence[Step]
Ran = tuple[Step, list[Buffer], str]  # a launch, its buffers and its device


class Recording(NamedTuple):
    """What a captured call did: its launches, and the nodes and buffers it stored."""

    launches: list[Ran]
    roots: list[UOp]
    written: set[Buffer]


class _Open(threading.local):
    recording: Recording | None = None


OPEN = _Open()
BOUND: dict[str, int] = {}
"""The number every variable stands for now; realize.bind_variable sets it."""


@contextmanager
def recording() -> Iterator[Recording]:
    """Write down what this thread runs. Raises: CaptureError inside another recording."""
    if OPEN.recording:
        raise CaptureError("capture: another capture is open; expected one at a time")
    OPEN.recording = Recording([], [], set())
    try:
        yield OPEN.recording
    finally:
        OPEN.recording = None


def forbid_while_recording(operation: str) -> None:
    """Raises: CaptureError if this thread is capturing: `operation` would not be replayed."""
    if OPEN.recording:
        raise CaptureError(
            f"{operation}: the value of a tensor is asked for inside a captured function; "
            "a replay could not do it again. Return the tensor and read it outside."
        )


def run_steps(steps: Steps, slots: Buffers, device: OpenDevice) -> None:
    """Launch every step in order. Raises: LaunchError, DeviceLost, OutOfMemory."""
    used = [[slots[slot] for slot in step.slots] for step in steps]
    launch(steps, list(map(bound, steps, used)), device)
    if OPEN.recording:
        OPEN.recording.launches.extend(zip(steps, used, repeat(device.name), strict=False))


def bound(step: Step, buffers: Buffers) -> Call:
    """A step on these buffers, and what its variables stand for now."""
    handles = [buffer.handle for buffer in buffers]
    values = [BOUND[name] for name in step.values]
    return Call(step.program, handles, values, step.launch)


def launch(steps: Steps, calls: Sequence[Call], device: OpenDevice) -> None:
    """Run the calls of some steps, one by one; at DEBUG=2 each is waited for."""
    told = DEBUG.value >= 2
    with device.guard("launch"):
        for step, call in zip(steps, calls, strict=True):
            start = time.perf_counter()
            seconds = call.program(call.buffers, call.values, call.launch, told)
            if told:
                tell(step, device.name, seconds or time.perf_counter() - start)
    count(steps)


def count(steps: Steps) -> None:
    """Add launches to the process's totals."""
    GlobalCounters.kernel_count += len(steps)
    GlobalCounters.global_ops += sum(step.operations for step in steps)
    GlobalCounters.global_mem += sum(step.traffic_bytes for step in steps)


def tell(step: Step, device: str, seconds: float) -> None:
    """One line a kernel: what ran, for how long, at what rates."""
    GlobalCounters.time_sum_s += seconds
    time_ns = max(seconds * 1e9, 1.0)
    rate, traffic = step.operations / time_ns, step.traffic_bytes / time_ns
    print(
        f"*** {device:6} {step.name:28} {len(step.slots):2} buffers "
        f"{format_seconds(seconds):>9} {rate:9.1f} GFLOP/s {traffic:8.1f} GB/s"
    )


def copied(source: Buffer, device: str) -> Buffer:
    """A copy of a buffer on a device, by way of the host unless it is there too.

    Raises: CaptureError while a capture is open.
    """
    forbid_while_recording("copy")
    target = Buffer(device, source.dtype, source.count)
    ends = target.handle, source.handle, source.size_bytes
    if source.device != target.device or not target.opened.memory("transfer", *ends):
        target.copyin(source.as_memoryview(share=True))
    return target


# Replays

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
        by_device = groupby(recorded.launches, key=itemgetter(2))
        self.runs = [_Run(device, list(launches), inputs) for device, launches in by_device]
        touched = {buffer for _, used, _ in recorded.launches for buffer in used}
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

    def __init__(self, device: str, launches: list[Ran], inputs: Buffers) -> None:
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
