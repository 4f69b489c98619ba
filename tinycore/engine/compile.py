"""A scheduled kernel becomes launches of a device, by way of two caches.

Comes in: a kernel tree and an open device. Goes out: programs with what a launch of each needs.
A kernel met before in this process costs a dictionary lookup; one met by another process is read
from disk, and neither optimised, lowered nor compiled. Next: plan.py puts launches in order.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from tinycore import config
from tinycore.cache import source_key
from tinycore.codegen.lower import lower
from tinycore.config import DEBUG
from tinycore.dtype import DType
from tinycore.engine.run import Step
from tinycore.engine.tune import plan_of
from tinycore.engine.work import name_of, work_of
from tinycore.runtime.contract import Launch, Target
from tinycore.runtime.device import OpenDevice, cached, compiler_key
from tinycore.runtime.errors import Unsupported
from tinycore.uop.index import Index
from tinycore.uop.ops import arena
from tinycore.uop.printer import kernel_key
from tinycore.uop.shape import size
from tinycore.uop.tree import Kernel, Plan


class Part(NamedTuple):
    """One launch: object code, the arguments it takes and its size.

    `args` number the parameters of the scheduled kernel, then the temporaries; `values` are the
    names of the variables it is told.
    """

    name: str
    binary: bytes
    args: tuple[int, ...]
    values: tuple[str, ...]
    launch: Launch


class Artifact(NamedTuple):
    """What the compiler leaves on disk of one scheduled kernel: the launches in order, and the
    element type and count of each temporary."""

    parts: tuple[Part, ...]
    temps: tuple[tuple[DType, int], ...]


class Loaded(NamedTuple):
    """An artifact on one device: the slots of its steps number the same arguments."""

    steps: tuple[Step, ...]
    temps: tuple[tuple[DType, int], ...]


_loaded: dict[tuple[str, str], Loaded] = {}


def load_kernel(kernel: Kernel, device: OpenDevice) -> Loaded:
    """The launches of `kernel` on `device`, from memory, from disk or made now; the first counts
    the work of all.

    Raises: CompileError, Unsupported.
    """
    # everything the binary depends on: kernel, architecture, compiler, settings, the code here
    settings = ",".join([f"{name}={value}" for name, value in config.key()])
    target = f"{device.target.arch}|{compiler_key(device.compiler)}"
    key = f"{kernel_key(kernel)}|{target}|{settings}|{source_key('tinycore')}"
    found = _loaded.get((device.name, key))
    if found is None:
        named = kernel._replace(name=name_of(kernel))
        entry = cached("kernels", key, lambda: pickle.dumps(build(named, device)))
        steps, temps = load(pickle.loads(entry), device)
        operations, traffic_bytes = work_of(kernel)
        first = steps[0]._replace(operations=operations, traffic_bytes=traffic_bytes)
        found = _loaded[(device.name, key)] = Loaded((first, *steps[1:]), temps)
    return found


def load(artifact: Artifact, device: OpenDevice) -> Loaded:
    """An artifact ready to run."""
    steps = []
    for name, binary, args, values, launch in artifact.parts:
        steps.append(Step(device.load(binary, name), name, args, values, launch))
    return Loaded(tuple(steps), artifact.temps)


def build(kernel: Kernel, device: OpenDevice) -> Artifact:
    """Optimise, lower, render and compile `kernel`, whatever the caches hold.

    Raises: CompileError, Unsupported.
    """
    with arena():
        if device.renderer.takes != "kernel":
            return build_plan(plan_of(kernel, device), device.target)
        binary = device.compiler.compile(device.renderer.render(kernel))
        args = tuple(range(len(kernel.params)))
        return Artifact((Part(kernel.name, binary, args, _values(kernel), Launch()),), ())


def build_plan(plan: Plan, target: Target) -> Artifact:
    """Lower, render and compile the launches of an optimised kernel; needs no device."""
    assert target.renderer and target.compiler, f"build_plan: no code is generated for {target}"
    numbers = {node.arg.name: k for k, node in enumerate((*plan.params, *plan.temps))}
    parts = []
    for _, buffers, kernel in plan.launches:
        assert kernel is not None, f"build_plan: {plan.name} has a vendor's call"
        lowered = lower(kernel, target)
        source = target.renderer.render(lowered)
        if DEBUG.value >= 4:
            print(source)
        binary = target.compiler.compile(source)
        if DEBUG.value >= 7:
            with suppress(Unsupported):
                print(target.compiler.disassemble(binary))
        launch = Launch(_sizes(lowered.grid), _sizes(lowered.group), lowered.scratch_bytes)
        args = tuple([numbers[name] for name in buffers])
        parts.append(Part(kernel.name, binary, args, _values(kernel), launch))
    return Artifact(
        tuple(parts), tuple([(node.dtype, size(node.arg.shape)) for node in plan.temps])
    )


def _sizes(extents: Sequence[Index]) -> tuple[int, int, int]:
    """Extents at their upper bounds as x, y, z; a kernel bounds what variables make smaller."""
    x, y, z, *_ = [extent.hi for extent in extents] + [1, 1, 1]
    return x, y, z


def _values(kernel: Kernel) -> tuple[str, ...]:
    return tuple([variable.arg[0] for variable in kernel.variables])
