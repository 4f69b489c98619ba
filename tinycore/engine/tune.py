"""BEAM: the plan of a kernel by measurement, now or earlier.

In: a scheduled kernel and an open device. Out: a plan. Worker processes run candidates, so that one
that crashes or hangs costs itself alone. Next file: worker.py.
"""

import json
import os
import pickle
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from subprocess import DEVNULL, PIPE, Popen
from threading import Timer
from typing import Any

from tinycore import cache
from tinycore.codegen.optimize import optimize
from tinycore.codegen.optimize.actions import SCHEMA, Actions, apply_all
from tinycore.codegen.optimize.edit import Illegal
from tinycore.codegen.optimize.heuristic import heuristic
from tinycore.codegen.optimize.pieces import as_plan
from tinycore.codegen.optimize.search import search
from tinycore.config import BEAM, CACHELEVEL, NOOPT, PARALLEL, SETTINGS
from tinycore.errors import warn
from tinycore.runtime.device import OpenDevice
from tinycore.uop.printer import canonical, kernel_key, show
from tinycore.uop.tree import Kernel, Plan

TABLE = "tuned"
COMPILE_S = 60.0
RUN_S, LEAST_S = 20.0, 2.0
PATIENCE = 200  # times the time of any candidate that another may take
FINALISTS = 8
CLOSE = 1.5
ROUNDS = 3


def plan_of(kernel: Kernel, device: OpenDevice) -> Plan:
    """The plan of `kernel` as BEAM asks: by the heuristic, from the cache, or by a search now."""
    width = 0 if NOOPT.value else BEAM.value
    if not width:
        return optimize(kernel, device.caps)
    kernel = canonical(kernel)._replace(name=kernel.name)
    key = f"{kernel_key(kernel)}|{device.target.arch}|{SCHEMA}"
    is_kept = CACHELEVEL.value >= 2
    entry = cache.shared().get(TABLE, key) if is_kept else None
    found = json.loads(entry or "{}")
    if found.get("beam", 0) < width:
        with closing(Tuner(kernel, device)) as tuner:
            (plain,) = tuner.evaluate([tuner.reference])
            if isinstance(plain, str):
                warn(f"BEAM: {device.name} cannot be tuned: {plain}; BEAM=0 is used")
                return optimize(kernel, device.caps)
            actions = search(kernel, device.caps, width, tuner.evaluate)
        found = {"beam": width, "actions": actions}
        if is_kept:
            cache.shared().put(TABLE, key, json.dumps(found).encode())
    try:
        return as_plan(apply_all(kernel, found["actions"]))
    except Illegal:
        return optimize(kernel, device.caps)


class Worker:
    """A process that answers requests; one that is lost is started anew at the next."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: Popen[bytes] | None = None

    def ask(self, timeout_s: float, *request: Any) -> Any:
        """The answer, or as text why there is none: the worker crashed or took too long."""
        process = self.process = self.process or _start()
        assert process.stdin and process.stdout
        timer = Timer(timeout_s, process.kill)
        timer.start()
        try:
            pickle.dump(request, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            self.close()
            why = "crashed" if timer.is_alive() else f"ended after {timeout_s:g} s"
            return f"{self.name} {why}"
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the process."""
        if self.process:
            self.process.kill()
            self.process.communicate()
        self.process = None


def _start() -> Popen[bytes]:
    """A worker with our packages and settings that does not search."""
    paths = os.pathsep.join(path for path in sys.path if path)
    chosen = {row.name: str(row.value) for row in SETTINGS.values()}
    environment = os.environ | chosen | {"PYTHONPATH": paths, "BEAM": "0", "DEBUG": "0"}
    command = sys.executable, "-m", "tinycore.engine.worker"
    return Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment)


class Tuner:
    """The workers of one search for a kernel in canonical names: some compile, one runs."""

    def __init__(self, kernel: Kernel, device: OpenDevice) -> None:
        self.text = show(kernel)
        self.device = device.name
        self.arch = device.target.arch
        # One thread would run a kernel as scheduled for minutes where others have thousands.
        has_groups = device.caps.max_group_threads > 1
        self.reference = heuristic(kernel, device.caps)[1] if has_groups else ()
        self.limit_s = RUN_S
        count = PARALLEL.value or os.cpu_count() or 1
        self.compilers = [Worker("compiler") for _ in range(count)]  # those that wait
        self.runner = Worker("the candidate")
        self.compiled: dict[Actions, object] = {}

    def close(self) -> None:
        """End the workers."""
        for worker in (*self.compilers, self.runner):
            worker.close()

    def evaluate(self, candidates: Sequence[Actions]) -> list[float | str]:
        """The seconds of each candidate, the best measured in turns, or why it has none."""
        with ThreadPoolExecutor(len(self.compilers)) as pool:
            list(pool.map(self._compiled, candidates))
        found = {actions: self._seconds(actions) for actions in candidates}
        times = {one: time for one, time in found.items() if isinstance(time, float)}
        limit = min(times.values(), default=0.0) * CLOSE
        close = [one for one in sorted(times, key=times.__getitem__) if times[one] <= limit]
        found |= self._raced(close[:FINALISTS])
        return [found[actions] for actions in candidates]

    def _compiled(self, actions: Actions) -> object:
        if actions not in self.compiled:
            worker = self.compilers.pop()
            request = "compile", self.device, self.arch, self.text, actions
            self.compiled[actions] = worker.ask(COMPILE_S, *request)
            self.compilers.append(worker)
        return self.compiled[actions]

    def _seconds(self, actions: Actions) -> float | str:
        artifact = self._compiled(actions)
        if isinstance(artifact, str):
            return artifact
        wanted = "prepare", self.device, self.text, self._compiled(self.reference)
        lacks = None if self.runner.process else self.runner.ask(COMPILE_S, *wanted)
        answer: float | str = lacks or self.runner.ask(self.limit_s, "check", artifact)
        if isinstance(answer, float):
            self.limit_s = min(self.limit_s, max(LEAST_S, PATIENCE * answer))
        return answer

    def _raced(self, close: list[Actions]) -> dict[Actions, float | str]:
        if len(close) < 2 or not self.runner.process:
            return {}
        artifacts = [self.compiled[actions] for actions in close]
        times = self.runner.ask(RUN_S * len(close), "race", artifacts, ROUNDS)
        return {} if isinstance(times, str) else dict(zip(close, times, strict=True))
