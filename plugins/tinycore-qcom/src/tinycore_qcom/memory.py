"""Device memory: buffers and parts of them, copies in the order of the queue.

In: sizes and bytes. Out: `Memory` handles. Where the device is the host's own processor, buffers
lie in pages of this process and the host sees them without a copy. Next: program.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import mmap
import threading

from tinycore.backend import Allocator, Handle, OutOfMemory
from tinycore_qcom import codes
from tinycore_qcom.api import OpenCLError
from tinycore_qcom.images import make_image, padded, pitch_alignment
from tinycore_qcom.queue import Queue

SPACE = "global"

_READ_WRITE, _USE_HOST_MEMORY = 1 << 0, 1 << 3
_MAP_READ = 1 << 0
_REGION = 0x1220
_PAGE_BYTES = 4096
# What is copied to the device from a copy of its own, while the program goes on.
_SMALL_BYTES = 1 << 16
# Above, 2 MiB pages: fresh memory costs 512 times fewer page faults.
_HUGE_BYTES, _HUGE_PAGE_BYTES = 4 << 20, 2 << 20

_numbers = itertools.count(1)


class Memory:
    """A buffer or a part of one. `number` is never used twice, unlike the driver's pointers."""

    __slots__ = (
        "address",
        "number",
        "offset",
        "pointer",
        "reference",
        "root",
        "size_bytes",
        "view",
    )

    def __init__(self, pointer: int, size_bytes: int, address: int = 0) -> None:
        self.number = next(_numbers)
        self.pointer = pointer
        self.reference = ctypes.byref(ctypes.c_void_p(pointer))
        self.size_bytes = size_bytes
        self.address = address
        self.offset = 0
        self.root: Memory = self
        self.view = 0

    def image(self, queue: Queue) -> object:
        """A reference to the image of this memory, made at first use. Raises: OpenCLError."""
        with queue.making_image:
            if not self.view:
                self.view = make_image(queue, self.pointer, self.size_bytes)
        return ctypes.byref(ctypes.c_void_p(self.view))

    def release(self, queue: Queue) -> None:
        """Give the buffer and its image back."""
        for pointer in filter(None, (self.view, self.pointer)):
            queue.release("clReleaseMemObject", pointer)


class Part(Memory):
    """A part of a buffer, given back when nobody holds it."""

    __slots__ = ("_queue",)

    def __init__(self, queue: Queue, pointer: int, root: Memory, offset: int, size: int) -> None:
        super().__init__(pointer, size, root.address and root.address + offset)
        self.root, self.offset = root, offset
        self._queue = queue

    def __del__(self) -> None:
        self.release(self._queue)


