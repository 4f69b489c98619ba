"""The one pool of this process: made at the first launch, again after a fork, ended at exit.

In: the number of threads. Out: a `Pool`. A child process has the memory of its parent's pool but
not its threads, so it gets a new one. Next: program.py and graph.py launch on it.
"""

from __future__ import annotations

import atexit
import os
import platform
import sys
import threading
from collections.abc import Callable

from tinycore_cpu import host
from tinycore_cpu.loader import load_object
from tinycore_cpu.memory import Block
from tinycore_cpu.pool import FUNCTIONS, NativePool, Pool
from tinycore_cpu.pool_ir import pool_module
from tinycore_cpu.symbols import has_symbols
from tinycore_cpu.system_ir import placing_text, sleeping_text
from tinycore_cpu.threads import PortablePool

_FUTEX = ("syscall",)
_CONDITION = ("pthread_cond_wait", "pthread_cond_signal", "pthread_mutex_lock")
_PLACING = ("sched_getcpu", "sched_setaffinity")
_FAMILIES = {"x86_64": "x86", "aarch64": "arm", "arm64": "arm"}


class SharedPool:
    """Holds the pool of a process; `get` is cheap, so that nobody keeps a pool over a fork."""

    def __init__(self, threads: int, compile_text: Callable[[str], bytes]) -> None:
        self.threads = threads
        self._compile = compile_text
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._scratch = Block(1)
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def get(self) -> Pool:
        """The pool of this process, its threads not yet started if it was never used."""
        if self._pool is None:
            self._make()
        assert self._pool is not None, "made above"
        return self._pool

    def scratch(self, size_bytes: int) -> Block:
        """Memory for launches to work in: one for all, so that it stays in the caches.

        A larger request gets new memory; who holds a block may go on using it.
        """
        with self._lock:
            if self._scratch.size_bytes < size_bytes:
                self._scratch = Block(size_bytes)
            return self._scratch

    def close(self) -> None:
        """End the threads; a later `get` makes new ones."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()
            self._pool = None

    def _make(self) -> None:
        with self._lock:
            if self._pool is None:
                self._pool = make_pool(self.threads, self._compile)

    def _forget(self) -> None:
        # Another thread may have held the lock at the fork; it does not exist in this process.
        self._lock = threading.Lock()
        self._pool = None


def make_pool(threads: int, compile_text: Callable[[str], bytes]) -> Pool:
    """A pool of so many threads, native where this system has what it takes."""
    text = native_text()
    if text is None:
        return PortablePool(threads)
    code = load_object(compile_text(text), FUNCTIONS)
    return NativePool(code, threads)


def native_text() -> str | None:
    """The IR of the native pool for this system; None if only the portable pool can run."""
    family = _FAMILIES.get(platform.machine().lower())
    if family is None or sys.platform == "win32" or not has_symbols(*_CONDITION):
        return None
    futex = sys.platform == "linux" and has_symbols(*_FUTEX)
    placed = futex and has_symbols(*_PLACING) and bool(host.allowed_cpus())
    return pool_module(family, sleeping_text(family, futex), placing_text(placed))
