"""One program in several ways: as REF runs it, and optimised, as scheduled or after random actions
on a device, each through the engine as a user's program.

In: a `Program` of tests/schedule/grammar.py. Out: the values of its sinks, and what fired. Next
file: fired.py.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import NamedTuple
from unittest.mock import patch

import numpy as np

from tests.codegen.optimize import assert_same
from tests.codegen.optimize.fuzz import MAKERS, is_small, legal_actions, name_of
from tests.schedule.evaluate import Array, numpy_type
from tests.schedule.grammar import Program
from tinycore.codegen.optimize.edit import Illegal
from tinycore.codegen.optimize.heuristic import heuristic
from tinycore.codegen.optimize.pieces import as_plan
from tinycore.config import Context
from tinycore.dtype import dtypes, to_dtype
from tinycore.engine import plan as planning
from tinycore.engine.cell import Cell, buffer_of, new_node
from tinycore.engine.plan import Artifact, build_plan, load, load_kernel
from tinycore.engine.realize import bind_variable, realize
from tinycore.engine.run import BOUND, run_steps
from tinycore.runtime.buffer import Buffer
from tinycore.runtime.contract import Caps, Unsupported
from tinycore.runtime.device import OpenDevice
from tinycore.schedule import Sinks
from tinycore.schedule.create import Schedule, create_schedule, schedule_within
from tinycore.uop.index import upper_shape
from tinycore.uop.ops import Ops, UOp, arena, toposort
from tinycore.uop.spec import check
from tinycore.uop.tree import Kernel, Rebuild, walk
from tinycore.util import prod

LENGTH = 6  # actions of a random sequence
CHECKED = 2e-5  # the least bound on REF's checked entry, whose inputs are whole numbers
MOST_UNROLLED = 300  # statements that loops become which are not rolled
UNROLLED = ("vec", "unroll", "reg")

Load = Callable[[Kernel, OpenDevice], Artifact]


class Way(NamedTuple):
    """How a kernel becomes a program, and the actions that were taken on the way."""

    load: Load
    actions: Counter[str]


class Ran(NamedTuple):
    """The values of the sinks, the nodes of the graph, and the kernels it was scheduled as."""

    values: list[Array]
    nodes: list[UOp]
    kernels: list[Kernel]


def as_scheduled() -> Way:
    """NOOPT=1."""

    def loaded(kernel: Kernel, device: OpenDevice) -> Artifact:
        with Context(NOOPT=1, CCACHE=0):
            return load_kernel(kernel, device)

    return Way(loaded, Counter())


def optimised() -> Way:
    """BEAM=0."""
    taken = Counter[str]()

    def loaded(kernel: Kernel, device: OpenDevice) -> Artifact:
        with Context(CCACHE=0):
            found = load_kernel(kernel, device)
        if device.renderer.takes != "kernel":
            taken.update(map(name_of, heuristic(kernel, device.caps)[1]))
        return found

    return Way(loaded, taken)


def acted(random: Random, favourite: str, tolerance: float) -> Way:
    """After random legal actions, half of them of one name: a tree that REF's checked entry takes
    for the same; those that lowering refuses are counted."""
    taken = Counter[str]()

    def made(tree: Kernel, random: Random) -> str:
        name = favourite if random.random() < 0.5 else random.choice(list(MAKERS))
        return MAKERS[name](name, tree, random)

    def loaded(kernel: Kernel, device: OpenDevice) -> Artifact:
        with arena():
            steps = list(legal_actions(kernel, random, LENGTH, made, fits))
            tree = steps[-1][1] if steps else kernel
            assert_same(kernel, as_plan(tree), LENGTH, max(tolerance, CHECKED))
            taken["sequences"] += 1
            try:
                found = built(tree, device)
                taken.update([name_of(text) for text, _ in steps])
            except Unsupported:
                taken["refused"] += 1
                found = built(kernel, device)
        return found

    return Way(loaded, taken)


def built(tree: Kernel, device: OpenDevice) -> Artifact:
    """A tree as it stands, ready to run. Raises: Unsupported."""
    return load(build_plan(as_plan(tree), device.target), device)


def launched(
    artifact: Artifact, inputs: Sequence[Array], values: Mapping[str, int], device: OpenDevice
) -> list[Array]:
    """What the parameters of a kernel hold after it ran."""
    buffers = [
        Buffer(device.name, to_dtype(array.dtype.name), array.size).copyin(array.tobytes())
        for array in inputs
    ]
    regions = [Buffer(device.name, dtypes.uint8, count) for count in artifact.temps]
    BOUND.update(values)
    run_steps(artifact.steps, [*buffers, *regions], device)
    pairs = zip(buffers, inputs, strict=True)
    flat = [(np.frombuffer(one.as_memoryview(), data.dtype), data.shape) for one, data in pairs]
    return [found.reshape(shape) for found, shape in flat]


def fits(tree: Kernel) -> bool:
    """True for a legal tree that makes a plan, and that a compiler compiles soon."""
    check(tree, "action")
    unrolled = [
        prod([loop.extent.hi for loop in around if loop.map in UNROLLED])
        for _, around in walk(tree.body)
    ]
    if sum(unrolled) > MOST_UNROLLED or not is_small(tree):
        return False
    with suppress(Illegal):  # what stands beside a grid may have come after it
        return bool(as_plan(tree).launches)
    return False


def run(program: Program, device: str, way: Way, other: str = "", own_limits: bool = False) -> Ran:
    """Run a program on a device.

    Every third leaf that no sink is stored over lies on the device `other`, if there is one.
    `own_limits` schedules as the device's capabilities say, not by the program's thresholds.
    Raises: AssertionError if an input that is no sink's place was overwritten.
    """
    kernels = list[Kernel]()

    def scheduled(sinks: Sinks, caps: Caps) -> Schedule:
        limits = program.limits
        found = create_schedule(sinks, caps) if own_limits else schedule_within(sinks, limits)
        kernels.extend([kernel for kernel, _ in found.kernels])
        return found

    for name, value in program.variables.items():
        bind_variable(name, *program.bounds[name], value)
    leaves = _leaves(program, device, other)
    rebuild = Rebuild(leaves)
    cells, roots = [], []
    for node, old in program.sinks:
        roots.append(rebuild.node(node))
        cells.append(Cell(roots[-1], device))
        cells[-1].stored = leaves[old] if old else None
    with (
        Context(SCACHE=0, SPEC=1),
        patch.object(planning, "create_schedule", scheduled),
        patch.object(planning, "load_kernel", way.load),
    ):
        realize(cells)
    written = {cell.uop for cell in cells}
    for node, array in program.data.items():
        leaf = leaves[node]
        leaf = leaf.source if leaf.op is Ops.COPY else leaf
        if leaf not in written:
            np.testing.assert_array_equal(_array(leaf), array, "an input was overwritten")
    return Ran([_array(cell.uop) for cell in cells], toposort(roots), kernels)


def _leaves(program: Program, device: str, other: str) -> dict[UOp, UOp]:
    """The data of a program on a device, some of it by way of another."""
    olds = {old for _, old in program.sinks}
    found = {}
    for number, (node, array) in enumerate(program.data.items()):
        is_far = bool(other) and node not in olds and number % 3 == 0
        buffer = Buffer(other if is_far else device, node.dtype, node.size)
        buffer.copyin(np.ascontiguousarray(array).tobytes())
        leaf = new_node(buffer, array.shape)
        found[node] = leaf.under(Ops.COPY, device) if is_far else leaf
    return found


def _array(node: UOp) -> Array:
    """What lies in a buffer."""
    flat = np.frombuffer(buffer_of(node).as_memoryview(), numpy_type(node.dtype))
    return flat.reshape(upper_shape(node.shape))
