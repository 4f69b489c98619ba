"""Launches: slots are bound to memory, programs run in order, work is counted.

Comes in: steps of an execution plan and the memory behind its slots. Goes out: nothing; buffers
are filled. At DEBUG=2 every kernel is waited for and told in a line. While a `Recording` is open in
this thread, what runs is also written down for capture.py to replay.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

from tinycore.config import DEBUG
from tinycore.errors import CaptureError
from tinycore.runtime.buffer import Buffer, GlobalCounters
from tinycore.runtime.contract import Launch, Program
from tinycore.runtime.device import OpenDevice
from tinycore.runtime.registry import Device
from tinycore.uop import UOp
from tinycore.util import format_seconds

Code = TypeVar("Code")  # object code, or a program where it is loaded


class Step(NamedTuple, Generic[Code]):
    """One launch: its code, the slots of its buffers, the names of its variables, its work.

    Units: `operations` are arithmetic ones, `traffic_bytes` what it must at least move.
    """

    program: Code
    name: str
    slots: tuple[int, ...]
    values: tuple[str, ...]
    launch: Launch
    operations: int = 0
    traffic_bytes: int = 0


Steps = Sequence[Step[Program]]


class Recorded(NamedTuple):
    """One launch that ran, with the buffers it ran on: its slots number them."""

    step: Step[Program]
    buffers: list[Buffer]
    device: str


class Recording:
    """What a captured call did: its launches, the nodes it stored, the buffers these went to."""

    def __init__(self) -> None:
        self.launches: list[Recorded] = []
        self.roots: list[UOp] = []
        self.written: set[Buffer] = set()


class _Open(threading.local):
    recording: Recording | None = None


OPEN = _Open()
BOUND: dict[str, int] = {}
"""The number every variable stands for now; realize.bind_variable keeps pending work right."""


@contextmanager
def recording() -> Iterator[Recording]:
    """Write down what this thread runs. Raises: CaptureError inside another recording."""
    if OPEN.recording is not None:
        raise CaptureError("capture: another capture is open; expected one at a time")
    OPEN.recording = Recording()
    try:
        yield OPEN.recording
    finally:
        OPEN.recording = None


def forbid_while_recording(operation: str) -> None:
    """Raises: CaptureError if this thread is capturing: `operation` would not be replayed."""
    if OPEN.recording is not None:
        raise CaptureError(
            f"{operation}: the value of a tensor is asked for inside a captured function; "
            "a replay could not do it again. Return the tensor and read it outside."
        )


def run_steps(
    steps: Steps,
    slots: Sequence[Buffer],
    values: Mapping[str, int],
    device: OpenDevice,
) -> None:
    """Launch every step in order. Raises: LaunchError, DeviceLost, OutOfMemory."""
    told = DEBUG.value >= 2
    handles = [slot.handle for slot in slots]
    with device.guard("launch"):
        for step in steps:
            arguments = [handles[slot] for slot in step.slots]
            numbers = [values[name] for name in step.values]
            start = time.perf_counter() if told else 0.0
            seconds = step.program(arguments, numbers, step.launch, told)
            if told:
                tell(step, device.name, seconds or time.perf_counter() - start)
    count(steps)
    if OPEN.recording is not None:
        for step in steps:
            alone = step._replace(slots=tuple(range(len(step.slots))))
            used = [slots[slot] for slot in step.slots]
            OPEN.recording.launches.append(Recorded(alone, used, device.name))


def count(steps: Steps) -> None:
    """Add launches to the process's totals."""
    GlobalCounters.kernel_count += len(steps)
    GlobalCounters.global_ops += sum([step.operations for step in steps])
    GlobalCounters.global_mem += sum([step.traffic_bytes for step in steps])


def tell(step: Step[Program], device: str, seconds: float) -> None:
    """One line a kernel: what ran, for how long, at what rates."""
    GlobalCounters.time_sum_s += seconds
    rate = step.operations / max(seconds, 1e-9) / 1e9
    traffic = step.traffic_bytes / max(seconds, 1e-9) / 1e9
    print(
        f"*** {device:6} {step.name:28} {len(step.slots):2} buffers "
        f"{format_seconds(seconds):>9} {rate:9.1f} GFLOP/s {traffic:8.1f} GB/s"
    )


def transfer(source: Buffer, target: Buffer) -> None:
    """Copy the bytes of one buffer to another: on the device if both are there, else by the host.

    Raises: CaptureError while a capture is open: a replay could not do it again.
    """
    forbid_while_recording("copy")
    device = Device[target.device]
    near = source.device == target.device
    if near and device.memory("transfer", target.handle, source.handle, source.size_bytes):
        return
    target.copyin(source.as_memoryview(share=True))
