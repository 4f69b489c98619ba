"""One context and its in-order queue: what is queued, what failed, what is still to be waited for.

In: commands. Out: their events, and the package's errors in the words of our classes. OpenCL says
late that a command failed, so that the names of launches are kept until a wait has seen them done.
Next: memory.py and program.py, which queue commands.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from tinycore.backend import BackendError, DeviceLost, LaunchError, OutOfMemory
from tinycore_qcom import api, codes
from tinycore_qcom.api import OpenCLError
from tinycore_qcom.platforms import Found

PROFILING = 1 << 1
# Launches ahead of the device; drivers have limits of their own, and some of them crash there.
_AHEAD = 1024
# One launch of so many has an event: with one each, a launch takes 17 us in place of 6 on an H200.
_EVERY = 64
_STARTED, _ENDED = 0x1282, 0x1283
_NAMED = 8


class Flight(NamedTuple):
    """A queued launch: the kernel's name, its event, of which most have none, and what it reads."""

    name: str
    event: int
    data: object = None


class Queue:
    """The commands of one device, which run one after another."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.library = library = api.library()
        self.device = found.pointer
        device = ctypes.c_void_p(found.pointer)
        one = ctypes.byref(device)
        self.context = library.create("clCreateContext", None, 1, one, None, None)
        with library.undone("clReleaseContext", self.context):
            self.pointer = library.create("clCreateCommandQueue", self.context, device, PROFILING)
        # What commands work in, and must not go before they are done.
        self.kept: dict[int, object] = {}
        # Programs that share memory share its image, and each has a lock of its own only.
        self.making_image = threading.Lock()
        self._is_open = True
        self._flights: deque[Flight] = deque()
        self._failed: list[str] = []
        self._lock = threading.RLock()

    def mark(self) -> ctypes.c_void_p | None:
        """Room for the event of the next launch, if it is to have one."""
        return None if (len(self._flights) + 1) % _EVERY else ctypes.c_void_p()

    def launched(self, name: str, event: ctypes.c_void_p | None, data: object = None) -> None:
        """Keep a launch until its status is known, and with its event the data it reads.

        Submits those so far if it has an event, as one in so many has, unless that is there to keep
        data. Waits when there are too many.
        """
        self._flights.append(Flight(name, event.value or 0 if event else 0, data))
        if event and data is None:
            self.flush()
        if len(self._flights) > _AHEAD:
            with self._lock:
                self._land(_AHEAD // 2)

    def flush(self) -> None:
        """Submit what is queued: a driver may hold it back until then, while the device idles.

        What fails here is told by the next wait. Source: The OpenCL Specification 3.0, 5.15.
        """
        with suppress(OpenCLError):
            self.library.call("clFlush", self.pointer)

    def seconds(self, event: int) -> float:
        """Wait for a launch; how long it ran, by the device's clock. Raises: OpenCLError."""
        start, end = ctypes.c_uint64(0), ctypes.c_uint64(0)
        try:
            self._wait(event)
            for key, time_ns in ((_STARTED, start), (_ENDED, end)):
                told = key, 8, ctypes.byref(time_ns), None
                self.library.call("clGetEventProfilingInfo", event, *told)
        finally:
            self.release("clReleaseEvent", event)
        return max(end.value - start.value, 1) * 1e-9

    def finish(self) -> None:
        """Return when all is done. Raises: LaunchError, naming launches that failed."""
        with self.errors("synchronize"):
            self.library.call("clFinish", self.pointer)
        with self._lock:
            self._land(len(self._flights))
            failed, self._failed = self._failed, []
        if failed:
            raise LaunchError(f"synchronize: launches failed: {'; '.join(failed[:_NAMED])}")

    def info(self, key: int, size_bytes: int = 0) -> Iterator[int]:
        """The numbers that the device tells under a key."""
        return self.library.numbers_of("clGetDeviceInfo", self.device, key, size_bytes=size_bytes)

    def extension(self, name: str, letters: str, makes: bool = False) -> Any:
        """A function beyond the core of OpenCL. Raises: OpenCLError if the driver has none."""
        return self.library.extension(self.found.platform_pointer, name, letters, makes)

    @contextmanager
    def errors(self, operation: str, full: Set[int] = codes.NO_MEMORY) -> Iterator[None]:
        """Turn what the driver refuses into our errors; statuses of `full` say "no room"."""
        try:
            yield
        except OpenCLError as error:
            raise self.explained(error, operation, full) from error

    def explained(
        self, error: OpenCLError, operation: str, full: Set[int] = codes.NO_MEMORY
    ) -> BackendError:
        """The driver's refusal as one of our classes; tries whether the device still answers."""
        told = f"{operation}: {error}"
        if error.code in full:
            return OutOfMemory(told, hint="Free tensors, or use smaller ones")
        names = self.in_flight()
        if names:
            told = f"{told}, with launches in flight: {', '.join(names)}"
        if error.code in codes.GONE or not self._answers():
            return DeviceLost(told, hint="Start the process anew")
        return LaunchError(told)

    def in_flight(self) -> list[str]:
        """The last launches that no wait has seen the end of, the last one last."""
        # Other threads add to it: a copy is made at once, a walk is not.
        return [flight.name for flight in list(self._flights)[-_NAMED:]]

    def close(self) -> None:
        """Wait for what is queued and give everything back; the second time, nothing."""
        if not self._is_open:
            return
        self._is_open = False
        with suppress(OpenCLError):
            self.library.call("clFinish", self.pointer)
        while self._flights:
            event = self._flights.popleft().event
            if event:
                self.release("clReleaseEvent", event)
        self.release("clReleaseCommandQueue", self.pointer)
        self.release("clReleaseContext", self.context)

    def release(self, function: str, pointer: int) -> None:
        """Give back what a create function made; drivers may be gone when Python ends."""
        if not sys.is_finalizing():
            with suppress(OpenCLError):
                self.library.call(function, pointer)

    def release_by(self, extension: str, pointer: int) -> None:
        """The same by a function of an extension."""
        if not sys.is_finalizing():
            self.extension(extension, "p")(pointer)

    def _wait(self, event: int) -> None:
        self.library.call("clWaitForEvents", 1, ctypes.byref(ctypes.c_void_p(event)))

    def _land(self, count: int) -> None:
        """Wait for the first launches and let go of them; keep the names of those that failed.

        A wait tells what failed; a question after an event's status may be answered "complete".
        """
        names: list[str] = []
        for _ in range(min(count, len(self._flights))):
            flight = self._flights.popleft()
            names.append(flight.name)
            if flight.event:
                self._note(names, flight.event)
                names = []

    def _note(self, names: Sequence[str], event: int) -> None:
        try:
            self._wait(event)
        except OpenCLError as error:
            self._failed.append(f"{', '.join(names[-_NAMED:])}: {error}")
        self.release("clReleaseEvent", event)

    def __del__(self) -> None:
        if hasattr(self, "_is_open") and not sys.is_finalizing():
            self.close()

    def _answers(self) -> bool:
        return not self.library.function("clFinish")(self.pointer)
