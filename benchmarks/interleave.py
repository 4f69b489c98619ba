"""Times contenders against each other: one turn each, again and again.

Comes in: a case and contenders. Goes out: a row. Machines are shared and noisy: only ratios of
turns taken one after another in one run count, each after a pause. Next file: report.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.cases import SETS, Case
from benchmarks.checks import save
from benchmarks.contender import Contender, Failure
from benchmarks.row import CEILINGS, OURS, Row

PAUSE_S = 0.05  # PyTorch's pool goes on spinning for milliseconds after its turn
PREPARE_S = 180.0  # compiling and checking; a contender that takes longer is cut off
TURN_S = 60.0
FEW_TURNS = 3  # of a contender that is FAR times slower than the fastest: it decides nothing
FAR = 20.0


def measure(case: Case, contenders: Sequence[Contender], pairs: int) -> Row:
    """The medians of `pairs` interleaved turns of each contender that takes part in the case."""
    row = Row(case)
    with TemporaryDirectory() as folder:
        save(case, Path(folder))
        request = {"prepare": [case.name, list(case.sizes)], "folder": folder}
        taking = [one for one in contenders if _prepared(row, one, request)]
        times = _timed(row, taking, pairs)
        for one in taking:
            if one.name in times:
                _checked(row, one)
    row.load = os.getloadavg()[0]
    row.times = {name: found for name, found in times.items() if name not in row.failures}
    return row


def _prepared(row: Row, contender: Contender, request: Mapping[str, Any]) -> bool:
    try:
        answer = contender.ask(request, PREPARE_S)
    except Failure as failure:
        row.failures[contender.name] = str(failure)
        return False
    if "left_out" in answer:
        return False
    row.versions[contender.name] = answer["version"]
    row.errors[contender.name] = answer["error"]
    return True


def _timed(row: Row, contenders: Sequence[Contender], pairs: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    running = list(contenders)
    for turn in range(pairs):
        for contender in running:
            time.sleep(PAUSE_S)
            try:
                answer = contender.ask({"time": turn % SETS}, TURN_S)
            except Failure as failure:
                row.failures[contender.name] = str(failure)
                continue
            times[contender.name].append(answer["seconds"])
            row.counts[contender.name] = answer["counts"]
        running = [one for one in running if one.name not in row.failures]
        if turn + 1 == FEW_TURNS:
            running = [one for one in running if not _is_far(one.name, times)]
    return {name: found for name, found in times.items() if found}


def _is_far(name: str, times: Mapping[str, Sequence[float]]) -> bool:
    kept = (OURS, *CEILINGS)
    peers = [median(found) for who, found in times.items() if found and who not in CEILINGS]
    return name not in kept and median(times[name]) > FAR * min(peers)


def _checked(row: Row, contender: Contender) -> None:
    if contender.name in row.failures:
        return
    try:
        answer = contender.ask({"check": True}, PREPARE_S)
        row.errors[contender.name] = max(answer["error"], row.errors[contender.name])
    except Failure as failure:
        row.failures[contender.name] = str(failure)
