"""The pool where neither futex nor POSIX conditions are: Python threads, one call each.

In and out as pool.py, at some 40 us a launch in place of half a microsecond: each thread calls
the kernel through ctypes, which lets go of the GIL. shared.py chooses it.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from queue import SimpleQueue

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_ROW = ctypes.c_int64 * 3

Share = Callable[[], None]
"""One member's tasks of a launch, to be run by any thread."""


class PortablePool:
    """A pool of plain Python threads; safe to use from several threads."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._lock = threading.Lock()
        self._shares: SimpleQueue[tuple[Share, SimpleQueue[None]] | None] = SimpleQueue()
        self._workers: list[threading.Thread] = []

    def launch(self, kernel: int, arguments: int, tasks: int) -> None:
        """Run tasks 0 .. tasks - 1 of a kernel, shared among the threads."""
        with self._lock:
            self._start()
            self._launch(kernel, arguments, tasks)

    def replay(self, table: int, count: int) -> None:
        """Run a table of launches in order."""
        with self._lock:
            self._start()
            for kernel, arguments, tasks in (_ROW * count).from_address(table):
                self._launch(kernel, arguments, tasks)

    def close(self) -> None:
        """Send the threads home."""
        for _ in self._workers:
            self._shares.put(None)
        for worker in self._workers:
            worker.join()
        self._workers.clear()

    def _launch(self, kernel: int, arguments: int, tasks: int) -> None:
        call = _KERNEL(kernel)
        team = max(1, min(tasks, self.threads))
        # A queue of this launch alone: after an interrupt nothing of it is left for the next.
        done: SimpleQueue[None] = SimpleQueue()
        shares = [_share(call, arguments, tasks, member, team) for member in range(team)]
        for share in shares[1:]:
            self._shares.put((share, done))
        try:
            shares[0]()
        finally:
            for _ in shares[1:]:
                done.get()

    def _start(self) -> None:
        for index in range(len(self._workers) + 1, self.threads):
            name = f"tinycore-cpu-{index}"
            worker = threading.Thread(target=self._work, name=name, daemon=True)
            worker.start()
            self._workers.append(worker)

    def _work(self) -> None:
        while job := self._shares.get():
            share, done = job
            share()
            done.put(None)


def _share(
    call: Callable[[int, int, int], None],
    arguments: int,
    tasks: int,
    member: int,
    team: int,
) -> Share:
    """One member's tasks, to be run later; members differ by one task at most."""

    def run() -> None:
        for task in range(member * tasks // team, (member + 1) * tasks // team):
            call(arguments, task, tasks)

    return run
