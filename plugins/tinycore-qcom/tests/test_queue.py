"""What fails late is told at the next wait, by name, and what is lost is told as lost."""

from __future__ import annotations

import ctypes
import gc
import weakref
from collections import Counter
from collections.abc import Callable

import pytest

from tinycore.backend import Device, DeviceLost, Launch, LaunchError, OutOfMemory, Program
from tinycore_qcom.api import OpenCLError
from tinycore_qcom.backend import OpenCLBackend
from tinycore_qcom.memory import SPACE, QueueAllocator
from tinycore_qcom.platforms import Found
from tinycore_qcom.queue import Queue

FAILED = -5


def queue_failure(queue: Queue, name: str) -> None:
    """Queue a copy that waits for an event, and let the event fail: the copy is then given up."""
    library = ctypes.CDLL(queue.library.path)
    library.clCreateUserEvent.restype = ctypes.c_void_p
    event = ctypes.c_void_p(library.clCreateUserEvent(ctypes.c_void_p(queue.context), None))
    allocator = QueueAllocator(queue, 1 << 20)
    source, target = (allocator.alloc(64, SPACE, 64).pointer for _ in range(2))  # type: ignore[attr-defined]
    copy = ctypes.c_void_p()
    after = 1, ctypes.byref(event), ctypes.byref(copy)
    arguments = queue.pointer, source, target, 0, 0, 64, *after
    queue.library.call("clEnqueueCopyBuffer", *arguments)
    queue.launched(name, copy)
    library.clSetUserEventStatus(event, FAILED)


def test_a_device_that_is_closed_may_be_closed_again() -> None:
    device = OpenCLBackend().open(0)
    device.close()
    device.close()


def test_a_queue_that_cannot_be_made_leaves_no_context(
    found: Found, refuse: Callable[[str, int], Counter[str]]
) -> None:
    done = refuse("clCreateCommandQueue", -6)
    with pytest.raises(OpenCLError, match="clCreateCommandQueue gave OUT_OF_HOST_MEMORY"):
        Queue(found)
    assert done["clCreateContext"] == done["clReleaseContext"] == 1


def test_a_launch_that_fails_late_is_named_once(queue: Queue) -> None:
    queue_failure(queue, "culprit")
    with pytest.raises(LaunchError, match=r"synchronize: launches failed: culprit: .*\(-\d+\)"):
        queue.finish()
    queue.finish()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-4, OutOfMemory),
        (-6, OutOfMemory),
        (-61, OutOfMemory),
        (-5, LaunchError),
        (-52, LaunchError),
        (-36, DeviceLost),
        (-2, DeviceLost),
    ],
)
def test_each_status_is_one_of_our_errors(queue: Queue, code: int, kind: type[Exception]) -> None:
    error = queue.explained(OpenCLError("clEnqueueNDRangeKernel", code), "add")
    assert type(error) is kind
    assert f"({code})" in str(error)


def test_a_device_that_answers_no_more_is_lost_with_what_was_in_flight(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_failure(queue, "last words")
    monkeypatch.setattr(Queue, "_answers", lambda queue: False)
    error = queue.explained(OpenCLError("clFinish", -5), "synchronize")
    assert type(error) is DeviceLost
    assert "with launches in flight: last words" in str(error)


def test_launches_in_flight_are_told_while_others_are_added(queue: Queue) -> None:
    class Adding(str):
        @property
        def name(self) -> str:
            queue.launched("later", None)
            return str(self)

    queue._flights.append(Adding("first"))  # type: ignore[arg-type]
    assert queue.in_flight() == ["first"]
    queue._flights.popleft()
    assert queue.in_flight() == ["later"]


def test_the_queue_does_not_grow_without_end(
    device: Device, load: Callable[[str], Program]
) -> None:
    program = load("shape")
    handle = device.allocator.alloc(64, SPACE, 64)
    for _ in range(5000):
        program((handle,), (), Launch((8, 1, 1), (1, 1, 1)))
    waiting = device._queue._flights  # type: ignore[attr-defined]
    assert 0 < len(waiting) <= 1024
    device.synchronize()
    assert not waiting


def test_launches_that_nobody_waits_for_are_submitted(
    device: Device, load: Callable[[str], Program], refuse: Callable[[str, int], Counter[str]]
) -> None:
    program = load("shape")
    handle = device.allocator.alloc(64, SPACE, 64)
    device.synchronize()
    done = refuse("nothing", 0)
    for _ in range(640):
        program((handle,), (), Launch((8, 1, 1), (1, 1, 1)))
    assert (done["clFlush"], done["clFinish"]) == (10, 0)


def test_a_small_copy_submits_nothing_by_itself(
    queue: Queue, refuse: Callable[[str, int], Counter[str]]
) -> None:
    allocator = QueueAllocator(queue, 1 << 20)
    handle = allocator.alloc(64, SPACE, 64)
    done = refuse("nothing", 0)
    allocator.copyin(handle, memoryview(bytes(64)))
    assert (done["clEnqueueWriteBuffer"], done["clFlush"]) == (1, 0)


def test_a_flush_that_fails_is_told_by_the_wait(
    queue: Queue, refuse: Callable[[str, int], Counter[str]]
) -> None:
    queue_failure(queue, "culprit")
    refuse("clFlush", -36)
    queue.flush()
    with pytest.raises(LaunchError, match="launches failed: culprit"):
        queue.finish()


def test_memory_outlives_what_still_runs_in_it(found: Found, binary: bytes) -> None:
    device = OpenCLBackend().open(0)
    handle = device.allocator.alloc(1 << 20, SPACE, 64)
    device.load(binary, "spin")((handle,), (1 << 22,), Launch())
    queue = weakref.ref(device._queue)  # type: ignore[attr-defined]
    del device
    gc.collect()
    assert queue() is None
