"""All cores at once: threads that wait in native code and share the tasks of each launch.

In: the address of a kernel `void k(ptr args, i64 task, i64 tasks)`. Out: all its tasks done.
The native part is pool_ir.py; shared.py makes the pool of this process, or the portable one of
threads.py. Next: program.py, which launches.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Protocol

from tinycore_cpu import host, pool_ir
from tinycore_cpu.image import Image
from tinycore_cpu.memory import Block, view_memory
from tinycore_cpu.symbols import process

# A worker that polled this often without work (some 0.1 ms) sleeps; a launcher that waited for
# so many polls yields its processor once. Threads that share a core must not poll for long.
_SPINS = 5000
_PATIENCE = 2000
_CROWDED = 20
_PLACEABLE = 8 * pool_ir.MASK_BYTES
_STACK_BYTES = 16 << 20
_JOIN_S = 1.0

FUNCTIONS = ("work", "launch", "replay", "stop")


class Pool(Protocol):
    """What runs the tasks of a launch; `threads` is how many it runs at once."""

    threads: int

    def launch(self, kernel: int, arguments: int, tasks: int) -> None:
        """Run tasks 0 .. tasks - 1 of a kernel and return when all are done."""

    def replay(self, table: int, count: int) -> None:
        """Run a table of launches in order: rows of kernel, arguments, tasks."""

    def close(self) -> None:
        """Send the threads home; called once, when no launch is in progress."""


class NativePool:
    """A pool whose launches take half a microsecond; its threads start at the first launch.

    Safe to use from several threads: one launch or table after another.
    """

    def __init__(self, code: Image, threads: int) -> None:
        self.threads = threads
        self._code = code
        self._control = Block(threads * pool_ir.SLOT_BYTES, pool_ir.SLOT_BYTES)
        self._address = self._control.address
        self._workers: list[threading.Thread] = []
        self._started = False
        self._lock = threading.Lock()
        self._launch = _function(code, "launch", 4)
        self._replay = _function(code, "replay", 3)
        self._write_control()

    def launch(self, kernel: int, arguments: int, tasks: int) -> None:
        """Run tasks 0 .. tasks - 1 of a kernel, shared among the threads."""
        with self._lock:
            if not self._started:
                self._start()
            self._launch(self._address, kernel, arguments, tasks)

    def replay(self, table: int, count: int) -> None:
        """Run a table of launches in order, all in one native call."""
        with self._lock:
            if not self._started:
                self._start()
            self._replay(self._address, table, count)

    def close(self) -> None:
        """Send the threads home and wait for them, a second at most; later launches run alone."""
        if not self._lock.acquire(timeout=_JOIN_S):
            return
        if self._started:
            _function(self._code, "stop", 1)(self._address)
        self._started = True
        self._put(pool_ir.THREADS_AT, 1)
        self._lock.release()
        for worker in self._workers:
            worker.join(_JOIN_S)

    def _write_control(self) -> None:
        allowed = host.allowed_cpus()
        cores = host.core_count()
        polls = (_SPINS, _PATIENCE) if self.threads <= cores else (_CROWDED, _CROWDED)
        placing = 1 < self.threads <= len(allowed) and (os.cpu_count() or 0) <= _PLACEABLE
        self._put(pool_ir.THREADS_AT, self.threads)
        self._put(pool_ir.SPINS_AT, polls[0])
        self._put(pool_ir.PATIENCE_AT, polls[1])
        self._put(pool_ir.PLACING_AT, int(placing))
        mask = sum(1 << cpu for cpu in allowed) if placing else 0
        place = self._address + pool_ir.ALLOWED_AT
        view_memory(place, pool_ir.MASK_BYTES)[:] = mask.to_bytes(pool_ir.MASK_BYTES, "little")

    def _start(self) -> None:
        self._started = True
        old = threading.stack_size(_STACK_BYTES)
        try:
            for index in range(1, self.threads):
                self._workers.append(self._start_worker(index))
        finally:
            threading.stack_size(old)

    def _start_worker(self, index: int) -> threading.Thread:
        slot = self._address + index * pool_ir.SLOT_BYTES
        process().pthread_mutex_init(ctypes.c_void_p(slot + pool_ir.MUTEX_AT), None)
        process().pthread_cond_init(ctypes.c_void_p(slot + pool_ir.CONDITION_AT), None)
        ctypes.c_int32.from_address(slot + pool_ir.AVOIDED_AT).value = -1
        work = _function(self._code, "work", 2)
        arguments = (self._address, index)
        name = f"tinycore-cpu-{index}"
        worker = threading.Thread(target=work, args=arguments, name=name, daemon=True)
        worker.start()
        ctypes.c_int32.from_address(slot + pool_ir.THREAD_ID_AT).value = worker.native_id or 0
        return worker

    def _put(self, offset: int, value: int) -> None:
        ctypes.c_int64.from_address(self._address + offset).value = value


def _function(code: Image, name: str, arity: int) -> Callable[..., None]:
    """A native function of addresses and 64-bit numbers; calling it lets go of the GIL."""
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arity)
    return prototype(code.functions[name])
