"""An OpenCL device that is open: its target, memory and programs.

In: a `Found` device. Out: a `Device`. backend.py opens it.
"""

from __future__ import annotations

from dataclasses import replace

from tinycore.backend import CRenderer, Device, LaunchError, Program, Target, Unavailable
from tinycore_qcom import codes
from tinycore_qcom.api import OpenCLError
from tinycore_qcom.capabilities import capabilities, native_ops, plan_of
from tinycore_qcom.compiler import EXACT_DIVISION, DriverCompiler, load_program
from tinycore_qcom.dialect import opencl
from tinycore_qcom.graph import QueueGraph
from tinycore_qcom.images import parted
from tinycore_qcom.memory import QueueAllocator
from tinycore_qcom.platforms import CPU, Found
from tinycore_qcom.program import Binary, QueuedProgram
from tinycore_qcom.queue import Queue
from tinycore_qcom.recording import find_recorder


class QueueDevice(Device):
    """One device with a context and a queue of its own."""

    def __init__(self, target: Target, queue: Queue) -> None:
        self.target = target
        self.allocator = QueueAllocator(queue, target.caps.spaces[0].size_bytes)
        if queue.found.kind == CPU:
            self.allocator.prefer_host()
        # A processor runs a small launch while it is queued: 3.5 us, in a command buffer 4.6.
        recorder = find_recorder(queue) if queue.found.kind != CPU else None
        self.graph = QueueGraph(queue, recorder)
        self._queue = queue

    def load(self, binary: bytes, name: str) -> Program:
        """A kernel of the driver's binary, ready to run. Raises: LaunchError."""
        queue = self._queue
        code, images = parted(binary)
        pointer = load_program(queue.library, queue.context, queue.found, code)
        try:
            return QueuedProgram(Binary(queue, pointer, images), name)
        except OpenCLError as error:
            raise LaunchError(f"load: {error}; expected a kernel called {name}") from error

    def synchronize(self) -> None:
        """Return when the queue is empty. Raises: LaunchError, naming what failed late."""
        self._queue.finish()

    def close(self) -> None:
        """Give the queue and the context back."""
        self._queue.close()


def open_device(found: Found) -> Device:
    """A context and a queue of the device. Raises: Unavailable if its driver makes none."""
    target = make_target(found)
    try:
        return QueueDevice(target, Queue(found))
    except OpenCLError as error:
        wrong = f"open: {error} on {found.name}; expected a context with a queue"
        raise Unavailable(wrong, hint=codes.MAKE_ROOM) from error


def make_target(found: Found) -> Target:
    """What compiles for the device."""
    plan = plan_of(found)
    compiler, caps = DriverCompiler(found, plan), capabilities(found, plan)
    dialect = opencl(
        fp16="float16" in caps.dtypes,
        fp64="float64" in caps.dtypes,
        rounded=EXACT_DIVISION in compiler.options,
        native=native_ops(found, plan, compiler.options),
        warp=caps.warp_threads,
    )
    caps = replace(caps, ops=dialect.op_names)
    return Target(found.arch, caps, CRenderer(caps, dialect), compiler)
