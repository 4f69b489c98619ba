"""One contender in a process of its own, driven by a pipe: a JSON line in, a JSON line out.

Comes in: {"prepare": [case, sizes], "folder": path}, {"time": set} or {"check": true}. Goes out:
seconds, counts, errors relative to the exact values in the folder, or why there are none. Only one
contender is active at a time; the parent waits for each answer. Next file: contender.py.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf, isfinite
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from numpy.typing import NDArray

from benchmarks.cases import CASES, SETS, TOLERANCES, Case, LeftOut, Sets
from benchmarks.checks import loaded, relative_error, worst
from benchmarks.formulas import LAUNCHES

TURN_S = 0.01  # a turn times calls until they took so long together
MOST_CALLS = 20

Run = Callable[[int], Any]
Answer = dict[str, Any]


class Library(Protocol):
    """What a module contender_*.py offers; `counts` may be missing."""

    def version(self) -> str:
        """What ran."""

    def prepare(self, case: Case, sets: Sets) -> Run:
        """A call on one of the sets that returns when its outputs are there. Raises: LeftOut."""

    def to_numpy(self, output: Any) -> NDArray[Any]:
        """The values of one output."""

    def poison(self, output: Any) -> None:
        """Overwrite one output, so that a call that computes nothing shows."""

    def counts(self) -> Mapping[str, int]:
        """Running totals of launches and bytes."""


class Server:
    """Answers requests about one case at a time."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.run: Run = lambda k: None
        self.output: Any = None
        self.timed = 0

    def answer(self, request: Mapping[str, Any]) -> Answer:
        """What one request asks for; what goes wrong in it is an answer too."""
        try:
            if "prepare" in request:
                name, sizes = request["prepare"]
                return self.prepare(CASES[name].at(tuple(sizes)), Path(request["folder"]))
            if "time" in request:
                return self.time(request["time"])
            return {"error": self.check_again()}
        except LeftOut as reason:
            return {"left_out": str(reason)}
        except Exception as error:  # a contender's failure costs its row alone
            return {"failure": f"{type(error).__name__}: {error}"[:500]}

    def prepare(self, case: Case, folder: Path) -> Answer:
        """Make the call and its inputs, and check its outputs: nothing is timed if one is wrong."""
        self.run, self.output = lambda k: None, None
        gc.collect()
        self.case, self.folder, self.steps = case, folder, 0
        self.run = self.library.prepare(case, case.inputs())
        errors = [self._error(k) for k in (*range(SETS), *range(SETS))]
        return {"version": self.library.version(), "error": self._judged(errors)}

    def time(self, k: int) -> Answer:
        """The median of some calls, each on the next set, after one that is not timed.

        Of a ceiling it is the least: its calls try different ways.
        """
        self.output = self.run(k)
        before = self._counts()
        seconds: list[float] = []
        repeats = getattr(self.run, "repeats", 0)  # a ceiling does its work several times a call
        with _no_garbage_collection():
            while sum(seconds) < TURN_S and len(seconds) < MOST_CALLS:
                self._poison()
                self.timed = (k + 1 + len(seconds)) % SETS
                begin = time.perf_counter()
                self.output = self.run(self.timed)
                seconds.append((time.perf_counter() - begin) / (repeats or 1))
        after = self._counts()
        counts = {name: (after[name] - before[name]) // len(seconds) for name in after}
        self._check_launches(counts)
        return {"seconds": min(seconds) if repeats else median(seconds), "counts": counts}

    def check_again(self) -> float:
        """The largest error of the last timed call and of new ones."""
        last = self._error_of(self.output, self.timed)
        return self._judged([last, *(self._error(k) for k in range(SETS))])

    def _error(self, k: int) -> float:
        self._poison()
        self.output = self.run(k)
        return self._error_of(self.output, k)

    def _error_of(self, output: Any, k: int) -> float:
        found = [self.library.to_numpy(one) for one in outputs(output)]
        wanted = loaded(self.folder, k)
        if not found:  # a ceiling computes nothing
            return 0.0
        if self.case.facts.learns:
            return self._learning_error(float(found[0]), float(wanted[0]))
        return worst([relative_error(*pair) for pair in zip(found, wanted, strict=True)])

    def _learning_error(self, loss: float, first: float) -> float:
        """Of the first loss; from then on every set's is finite, and smaller than at first."""
        self.steps += 1
        if self.steps == 1:
            return abs(loss - first) / first
        is_fine = isfinite(loss) and (loss < first or self.steps <= SETS)
        return 0.0 if is_fine else inf

    def _judged(self, errors: Sequence[float]) -> float:
        error, most = worst(errors), TOLERANCES[self.case.dtype]
        if not error <= most:
            raise ArithmeticError(f"relative error {error:.1e}; expected at most {most:.0e}")
        return error

    def _check_launches(self, counts: Mapping[str, int]) -> None:
        wanted = LAUNCHES if self.case.formula == "launches" else counts.get("launches")
        if counts.get("launches", wanted) != wanted:
            raise ArithmeticError(f"{counts['launches']} launches; expected {wanted}")

    def _poison(self) -> None:
        for output in outputs(self.output):
            self.library.poison(output)
        self.output = None

    def _counts(self) -> Mapping[str, int]:
        counts = getattr(self.library, "counts", dict)
        found: Mapping[str, int] = counts()
        return found


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def outputs(output: Any) -> list[Any]:
    """The outputs of a call as a list; none of a ceiling."""
    if output is None:
        return []
    return list(output) if isinstance(output, (list, tuple)) else [output]


def answers(name: str) -> Callable[[Mapping[str, Any]], Answer]:
    """What answers for a module; if it cannot be imported, the reason is every answer."""
    try:
        return Server(importlib.import_module(name)).answer
    except ImportError as error:
        failure = f"{type(error).__name__}: {error}"
        return lambda request: {"failure": failure}


def main() -> None:
    """Answer requests until the pipe closes."""
    out, sys.stdout = sys.stdout, sys.stderr
    answer = answers(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main()
