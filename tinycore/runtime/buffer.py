"""A run of elements in device memory, the only mutable value there is, and the running totals.

In: a device name, a dtype and a count. Out: bytes, and a handle that programs take. Next: the
engine.
"""

from typing import Self

from tinycore.dtype import DType
from tinycore.runtime.contract import Handle
from tinycore.runtime.device import Block, OpenDevice
from tinycore.runtime.registry import Device


class Counters:
    """Running totals. Units: operations, bytes, seconds, launches."""

    def __init__(self) -> None:
        self.mem_used = 0
        self.reset()

    def reset(self) -> None:
        """Set what counts work to zero; `mem_used` stays."""
        self.global_ops = self.global_mem = self.kernel_count = 0
        self.time_sum_s = 0.0


GlobalCounters = Counters()
"""The totals of this process."""


class Buffer:
    """`count` elements of `dtype` on one device.

    Units: `size_bytes` counts the elements alone.
    """

    __slots__ = ("__weakref__", "_held", "count", "device", "dtype", "size_bytes")

    def __init__(self, device: str, dtype: DType, count: int) -> None:
        self._held: tuple[OpenDevice, Block] | None = None
        assert count >= 0, f"a buffer of {count} elements"
        self.device = Device.canonicalize(device)
        self.dtype = dtype
        self.count = count
        self.size_bytes = count * dtype.itemsize

    @property
    def opened(self) -> OpenDevice:
        """The open device it lives on."""
        return Device[self.device]

    @property
    def handle(self) -> Handle:
        """What programs take; the first call takes the memory. Raises: OutOfMemory."""
        if not self._held:
            opened = self.opened
            with opened.guard("alloc"):
                self._held = opened, opened.allocator.alloc(self.size_bytes)
            GlobalCounters.mem_used += self.size_bytes
        return self._held[1].handle

    def copyin(self, source: bytes | bytearray | memoryview) -> Self:
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

        Shared memory is valid while the buffer lives; devices without it copy.
        """
        if share:
            self.opened.synchronize()
            shared: memoryview | None = self.opened.memory("view", self.handle, self.size_bytes)
            if shared is not None:
                return shared
        target = memoryview(bytearray(self.size_bytes))
        self.copyout(target)
        return target

    def __del__(self) -> None:
        if not self._held:
            return
        opened, block = self._held
        GlobalCounters.mem_used -= self.size_bytes
        if opened.usable_here:
            with opened.guard("free"):
                opened.allocator.free(block)

    def __repr__(self) -> str:
        return f"<buffer: {self.count} {self.dtype.short} on {self.device}>"
