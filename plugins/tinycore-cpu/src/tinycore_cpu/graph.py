"""Runs many launches in one native call.

In: calls of programs. Out: their run, in order. Launches are a table in native memory, and only
rows whose call changed are written again. Next: device.py.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence

from tinycore.backend import Call, Handle
from tinycore_cpu.memory import Block, view_memory
from tinycore_cpu.program import Arguments, CPUProgram, task_count
from tinycore_cpu.shared import SharedPool

_ROW = struct.Struct("@3q")
_TABLES = 64


class CPUGraph:
    """Replays runs; safe to use from several threads, one replay after another."""

    def __init__(self, pool: SharedPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._tables: dict[tuple[int, int], _Table] = {}

    def replay(self, calls: Sequence[Call]) -> None:
        """Run the calls in order, each after the one before it.

        A run whose `Call` objects are those of its last replay costs no work a call.
        """
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
    """Launches in native memory: rows of kernel, arguments, tasks."""

    def __init__(self, calls: tuple[Call, ...], threads: int) -> None:
        slots = [_slots(call) for call in calls]
        self._calls = list(calls)
        self._rows = Block(len(calls) * _ROW.size)
        self._arguments = [Arguments(len(row)) for row in slots]
        self.address = self._rows.address
        view = view_memory(self.address, len(calls) * _ROW.size)
        for index, call in enumerate(calls):
            arguments = self._arguments[index]
            arguments.fill(*slots[index])
            tasks = task_count(call.launch, threads)
            row = (_program(call).address, arguments.address, tasks)
            _ROW.pack_into(view, index * _ROW.size, *row)

    def update(self, calls: tuple[Call, ...]) -> bool:
        """Take the arguments of changed calls; False if the calls are of another run."""
        old = self._calls
        for index, call in enumerate(calls):
            if call is old[index]:
                continue
            if not _alike(call, old[index]):
                return False
            self._arguments[index].fill(*_slots(call))
            old[index] = call
        return True


def _alike(new: Call, old: Call) -> bool:
    same = new.program is old.program and new.launch == old.launch
    counts = (len(new.buffers), len(new.values)) == (len(old.buffers), len(old.values))
    return same and counts


def _program(call: Call) -> CPUProgram:
    program = call.program
    assert isinstance(program, CPUProgram), f"{program!r} was not loaded by this device"
    return program


def _slots(call: Call) -> tuple[Handle, ...]:
    return _program(call).slots(call.buffers, call.values, call.launch, call.descs)
