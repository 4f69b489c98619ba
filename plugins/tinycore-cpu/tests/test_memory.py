"""Host memory is aligned, private, shown without a copy, and its end is told as OutOfMemory."""

import ctypes
import gc
import itertools
import os

import pytest

from tinycore.backend import OutOfMemory
from tinycore_cpu.memory import SPACE, Block, HostAllocator, view_memory

SIZES = (1, 63, 64, 4096, (1 << 16) - 1, 1 << 16, 3 << 20, 5 << 20)


@pytest.mark.parametrize("size_bytes", SIZES)
@pytest.mark.parametrize("alignment", [64, 4096])
def test_memory_is_aligned_and_writable_to_its_end(size_bytes: int, alignment: int) -> None:
    allocator = HostAllocator()
    handle = allocator.alloc(size_bytes, SPACE, alignment)
    assert isinstance(handle, int)
    assert handle % alignment == 0
    pattern = bytes(index % 251 for index in range(size_bytes))
    allocator.copyin(handle, memoryview(pattern))
    target = bytearray(size_bytes)
    allocator.copyout(memoryview(target), handle)
    assert target == pattern
    allocator.free(handle)


def test_large_memory_starts_on_a_large_page() -> None:
    assert Block(8 << 20).address % (2 << 20) == 0


def test_blocks_do_not_overlap() -> None:
    blocks = [Block(size) for size in SIZES for _ in range(3)]
    spans = sorted((block.address, block.address + block.size_bytes) for block in blocks)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_a_view_is_the_memory_itself() -> None:
    allocator = HostAllocator()
    handle = allocator.alloc(16, SPACE, 64)
    view = allocator.view(handle, 16)
    assert view is not None
    view[3] = 7
    assert isinstance(handle, int)
    assert ctypes.c_ubyte.from_address(handle + 3).value == 7


def test_a_part_is_an_address_within() -> None:
    allocator = HostAllocator()
    handle = allocator.alloc(256, SPACE, 64)
    part = allocator.offset(handle, 64, 4)
    assert part is not None
    allocator.copyin(part, memoryview(b"part"))
    view = allocator.view(handle, 256)
    assert view is not None
    assert bytes(view[64:68]) == b"part"


def test_elements_of_any_type_are_copied_as_bytes() -> None:
    allocator = HostAllocator()
    handle = allocator.alloc(8, SPACE, 64)
    source = memoryview(bytearray(b"abcdefgh")).cast("I")
    allocator.copyin(handle, source)
    target = memoryview(bytearray(8)).cast("d")
    allocator.copyout(target, handle)
    assert target.tobytes() == b"abcdefgh"


def test_memory_moves_between_the_devices_of_the_process() -> None:
    first, second = HostAllocator(), HostAllocator()
    source, target = first.alloc(8, SPACE, 64), second.alloc(8, SPACE, 64)
    first.copyin(source, memoryview(b"12345678"))
    assert second.transfer(target, source, 8)
    view = second.view(target, 8)
    assert view is not None
    assert bytes(view) == b"12345678"


@pytest.mark.parametrize("size_bytes", [1 << 50, 1 << 62, 1 << 70])
def test_more_than_there_is_raises_out_of_memory_and_the_allocator_lives(size_bytes: int) -> None:
    allocator = HostAllocator()
    with pytest.raises(OutOfMemory, match=f"alloc: the system has no room for {size_bytes} bytes"):
        allocator.alloc(size_bytes, SPACE, 64)
    assert allocator.alloc(64, SPACE, 64)


def test_freed_memory_goes_back_to_the_system() -> None:
    allocator = HostAllocator()
    gc.collect()
    before = resident_bytes()
    for _ in range(20):
        handle = allocator.alloc(32 << 20, SPACE, 64)
        assert isinstance(handle, int)
        view_memory(handle, 32 << 20)[:: 1 << 12] = bytes(1 << 13)
        allocator.free(handle)
    assert resident_bytes() - before < 64 << 20


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
