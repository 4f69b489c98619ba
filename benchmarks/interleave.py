"""Times contenders against each other: one turn each, again and again, and compares medians.

Comes in: cases and contenders. Goes out: rows with medians, ratios and spreads. Machines are
shared and noisy: only ratios of turns taken one after another in one run count, each after a pause.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from benchmarks.cases import CASES, SETS

PAUSE_S = 0.05  # PyTorch's pool goes on spinning for milliseconds after its turn


class Row(NamedTuple):
    """One case at one size: medians in seconds, and how often each contender was the faster."""

    case: str
    sizes: tuple[int, ...]
    seconds: dict[str, float]
    spread: dict[str, float]
    rates: dict[str, float]
    unit: str

    def ratio(self, ours: str = "tinycore") -> float:
        """Our speed over the best peer's."""
        peers = [value for name, value in self.seconds.items() if name != ours]
        return min(peers) / self.seconds[ours] if peers else 1.0


class Contender:
    """A process that runs one contender."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.worker", name]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request. Raises: RuntimeError if the process ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: the process ended at {request}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(name: str, sizes: tuple[int, ...], contenders: Sequence[Contender], pairs: int) -> Row:
    """The medians of `pairs` interleaved turns of each contender that knows the case."""
    prepared = [(one, one.ask({"prepare": [name, list(sizes)]})) for one in contenders]
    contenders = [one for one, answer in prepared if answer["knows"]]
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(pairs):
        for contender in contenders:
            time.sleep(PAUSE_S)
            contender.ask({"time": turn % SETS})
            answer = contender.ask({"time": (turn + 1) % SETS})
            times[contender.name].append(answer["seconds"])
    case = CASES[name]
    seconds = {who: median(found) for who, found in times.items()}
    spread = {who: (max(found) - min(found)) / seconds[who] for who, found in times.items()}
    rates = {who: case.work(*sizes) / value / 1e9 for who, value in seconds.items()}
    return Row(name, sizes, seconds, spread, rates, case.unit)
