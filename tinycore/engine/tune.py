"""BEAM: the plan of a kernel by measurement, or from the actions that were measured before.

Comes in: a scheduled kernel and an open device. Goes out: a plan. Candidates are compiled by
several worker processes and run by another, so that one that crashes or hangs costs itself alone;
what is found is kept on disk as text (worker.py, codegen/optimize/search.py).
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue
from threading import Timer
from typing import Any

from tinycore import cache
from tinycore.codegen.optimize import optimize
from tinycore.codegen.optimize.actions import SCHEMA, apply_all
from tinycore.codegen.optimize.edit import Illegal
from tinycore.codegen.optimize.pieces import as_plan
from tinycore.codegen.optimize.search import Actions, search
from tinycore.config import BEAM, CACHELEVEL, NOOPT, PARALLEL, SETTINGS
from tinycore.errors import warn
from tinycore.runtime.device import OpenDevice
from tinycore.uop.printer import canonical, kernel_key, show
from tinycore.uop.tree import Kernel, Plan

TABLE = "tuned"
COMPILE_S = 60.0
RUN_S = 20.0
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
    entry = cache.shared().get(TABLE, key) if CACHELEVEL.value >= 2 else None
    found: dict[str, Any] = {} if entry is None else json.loads(entry)
    if found.get("beam", 0) < width:
        with closing(Tuner(kernel, device)) as tuner:
            if tuner.broken:
                warn(f"BEAM: {device.name} cannot be tuned: {tuner.broken}; BEAM=0 is used")
                return optimize(kernel, device.caps)
            actions = search(kernel, device.caps, width, tuner.evaluate)
        found = {"beam": width, "actions": actions}
        if CACHELEVEL.value >= 2:
            cache.shared().put(TABLE, key, json.dumps(found).encode())
    try:
        return as_plan(apply_all(kernel, found["actions"]))
    except Illegal:
        return optimize(kernel, device.caps)


class Lost(Exception):
    """A worker crashed, or was ended because it took too long."""


class Worker:
    """A process that answers requests; one that is lost is started anew at the next."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, timeout_s: float, *request: Any) -> Any:
        """The answer to a request. Raises: Lost."""
        process = self.process = self.process or _start()
        assert process.stdin is not None and process.stdout is not None
        timer = Timer(timeout_s, process.kill)
        timer.start()
        try:
            pickle.dump(request, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            self.close()
            hung = not timer.is_alive()
            raise Lost(f"ended after {timeout_s:g} s" if hung else "crashed") from None
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        self.process = None


def _start() -> subprocess.Popen[bytes]:
    """A worker that sees the same packages and settings; it may not search, and prints nothing."""
    paths = os.pathsep.join([path for path in sys.path if path])
    chosen = {name: str(row.value) for name, row in SETTINGS.items() if row.value != row.default}
    environment = os.environ | chosen | {"PYTHONPATH": paths, "BEAM": "0", "DEBUG": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "tinycore.engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


class Tuner:
    """The workers of one search for a kernel in canonical names: some compile, one runs."""

    def __init__(self, kernel: Kernel, device: OpenDevice) -> None:
        self.text = show(kernel)
        self.device = device.name
        self.arch = device.target.arch
        self.compilers = [Worker() for _ in range(PARALLEL.value or os.cpu_count() or 1)]
        self.idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self.compilers:
            self.idle.put(worker)
        self.runner = Worker()
        self.compiled: dict[Actions, object] = {}
        self.reference = self._compile(())
        answer = self._seconds(self.reference)
        self.broken = answer if isinstance(answer, str) else ""

    def close(self) -> None:
        """End the workers."""
        for worker in (*self.compilers, self.runner):
            worker.close()

    def evaluate(self, candidates: Sequence[Actions]) -> list[float | str]:
        """The seconds of each candidate, the best measured in turns, or why it has none."""
        with ThreadPoolExecutor(len(self.compilers)) as pool:
            artifacts = list(pool.map(self._compile, candidates))
        pairs = zip(candidates, artifacts, strict=True)
        found = {actions: self._seconds(artifact) for actions, artifact in pairs}
        best = min([time for time in found.values() if isinstance(time, float)], default=0.0)
        close = [
            one for one, time in found.items() if isinstance(time, float) and time <= best * CLOSE
        ]
        found.update(self._raced(close[:FINALISTS]))
        return [found[actions] for actions in candidates]

    def _compile(self, actions: Actions) -> object:
        """An artifact, which workers read, or why there is none; each thread has a worker."""
        if actions not in self.compiled:
            worker = self.idle.get()
            try:
                made = worker.ask(COMPILE_S, "compile", self.device, self.arch, self.text, actions)
            except Lost as lost:
                made = f"compiler {lost}"
            self.idle.put(worker)
            self.compiled[actions] = made
        return self.compiled[actions]

    def _seconds(self, artifact: object) -> float | str:
        """The time of a first run; a new runner first computes what is wanted."""
        if isinstance(artifact, str):
            return artifact
        try:
            if self.runner.process is None:
                wanted = (self.device, self.text, self.reference)
                cause = self.runner.ask(COMPILE_S, "prepare", *wanted)
                if cause:
                    return str(cause)
            answer: float | str = self.runner.ask(RUN_S, "check", artifact)
        except Lost as lost:
            return f"the candidate {lost}"
        return answer

    def _raced(self, close: list[Actions]) -> dict[Actions, float | str]:
        """Times of candidates that ran well, measured in turns."""
        if len(close) < 2 or self.runner.process is None:
            return {}
        artifacts = [self.compiled[actions] for actions in close]
        try:
            times = self.runner.ask(RUN_S * len(close), "race", artifacts, ROUNDS)
        except Lost:
            return {}
        return dict(zip(close, times, strict=True)) if isinstance(times, list) else {}
