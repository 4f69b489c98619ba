"""Loops of LLVM's language on every core: what the ceilings are measured with.

Comes in: the text of a function `run` of 64-bit integers. Goes out: a call that repeats it on all
cores at once, long enough that waking the threads does not count. Next: contender_fma.py.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import ceil

import llvmlite.binding as llvm

CORES = sorted(os.sched_getaffinity(0))
LEAST_S = 0.003

Function = Callable[..., int]
Work = Callable[[int, int], None]  # of a core's number, on a set of data


def features() -> Sequence[str]:
    """What this machine's processor has, in LLVM's words."""
    return [name for name, present in llvm.get_host_cpu_features().items() if present]


def compiled(text: str, arguments: int) -> Function:
    """The function `run` of a text; it takes so many integers and gives one."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * arguments)
    function = kind(engine.get_function_address("run"))

    def call(*given: int, kept: object = engine) -> int:
        return int(function(*given))

    return call


class Everywhere:
    """Calls of one of some works on each core at once: another work each call, `repeats` times.

    The works do the same in different ways, on one set of data after another.
    """

    def __init__(self, works: Sequence[Work], sets: int = 1) -> None:
        self.works = works
        self.sets = sets
        self.calls = 0
        self.repeats = 1
        self.pool = ThreadPoolExecutor(len(CORES))
        self.repeats = max(1, ceil(LEAST_S / self._seconds()))

    def __call__(self, k: int) -> None:
        work = self.works[self.calls % len(self.works)]
        self.calls += 1
        list(self.pool.map(partial(self._run, work, k), range(len(CORES))))

    def _seconds(self) -> float:
        """The least time of a few calls."""
        times = []
        for k in range(2 * len(self.works)):
            begin = time.perf_counter()
            self(k)
            times.append(time.perf_counter() - begin)
        return min(times)

    def _run(self, work: Work, k: int, number: int) -> None:
        os.sched_setaffinity(0, {CORES[number]})  # of this thread: two must not wake on one core
        for repeat in range(self.repeats):
            work(number, (k + repeat) % self.sets)
