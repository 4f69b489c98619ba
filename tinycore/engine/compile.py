"""A scheduled kernel becomes programs of a device, by way of two caches.

Comes in: a kernel tree and an open device. Goes out: programs with what a launch of each needs.
A kernel met before in this process costs a dictionary lookup; one met by another process is read
from disk, and neither optimised, lowered nor compiled. Next: plan.py puts programs in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinycore import __version__, cache, config
from tinycore.codegen.lower import lower
from tinycore.dtype import DType
from tinycore.engine.artifact import Artifact, Part, from_bytes, to_bytes
from tinycore.engine.tune import plan_of
from tinycore.engine.work import name_of
from tinycore.runtime.contract import Target
from tinycore.runtime.opened import OpenDevice
from tinycore.runtime.program import Launch, Program
from tinycore.uop.canonical import kernel_key
from tinycore.uop.index import Index
from tinycore.uop.ops import UOp, arena
from tinycore.uop.shape import size
from tinycore.uop.tree import Kernel, Plan

_TABLE = "kernels"


class Loaded:
    """A compiled kernel with its programs on one device."""

    __slots__ = ("artifact", "programs")

    def __init__(self, artifact: Artifact, device: OpenDevice) -> None:
        self.artifact = artifact
        self.programs: tuple[Program, ...] = tuple(
            [device.load(part.binary, part.name) for part in artifact.parts]
        )


_loaded: dict[tuple[str, str], Loaded] = {}


def load_kernel(kernel: Kernel, device: OpenDevice) -> Loaded:
    """The programs of `kernel` on `device`, from memory, from disk or made now.

    Raises: CompileError, Unsupported.
    """
    key = full_key(kernel, device)
    found = _loaded.get((device.name, key))
    if found is None:
        artifact = _from_disk(key) or _make(kernel, device, key)
        found = _loaded[(device.name, key)] = Loaded(artifact, device)
    return found


def full_key(kernel: Kernel, device: OpenDevice) -> str:
    """Everything the binary depends on: kernel, architecture, compiler, settings, version."""
    settings = ",".join(f"{name}={value}" for name, value in config.key())
    target = f"{device.target.arch}|{device.compiler.key}"
    return f"{kernel_key(kernel)}|{target}|{settings}|{__version__}"


def _make(kernel: Kernel, device: OpenDevice, key: str) -> Artifact:
    with arena():
        artifact = build(kernel._replace(name=name_of(kernel)), device)
    if _uses_disk():
        cache.shared().put(_TABLE, key, to_bytes(artifact))
    return artifact


def _from_disk(key: str) -> Artifact | None:
    entry = cache.shared().get(_TABLE, key) if _uses_disk() else None
    return None if entry is None else from_bytes(entry)


def _uses_disk() -> bool:
    return bool(config.CCACHE.value and config.CACHELEVEL.value)


def build(kernel: Kernel, device: OpenDevice) -> Artifact:
    """Optimise, lower, render and compile `kernel`, whatever the caches hold.

    Raises: CompileError, Unsupported.
    """
    if device.renderer.takes == "kernel":
        return Artifact((_whole(kernel, device),), ())
    return build_plan(plan_of(kernel, device), device.target)


def build_plan(plan: Plan, target: Target) -> Artifact:
    """Lower, render and compile the launches of an optimised kernel; needs no device."""
    numbers = {node.arg.name: k for k, node in enumerate((*plan.params, *plan.temps))}
    parts = []
    for launch in plan.launches:
        assert launch.kernel is not None, f"build_plan: {launch.name} is a vendor's call"
        args = tuple([numbers[name] for name in launch.buffers])
        parts.append(_part(launch.kernel, args, target))
    return Artifact(tuple(parts), tuple([_temp(node) for node in plan.temps]))


def _part(kernel: Kernel, args: tuple[int, ...], target: Target) -> Part:
    assert target.renderer and target.compiler, f"build_plan: no code is generated for {target}"
    lowered = lower(kernel, target)
    source = target.renderer.render(lowered)
    binary = target.compiler.compile(source)
    launch = Launch(_sizes(lowered.grid), _sizes(lowered.group), lowered.scratch_bytes)
    return Part(kernel.name, binary, args, _values(kernel), launch)


def _sizes(extents: Sequence[Index]) -> tuple[int, int, int]:
    """Extents at their upper bounds as x, y, z; a kernel bounds what variables make smaller."""
    found = [extent.hi for extent in extents] + [1, 1, 1]
    return found[0], found[1], found[2]


def _whole(kernel: Kernel, device: OpenDevice) -> Part:
    binary = device.compiler.compile(device.renderer.render(kernel))
    args = tuple(range(len(kernel.params)))
    return Part(kernel.name, binary, args, _values(kernel), Launch())


def _values(kernel: Kernel) -> tuple[str, ...]:
    return tuple([variable.arg[0] for variable in kernel.variables])


def _temp(node: UOp) -> tuple[DType, int]:
    return node.dtype, size(node.arg.shape)
