"""Device memory that is kept for the next buffer instead of given back.

In: sizes in bytes, and a vendor's `Allocator`. Out: `Block`s. A freed block waits in a list of
its size; when the device is full, all waiting blocks go back and the request is tried again.
Next: buffer.py, which owns blocks.
"""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
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
    space: str


class CachingAllocator:
    """Allocates through the vendor and keeps what is freed, up to a limit.

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
        # A device's own memory may all wait for reuse; half of what it shares with the host.
        kept = [space.size_bytes // (1 + space.host_visible) for space in self.caps.spaces]
        self._limit_bytes = sum(kept)
        self._waiting: OrderedDict[tuple[str, int], list[Block]] = OrderedDict()
        # Reentrant: collecting garbage inside may free buffers of the same device.
        self._lock = threading.RLock()

    def alloc(self, size_bytes: int, space: str = "") -> Block:
        """A block with room for `size_bytes`, from the waiting ones if one has the size.

        Raises: OutOfMemory; the device stays usable.
        """
        space = space or self.caps.spaces[0].name
        room = bucket(size_bytes)
        if room > self.caps.max_allocation_bytes:
            room = max(size_bytes, 1)
        with self._lock:
            waiting = self._waiting.get((space, room))
            if waiting:
                self.cached_bytes -= room
            block = waiting.pop() if waiting else self._obtain(space, room)
            self.live_bytes += room
            self.live_count += 1
        return block

    def free(self, block: Block) -> None:
        """Take a block back: it waits for reuse, or goes to the device if LRU=0."""
        with self._lock:
            self.live_bytes -= block.size_bytes
            self.live_count -= 1
            self.cached_bytes += block.size_bytes
            key = (block.space, block.size_bytes)
            self._waiting.setdefault(key, []).append(block)
            self._waiting.move_to_end(key)
            self._shrink(self._limit_bytes if LRU.value else 0)

    def close(self) -> None:
        """Give everything waiting back; blocks still in use are the device's to reclaim."""
        with self._lock:
            self._shrink(0)

    def _obtain(self, space: str, room: int, again: bool = False) -> Block:
        wanted, limit = format_bytes(room), self.caps.max_allocation_bytes
        if room > limit:
            told = f"alloc: {wanted} in one buffer; expected at most {format_bytes(limit)}"
            raise OutOfMemory(told, hint="Split the tensor")
        try:
            alignment = self.caps.space(space).alignment
            return Block(self.vendor.alloc(room, space, alignment), room, space)
        except MemoryError as error:
            if again:
                used = f"{format_bytes(self.live_bytes)} are in use by {self.live_count} buffers"
                told = f"alloc: no room for {wanted} more; {used}"
                raise OutOfMemory(told, hint="Free tensors, or use smaller batches") from error
        gc.collect()
        self._shrink(0)
        return self._obtain(space, room, again=True)

    def _shrink(self, limit_bytes: int) -> None:
        """Give waiting blocks back, the sizes unused for longest first."""
        if self.cached_bytes > limit_bytes:
            self.device.synchronize()
        while self.cached_bytes > limit_bytes:
            key, blocks = next(iter(self._waiting.items()))
            if not blocks:
                del self._waiting[key]
                continue
            block = blocks.pop()
            self.cached_bytes -= block.size_bytes
            self.vendor.free(block.handle)


def bucket(size_bytes: int) -> int:
    """The size of the block a request gets: at most an eighth more, so that few sizes occur."""
    step = 1 << max(size_bytes.bit_length() - 4, 0)
    return round_up(max(size_bytes, 1), max(step, _SMALLEST_BYTES))
