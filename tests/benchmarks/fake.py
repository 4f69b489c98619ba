"""A contender of numpy that behaves as FAKE says: right, wrong, stale, crashing or hanging."""

import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Case, LeftOut, Sets

KIND = os.getenv("FAKE", "right")


def version() -> str:
    """What ran."""
    return f"fake, {KIND}"


def prepare(case: Case, sets: Sets) -> Any:
    """The exact values, unless it shall fail."""
    if KIND == "elsewhere":
        raise LeftOut("not here")
    kept = [np.stack(case.exact(arrays)).astype(np.float32) for arrays in sets]
    calls = 0

    def run(k: int) -> list[NDArray[Any]]:
        nonlocal calls
        calls += 1
        if KIND == "crash" and calls > 6:
            os._exit(3)
        if KIND == "hang" and calls > 6:
            time.sleep(60)
        if KIND == "stale":
            return list(kept[k])
        return [one + (KIND == "wrong") for one in kept[k]]

    return run


def to_numpy(output: NDArray[Any]) -> NDArray[Any]:
    """The values of an output."""
    return output


def poison(output: NDArray[Any]) -> None:
    """Overwrite an output."""
    output.fill(np.nan)
