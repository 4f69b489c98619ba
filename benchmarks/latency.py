"""What compiling costs: nodes, index values, visits and match attempts, and the time beside them.

In: a few kernels, built anew each time with every cache off. Out: a table. The counts do not depend
on the machine; the times are the least of many runs, in milliseconds of Python, LLVM not included.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinycore import Device, Tensor
from tinycore.codegen.lower import lower
from tinycore.codegen.optimize import optimize
from tinycore.schedule import create_schedule
from tinycore.uop.index import TABLES
from tinycore.uop.ops import Interning, arena
from tinycore.uop.upat import COUNTERS

REPEATS = 20

# Gates: nodes, visits, attempts, milliseconds ("never worse than").
GATES = {
    "matmul 64x64": (1500, 5000, 5000, 8.0),
    "conv3x3 16-32 32x32": (3000, 9000, 9000, 15.0),
    "softmax 64x128": (1500, 5000, 5000, 8.0),
}


def graphs() -> dict[str, Callable[[], Tensor]]:
    """What is compiled."""
    a, b = Tensor.empty(64, 64).realize(), Tensor.empty(64, 64).realize()
    x, w = Tensor.empty(1, 16, 32, 32).realize(), Tensor.empty(32, 16, 3, 3).realize()
    rows = Tensor.empty(64, 128).realize()
    return {
        "matmul 64x64": lambda: a @ b,
        "conv3x3 16-32 32x32": lambda: x.conv2d(w, padding=1),
        "softmax 64x128": lambda: rows.softmax(1),
    }


def measure(make: Callable[[], Tensor]) -> dict[str, Any]:
    """Counts of one compilation, and the least time of several."""
    device = Device[Device.DEFAULT]
    found: dict[str, Any] = {}
    times = []
    for _ in range(REPEATS):
        TABLES.clear()
        COUNTERS.clear()
        nodes, values = Interning.created, TABLES.created
        begin = time.perf_counter()
        tensor = make()
        with arena():
            schedule = create_schedule([(tensor.uop, None)], device.caps)
            for scheduled in schedule.kernels:
                for launch in optimize(scheduled.kernel, device.caps).launches:
                    assert launch.kernel is not None
                    device.renderer.render(lower(launch.kernel, device.target))
        times.append(time.perf_counter() - begin)
        found = {
            "kernels": len(schedule.kernels),
            "nodes": Interning.created - nodes,
            "index values": TABLES.created - values,
            "visits": sum(counter.visits for counter in COUNTERS.values()),
            "attempts": sum(counter.attempts for counter in COUNTERS.values()),
        }
    return {**found, "ms": 1e3 * min(times)}


def main(target: Path | None) -> int:
    """Print the table; returns 1 if a count is over twice its gate."""
    rows = {name: measure(make) for name, make in graphs().items()}
    over = False
    for name, row in rows.items():
        nodes, visits, attempts, most_ms = GATES[name]
        print(
            f"{name:22} {row['kernels']} kernel  nodes {row['nodes']:5} (gate {nodes})  "
            f"index values {row['index values']:5}  visits {row['visits']:5} (gate {visits})  "
            f"attempts {row['attempts']:5} (gate {attempts})  {row['ms']:6.2f} ms (gate {most_ms})"
        )
        counts = (row["nodes"], row["visits"], row["attempts"])
        gates = (nodes, visits, attempts)
        over |= any(n > 2 * gate for n, gate in zip(counts, gates, strict=True))
    if target is not None:
        target.write_text(json.dumps(rows, indent=2))
    return int(over)
