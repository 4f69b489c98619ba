"""A run of elements in device memory: the only mutable value there is.

In: a device name, a dtype and an element count; shapes belong to tensors. Out: bytes in and out,
and a handle that programs take. Memory is taken at first use and given back when the last
reference goes. Next: the engine, which runs programs on buffers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TypeAlias

from tinycore.dtype import DType
from tinycore.runtime.allocator import Block
from tinycore.runtime.counters import GlobalCounters
from tinycore.runtime.errors import Unsupported
from tinycore.runtime.opened import OpenDevice
from tinycore.runtime.program import Handle
from tinycore.runtime.registry import Device

Bytes: TypeAlias = bytes | bytearray | memoryview

_ids = itertools.count()


@dataclass(eq=False, repr=False, slots=True, weakref_slot=True)
class Buffer:
    """`count` elements of `dtype` on one device; `id` tells buffers apart for ever.

    A part of another buffer names it as its `base`.
    Units: `size_bytes` counts the elements alone; the memory behind may be larger.
    """

    device: str
    dtype: DType
    count: int
    space: str = ""
    base: Buffer | None = None
    offset_bytes: int = 0
    id: int = field(init=False, default_factory=_ids.__next__)
    size_bytes: int = field(init=False)
    _handle: Handle | None = field(init=False, default=None)
    _held: tuple[OpenDevice, Block] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        assert self.count >= 0, f"a buffer of {self.count} elements"
        self.device = Device.canonicalize(self.device)
        self.size_bytes = self.count * self.dtype.itemsize * self.dtype.lanes

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
        start = self.offset_bytes + offset_bytes
        part = Buffer(self.device, dtype, count, self.space, self.base or self, start)
        end = offset_bytes + part.size_bytes
        assert offset_bytes >= 0 and end <= self.size_bytes, f"{end} of {self.size_bytes} bytes"
        return part

    def copyin(self, source: Bytes) -> Buffer:
        """Fill it with bytes of exactly its size."""
        view = memoryview(source).cast("B")
        assert len(view) == self.size_bytes, f"{len(view)} bytes into {self.size_bytes}"
        if len(view):
            self.opened.memory("copyin", self.handle, view)
        return self

    def copyout(self, target: bytearray | memoryview) -> None:
        """Write its bytes to memory of exactly its size, after all queued work is done."""
        view = memoryview(target).cast("B")
        assert len(view) == self.size_bytes, f"{self.size_bytes} bytes into {len(view)}"
        if len(view):
            self.opened.memory("copyout", view, self.handle)

    def as_memoryview(self, share: bool = False) -> memoryview:
        """Its bytes after all queued work is done: a copy, or with `share` the memory itself.

        Shared memory is valid while the buffer lives, and only some devices have it; the others
        copy.
        """
        if share:
            self.opened.synchronize()
            shared: memoryview | None = self.opened.memory("view", self.handle, self.size_bytes)
            if shared is not None:
                return shared
        target = memoryview(bytearray(self.size_bytes))
        self.copyout(target)
        return target

    def _allocate(self) -> None:
        opened = self.opened
        if self.base is not None:
            place = (self.offset_bytes, max(self.size_bytes, 1))
            self._handle = opened.memory("offset", self.base.handle, *place)
            if self._handle is None:
                raise Unsupported("part: this device cannot point into a buffer", self.device)
            return
        with opened.guard("alloc"):
            block = opened.allocator.alloc(self.size_bytes, self.space)
        self._handle, self._held = block.handle, (opened, block)
        GlobalCounters.mem_used += self.size_bytes

    def __del__(self) -> None:
        held = getattr(self, "_held", None)
        if held is None:
            return
        opened, block = held
        GlobalCounters.mem_used -= self.size_bytes
        if opened.usable_here:
            with opened.guard("free"):
                opened.allocator.free(block)

    def __repr__(self) -> str:
        state = "" if self.allocated else ", not allocated"
        return f"<buffer {self.id}: {self.count} {self.dtype.short} on {self.device}{state}>"
