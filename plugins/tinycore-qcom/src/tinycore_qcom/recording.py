"""Launches recorded once and queued again in one call, where the driver can.

In: kernels with their arguments set. Out: a `Recording`. Two extensions do this: Khronos'
cl_khr_command_buffer, and Qualcomm's cl_qcom_recordable_queues on Adreno GPUs, which takes commands
on a queue of its own. Next: graph.py.
Source: The OpenCL Extension Specification, cl_khr_command_buffer; Qualcomm's CL/cl_ext_qcom.h. The
second is written from that header, and was not run: there is no Adreno GPU among our machines.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from tinycore.backend import Launch
from tinycore_qcom.api import OpenCLError
from tinycore_qcom.capabilities import extensions
from tinycore_qcom.program import AXES, Kernel, sizes_of
from tinycore_qcom.queue import PROFILING, Queue

_NAMES = ("cl_qcom_recordable_queues", "cl_khr_command_buffer")
_RECORDABLE = 1 << 30
_CAN, _QUEUE_NEEDS, _QUEUE_MAY = 0x12A9, 0x1299, 0x129A
_CAN_OVERLAP = 1 << 2
_FLAGS, _OVERLAP = 0x1293, 1 << 0


class Step(NamedTuple):
    """A kernel whose arguments are set, and how it is launched."""

    kernel: Kernel
    launch: Launch


class Recording(ABC):
    """Launches that the driver keeps; their arguments are those of the moment of recording."""

    def __init__(self, queue: Queue, pointer: int) -> None:
        self.queue = queue
        self.pointer = pointer

    @abstractmethod
    def enqueue(self, event: object) -> None:
        """Queue all launches, in order; `event` is None or a reference. Raises: OpenCLError."""

    @abstractmethod
    def release(self) -> None:
        """Give the recording back."""

    def __del__(self) -> None:
        self.release()


class Recorder(ABC):
    """One of the extensions, on one device."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    @abstractmethod
    def record(self, steps: Sequence[Step]) -> Recording:
        """Record launches. Raises: OpenCLError."""


def find_recorder(queue: Queue) -> Recorder | None:
    """What records for a device; None where its driver has neither extension, or not for us."""
    qualcomm, khronos = (name in extensions(queue.found) for name in _NAMES)
    if qualcomm:
        return RecordableQueue(queue)
    if khronos and not CommandBuffers.misses(queue):
        return CommandBuffers(queue)
    return None


class CommandBuffers(Recorder):
    """Khronos' command buffers."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(queue)
        # Without, a buffer may be queued again only when its last run is done.
        self.may_overlap = bool(next(queue.info(_CAN), 0) & _CAN_OVERLAP)

    @staticmethod
    def misses(queue: Queue) -> bool:
        """True if the driver's buffers do not fit a queue that takes times."""
        needed, allowed = (next(queue.info(key), 0) for key in (_QUEUE_NEEDS, _QUEUE_MAY))
        return bool(needed & ~PROFILING) or not allowed & PROFILING

    def record(self, steps: Sequence[Step]) -> Recording:
        """A command buffer of the launches. Raises: OpenCLError."""
        queue = self.queue
        flags = (ctypes.c_uint64 * 3)(_FLAGS, _OVERLAP * self.may_overlap, 0)
        one = ctypes.byref(ctypes.c_void_p(queue.pointer))
        create = queue.extension("clCreateCommandBufferKHR", "uppp", makes=True)
        code = ctypes.c_int32(0)
        pointer = create(1, one, flags, ctypes.byref(code))
        _check("clCreateCommandBufferKHR", code.value)
        made = CommandBuffer(queue, pointer, self.may_overlap)
        append = queue.extension("clCommandNDRangeKernelKHR", "ppppupppuppp")
        for kernel, launch in steps:
            where = AXES, None, *sizes_of(launch)
            code = append(pointer, None, None, kernel.pointer, *where, 0, None, None, None)
            _check("clCommandNDRangeKernelKHR", code)
        finalize = queue.extension("clFinalizeCommandBufferKHR", "p")
        _check("clFinalizeCommandBufferKHR", finalize(pointer))
        return made


class CommandBuffer(Recording):
    """One of Khronos' command buffers."""

    def __init__(self, queue: Queue, pointer: int, may_overlap: bool) -> None:
        super().__init__(queue, pointer)
        self._may_overlap = may_overlap
        self._enqueue = queue.extension("clEnqueueCommandBufferKHR", "uppupp")

    def enqueue(self, event: object) -> None:
        """Queue it; waits first where its runs may not overlap. Raises: OpenCLError."""
        if not self._may_overlap:
            self.queue.library.call("clFinish", self.queue.pointer)
        code = self._enqueue(0, None, self.pointer, 0, None, event)
        _check("clEnqueueCommandBufferKHR", code)

    def release(self) -> None:
        """Give the buffer back."""
        self.queue.release_by("clReleaseCommandBufferKHR", self.pointer)


class RecordableQueue(Recorder):
    """Qualcomm's recordable queues."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(queue)
        # The driver takes this property alone, without times.
        arguments = queue.context, queue.device, _RECORDABLE
        self._recorded = queue.library.create("clCreateCommandQueue", *arguments)

    def record(self, steps: Sequence[Step]) -> Recording:
        """What is queued on the recordable queue between the two calls. Raises: OpenCLError."""
        queue = self.queue
        begin = queue.extension("clNewRecordingQCOM", "pp", makes=True)
        code = ctypes.c_int32(0)
        pointer = begin(self._recorded, ctypes.byref(code))
        _check("clNewRecordingQCOM", code.value)
        made = QualcommRecording(queue, pointer)
        for kernel, launch in steps:
            where = self._recorded, kernel.pointer, AXES, None, *sizes_of(launch)
            queue.library.call("clEnqueueNDRangeKernel", *where, 0, None, None)
        _check("clEndRecordingQCOM", queue.extension("clEndRecordingQCOM", "p")(pointer))
        return made

    def __del__(self) -> None:
        if hasattr(self, "_recorded"):
            self.queue.release("clReleaseCommandQueue", self._recorded)


class QualcommRecording(Recording):
    """One of Qualcomm's recordings."""

    def __init__(self, queue: Queue, pointer: int) -> None:
        super().__init__(queue, pointer)
        self._enqueue = queue.extension("clEnqueueRecordingQCOM", "ppnpnpnpnpupp")

    def enqueue(self, event: object) -> None:
        """Queue it with the arguments and sizes as recorded. Raises: OpenCLError."""
        unchanged = (0, None) * 4
        code = self._enqueue(self.queue.pointer, self.pointer, *unchanged, 0, None, event)
        _check("clEnqueueRecordingQCOM", code)

    def release(self) -> None:
        """Give the recording back."""
        self.queue.release_by("clReleaseRecordingQCOM", self.pointer)


def _check(function: str, code: int) -> None:
    if code:
        raise OpenCLError(function, code)
