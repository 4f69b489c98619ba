"""Device memory that is kept for the next buffer instead of given back.

In: sizes in bytes, and a vendor's `Allocator`. Out: `Block`s. A freed block waits in a list of
its size; when the device is full, all waiting blocks go back and the request is tried again.
Next: buffer.py, which owns blocks.
"""

from __future__ import annotations

import gc
import threading
from typing import NamedTuple

from tinycore.config import LRU
from tinycore.runtime.contract import Device
from tinycore.runtime.errors import OutOfMemory
from tinycore.runtime.program import Handle
from tinycore.util import format_bytes, round_up

_SMALLEST_BYTES = 64


class Block(NamedTuple):
    """A piece of device memory with room for `size_bytes`."""

    handle: Handle
    size_bytes: int


class CachingAllocator:
    """Allocates in a device's first space through the vendor and keeps what is freed, up to a
    limit.

    Calls vendor code unguarded: callers are within `OpenDevice.guard`.
    Units: `live_bytes` are in use, `cached_bytes` wait for reuse.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.vendor = device.allocator
        self.caps = device.target.caps
        self.live_bytes = 0
        self.live_count = 0
        self.cached_bytes = 0
        self.space = self.caps.spaces[0]
        # A device's own memory may all wait for reuse; half of what it shares with the host.
        self._limit_bytes = self.space.size_bytes // (1 + self.space.host_visible)
        self._waiting: dict[int, list[Block]] = {}
        # Reentrant: collecting garbage inside may free buffers of the same device.
        self._lock = threading.RLock()

    def alloc(self, size_bytes: int) -> Block:
        """A block with room for `size_bytes`, from the waiting ones if one has the size.

        Raises: OutOfMemory; the device stays usable.
        """
        room = bucket(size_bytes)
        if room > self.caps.max_allocation_bytes:
            room = max(size_bytes, 1)
        with self._lock:
            waiting = self._waiting.get(room)
            if waiting:
                self.cached_bytes -= room
            block = waiting.pop() if waiting else self._obtain(room)
            self.live_bytes += room
            self.live_count += 1
        return block

    def free(self, block: Block) -> None:
        """Take a block back: it waits for reuse, or goes to the device if LRU=0."""
        with self._lock:
            self.live_bytes -= block.size_bytes
            self.live_count -= 1
            self.cached_bytes += block.size_bytes
            self._waiting.setdefault(block.size_bytes, []).append(block)
            if not LRU.value or self.cached_bytes > self._limit_bytes:
                self.give_back()

    def give_back(self) -> None:
        """Give everything waiting back; blocks still in use are the device's to reclaim."""
        with self._lock:
            blocks = [block for waiting in self._waiting.values() for block in waiting]
            self._waiting.clear()
            self.cached_bytes = 0
            if blocks:
                self.device.synchronize()
            for block in blocks:
                self.vendor.free(block.handle)

    def _obtain(self, room: int, again: bool = False) -> Block:
        wanted, limit = format_bytes(room), self.caps.max_allocation_bytes
        if room > limit:
            told = f"alloc: {wanted} in one buffer; expected at most {format_bytes(limit)}"
            raise OutOfMemory(told, hint="Split the tensor")
        try:
            return Block(self.vendor.alloc(room, self.space.name, self.space.alignment), room)
        except MemoryError as error:
            if again:
                used = f"{format_bytes(self.live_bytes)} are in use by {self.live_count} buffers"
                told = f"alloc: no room for {wanted} more; {used}"
                raise OutOfMemory(told, hint="Free tensors, or use smaller batches") from error
        gc.collect()
        self.give_back()
        return self._obtain(room, again=True)


def bucket(size_bytes: int) -> int:
    """The size of the block a request gets: at most an eighth more, so that few sizes occur."""
    step = 1 << max(size_bytes.bit_length() - 4, 0)
    return round_up(max(size_bytes, 1), max(step, _SMALLEST_BYTES))
