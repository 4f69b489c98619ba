"""Replays captured runs: each launch has a kernel object of its own, its arguments set already.

In: calls of programs. Out: their run, in order. Launches whose arguments stay the same from replay
to replay are recorded by the driver, where it can; one that changed is queued by itself from then
on. Next: device.py.
"""

from __future__ import annotations

import ctypes
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from tinycore.backend import Call, Launch, Program, Unsupported
from tinycore_qcom.api import OpenCLError
from tinycore_qcom.program import Kernel, QueuedProgram
from tinycore_qcom.queue import Queue
from tinycore_qcom.recording import Recorder, Recording, Step

_TABLES = 64
# Replays of a run before it is recorded: the first ones tell which arguments change.
_TRIALS = 2
_WORTH_RECORDING = 2

Enqueue = Callable[[object], None]
# What a run's calls have in common at every replay; their buffers and values may change.
_Run = tuple[tuple[Program, ...], tuple[Launch, ...]]


class QueueGraph:
    """Replays runs; safe to use from several threads, one replay after another."""

    def __init__(self, queue: Queue, recorder: Recorder | None) -> None:
        self._queue = queue
        self._recorder = recorder
        self._lock = threading.Lock()
        self._tables: dict[_Run, _Table] = {}

    def replay(self, calls: Sequence[Call]) -> None:
        """Run the calls in order, each after the one before it.

        Raises: LaunchError if the driver refuses one.
        """
        if not calls:
            return
        with self._lock, self._queue.errors(f"replay of {len(calls)} launches"):
            table = self._table(tuple(calls))
            commands = table.commands()
            if not commands:
                return
            event = self._queue.mark()
            for enqueue in commands[:-1]:
                enqueue(None)
            commands[-1](None if event is None else ctypes.byref(event))
        self._queue.launched(table.name, event)
        self._queue.flush()

    def _table(self, calls: tuple[Call, ...]) -> _Table:
        key = tuple([call.program for call in calls]), tuple([call.launch for call in calls])
        # It is put back with its arguments set, behind all that were used before.
        table = self._tables.pop(key, None) or _Table(calls, self._recorder)
        table.update(calls)
        self._tables[key] = table
        if len(self._tables) > _TABLES:
            del self._tables[next(iter(self._tables))]
        return table


class _Table:
    """Launches of one run, ready to be queued."""

    def __init__(self, calls: tuple[Call, ...], recorder: Recorder | None) -> None:
        programs = [_program(call) for call in calls]
        self.name = f"{programs[0].name} to {programs[-1].name}, {len(calls)} launches"
        self._calls = list(calls)
        self._recorder = recorder
        self._steps: list[Step] = []
        for program, call in zip(programs, calls, strict=True):
            step = Step(Kernel(program.binary, program.name), call.launch)
            step.kernel.fill(call.buffers, call.values)
            self._steps.append(step)
        self._changing = [False] * len(calls)
        self._commands: list[Enqueue] = []
        self._replays = 0

    def update(self, calls: tuple[Call, ...]) -> None:
        """Take the arguments of the calls that changed."""
        old = self._calls
        for index, call in enumerate(calls):
            if call is old[index]:
                continue
            self._steps[index].kernel.fill(call.buffers, call.values)
            old[index] = call
            if not self._changing[index]:
                self._changing[index] = True
                self._commands = []

    def commands(self) -> list[Enqueue]:
        """What queues the run, in order; the last takes the event."""
        self._replays += 1
        if not self._commands or self._replays == _TRIALS:
            recorder = self._recorder if self._replays >= _TRIALS else None
            self._commands = list(self._enqueues(recorder))
        return self._commands

    def _enqueues(self, recorder: Recorder | None) -> Iterator[Enqueue]:
        rows = zip(self._changing, self._steps, strict=True)
        for changing, group in groupby(rows, key=operator.itemgetter(0)):
            steps = [step for _, step in group if 0 not in step.launch.grid]
            recording = None if changing else _recorded(recorder, steps)
            if recording:
                yield recording.enqueue
            else:
                yield from (step.kernel.enqueuer(step.launch) for step in steps)


def _recorded(recorder: Recorder | None, steps: Sequence[Step]) -> Recording | None:
    """The launches as one command; None where that is not to be had."""
    if recorder is None or len(steps) < _WORTH_RECORDING:
        return None
    try:
        return recorder.record(steps)
    except OpenCLError:  # each launch can still be queued by itself
        return None


def _program(call: Call) -> QueuedProgram:
    program = call.program
    assert isinstance(program, QueuedProgram), f"{program!r} was not loaded by this device"
    if call.descs:
        raise Unsupported(f"{program.name}: {len(call.descs)} descriptors given; expected none")
    return program
