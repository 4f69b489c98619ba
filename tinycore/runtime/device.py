"""One open device as the core sees it: the vendor's device behind a guard, and its memory.

In: a plugin and an index. Out: an `OpenDevice`, which raises our errors alone. Next file:
buffer.py.
"""

import functools
import gc
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from tinycore import cache
from tinycore.config import CACHELEVEL, CCACHE, LRU
from tinycore.runtime import contract
from tinycore.runtime.contract import Compiler, Handle, OutOfMemory, Renderer, Unsupported
from tinycore.runtime.plugins import Plugin
from tinycore.util import format_bytes, round_up


class OpenDevice:
    """A device that can be used now."""

    def __init__(self, name: str, plugin: Plugin, index: int, renderer: str = "") -> None:
        self.name = name
        self.index = index
        self.plugin = plugin
        self.chosen = renderer
        self.process = os.getpid()
        self.closed = False
        self.guard = functools.partial(plugin.guard, device=name)
        backend = plugin.ready()
        with self.guard("open"):
            self.device = backend.open(index, renderer) if renderer else backend.open(index)
        self.target = self.device.target
        self.caps = self.target.caps
        self.allocator = CachingAllocator(self.device)

    @property
    def renderer(self) -> Renderer[Any]:
        """What writes kernels as text for it. Raises: Unsupported if nothing does."""
        return self.target.renderer or self._generates_nothing("renderer")

    @property
    def compiler(self) -> Compiler:
        """What compiles that text. Raises: Unsupported if nothing does."""
        return self.target.compiler or self._generates_nothing("compiler")

    @property
    def usable_here(self) -> bool:
        """False if it was lost, closed, or opened before this process was forked."""
        here = self.process == os.getpid() or self.plugin.fact("fork_safe")
        return bool(here) and not self.closed and self.plugin.state != "lost"

    def count(self) -> int:
        """How many devices of this kind there are."""
        return self.plugin.devices

    def load(self, binary: bytes, name: str) -> contract.Program:
        """A compiled kernel, ready to run."""
        with self.guard(f"load of kernel {name}"):
            return self.device.load(binary, name)

    def synchronize(self) -> None:
        """Return when all work queued on the device is done."""
        with self.guard("synchronize"):
            self.device.synchronize()

    def memory(self, operation: str, *arguments: Any) -> Any:
        """What an operation of the vendor's allocator answers; None if it has none."""
        method = getattr(self.device.allocator, operation, None)
        with self.guard(operation):
            return method(*arguments) if method else None

    def describe(self) -> Mapping[str, str]:
        """Vendor, product and versions, as far as the plugin says."""
        method = getattr(self.plugin.load(), "describe", None)
        with self.guard("describe"):
            return dict(method(self.index)) if method else {}

    def close(self) -> None:
        """Give the device back."""
        if not self.usable_here:
            return
        self.closed = True
        with self.guard("close"):
            self.allocator.give_back()
            self.device.close()

    def _generates_nothing(self, name: str) -> NoReturn:
        raise Unsupported(f"{name}: this device runs no generated code", self.name)

    def __repr__(self) -> str:
        return f"<device {self.name}, {self.plugin.source}>"


class Block(NamedTuple):
    """A piece of device memory with room for `size_bytes`."""

    handle: Handle
    size_bytes: int


class CachingAllocator:
    """Allocates in a device's first space, and keeps what is freed, up to a limit.

    When the device is full, what waits goes back and the request is repeated. Callers are within
    `OpenDevice.guard`. Units: `live_bytes` are in use, `cached_bytes` wait for reuse.
    """

    def __init__(self, device: contract.Device) -> None:
        self.device = device
        self.largest_bytes = device.target.caps.max_allocation_bytes
        self.space = device.target.caps.spaces[0]
        self.live_bytes = self.live_count = self.cached_bytes = 0
        # A device's own memory may all wait for reuse; half of what it shares with the host.
        self._limit_bytes = self.space.size_bytes // (1 + self.space.host_visible)
        self._waiting: defaultdict[int, list[Handle]] = defaultdict(list)
        # Reentrant: collecting garbage inside may free buffers of the same device.
        self._lock = threading.RLock()

    def alloc(self, size_bytes: int) -> Block:
        """A block with room for `size_bytes`. Raises: OutOfMemory; the device stays usable."""
        room = max(size_bytes, min(bucket(size_bytes), self.largest_bytes))
        with self._lock:
            waiting = self._waiting[room]
            if waiting:
                self.cached_bytes -= room
            handle = waiting.pop() if waiting else self._obtain(room)
            self.live_bytes += room
            self.live_count += 1
        return Block(handle, room)

    def free(self, block: Block) -> None:
        """Take a block back: it waits for reuse, or goes to the device if LRU=0."""
        with self._lock:
            self.live_bytes -= block.size_bytes
            self.live_count -= 1
            self.cached_bytes += block.size_bytes
            self._waiting[block.size_bytes].append(block.handle)
            if not LRU.value or self.cached_bytes > self._limit_bytes:
                self.give_back()

    def give_back(self) -> None:
        """Give everything waiting back to the device."""
        with self._lock:
            if self.cached_bytes:
                self.device.synchronize()
            self.cached_bytes = 0
            while self._waiting:
                for handle in self._waiting.popitem()[1]:
                    self.device.allocator.free(handle)

    def _obtain(self, room: int, again: bool = False) -> Handle:
        wanted, limit = format_bytes(room), self.largest_bytes
        if room > limit:
            told = f"alloc: {wanted} in one buffer; expected at most {format_bytes(limit)}"
            raise OutOfMemory(told, hint="Split the tensor")
        try:
            return self.device.allocator.alloc(room, self.space.name, self.space.alignment)
        except MemoryError as error:
            if again:
                used = f"{format_bytes(self.live_bytes)} are in use by {self.live_count} buffers"
                told = f"alloc: no room for {wanted} more; {used}"
                raise OutOfMemory(told, hint="Free tensors, or use smaller batches") from error
        gc.collect()
        self.give_back()
        return self._obtain(room, again=True)


def bucket(size_bytes: int) -> int:
    """The size of the block a request gets: at most an eighth or 64 bytes more, so that few sizes
    occur."""
    return round_up(max(size_bytes, 1), 1 << max(size_bytes.bit_length() - 4, 6))


def cached(table: str, key: str, make: Callable[[], bytes]) -> bytes:
    """What `make` gave in this process or another for the same key."""
    if not (CCACHE.value and CACHELEVEL.value):
        return make()
    found = cache.shared().get(table, key)
    if found is None:
        found = make()
        cache.shared().put(table, key, found)
    return found


def compiler_key(compiler: Compiler) -> str:
    """What object code depends on besides its source: the compiler's key and code."""
    package = type(compiler).__module__.partition(".")[0]
    return f"{compiler.key}|{cache.source_key(package)}"


def compile_cached(compiler: Compiler, source: str) -> bytes:
    """The object code of `source`, made once for each key. Raises: CompileError."""
    key = f"{compiler_key(compiler)}\n{source}"
    return cached("compiled", key, lambda: compiler.compile(source))
