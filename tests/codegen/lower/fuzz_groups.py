"""Random legal actions on random kernels, most of them places of threads: what the groups of a
device compute is what REF says of the tree.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from random import Random

import numpy as np

from tests.codegen.harness import Array
from tests.codegen.lower.fuzz import arrays_for, transformed
from tests.codegen.optimize import fuzz
from tinycore.codegen.lower.threads import group_size
from tinycore.codegen.optimize.edit import Illegal, loops_in
from tinycore.codegen.optimize.pieces import as_plan
from tinycore.errors import SpecError
from tinycore.runtime.contract import Unsupported
from tinycore.runtime.ref import RefError, run_kernel
from tinycore.uop.ops import arena
from tinycore.uop.tree import Kernel, walk
from tinycore.util import prod

MOST_STEPS, MOST_UNROLLED = 5000, 200
UNROLLED = ("vec", "unroll", "reg")
PLACES = ("grid", "thread", "thread", "thread", "vec", "unroll", "reg")


def random_action(tree: Kernel, random: Random) -> str:
    """Any action, or a place for a loop that has none."""
    free = [loop.name for loop in loops_in(tree.body) if not loop.arg.map]
    if free and random.random() < 0.4:
        return f"MAP({random.choice(free)}, {random.choice(PLACES)})"
    return fuzz.random_action(tree, random)


def is_small(tree: Kernel) -> bool:
    """True for a tree of buffers alone that is no plan, that REF runs soon, and that a driver
    compiles soon."""
    unrolled = sum(
        prod([loop.arg.extent.hi for loop in around if loop.arg.map in UNROLLED])
        for _, around in walk(tree.body)
    )
    has_images = any(param.space == "image" for param in tree.params)
    if has_images or unrolled > MOST_UNROLLED or fuzz.steps_of(tree) > MOST_STEPS:
        return False
    with suppress(Illegal, SpecError):
        return len(as_plan(tree).launches) == 1
    return False


Start = Callable[[Kernel, Sequence[Array], Mapping[str, int]], None]


def run(seed: int, launch: Start) -> str:
    """One kernel after some actions, launched; what came of it: "ran", or why it was refused."""
    with arena():
        return run_tree(*transformed(seed, 8, random_action, is_small), launch, seed)


def run_tree(
    kernel: Kernel, tree: Kernel, taken: Sequence[str], launch: Start, seed: int = 0
) -> str:
    """The same for a kernel and what it is after the actions that were taken."""
    with arena():
        if group_size(tree) < 2:
            return "no group"
        expected = arrays_for(kernel, seed)
        found = [array.copy() for array in expected]
        values = {variable.arg[0]: variable.arg[2] for variable in kernel.variables}
        try:
            run_kernel(tree, expected, values)
            launch(tree, found, values)
        except RefError:
            return "means nothing"
        except (Unsupported, SpecError) as error:
            return str(error)
    for k, (one, other) in enumerate(zip(found, expected, strict=True)):
        close = np.allclose(one, other, rtol=1e-4, atol=1e-4, equal_nan=True)
        assert close, f"seed {seed}: parameter {k} of {kernel.name} differs after {taken}"
    return "ran"
