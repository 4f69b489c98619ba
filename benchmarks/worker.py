"""One contender in a process of its own, driven by a pipe: a JSON line in, a JSON line out.

Comes in: {"prepare": [case, sizes]} or {"time": set}. Goes out: seconds, or what was prepared. Only
one contender is active at a time; the parent waits for each answer.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks.cases import CASES, SETS


def main() -> None:
    """Answer requests until the pipe closes."""
    contender: Any = importlib.import_module(f"benchmarks.contender_{sys.argv[1]}")
    run: Any = None
    out = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            name, sizes = request["prepare"]
            run, answer = _prepare(contender, name, tuple(sizes))
        else:
            answer = {"seconds": _timed(run, request["time"])}
        print(json.dumps(answer), file=out, flush=True)


def _prepare(contender: Any, name: str, sizes: tuple[int, ...]) -> tuple[Any, dict[str, Any]]:
    case = CASES[name]
    rng = np.random.default_rng(0)
    sets = [case.inputs(rng, sizes) for _ in range(SETS)]
    try:
        run = contender.prepare(name, sets)
    except KeyError:
        return None, {"knows": False}
    computes = getattr(contender, "COMPUTES", True)  # a ceiling has no result
    for k in (*range(SETS), *range(SETS)):
        output = run(k)
        if case.exact is not None and computes:
            result = contender.to_numpy(output)
            exact = case.exact(*[array.astype(np.float64) for array in sets[k]])
            error = float(np.abs(result - exact).max() / np.abs(exact).max())
            if not error < 1e-4:
                raise SystemExit(f"{name} {sizes}: relative error {error}; nothing was timed")
    return run, {"knows": True, "version": contender.version()}


def _timed(run: Any, k: int) -> float:
    begin = time.perf_counter()
    run(k)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