class QueueAllocator(Allocator):
    """Memory of one context; safe to use from several threads.

    Drivers give memory at first use, out of reach of error handling, or give more than there is:
    bytes are counted here, and a new buffer is touched.
    """

    def __init__(self, queue: Queue, memory_bytes: int) -> None:
        self._queue = queue
        self._memory_bytes = memory_bytes
        self._used_bytes = 0
        self._lock = threading.Lock()
        self.is_host = False

    def alloc(self, size_bytes: int, space: str, alignment: int) -> Handle:
        """A buffer. Raises: OutOfMemory if the device has no room; it stays usable."""
        size_bytes = padded(size_bytes, pitch_alignment(self._queue.found))
        self._claim(size_bytes)
        try:
            if self.is_host:
                return self._on_host(size_bytes)
            return self._on_device(size_bytes)
        except BaseException:
            self._claim(-size_bytes)
            raise

    def free(self, handle: Handle) -> None:
        """Give a buffer back."""
        memory = _memory(handle)
        memory.release(self._queue)
        self._queue.kept.pop(memory.number, None)
        self._claim(-memory.size_bytes)

    def copyin(self, handle: Handle, source: memoryview) -> None:
        """Write bytes to the start of the memory, after all that is queued."""
        memory, given = _memory(handle), source.cast("B")
        if memory.address:
            self._queue.finish()
            _bytes_at(memory.address, len(given))[:] = given
        elif len(given) <= _SMALL_BYTES:
            self._send(memory, bytes(given))
        else:
            self._copy("clEnqueueWriteBuffer", memory, given)

    def copyout(self, target: memoryview, handle: Handle) -> None:
        """Read the first bytes of the memory, after all that is queued."""
        memory, wanted = _memory(handle), target.cast("B")
        if not memory.address:
            self._copy("clEnqueueReadBuffer", memory, wanted)
            return
        self._queue.finish()
        wanted[:] = _bytes_at(memory.address, len(wanted))

    def offset(self, handle: Handle, offset_bytes: int, size_bytes: int) -> Handle | None:
        """A part of the memory."""
        whole = _memory(handle)
        root, start = whole.root, whole.offset + offset_bytes
        region = (ctypes.c_size_t * 2)(start, size_bytes)
        arguments = root.pointer, _READ_WRITE, _REGION, ctypes.byref(region)
        with self._queue.errors("offset"):
            pointer = self._queue.library.create("clCreateSubBuffer", *arguments)
        return Part(self._queue, pointer, root, start, size_bytes)

    def view(self, handle: Handle, size_bytes: int) -> memoryview | None:
        """The memory itself where it is the host's, else None."""
        address = _memory(handle).address
        return _bytes_at(address, size_bytes) if address else None

    def transfer(self, target: Handle, source: Handle, size_bytes: int) -> bool:
        """Copy within the device, in the order of the queue."""
        ends = _memory(source).pointer, _memory(target).pointer
        event = self._queue.mark()
        after = 0, None, None if event is None else ctypes.byref(event)
        with self._queue.errors("transfer"):
            arguments = self._queue.pointer, *ends, 0, 0, size_bytes, *after
            self._queue.library.call("clEnqueueCopyBuffer", *arguments)
        self._queue.launched("transfer", event)
        return True

    def prefer_host(self) -> None:
        """Put buffers into pages of this process, if the driver then works in these very pages."""
        pages, address = _pages(_PAGE_BYTES)
        library, queue = self._queue.library, self._queue
        flags = _READ_WRITE | _USE_HOST_MEMORY
        buffer = queue.context, flags, _PAGE_BYTES, address
        with contextlib.suppress(OpenCLError):
            pointer = library.create("clCreateBuffer", *buffer)
            try:
                self.is_host = self._mapped(pointer) == address
            finally:
                queue.release("clReleaseMemObject", pointer)
        del pages

    def _mapped(self, pointer: int) -> int:
        """Where the host sees a buffer of one page."""
        library, queue = self._queue.library, self._queue
        wait = 0, None, None
        part = 1, _MAP_READ, 0, _PAGE_BYTES
        address = library.create("clEnqueueMapBuffer", queue.pointer, pointer, *part, *wait)
        library.call("clEnqueueUnmapMemObject", queue.pointer, pointer, address, *wait)
        library.call("clFinish", queue.pointer)
        return address

    def _on_device(self, size_bytes: int) -> Memory:
        library, queue = self._queue.library, self._queue
        touch = 1, 0, 1, ctypes.byref(ctypes.c_char()), 0, None, None
        with queue.errors("alloc", full=codes.NO_ROOM):
            pointer = library.create("clCreateBuffer", queue.context, _READ_WRITE, size_bytes, None)
            with library.undone("clReleaseMemObject", pointer):
                library.call("clEnqueueWriteBuffer", queue.pointer, pointer, *touch)
        return Memory(pointer, size_bytes)

    def _on_host(self, size_bytes: int) -> Memory:
        try:
            pages, address = _pages(size_bytes)
        except (MemoryError, OSError, OverflowError, ValueError) as error:
            wrong = f"alloc: the system has no room for {size_bytes} bytes: {error}"
            raise OutOfMemory(wrong) from error
        flags = _READ_WRITE | _USE_HOST_MEMORY
        arguments = self._queue.context, flags, size_bytes, address
        with self._queue.errors("alloc", full=codes.NO_ROOM):
            pointer = self._queue.library.create("clCreateBuffer", *arguments)
        memory = Memory(pointer, size_bytes, address)
        self._queue.kept[memory.number] = pages
        return memory

    def _copy(self, function: str, memory: Memory, host: memoryview) -> None:
        queue = self._queue
        arguments = memory.pointer, 1, 0, len(host), _address_of(host), 0, None, None
        with queue.errors(function):
            queue.library.call(function, queue.pointer, *arguments)

    def _send(self, memory: Memory, data: bytes) -> None:
        """Queue a write and go on: a wait for it would be one for all that is queued before."""
        queue, event = self._queue, ctypes.c_void_p()
        arguments = memory.pointer, 0, 0, len(data), data, 0, None, ctypes.byref(event)
        with queue.errors("clEnqueueWriteBuffer"):
            queue.library.call("clEnqueueWriteBuffer", queue.pointer, *arguments)
        queue.launched("a copy to the device", event, data)

    def _claim(self, size_bytes: int) -> None:
        with self._lock:
            used = self._used_bytes + size_bytes
            if size_bytes > 0 and used > self._memory_bytes:
                raise OutOfMemory(
                    f"alloc: {size_bytes} bytes more than the {self._used_bytes} in use do not "
                    f"fit the device's {self._memory_bytes}",
                    hint="Free tensors, or use smaller ones",
                )
            self._used_bytes = used


def _memory(handle: Handle) -> Memory:
    assert isinstance(handle, Memory), f"{handle!r} is no memory of an OpenCL device"
    return handle


def _bytes_at(address: int, size_bytes: int) -> memoryview:
    return memoryview((ctypes.c_ubyte * size_bytes).from_address(address)).cast("B")


def _address_of(view: memoryview) -> int:
    """Where bytes lie; the caller keeps the view."""
    if not view.readonly:
        return ctypes.addressof(ctypes.c_char.from_buffer(view))
    numpy = importlib.import_module("numpy")
    address: int = numpy.frombuffer(view, dtype="u1").ctypes.data
    return address


def _pages(size_bytes: int) -> tuple[mmap.mmap, int]:
    """Fresh pages of this process, and the address of the first byte to use."""
    huge = size_bytes >= _HUGE_BYTES
    alignment = _HUGE_PAGE_BYTES if huge else _PAGE_BYTES
    pages = mmap.mmap(-1, size_bytes + (alignment if huge else 0))
    if huge and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel built without large pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    return pages, -(-start // alignment) * alignment
