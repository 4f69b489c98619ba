"""A process that compiles, runs and times candidates, so that none can take its asker down.

Comes in: requests on standard input, as `Worker.ask` in tune.py writes them. Goes out: answers on
what was standard output, until the input ends. Run as `python -m tinycore.engine.worker`.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Sequence
from typing import Any

from tinycore.codegen.optimize.actions import apply_all
from tinycore.codegen.optimize.launches import as_plan
from tinycore.dtype import DType
from tinycore.engine.artifact import from_bytes, to_bytes
from tinycore.engine.compile import Loaded, build_plan
from tinycore.runtime.buffer import Buffer
from tinycore.runtime.ref import number
from tinycore.runtime.registry import Device
from tinycore.uop.ops import UOp, arena
from tinycore.uop.parser import parse
from tinycore.uop.shape import size
from tinycore.uop.sites import under, uses
from tinycore.uop.tree import Kernel
from tinycore.util import np

TOLERANCE = {8: 1e-9, 4: 1e-3, 2: 3e-2, 1: 0.3}
"""How far elements may differ, by their size in bytes: relative, and of the largest."""

SHORTEST_S = 0.002
"""A candidate runs until this much time has gone by, or three times."""


def compile_candidate(device: str, arch: str, text: str, actions: Sequence[str]) -> bytes:
    """The artifact of a kernel after some actions. Needs no device, only its package."""
    backend = Device.plugins()[device.partition(":")[0]].ready()
    with arena():
        plan = as_plan(apply_all(_kernel(text), actions))
        return to_bytes(build_plan(plan, backend.target(arch)))


def _kernel(text: str) -> Kernel:
    kernel = next(iter(parse(text).values()))
    assert isinstance(kernel, Kernel), "worker: a plan for a kernel"
    return kernel


class Bench:
    """The buffers of one kernel on a device, what it must compute, and the candidates so far."""

    def __init__(self, device: str, text: str, reference: bytes) -> None:
        self.device = Device[device]
        self.kernel = _kernel(text)
        self.values = {node.arg[0]: node.arg[2] for node in self.kernel.variables}
        numbers = np().random.default_rng(0)
        self.inputs = [_random(param, numbers) for param in self.kernel.params]
        counts = [(param.dtype, size(param.arg.shape)) for param in self.kernel.params]
        self.buffers = [Buffer(device, *count) for count in counts]
        written = {use.buffer for one in under(self.kernel.body) for use in _written(one)}
        self.outputs = [k for k, param in enumerate(self.kernel.params) if param in written]
        self.loaded: dict[int, tuple[Loaded, list[Buffer]]] = {}
        self.load(0, reference)
        self.wanted = self.results(0)

    def load(self, slot: int, artifact: bytes) -> None:
        """Keep a candidate in a slot."""
        loaded = Loaded(from_bytes(artifact), self.device)
        temps = [Buffer(self.device.name, *count) for count in loaded.artifact.temps]
        self.loaded[slot] = loaded, [*self.buffers, *temps]

    def check(self, slot: int, artifact: bytes) -> float | str:
        """The seconds of a first run, or what is wrong with its results."""
        self.load(slot, artifact)
        found = self.results(slot)
        for at, want, got in zip(self.outputs, self.wanted, found, strict=True):
            if not _close(want, got, self.kernel.params[at].dtype):
                return f"output {at} differs"
        return self.seconds(slot)

    def results(self, slot: int) -> list[Any]:
        """The outputs after one run on fresh inputs."""
        for buffer, data in zip(self.buffers, self.inputs, strict=True):
            buffer.copyin(data.tobytes())
        self.run(slot)
        found = []
        for at in self.outputs:
            data = self.buffers[at].as_memoryview()
            found.append(np().frombuffer(data, self.inputs[at].dtype))
        return found

    def run(self, slot: int) -> float:
        """Launch once and wait. Units: seconds."""
        loaded, buffers = self.loaded[slot]
        handles = [buffer.handle for buffer in buffers]
        start = time.perf_counter()
        parts = zip(loaded.artifact.parts, loaded.programs, strict=True)
        for part, program in parts:
            values = [self.values[name] for name in part.values]
            program([handles[k] for k in part.args], values, part.launch, False)
        self.device.synchronize()
        return time.perf_counter() - start

    def seconds(self, slot: int) -> float:
        """The best of some runs."""
        best, total, runs = float("inf"), 0.0, 0
        while total < SHORTEST_S or runs < 3:
            found = self.run(slot)
            best, total, runs = min(best, found), total + found, runs + 1
        return best

    def race(self, slots: Sequence[int], rounds: int) -> list[float]:
        """The best of each, run in turns so that all meet the same machine."""
        best = dict.fromkeys(slots, float("inf"))
        for _ in range(rounds):
            for slot in slots:
                best[slot] = min(best[slot], self.seconds(slot))
        return [best[slot] for slot in slots]


def _written(statement: UOp) -> list[Any]:
    return [use for use in uses(statement) if use.how != "load"]


def _random(param: UOp, numbers: Any) -> Any:
    """Stored elements of a parameter: numbers whose sums every type can hold."""
    count = size(param.arg.shape)
    if param.dtype.is_float:
        return number.encode(numbers.uniform(-1, 1, count).astype("float32"), param.dtype)
    most = 2 if param.dtype.kind == "b" else 64
    return numbers.integers(0, most, count).astype(number.storage(param.dtype))


def _close(want: Any, got: Any, dtype: DType) -> bool:
    """True if two outputs differ by no more than another order of sums may."""
    want, got = number.decode(want, dtype), number.decode(got, dtype)
    if not dtype.is_float:
        return bool((want == got).all())
    bound = TOLERANCE[dtype.itemsize]
    most = np().abs(want[np().isfinite(want)]).max(initial=1e-6)
    return bool(np().allclose(got, want, bound, bound * most, equal_nan=True))


def serve() -> None:
    """Answer requests until there are no more; what prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    bench: list[Bench] = []
    while True:
        try:
            name, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: Any = _answer(bench, name, arguments)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


def _answer(bench: list[Bench], name: str, arguments: list[Any]) -> Any:
    if name == "compile":
        return compile_candidate(*arguments)
    if name == "prepare":
        bench[:] = [Bench(*arguments)]
        return 0.0
    return bench[0].check(*arguments) if name == "check" else bench[0].race(*arguments)


if __name__ == "__main__":
    serve()
