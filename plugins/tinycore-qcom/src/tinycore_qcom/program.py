"""A loaded kernel.

In: memory and integers. Out: a run, queued after all earlier ones.

A kernel takes its buffers as pointers to global memory, then its values as 64-bit integers. The
driver keeps the arguments of a kernel from launch to launch, so that only those that changed are
set again. Memory of a thread or a group is declared in the kernel itself. Next: graph.py runs many
launches.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from tinycore.backend import BackendError, Handle, Launch, LaunchError, Unsupported
from tinycore_qcom import codes
from tinycore_qcom.api import OpenCLError
from tinycore_qcom.memory import Memory
from tinycore_qcom.queue import Queue

_ARGUMENT_COUNT = 0x1191
_LARGEST_GROUP = 0x11B0
_SLOT_BYTES = 8

AXES = 3
"""The number of axes of every launch."""

Sizes: TypeAlias = "ctypes.Array[ctypes.c_size_t]"


def sizes_of(launch: Launch) -> tuple[Sizes, Sizes]:
    """The threads of a launch and those of a group, as OpenCL counts them."""
    (x, y, z), group = launch.grid, launch.group
    row = ctypes.c_size_t * AXES
    return row(x * group[0], y * group[1], z * group[2]), row(*group)


class Binary:
    """A program as the driver loaded it; given back when its kernels are gone."""

    def __init__(self, queue: Queue, pointer: int, images: frozenset[int] = frozenset()) -> None:
        self.queue = queue
        self.pointer = pointer
        self.images = images

    def __del__(self) -> None:
        self.queue.release("clReleaseProgram", self.pointer)


class Kernel:
    """One kernel object of the driver: its arguments, and how it is queued."""

    def __init__(self, binary: Binary, name: str) -> None:
        self.name = name
        self.binary = binary
        self.queue = queue = binary.queue
        self.pointer = queue.library.create("clCreateKernel", binary.pointer, name.encode())
        self.count = queue.library.number_of("clGetKernelInfo", self.pointer, _ARGUMENT_COUNT)
        self._set = queue.library.function("clSetKernelArg")
        self._places = [ctypes.c_uint32(place) for place in range(self.count)]
        self._buffers: list[int] = []
        self._values: list[int] = []

    def fill(self, buffers: Sequence[Handle], values: Sequence[int]) -> None:
        """Set the arguments that differ from the last ones. Raises: OpenCLError, LaunchError."""
        if (len(buffers), len(values)) != (len(self._buffers), len(self._values)):
            self._lay_out(len(buffers), len(values))
        for place, memory in enumerate(buffers):
            assert isinstance(memory, Memory), f"{memory!r} is no memory of an OpenCL device"
            if self._buffers[place] != memory.number:
                is_image = place in self.binary.images
                self._argument(place, memory.image(self.queue) if is_image else memory.reference)
                self._buffers[place] = memory.number
        if self._values != list(values):
            for place, value in enumerate(values, len(buffers)):
                self._argument(place, ctypes.byref(ctypes.c_int64(value)))
            self._values = list(values)

    def enqueuer(self, launch: Launch) -> Callable[[object], None]:
        """What queues a run with the arguments as they are; takes the event, or None.

        Raises, when called: OpenCLError.
        """
        enqueue = self.queue.library.function("clEnqueueNDRangeKernel")
        begin = self.queue.pointer, self.pointer, AXES, None, *sizes_of(launch), 0, None

        def enqueued(event: object) -> None:
            code = enqueue(*begin, event)
            if code:
                raise OpenCLError("clEnqueueNDRangeKernel", code)

        return enqueued

    def refused(self, error: OpenCLError, launch: Launch) -> BackendError:
        """Why a launch could not be queued."""
        if error.code not in codes.TOO_MANY_THREADS:
            return self.queue.explained(error, self.name)
        subject = self.pointer, self.queue.device, _LARGEST_GROUP
        most = self.queue.library.number_of("clGetKernelWorkGroupInfo", *subject)
        wrong = f"{self.name}: {error} for groups of {launch.group} threads"
        return LaunchError(f"{wrong}; this device runs at most {most} of this kernel in one group")

    def _argument(self, place: int, reference: object) -> None:
        code = self._set(self.pointer, self._places[place], _SLOT_BYTES, reference)
        if code:
            self._buffers, self._values = [], []
            raise OpenCLError("clSetKernelArg", code)

    def _lay_out(self, buffers: int, values: int) -> None:
        if buffers + values != self.count:
            given = f"{buffers} buffers and {values} values"
            raise LaunchError(f"{self.name}: {given} given; it takes {self.count} in all")
        self._buffers, self._values = [0] * buffers, []

    def __del__(self) -> None:
        if hasattr(self, "pointer"):
            self.queue.release("clReleaseKernel", self.pointer)


class QueuedProgram:
    """A kernel ready to run; safe to use from several threads, one launch after another."""

    def __init__(self, binary: Binary, name: str) -> None:
        self.name = name
        self.binary = binary
        self._kernel = Kernel(binary, name)
        self._lock = threading.Lock()
        self._launch = Launch()
        self._enqueue = self._kernel.enqueuer(self._launch)

    def __call__(
        self,
        buffers: Sequence[Handle],
        values: Sequence[int],
        launch: Launch,
        wait: bool = False,
        descs: Sequence[bytes] = (),
    ) -> float | None:
        """Queue one run; with `wait`, return when it is done, with the seconds it took.

        Raises: LaunchError if the driver refuses the arguments or the group.
        """
        if descs:
            raise Unsupported(f"{self.name}: {len(descs)} descriptors given; expected none")
        if 0 in launch.grid:
            return 0.0 if wait else None
        kernel, queue = self._kernel, self._kernel.queue
        event = ctypes.c_void_p() if wait else queue.mark()
        try:
            with self._lock:
                kernel.fill(buffers, values)
                if launch is not self._launch:
                    self._enqueue, self._launch = kernel.enqueuer(launch), launch
                self._enqueue(None if event is None else ctypes.byref(event))
            if event is not None and wait:
                return queue.seconds(event.value or 0)
            queue.launched(self.name, event)
        except OpenCLError as error:
            raise kernel.refused(error, launch) from error
        return None
