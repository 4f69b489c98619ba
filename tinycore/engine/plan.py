"""A graph to run becomes launches over numbered slots, each kernel of it launches of a device.

In: sinks and an open device. Out: an `ExecutionPlan` and the leaves it reads, kept for the next
equal graph; its kernels are `Artifact`s, which the caches of this process and of the disk keep.
Next file: run.py.
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
from tinycore.engine.run import Step, Steps
from tinycore.engine.tune import plan_of
from tinycore.runtime.contract import Launch, Target, Unsupported
from tinycore.runtime.device import OpenDevice, cached, compiler_key
from tinycore.schedule import Sinks, create_schedule
from tinycore.uop.index import Index
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp, arena, toposort
from tinycore.uop.printer import kernel_key
from tinycore.uop.sites import evaluated, under
from tinycore.uop.tree import Kernel, Plan, walk
from tinycore.util import listed, prod, round_up

_ALIGNMENT = 256

Numbers = tuple[int, ...]


class ExecutionPlan(NamedTuple):
    """Launches over slots: first the leaves, then the sinks, then the regions of temporaries.

    `places` are the slots of the sinks; one in place uses that of its old buffer.
    """

    steps: Steps
    places: Numbers
    region_bytes: Numbers


_plans: dict[Any, ExecutionPlan] = {}


def plan_for(sinks: Sinks, device: OpenDevice) -> tuple[ExecutionPlan, list[UOp]]:
    """The plan of these sinks on `device`, and the BUFFERs behind its leaf slots."""
    key, leaves = graph_key(sinks)
    full = key, device.name, config.key()
    if full not in _plans or not config.SCACHE.value:
        with arena():
            _plans[full] = _plan(sinks, leaves, device)
    return _plans[full], leaves


def graph_key(sinks: Sinks) -> tuple[Any, list[UOp]]:
    """The graph over leaves that are numbered by appearance, and its BUFFERs in that order.

    Equal graphs over other data, aliased alike, have one key.
    """
    leaves: list[UOp] = []
    plain: dict[Any, Any] = {}
    for node in toposort([node for sink in sinks for node in sink if node]):
        arg = node.arg
        if node.is_buffer:
            arg = len(leaves), arg.shape
            leaves.append(node)
        elif node.op is Ops.CONTIGUOUS:
            arg = None
        plain[node] = UOp(node.op, node.dtype, tuple([plain[one] for one in node.src]), arg)
    return tuple((plain[node], plain.get(old)) for node, old in sinks), leaves


def _plan(sinks: Sinks, leaves: Sequence[UOp], device: OpenDevice) -> ExecutionPlan:
    schedule = create_schedule(sinks, device.caps)
    slot: dict[object, int] = {}
    for number, node in enumerate([*leaves, *schedule.places]):
        slot.setdefault(node, number)
    sizes: dict[object, int] = {}  # in bytes, of each temporary
    runs = []
    for kernel, buffers in schedule.kernels:
        steps, temps = load_kernel(kernel, device)
        inside = {object(): size_bytes for size_bytes in temps}
        new = {node: node.size * node.dtype.itemsize for node in buffers if node not in slot}
        sizes |= new | inside
        arguments = [*buffers, *inside]
        runs += [(step, [arguments[k] for k in step.slots]) for step in steps]
    touches = [(one, at) for at, (_, used) in enumerate(runs) for one in used]
    first = dict(reversed(touches))
    last = dict(touches)
    lives = [(size_bytes, first[one], last[one]) for one, size_bytes in sizes.items()]
    regions, region_bytes = plan_memory(lives)
    for one, region in zip(sizes, regions, strict=True):
        slot[one] = len(leaves) + len(sinks) + region
    placed = [step._replace(slots=tuple(slot[one] for one in used)) for step, used in runs]
    return ExecutionPlan(placed, tuple(slot[place] for place in schedule.places), region_bytes)


def plan_memory(lives: Sequence[tuple[int, int, int]]) -> tuple[Numbers, Numbers]:
    """The region of each temporary, and the size of each region, in bytes.

    A temporary is given as its size and the steps of its first write and its last read; those alive
    at one step never share a region. Best fit: the smallest free region that is large enough, else
    the largest free one grown.
    """
    regions: dict[int, tuple[int, int]] = {}  # sizes, and the steps that they are busy until
    region_of = []
    for size_bytes, first, last in lives:
        wanted = round_up(max(size_bytes, 1), _ALIGNMENT)
        free = [
            (held < wanted, abs(held - wanted), k)
            for k, (held, until) in regions.items()
            if until < first
        ]
        *_, chosen = min(free, default=(len(regions),))
        held, _ = regions.get(chosen, (0, 0))
        regions[chosen] = max(held, wanted), last
        region_of.append(chosen)
    return tuple(region_of), tuple(held for held, _ in regions.values())


# Kernels


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
    known = caps.supported_dtypes()
    for param in kernel.params:
        if param.dtype not in known:
            names = listed(row.name for row in known)
            wrong = f"{param.dtype.name} is no type of this device; expected one of {names}"
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
    temps = [node.size * node.dtype.itemsize for node in plan.temps]
    return Artifact(tuple(steps), tuple(temps))


def _sizes(extents: Sequence[Index]) -> tuple[int, int, int]:
    x, y, z, *_ = *[extent.hi for extent in extents], 1, 1, 1
    return x, y, z


def work_of(kernel: Kernel) -> tuple[int, int]:
    """Arithmetic operations of one run, and the bytes that its parameters hold, at upper bounds."""
    operations = 0
    for statement, loops in walk(kernel.body):
        each = sum(node.op in ELEMENTWISE for node in evaluated(statement))
        if statement.is_store and statement.combine:
            each += len(statement.places)
        operations += each * prod(loop.extent.hi for loop in loops)
    sizes = [param.size * param.dtype.itemsize for param in kernel.params]
    return operations, sum(sizes)


def name_of(kernel: Kernel) -> str:
    """A name by the loops: `reduce_128x10_784` sums 784 elements for 128 x 10 results."""
    loops = [one for one in under(kernel.body) if one.is_loop]
    par, red = [[f"{at.extent.hi}" for at in loops if at.kind == kind] for kind in ("par", "red")]
    words = ["reduce" if red else "map"]
    for sizes in filter(None, (par, red)):
        words.append("x".join(sizes[:4]))
        if len(sizes) > 4:
            words.append("more")
    return "_".join(words)
