"""A scheduled kernel becomes launches of a device, by way of two caches.

In: a kernel tree and an open device. Out: programs with what a launch of each needs. Next file:
plan.py.
"""

import pickle
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from tinycore import config
from tinycore.cache import source_key
from tinycore.codegen.lower import lower
from tinycore.codegen.optimize import optimize
from tinycore.codegen.optimize.pieces import as_plan
from tinycore.config import DEBUG
from tinycore.engine.run import Step, name_of, work_of
from tinycore.engine.tune import plan_of
from tinycore.runtime.contract import Launch, Target
from tinycore.runtime.device import OpenDevice, cached, compiler_key
from tinycore.runtime.errors import Unsupported
from tinycore.uop.index import Index
from tinycore.uop.ops import arena
from tinycore.uop.printer import kernel_key
from tinycore.uop.shape import size
from tinycore.uop.tree import Kernel, Plan
from tinycore.util import listed


class Artifact(NamedTuple):
    """The launches of one scheduled kernel, with the bytes of each temporary.

    The slots of a step number the kernel's parameters, then the temporaries.
    """

    steps: tuple[Step, ...]
    temps: tuple[int, ...]


_loaded: dict[tuple[str, str], Artifact] = {}


def load_kernel(kernel: Kernel, device: OpenDevice) -> Artifact:
    """The launches of `kernel` on `device`, cached; the first counts the work of all.

    Raises: CompileError, Unsupported.
    """
    makers = device.target.arch, compiler_key(device.compiler), source_key("tinycore")
    key = f"{kernel_key(kernel)}|{makers}|{config.key()}"
    place = device.name, key
    if place not in _loaded:
        named = kernel._replace(name=name_of(kernel))
        entry = cached("kernels", key, lambda: pickle.dumps(build(named, device)))
        (first, *others), temps = load(pickle.loads(entry), device)
        first = Step(*first[:5], *work_of(kernel))
        _loaded[place] = Artifact((first, *others), temps)
    return _loaded[place]


def load(artifact: Artifact, device: OpenDevice) -> Artifact:
    """An artifact ready to run."""
    steps = [one._replace(program=device.load(one.program, one.name)) for one in artifact.steps]
    return Artifact(tuple(steps), artifact.temps)


def build(kernel: Kernel, device: OpenDevice) -> Artifact:
    """Optimise, lower, render and compile `kernel`, whatever the caches hold."""
    caps = device.caps
    known = (*caps.dtypes, *caps.storage, *caps.emulated)
    for param in kernel.params:
        if param.dtype.name not in known:
            wrong = f"{param.dtype.name} is no type of this device; expected one of {listed(known)}"
            raise Unsupported(f"compile: {wrong}", device.name, "Cast to one of them")
    with arena():
        if device.renderer.takes == "kernel":
            return build_plan(as_plan(kernel), device.target)
        try:
            return build_plan(plan_of(kernel, device), device.target)
        except Unsupported:  # as of a group that needs more memory than there is
            for threads in (32, 1):
                few = replace(caps, max_group_threads=min(threads, caps.max_group_threads))
                with suppress(Unsupported):
                    return build_plan(optimize(kernel, few), device.target)
            raise


def build_plan(plan: Plan, target: Target) -> Artifact:
    """Lower, render and compile the launches of a plan; needs no device."""
    assert target.renderer and target.compiler, f"build_plan: no code is generated for {target}"
    numbers = {node.name: k for k, node in enumerate(plan.params + plan.temps)}
    steps = []
    for name, buffers, kernel in plan.launches:
        assert kernel, f"build_plan: {plan.name} has a vendor's call"
        program: Any = kernel
        launch = Launch()
        if target.renderer.takes != "kernel":
            program = lower(kernel, target)
            launch = Launch(_sizes(program.grid), _sizes(program.group), program.scratch_bytes)
        source = target.renderer.render(program)
        if DEBUG.value >= 4:
            print(source)
        binary = target.compiler.compile(source)
        if DEBUG.value >= 7:
            with suppress(Unsupported):
                print(target.compiler.disassemble(binary))
        slots = tuple(numbers[buffer] for buffer in buffers)
        values = tuple(variable.arg[0] for variable in kernel.variables)
        steps.append(Step(binary, name, slots, values, launch))
    temps = [size(node.arg.shape) * node.dtype.itemsize for node in plan.temps]
    return Artifact(tuple(steps), tuple(temps))


def _sizes(extents: Sequence[Index]) -> tuple[int, int, int]:
    x, y, z, *_ = *[extent.hi for extent in extents], 1, 1, 1
    return x, y, z
