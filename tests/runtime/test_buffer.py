"""Buffers and the memory behind them: bytes, reuse, limits, running out."""

import gc
import textwrap

import pytest

from tests.runtime.fake_backend import MEMORY_BYTES, FakeAllocator
from tests.runtime.texts import exactly
from tests.runtime.wheels import Site, fake_source
from tinycore.config import Context
from tinycore.dtype import dtypes
from tinycore.errors import DeviceError
from tinycore.runtime.buffer import Buffer, GlobalCounters
from tinycore.runtime.contract import BackendError, Launch, OutOfMemory
from tinycore.runtime.device import CachingAllocator, bucket
from tinycore.runtime.registry import Devices


def vendor(devices: Devices) -> FakeAllocator:
    """The vendor's allocator behind device FAKE."""
    allocator = devices["FAKE"].device.allocator
    assert isinstance(allocator, FakeAllocator)
    return allocator


def caching(devices: Devices) -> CachingAllocator:
    """The core's allocator over it."""
    return devices["FAKE"].allocator


def filled(size_bytes: int) -> Buffer:
    """A buffer that has memory."""
    return Buffer("FAKE", dtypes.uint8, size_bytes).copyin(bytes(size_bytes))


def test_bytes_come_out_as_they_went_in(devices: Devices) -> None:
    buffer = Buffer("fake", dtypes.float32, 3).copyin(bytes(range(12)))
    assert bytes(buffer.as_memoryview()) == bytes(range(12))
    target = bytearray(12)
    buffer.copyout(target)
    assert target == bytes(range(12))
    assert (buffer.device, buffer.size_bytes, buffer.count) == ("FAKE", 12, 3)


def test_a_buffer_takes_no_memory_before_its_first_use(devices: Devices) -> None:
    buffer = Buffer("FAKE", dtypes.float32, 3)
    assert repr(buffer) == "<buffer: 3 f32 on FAKE>"
    assert vendor(devices).asked == 0
    buffer.copyin(bytes(12))
    assert vendor(devices).asked == 1


def test_a_buffer_of_an_unknown_device_is_refused_where_it_is_made(devices: Devices) -> None:
    with pytest.raises(DeviceError):
        Buffer("NOSUCH", dtypes.float32, 3)


def test_a_program_runs_on_the_memory_of_a_buffer(devices: Devices) -> None:
    buffer = Buffer("FAKE", dtypes.uint8, 4).copyin(b"\x01\x02\x03\xff")
    program = devices["FAKE"].load(b"add one", "k0")
    assert program([buffer.handle], (), Launch(), wait=True) == 1e-6
    assert bytes(buffer.as_memoryview()) == b"\x02\x03\x04\x00"


def test_shared_memory_is_the_memory_and_a_copy_is_not(devices: Devices) -> None:
    buffer = filled(4)
    buffer.as_memoryview(share=True)[0] = 7
    buffer.as_memoryview()[1] = 9
    assert bytes(buffer.as_memoryview()) == b"\x07\x00\x00\x00"


def test_an_empty_buffer_holds_nothing_and_still_has_a_handle(devices: Devices) -> None:
    buffer = Buffer("FAKE", dtypes.float32, 0).copyin(b"")
    assert bytes(buffer.as_memoryview()) == b""
    assert buffer.handle is not None


def test_memory_is_given_back_when_the_last_reference_goes(devices: Devices) -> None:
    before = GlobalCounters.mem_used
    first = filled(1000)
    second = first
    assert GlobalCounters.mem_used == before + 1000
    del first
    assert GlobalCounters.mem_used == before + 1000
    del second
    assert GlobalCounters.mem_used == before
    assert caching(devices).live_count == 0


def test_freed_memory_serves_the_next_buffer_of_about_its_size(devices: Devices) -> None:
    filled(1000)
    filled(990)
    assert vendor(devices).asked == 1
    filled(4000)
    assert vendor(devices).asked == 2


def test_without_the_cache_memory_goes_back_at_once(devices: Devices) -> None:
    with Context(LRU=0):
        filled(1000)
        filled(1000)
    assert vendor(devices).asked == 2
    assert vendor(devices).live == {}


