"""L0, memory: what is copied in comes out again, and no buffer reaches into another.

In: the open device. Out: a verdict a case; the oracle is the bytes themselves.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tinycore.backend import Device, Handle
    from tinycore.runtime.device import OpenDevice

SIZES_BYTES = (1, 2, 3, 7, 63, 64, 65, 4095, 4097, 1_048_573)


@contextmanager
def memory(device: "Device", size_bytes: int) -> Iterator["Handle"]:
    """Memory of the device's default space, given back at the end."""
    space = device.target.caps.spaces[0]
    handle = device.allocator.alloc(size_bytes, space.name, space.alignment)
    try:
        yield handle
    finally:
        device.synchronize()
        device.allocator.free(handle)


def noise(size_bytes: int, seed: str) -> bytes:
    """Bytes that depend on nothing but their number and a name."""
    return random.Random(seed).randbytes(size_bytes)


def read(device: "Device", handle: "Handle", size_bytes: int) -> bytes:
    """The first bytes of a memory."""
    target = bytearray(size_bytes)
    device.allocator.copyout(memoryview(target), handle)
    return bytes(target)


@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
def test_bytes_come_out_as_they_went_in(tc_device: "OpenDevice", size_bytes: int) -> None:
    """Sizes around powers of two, the odd ones too."""
    first, second = noise(size_bytes, "first"), noise(size_bytes, "second")
    with memory(tc_device.device, size_bytes) as handle:
        for source in (first, second):
            tc_device.device.allocator.copyin(handle, memoryview(source))
            assert read(tc_device.device, handle, size_bytes) == source


@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
def test_a_copy_in_leaves_other_memory_alone(tc_device: "OpenDevice", size_bytes: int) -> None:
    """Two memories of one size, written one after the other."""
    first, second = noise(size_bytes, "first"), noise(size_bytes, "second")
    with memory(tc_device.device, size_bytes) as one, memory(tc_device.device, size_bytes) as other:
        tc_device.device.allocator.copyin(one, memoryview(first))
        tc_device.device.allocator.copyin(other, memoryview(second))
        assert read(tc_device.device, one, size_bytes) == first
        assert read(tc_device.device, other, size_bytes) == second


def test_a_copy_out_writes_its_own_bytes_alone(tc_device: "OpenDevice") -> None:
    """A read into the middle of a larger host buffer; the bytes beside it are guards."""
    source = noise(100, "source")
    target = bytearray(b"\xa5" * 228)
    with memory(tc_device.device, 100) as handle:
        tc_device.device.allocator.copyin(handle, memoryview(source))
        tc_device.device.allocator.copyout(memoryview(target)[64:164], handle)
    assert bytes(target) == b"\xa5" * 64 + source + b"\xa5" * 64


def test_memory_given_back_can_be_had_again(tc_device: "OpenDevice") -> None:
    """A hundred rounds of a quarter of the largest allocation, or of 64 MiB."""
    largest = tc_device.device.target.caps.max_allocation_bytes
    size_bytes = min(largest // 4, 64 << 20)
    source = noise(16, "source")
    for _ in range(100):
        with memory(tc_device.device, size_bytes) as handle:
            tc_device.device.allocator.copyin(handle, memoryview(source))
            assert read(tc_device.device, handle, 16) == source
