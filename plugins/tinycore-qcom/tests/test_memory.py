"""Memory holds any bytes at any size, in parts too, and its end is told as OutOfMemory."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Callable

import pytest

from tinycore.backend import Device, Launch, OutOfMemory, Program
from tinycore_qcom.compiler import load_program
from tinycore_qcom.images import parted
from tinycore_qcom.memory import SPACE, QueueAllocator
from tinycore_qcom.platforms import CPU, Found
from tinycore_qcom.program import Binary, QueuedProgram
from tinycore_qcom.queue import Queue

SIZES = (1, 3, 63, 4095, 4096, 65537, (5 << 20) + 7)


@pytest.fixture(params=["host", "device"])
def allocator(request: pytest.FixtureRequest, found: Found) -> QueueAllocator:
    """Memory as the driver gives it, and in pages of this process where it works in them."""
    made = QueueAllocator(Queue(found), 1 << 30)
    if request.param == "host" and found.kind == CPU:
        made.prefer_host()
    return made


def pattern(size_bytes: int) -> bytes:
    return (bytes(range(251)) * (size_bytes // 251 + 1))[:size_bytes]


def content(allocator: QueueAllocator, handle: object, size_bytes: int) -> bytes:
    target = bytearray(size_bytes)
    allocator.copyout(memoryview(target), handle)
    return bytes(target)


@pytest.mark.parametrize("size_bytes", SIZES)
def test_bytes_come_back_at_any_size(allocator: QueueAllocator, size_bytes: int) -> None:
    handle = allocator.alloc(size_bytes, SPACE, 64)
    allocator.copyin(handle, memoryview(pattern(size_bytes)))
    assert content(allocator, handle, size_bytes) == pattern(size_bytes)
    assert (
        content(allocator, handle, size_bytes - size_bytes // 3)
        == pattern(size_bytes)[: size_bytes - size_bytes // 3]
    )
    allocator.free(handle)


def test_a_source_may_be_writable_or_not_and_of_any_element(allocator: QueueAllocator) -> None:
    handle = allocator.alloc(8, SPACE, 64)
    pages = mmap.mmap(-1, 8, access=mmap.ACCESS_READ)
    for source in (b"12345678", bytearray(b"12345678"), pages):
        view = memoryview(source).cast("I")
        allocator.copyin(handle, view)
        target = memoryview(bytearray(8)).cast("I")
        allocator.copyout(target, handle)
        assert target.tobytes() == bytes(view.cast("B"))


def test_a_source_may_change_as_soon_as_it_was_given(
    allocator: QueueAllocator, found: Found, binary: bytes
) -> None:
    queue = allocator._queue
    program = load_program(queue.library, queue.context, found, parted(binary)[0])
    spin = QueuedProgram(Binary(queue, program), "spin")
    handle = allocator.alloc(4096, SPACE, 64)
    allocator.copyin(handle, memoryview(bytes(4096)))
    spin((handle,), (1 << 22,), Launch())
    source = bytearray(b"given")
    allocator.copyin(handle, memoryview(source))
    source[:] = b"other"
    assert content(allocator, handle, 5) == b"given"


def test_a_part_is_the_memory_within_and_so_is_its_part(allocator: QueueAllocator) -> None:
    size_bytes = 4096
    handle = allocator.alloc(size_bytes, SPACE, 64)
    allocator.copyin(handle, memoryview(pattern(size_bytes)))
    part = allocator.offset(handle, 1024, 1000)
    inner = allocator.offset(part, 512, 8)
    assert content(allocator, inner, 8) == pattern(size_bytes)[1536:1544]
    allocator.copyin(inner, memoryview(b"new text"))
    assert content(allocator, handle, 1600)[1536:1544] == b"new text"


@pytest.mark.parametrize("function", ["clEnqueueMapBuffer", "clFinish"])
def test_a_driver_that_maps_nothing_keeps_no_buffer(
    found: Found, refuse: Callable[[str, int], Counter[str]], function: str
) -> None:
    allocator = QueueAllocator(Queue(found), 1 << 20)
    done = refuse(function, -12)
    allocator.prefer_host()
    assert not allocator.is_host
    assert done["clCreateBuffer"] == done["clReleaseMemObject"] == 1


def test_memory_is_copied_on_the_device(allocator: QueueAllocator) -> None:
    source, target = (allocator.alloc(1000, SPACE, 64) for _ in range(2))
    allocator.copyin(source, memoryview(pattern(1000)))
    assert allocator.transfer(target, source, 999)
    assert content(allocator, target, 999) == pattern(999)


def test_a_view_is_the_memory_itself_where_the_host_sees_it(allocator: QueueAllocator) -> None:
    handle = allocator.alloc(4096, SPACE, 64)
    view = allocator.view(handle, 16)
    assert (view is not None) == allocator.is_host
    if view is not None:
        view[:4] = b"seen"
        assert content(allocator, handle, 4) == b"seen"
        part = allocator.view(allocator.offset(handle, 128, 4), 4)
        assert part is not None
        part[:] = b"part"
        assert content(allocator, handle, 132)[128:] == b"part"


@pytest.mark.parametrize("size_bytes", [1 << 31, 1 << 50, 1 << 62])
def test_more_than_there_is_raises_out_of_memory_and_the_allocator_lives(
    allocator: QueueAllocator, size_bytes: int
) -> None:
    allocator.alloc(1 << 16, SPACE, 64)
    wrong = rf"alloc: {size_bytes} bytes more than the 65536 in use"
    with pytest.raises(OutOfMemory, match=wrong):
        allocator.alloc(size_bytes, SPACE, 64)
    handle = allocator.alloc(64, SPACE, 64)
    allocator.copyin(handle, memoryview(b"x" * 64))
    assert content(allocator, handle, 64) == b"x" * 64


def test_what_the_driver_refuses_is_out_of_memory_too(found: Found) -> None:
    allocator = QueueAllocator(Queue(found), 1 << 60)
    with pytest.raises(OutOfMemory, match=r"alloc: cl.* gave .*Free tensors"):
        allocator.alloc(1 << 50, SPACE, 64)
    assert allocator.alloc(64, SPACE, 64)


def test_freed_memory_is_there_again(found: Found) -> None:
    allocator = QueueAllocator(Queue(found), 1 << 20)
    for _ in range(5):
        allocator.free(allocator.alloc(1 << 20, SPACE, 64))


def test_the_host_sees_what_a_kernel_wrote(device: Device, load: Callable[[str], Program]) -> None:
    handle = device.allocator.alloc(64, SPACE, 64)
    load("shape")((handle,), (), Launch((8, 1, 1), (2, 1, 1)))
    device.synchronize()
    view = device.allocator.view(handle, 64)
    assert (view is not None) == device.target.caps.spaces[0].host_visible
    if view is not None:
        assert view.cast("q").tolist() == [10102] * 8
