"""What counting, opening, building, launching and replaying cost here: prints a table.

`python plugins/tinycore-qcom/tests/measure_launch.py`, on an otherwise idle machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from tinycore.backend import Call, Device, Launch
from tinycore_qcom import platforms
from tinycore_qcom.backend import OpenCLBackend
from tinycore_qcom.compiler import DriverCompiler

SOURCE = """
__kernel void add(__global float* out, __global const float* a, __global const float* b, long n) {
  long i = get_global_id(0);
  if (i < n) out[i] = a[i] + b[i];
}
// build %d
"""
COUNT = 1024
LAUNCH = Launch((8, 1, 1), (128, 1, 1))
TIMES = 5000
RUN = 100


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def mean_us(work: Callable[[], object], device: Device, times: int = TIMES) -> float:
    """The time of one call of many, until the device is idle. Units: microseconds."""

    def many() -> None:
        for _ in range(times):
            work()
        device.synchronize()

    many()
    return seconds(many) / times * 1e6


def rows() -> Iterator[tuple[str, float, str]]:
    """What was measured, the number and its unit."""
    backend = OpenCLBackend()
    yield "count", seconds(backend.count) * 1e3, "ms"
    yield "open", seconds(lambda: backend.open(0).close()) * 1e3, "ms"
    device = backend.open(0)
    compiler = DriverCompiler(platforms.devices()[0])
    yield "first build", seconds(lambda: compiler.compile(SOURCE % 0)) * 1e3, "ms"
    yield "build", seconds(lambda: compiler.compile(SOURCE % 1)) * 1e3, "ms"
    binary = compiler.compile(SOURCE % 2)
    yield "load", seconds(lambda: device.load(binary, "add")) * 1e3, "ms"
    program, allocator = device.load(binary, "add"), device.allocator
    handles = tuple(allocator.alloc(4 * COUNT, "global", 64) for _ in range(3))
    yield "launch", mean_us(lambda: program(handles, (COUNT,), LAUNCH), device), "us"
    yield "launch and wait", mean_us(lambda: program(handles, (COUNT,), LAUNCH, True), device), "us"
    calls = [Call(program, handles, (COUNT,), LAUNCH) for _ in range(RUN)]
    assert device.graph is not None
    replay = device.graph.replay
    yield "launch in a replay", mean_us(lambda: replay(calls), device, TIMES // RUN) / RUN, "us"
    device.close()


def main() -> None:
    """Print the table."""
    table = list(rows())
    print(platforms.devices()[0].name)
    for name, value, unit in table:
        print(f"{name:<20}{value:10.1f} {unit}")


if __name__ == "__main__":
    main()
