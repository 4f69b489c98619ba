"""Memory of the host as device memory: aligned, raw addresses, large pages where they pay.

In: sizes. Out: addresses, which kernels read directly and `view` shows without a copy.
Reuse of freed memory is the core's; this file is as near to the system as Python gets.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap

from tinycore.backend import Allocator, Handle, OutOfMemory

ALIGNMENT = 64
SPACE = "host"

# Below, memory comes from the C library, zeroed; above, whole pages from the system.
_MAPPED_BYTES = 1 << 16
# Above, 2 MiB pages: 64 MB of fresh memory costs 32 page faults in place of 16384, 4.7 ms in
# place of 27 ms. They need private memory: on shared memory the advice is silently useless.
_HUGE_BYTES = 4 << 20
_HUGE_PAGE_BYTES = 2 << 20

_TOO_LARGE = (MemoryError, OSError, OverflowError, ValueError)


class Block:
    """One piece of memory; it is given back when this object goes. Units: bytes."""

    __slots__ = ("_owner", "address", "size_bytes")

    def __init__(self, size_bytes: int, alignment: int = ALIGNMENT) -> None:
        self.size_bytes = size_bytes
        if size_bytes < _MAPPED_BYTES:
            self._owner: object = ctypes.create_string_buffer(size_bytes + alignment)
            start = ctypes.addressof(self._owner)
        else:
            huge = size_bytes >= _HUGE_BYTES
            alignment = max(alignment, _HUGE_PAGE_BYTES) if huge else alignment
            pages = _pages(size_bytes + alignment, huge)
            self._owner = pages
            start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        self.address = -(-start // alignment) * alignment


def _pages(size_bytes: int, huge: bool) -> mmap.mmap:
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size_bytes)
    pages = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if huge and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel built without large pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def view_memory(address: int, size_bytes: int) -> memoryview:
    """The bytes at an address, writable, without a copy; the caller keeps the memory alive."""
    return memoryview((ctypes.c_ubyte * size_bytes).from_address(address)).cast("B")


class HostAllocator(Allocator):
    """Memory of this process; a handle is an address. Safe to use from several threads."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}

    def alloc(self, size_bytes: int, space: str, alignment: int) -> Handle:
        """Memory of at least `size_bytes`. Raises: OutOfMemory if the system has no room."""
        try:
            block = Block(size_bytes, max(alignment, ALIGNMENT))
        except _TOO_LARGE as error:
            raise OutOfMemory(
                f"alloc: the system has no room for {size_bytes} bytes: {error}"
            ) from error
        self._blocks[block.address] = block
        return block.address

    def free(self, handle: Handle) -> None:
        """Give memory back to the system."""
        del self._blocks[_address(handle)]

    def copyin(self, handle: Handle, source: memoryview) -> None:
        """Write bytes to the start of the memory."""
        view_memory(_address(handle), source.nbytes)[:] = source.cast("B")

    def copyout(self, target: memoryview, handle: Handle) -> None:
        """Read the first bytes of the memory."""
        target.cast("B")[:] = view_memory(_address(handle), target.nbytes)

    def offset(self, handle: Handle, offset_bytes: int, size_bytes: int) -> Handle | None:
        """A part of the memory: its address."""
        return _address(handle) + offset_bytes

    def view(self, handle: Handle, size_bytes: int) -> memoryview | None:
        """The memory itself, no copy."""
        return view_memory(_address(handle), size_bytes)

    def transfer(self, target: Handle, source: Handle, size_bytes: int) -> bool:
        """Copy within this process's memory, between its devices as well."""
        ctypes.memmove(_address(target), _address(source), size_bytes)
        return True


def _address(handle: Handle) -> int:
    assert isinstance(handle, int), f"a handle of the host's memory is an address, not {handle!r}"
    return handle
