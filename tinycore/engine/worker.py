"""A process that compiles, runs and times candidates, so that none can take its asker down.

In: requests of `Worker.ask` (tune.py) on standard input. Out: answers on standard output.
"""

import os
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from tinycore.codegen.optimize.actions import apply_all
from tinycore.codegen.optimize.pieces import as_plan
from tinycore.dtype import DType, dtypes
from tinycore.engine.plan import Artifact, build_plan, load
from tinycore.engine.run import BOUND, run_steps
from tinycore.runtime.buffer import Buffer
from tinycore.runtime.registry import Device
from tinycore.uop.ops import UOp, arena
from tinycore.uop.parser import parse
from tinycore.uop.tree import Kernel
from tinycore.util import np

TOLERANCE = {8: 1e-9, 4: 1e-3, 2: 3e-2, 1: 0.3}
"""How far elements may differ, by their size in bytes: relative, and of the largest."""

SHORTEST_S = 0.002
"""A candidate runs until this much time has gone by, or three times."""

Run = Callable[[], float]  # launches once and waits; the seconds it took


class Bench:
    """What a worker can be asked."""

    @staticmethod
    def compile(device: str, arch: str, text: str, actions: Sequence[str]) -> Artifact:
        """The artifact of a kernel after some actions; needs the package, but no device."""
        name, _, _ = device.partition(":")
        backend = Device.plugins()[name].ready()
        with arena():
            plan = as_plan(apply_all(_kernel(text), actions))
            return build_plan(plan, backend.target(arch))

    def prepare(self, device: str, text: str, reference: Artifact) -> None:
        """Make inputs of the kernel, and what it computes of them."""
        kernel = _kernel(text)
        numbers = np().random.default_rng(0)
        self.device = Device[device]
        BOUND.update({node.arg[0]: node.arg[2] for node in kernel.variables})
        self.inputs = [_random(param, numbers) for param in kernel.params]
        self.buffers = [Buffer(device, p.dtype, p.size) for p in kernel.params]
        self.wanted = self.results(self.ready(reference))

    def ready(self, artifact: Artifact) -> Run:
        """A candidate, ready to run."""
        steps, temps = load(artifact, self.device)
        fresh = [Buffer(self.device.name, dtypes.uint8, count) for count in temps]
        buffers = self.buffers + fresh

        def run() -> float:
            start = time.perf_counter()
            run_steps(steps, buffers, self.device)
            self.device.synchronize()
            return time.perf_counter() - start

        return run

    def check(self, artifact: Artifact) -> float | str:
        """The seconds of a first run, or what is wrong with its results."""
        run = self.ready(artifact)
        found = self.results(run)
        for at, buffer in enumerate(self.buffers):
            if not _close(self.wanted[at], found[at], buffer.dtype):
                return f"output {at} differs"
        return _seconds(run)

    def race(self, artifacts: Sequence[Artifact], rounds: int) -> list[float]:
        """The best of each, run in turns so that all meet the same machine."""
        runs = [self.ready(artifact) for artifact in artifacts]
        times = [[_seconds(run) for run in runs] for _ in range(rounds)]
        return list(map(min, *times))

    def results(self, run: Run) -> list[Any]:
        """What the parameters hold after one run on fresh inputs."""
        pairs = list(zip(self.buffers, self.inputs, strict=True))
        for buffer, data in pairs:
            buffer.copyin(data.tobytes())
        run()
        return [np().frombuffer(buffer.as_memoryview(), data.dtype) for buffer, data in pairs]


def _kernel(text: str) -> Kernel:
    kernel = next(iter(parse(text).values()))
    assert isinstance(kernel, Kernel), "worker: a plan for a kernel"
    return kernel


def _seconds(run: Run) -> float:
    times = [run(), run(), run()]
    while sum(times) < SHORTEST_S:
        times.append(run())
    return min(times)


def _random(param: UOp, numbers: Any) -> Any:
    count = param.size
    if param.is_float:
        return param.dtype.encode(numbers.uniform(-1, 1, count))
    most = 2 if param.dtype.kind == "b" else 64
    return param.dtype.encode(numbers.integers(0, most, count))


def _close(want: Any, got: Any, dtype: DType) -> bool:
    want, got = dtype.decode(want), dtype.decode(got)
    if not dtype.is_float:
        return bool((want == got).all())
    bound = TOLERANCE[dtype.itemsize]
    most = np().abs(want[np().isfinite(want)]).max(initial=1e-6)
    return bool(np().allclose(got, want, bound, bound * most, equal_nan=True))


def serve() -> None:
    """Answer requests until there are no more; what prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    bench = Bench()
    with suppress(EOFError):
        while True:
            name, *arguments = pickle.load(sys.stdin.buffer)
            try:
                answer = getattr(bench, name)(*arguments)
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
            pickle.dump(answer, answers)
            answers.flush()


if __name__ == "__main__":
    serve()