@pytest.mark.parametrize("size_bytes", [0, 1, 63, 64, 65, 1000, 4097, 10**6, 10**9 + 7, 1 << 40])
def test_a_block_wastes_at_most_an_eighth_or_64_bytes(size_bytes: int) -> None:
    room = bucket(size_bytes)
    assert size_bytes <= room <= max(size_bytes * 9 / 8, size_bytes + 64)
    assert room % 64 == 0 and bucket(room) == room


def test_what_waits_for_reuse_is_given_up_before_memory_runs_out(devices: Devices) -> None:
    keep = filled(MEMORY_BYTES // 4)
    for sixteenths in range(1, 12):
        filled(sixteenths * MEMORY_BYTES // 16)
    assert bytes(keep.as_memoryview()) == bytes(MEMORY_BYTES // 4)
    assert caching(devices).live_count == 1


def test_what_waits_for_reuse_stays_below_the_limit(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching(devices), "_limit_bytes", 4096)
    buffers = [filled(1024 * (1 + number)) for number in range(4)]
    del buffers
    assert caching(devices).cached_bytes <= 4096
    assert sum(map(len, vendor(devices).live.values())) == caching(devices).cached_bytes


def test_running_out_of_memory_says_how_much_is_used_and_leaves_the_device_usable(
    devices: Devices,
) -> None:
    keep = [filled(MEMORY_BYTES // 4) for _ in range(3)]
    text = (
        "FAKE: alloc: no room for 512.0 KiB more; 768.0 KiB are in use by 3 buffers. "
        "Free tensors, or use smaller batches"
    )
    for _ in range(2):
        with pytest.raises(OutOfMemory, match=exactly(text)):
            filled(MEMORY_BYTES // 2)
    assert bytes(filled(16).as_memoryview()) == bytes(16)
    del keep[1:]
    filled(MEMORY_BYTES // 2)


def test_running_out_of_memory_is_a_memory_error(devices: Devices) -> None:
    with pytest.raises(MemoryError):
        filled(MEMORY_BYTES + 64)


def test_one_buffer_beyond_the_devices_limit_is_refused(devices: Devices) -> None:
    text = "FAKE: alloc: 4.0 GiB in one buffer; expected at most 2.0 GiB. Split the tensor"
    with pytest.raises(OutOfMemory, match=exactly(text)):
        _ = Buffer("FAKE", dtypes.uint8, 1 << 32).handle


def test_memory_held_by_unreachable_cycles_is_found_before_giving_up(devices: Devices) -> None:
    gc.disable()
    try:
        cycle: list[object] = [filled(3 * MEMORY_BYTES // 4)]
        cycle.append(cycle)
        del cycle
        filled(MEMORY_BYTES // 2)
    finally:
        gc.enable()


def test_a_failing_copy_carries_the_devices_name(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("bus error")

    buffer = filled(4)
    monkeypatch.setattr(FakeAllocator, "copyin", fail)
    text = "FAKE: copyin failed with OSError: bus error"
    with pytest.raises(BackendError, match=exactly(text)):
        buffer.copyin(bytes(4))


def test_buffers_alive_at_exit_are_no_trouble(site: Site) -> None:
    site.add("FOO", fake_source("FOO"))
    code = """
        from tinycore.dtype import dtypes
        from tinycore.runtime.buffer import Buffer
        kept = [Buffer("FOO", dtypes.uint8, 100).copyin(bytes(100)) for _ in range(3)]
        kept.append(kept)
    """
    result = site.run(textwrap.dedent(code))
    assert (result.returncode, result.stderr) == (0, "")


def test_a_forked_child_leaves_the_parents_memory_alone(site: Site) -> None:
    site.add("FOO", fake_source("FOO", ("del self.live", "print('freed'); del self.live")))
    code = """
        import os
        from tinycore.config import LRU
        from tinycore.dtype import dtypes
        from tinycore.runtime.buffer import Buffer
        LRU.set(0)
        kept = Buffer("FOO", dtypes.uint8, 100).copyin(bytes(100))
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            print("parent", flush=True)
        del kept
    """
    result = site.run(textwrap.dedent(code))
    assert (result.stdout, result.stderr) == ("parent\nfreed\n", "")
