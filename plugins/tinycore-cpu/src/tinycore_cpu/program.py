"""A loaded kernel, and a table of launches that runs in one native call.

In: addresses and integers. Out: a run.

A kernel is `void k(ptr args, i64 task, i64 tasks)`. `args` are 8-byte slots: the addresses of the
buffers, then the values as integers. It does the share `task` of its grid, and is right for any
`tasks` from 1 on, in any order and at once: there are as many as threads, or as grid cells.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Sequence
from time import perf_counter

from tinycore.backend import Call, Handle, Launch, Unsupported
from tinycore_cpu.image import Image
from tinycore_cpu.memory import Block, view_memory
from tinycore_cpu.shared import SharedPool

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_SLOT_BYTES = 8
_ROW = struct.Struct("@3q")
_TABLES = 64


class Arguments:
    """Memory for the arguments of one kernel, filled in one step."""

    __slots__ = ("_block", "address", "count", "fill")

    def __init__(self, count: int) -> None:
        self.count = count
        self._block = Block(max(count, 1) * _SLOT_BYTES)
        self.address = self._block.address
        view = view_memory(self.address, self._block.size_bytes)
        packer = struct.Struct(f"@{count}q")

        def fill(*arguments: Handle) -> None:
            """Write all arguments; their number is fixed."""
            packer.pack_into(view, 0, *arguments)

        self.fill = fill


class CPUProgram:
    """A loaded kernel; safe to run from several threads, each launch with its own arguments."""

    def __init__(self, image: Image, name: str, pool: SharedPool) -> None:
        self.name = name
        self.address = image.functions[name]
        self._image = image
        self._pool = pool
        self._call = _KERNEL(self.address)
        self._spare: list[Arguments] = []

    def __call__(
        self,
        buffers: Sequence[Handle],
        values: Sequence[int],
        launch: Launch,
        wait: bool = False,
        descs: Sequence[bytes] = (),
    ) -> float | None:
        """Run once and return when it is done; with `wait`, the seconds it took."""
        if descs:
            raise Unsupported(f"{self.name}: {len(descs)} descriptors given; expected none")
        arguments = self._arguments(len(buffers) + len(values))
        arguments.fill(*buffers, *values)
        tasks = task_count(launch, self._pool.threads)
        start = perf_counter() if wait else 0.0
        if tasks == 1:
            self._call(arguments.address, 0, 1)
        else:
            self._pool.get().launch(self.address, arguments.address, tasks)
        time_s = perf_counter() - start if wait else None
        self._spare.append(arguments)
        return time_s

    def _arguments(self, count: int) -> Arguments:
        try:
            return self._spare.pop()
        except IndexError:  # the first launch, or several threads at once
            return Arguments(count)


def task_count(launch: Launch, threads: int) -> int:
    """How many tasks share the grid of a launch."""
    x, y, z = launch.grid
    return min(x * y * z, threads)


class CPUGraph:
    """Replays runs as tables; only rows whose call changed are written again."""

    def __init__(self, pool: SharedPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._tables: dict[tuple[int, int], _Table] = {}

    def replay(self, calls: Sequence[Call]) -> None:
        """Run the calls in order, each after the one before it."""
        if not calls:
            return
        with self._lock:
            table = self._table(tuple(calls))
            self._pool.get().replay(table.address, len(calls))

    def _table(self, calls: tuple[Call, ...]) -> _Table:
        key = (len(calls), id(calls[0].program))
        table = self._tables.get(key)
        if table is None or not table.update(calls):
            self._tables.pop(key, None)
            self._tables[key] = table = _Table(calls, self._pool.threads)
            while len(self._tables) > _TABLES:
                del self._tables[next(iter(self._tables))]
        return table


class _Table:
    """Launches in native memory: rows of (kernel, arguments, tasks)."""

    def __init__(self, calls: tuple[Call, ...], threads: int) -> None:
        self._calls = list(calls)
        self._rows = Block(len(calls) * _ROW.size)
        self._arguments = [Arguments(len(call.buffers) + len(call.values)) for call in calls]
        self.address = self._rows.address
        view = view_memory(self.address, len(calls) * _ROW.size)
        for index, call in enumerate(calls):
            arguments = self._arguments[index]
            arguments.fill(*call.buffers, *call.values)
            tasks = task_count(call.launch, threads)
            row = (_address(call), arguments.address, tasks)
            _ROW.pack_into(view, index * _ROW.size, *row)

    def update(self, calls: tuple[Call, ...]) -> bool:
        """Take the arguments of changed calls; False if the calls are of another run."""
        old = self._calls
        for index, call in enumerate(calls):
            if call is old[index]:
                continue
            if not _alike(call, old[index]):
                return False
            self._arguments[index].fill(*call.buffers, *call.values)
            old[index] = call
        return True


def _alike(new: Call, old: Call) -> bool:
    same = new.program is old.program and new.launch == old.launch
    counts = (len(new.buffers), len(new.values)) == (len(old.buffers), len(old.values))
    return same and counts and not new.descs


def _address(call: Call) -> int:
    program = call.program
    assert isinstance(program, CPUProgram), f"{program!r} was not loaded by this device"
    if call.descs:
        raise Unsupported(f"{program.name}: {len(call.descs)} descriptors given; expected none")
    return program.address
