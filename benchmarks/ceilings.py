"""What a device reaches of its own ceilings: kernels beside copies made by its driver.

In: the name of a device. Out: a table; every row is measured between copies of the same run, by the
device's own clock. A result is checked against float64 before anything is timed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from tinycore import Context, Device, GlobalCounters, Tensor
from tinycore.runtime.buffer import Buffer

PAIRS = 9
REST_S = 0.005
COPIES = 4  # for each measured time, queued together
CHECKED = 64  # rows of a result


class Case(NamedTuple):
    """A kernel, what it must compute in its first rows, its traffic and its work.

    Units: `traffic` in elements of float32, `operations` arithmetic ones.
    """

    make: Callable[[], Tensor]
    expected: Any
    traffic: int
    operations: int = 0


def cases(numbers: Any, exponent: int, side: int) -> dict[str, Case]:
    """The kernels, on 2**exponent elements and matrices of side x side."""
    data = numbers.standard_normal(1 << exponent, dtype="f4")
    flat = Tensor(data).realize()
    return _streams(data, flat, 1 << exponent // 2) | _products(numbers, data, flat, side)


def _streams(data: Any, flat: Tensor, width: int) -> dict[str, Case]:
    vector, rows = data[:CHECKED].astype("f8"), data.reshape(-1, width)
    table, count = flat.reshape(*rows.shape), len(data)
    head = rows[:CHECKED].astype("f8")
    grown = np.exp(head - head.max(1, keepdims=True))
    softmax = grown / grown.sum(1, keepdims=True)
    centred = head - head.mean(1, keepdims=True)
    layernorm = centred / np.sqrt(head.var(1, keepdims=True) + 1e-5)
    chain = np.maximum(2 * vector + 1, 0) + np.exp(vector) / 2
    columns, total = rows.sum(0, "f8")[:CHECKED], data.sum(dtype="f8")[None]
    return {
        "scale": Case(lambda: flat * 1.5, vector * 1.5, 2 * count),
        "chain": Case(lambda: (2.0 * flat + 1.0).relu() + flat.exp() / 2.0, chain, 2 * count),
        "sum of rows": Case(lambda: table.sum(1), head.sum(1), count),
        "sum of columns": Case(lambda: table.sum(0), columns, count),
        "sum of all": Case(lambda: flat.sum().reshape(1), total, count),
        "softmax": Case(lambda: table.softmax(1), softmax, 2 * count),
        "layernorm": Case(lambda: table.layernorm(), layernorm, 2 * count),
        "transpose": Case(lambda: table.T.contiguous(), rows.T[:CHECKED], 2 * count),
    }


def _products(numbers: Any, data: Any, flat: Tensor, side: int) -> dict[str, Case]:
    factors = [numbers.standard_normal((side, side), dtype="f4") for _ in range(2)]
    first, second = [Tensor(one).realize() for one in factors]
    head, work = factors[0][:CHECKED].astype("f8"), 2 * side**3
    product, turned = head @ factors[1], head @ factors[1].T
    biased = np.maximum(product + data[:side], 0)
    return {
        "matmul a @ b": Case(lambda: first @ second, product, 0, work),
        "matmul a @ b.T": Case(lambda: first @ second.T, turned, 0, work),
        "matmul, bias, relu": Case(lambda: (first @ second + flat[:side]).relu(), biased, 0, work),
    }


def main(name: str, exponent: int, side: int, path: Path | None) -> int:
    """Measure every case on a device; returns the exit status, 1 if a result is wrong."""
    device = Device[name]
    found: list[dict[str, Any]] = []
    with Context(DEV=name):
        chosen = cases(np.random.default_rng(0), exponent, side)
        source = Buffer(name, Tensor([0.0]).dtype, 1 << exponent)
        ends = Buffer(name, source.dtype, source.count), source
        for title, case in chosen.items():
            error = _error(case)
            row = {"case": title, "error": error} | _measured(device, case, ends)
            found.append(row)
            print(_line(row), flush=True)
    if path is not None:
        path.write_text(json.dumps({"device": device.describe(), "rows": found}, indent=2))
    return int(any(not row["error"] < 1e-4 for row in found))


def _error(case: Case) -> float:
    """The largest difference from float64 on some rows, relative to the largest number there."""
    want = case.expected
    got = case.make()[: len(want)].numpy()
    return float(np.abs(got - want).max() / np.abs(want).max())


def _measured(device: Any, case: Case, ends: tuple[Buffer, Buffer]) -> dict[str, float]:
    copies, kernels = [], []
    for _ in range(PAIRS + 1):
        time.sleep(REST_S)
        copies.append(_copy_s(device, *ends))
        time.sleep(REST_S)
        kernels.append(_kernel_s(case))
    copy_rate = 2 * ends[0].size_bytes / median(copies[1:])
    seconds = median(kernels[1:])
    spread = (max(kernels[1:]) - min(kernels[1:])) / seconds
    rate = 4 * case.traffic / seconds
    return {
        "seconds": seconds,
        "spread": spread,
        "bytes_per_s": rate,
        "copy_bytes_per_s": copy_rate,
        "of_copy": rate / copy_rate,
        "flop_per_s": case.operations / seconds,
    }


def _copy_s(device: Any, target: Buffer, source: Buffer) -> float:
    device.synchronize()
    begin = time.perf_counter()
    for _ in range(COPIES):
        device.memory("transfer", target.handle, source.handle, source.size_bytes)
    device.synchronize()
    return (time.perf_counter() - begin) / COPIES


def _kernel_s(case: Case) -> float:
    before = GlobalCounters.time_sum_s
    with Context(DEBUG=2), redirect_stdout(StringIO()):
        case.make().realize()
    return GlobalCounters.time_sum_s - before


def _line(row: dict[str, Any]) -> str:
    rate = f"{row['flop_per_s'] / 1e12:6.2f} TFLOP/s"
    if row["bytes_per_s"]:
        rate = f"{row['bytes_per_s'] / 1e12:6.3f} TB/s, {row['of_copy']:.2f} of a copy's"
    told = f"spread {100 * row['spread']:.0f} %, error {row['error']:.0e}"
    return f"{row['case']:20} {1e3 * row['seconds']:9.3f} ms {rate} ({told})"
