"""Launches: slots are bound to memory, programs run in order, work is counted.

In: steps of an execution plan and the memory behind its slots. Out: filled buffers, and an open
`Recording` of what ran. Next file: capture.py.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tinycore.config import DEBUG
from tinycore.errors import CaptureError
from tinycore.runtime.buffer import Buffer, GlobalCounters
from tinycore.runtime.contract import Call, Launch
from tinycore.runtime.device import OpenDevice
from tinycore.uop import Ops, UOp
from tinycore.uop.ops import ELEMENTWISE
from tinycore.uop.shape import size
from tinycore.uop.sites import evaluated
from tinycore.uop.tree import Kernel, walk
from tinycore.util import format_seconds, prod


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


class Recorded(NamedTuple):
    """One launch that ran, with the buffers it ran on."""

    step: Step
    buffers: list[Buffer]
    device: str


class Recording(NamedTuple):
    """What a captured call did: its launches, and the nodes and buffers it stored."""

    launches: list[Recorded]
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
        OPEN.recording.launches.extend(map(Recorded, steps, used, [device.name] * len(steps)))


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
    GlobalCounters.global_ops += sum([step.operations for step in steps])
    GlobalCounters.global_mem += sum([step.traffic_bytes for step in steps])


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


def work_of(kernel: Kernel) -> tuple[int, int]:
    """Arithmetic operations of one run, and the bytes that its parameters hold, at upper bounds."""
    operations = 0
    for statement, loops in walk(kernel.body):
        each = sum(node.op in ELEMENTWISE for node in evaluated(statement))
        if statement.op is Ops.STORE and statement.arg.combine:
            each += len(statement.arg.places)
        operations += each * prod(loop.extent.hi for loop in loops)
    sizes = [size(param.arg.shape) * param.dtype.itemsize for param in kernel.params]
    return operations, sum(sizes)


def name_of(kernel: Kernel) -> str:
    """A name by the loops: `reduce_128x10_784` sums 784 elements for 128 x 10 results."""
    loops = [statement.arg for statement, _ in walk(kernel.body) if statement.op is Ops.LOOP]
    par, red = [[f"{at.extent.hi}" for at in loops if at.kind == kind] for kind in ("par", "red")]
    words = ["reduce" if red else "map"]
    for sizes in filter(None, (par, red)):
        words.append("x".join(sizes[:4]))
        if len(sizes) > 4:
            words.append("more")
    return "_".join(words)
