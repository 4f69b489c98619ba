"""A run of elements in device memory: the only mutable value there is.

In: a device name, a dtype and an element count; shapes belong to tensors. Out: bytes in and out,
and a handle that programs take. Memory is taken at first use and given back when the last
reference goes. Next: the engine, which runs programs on buffers.
"""

from __future__ import annotations

import itertools
from typing import TypeAlias

from tinycore.dtype import DType
from tinycore.runtime.allocator import Block, CachingAllocator
from tinycore.runtime.counters import GlobalCounters
from tinycore.runtime.errors import Unsupported
from tinycore.runtime.opened import OpenDevice
from tinycore.runtime.program import Handle
from tinycore.runtime.registry import Device

Bytes: TypeAlias = bytes | bytearray | memoryview

_ids = itertools.count()


class Buffer:
    """`count` elements of `dtype` on one device; `id` tells buffers apart for ever.

    Units: `size_bytes` counts the elements alone; the memory behind may be larger.
    """

    __slots__ = (
        "__weakref__",
        "_block",
        "_handle",
        "_owner",
        "base",
        "count",
        "device",
        "dtype",
        "id",
        "offset_bytes",
        "size_bytes",
        "space",
    )

    def __init__(self, device: str, dtype: DType, count: int, space: str = "") -> None:
        assert count >= 0, f"a buffer of {count} elements"
        self.device = Device.canonicalize(device)
        self.dtype = dtype
        self.count = count
        self.space = space
        self.size_bytes = count * dtype.itemsize * dtype.lanes
        self.id = next(_ids)
        self.base: Buffer | None = None
        self.offset_bytes = 0
        self._block: Block | None = None
        self._handle: Handle | None = None
        self._owner: CachingAllocator | None = None

    @property
    def opened(self) -> OpenDevice:
        """The open device it lives on."""
        return Device[self.device]

    @property
    def allocated(self) -> bool:
        """True once it has memory."""
        return self._handle is not None

    @property
    def handle(self) -> Handle:
        """What programs take; the first call takes the memory. Raises: OutOfMemory."""
        if self._handle is None:
            self._allocate()
        return self._handle

    def part(self, dtype: DType, count: int, offset_bytes: int) -> Buffer:
        """A buffer that shares this one's memory from an offset on, and keeps it alive.

        Raises: Unsupported if the device cannot point into a buffer.
        """
        part = Buffer(self.device, dtype, count, self.space)
        end = offset_bytes + part.size_bytes
        assert offset_bytes >= 0 and end <= self.size_bytes, f"{end} of {self.size_bytes} bytes"
        part.base = self.base or self
        part.offset_bytes = self.offset_bytes + offset_bytes
        return part

    def copyin(self, source: Bytes) -> Buffer:
        """Fill it with bytes of exactly its size."""
        view = memoryview(source).cast("B")
        assert len(view) == self.size_bytes, f"{len(view)} bytes into {self.size_bytes}"
        if len(view):
            with self.opened.guard("copyin"):
                self.opened.device.allocator.copyin(self.handle, view)
        return self

    def copyout(self, target: bytearray | memoryview) -> None:
        """Write its bytes to memory of exactly its size, after all queued work is done."""
        view = memoryview(target).cast("B")
        assert len(view) == self.size_bytes, f"{self.size_bytes} bytes into {len(view)}"
        if len(view):
            with self.opened.guard("copyout"):
                self.opened.device.allocator.copyout(view, self.handle)

    def as_memoryview(self, share: bool = False) -> memoryview:
        """Its bytes after all queued work is done: a copy, or with `share` the memory itself.

        Shared memory is valid while the buffer lives, and only some devices have it; the others
        copy.
        """
        shared = self._shared() if share else None
        if shared is not None:
            return shared
        target = memoryview(bytearray(self.size_bytes))
        self.copyout(target)
        return target

    def _shared(self) -> memoryview | None:
        opened = self.opened
        opened.synchronize()
        with opened.guard("view"):
            return opened.allocator.view(self.handle, self.size_bytes)

    def _allocate(self) -> None:
        opened = self.opened
        if self.base is not None:
            self._handle = self._place_in(self.base, opened)
            return
        self._block = opened.allocator.alloc(self.size_bytes, self.space)
        self._owner = opened.allocator
        self._handle = self._block.handle
        GlobalCounters.mem_used += self.size_bytes

    def _place_in(self, base: Buffer, opened: OpenDevice) -> Handle:
        size_bytes = max(self.size_bytes, 1)
        with opened.guard("offset"):
            handle = opened.allocator.offset(base.handle, self.offset_bytes, size_bytes)
        if handle is None:
            raise Unsupported("part: this device cannot point into a buffer", self.device)
        return handle

    def __del__(self) -> None:
        block = getattr(self, "_block", None)
        if block is None or self._owner is None:
            return
        GlobalCounters.mem_used -= self.size_bytes
        self._owner.free(block)

    def __repr__(self) -> str:
        state = "" if self.allocated else ", not allocated"
        return f"<buffer {self.id}: {self.count} {self.dtype.short} on {self.device}{state}>"
