"""Random legal actions on random kernels: the lowered program computes what REF says of the tree.

`python -m tests.codegen.lower.fuzz 1000 [seed]` runs long; tests run a few.
"""

import sys
from collections import Counter
from collections.abc import Callable
from random import Random

import numpy as np

from tests.codegen.harness import TARGET, Array, Built
from tests.codegen.optimize import fuzz, kernels, random_sizes
from tests.shards import run_seeds
from tinycore.codegen.lower.mapped import tasks
from tinycore.errors import SpecError
from tinycore.runtime.ref import RefError, run_kernel
from tinycore.uop.ops import arena
from tinycore.uop.printer import show
from tinycore.uop.spec import check
from tinycore.uop.tree import Kernel


def transformed(
    seed: int,
    length: int,
    action: Callable[[Kernel, Random], str],
    fits: Callable[[Kernel], bool],
) -> tuple[Kernel, Kernel, list[str]]:
    """A kernel, the same after random actions whose trees fit, and these."""
    random = Random(seed)
    kernel = random.choice(list(kernels(**random_sizes(random)).values()))
    tree, taken = kernel, list[str]()

    def is_fit(changed: Kernel) -> bool:
        return fuzz.is_small(changed) and fits(changed)

    for text, tree in fuzz.legal_actions(kernel, random, length, action, is_fit):
        check(tree, "action")
        taken.append(text)
    return kernel, tree, taken


def is_one_launch(kernel: Kernel) -> bool:
    """True if workers have one loop to share; siblings of it at the root are launches of a Plan."""
    try:
        tasks(kernel, TARGET.caps)
    except SpecError:
        return False
    return True


def arrays_for(kernel: Kernel, seed: int) -> list[Array]:
    """Inputs of a kernel; integers index, so they are small."""
    random = np.random.default_rng(seed)
    found = []
    for param in kernel.params:
        shape = [extent.evaluate(lambda atom: atom.hi) for extent in param.arg.shape]
        values = (
            random.standard_normal(shape) if param.dtype.is_float else random.integers(-2, 3, shape)
        )
        found.append(np.ascontiguousarray(values.astype(param.dtype.name)))
    return found


def run(seed: int, length: int = 8, verbose: bool = False) -> int:
    """One kernel and some actions; the number of them."""
    with arena():
        kernel, tree, taken = transformed(seed, length, fuzz.random_action, is_one_launch)
        if verbose:
            print("\n".join(taken), show(tree), sep="\n")
        expected = arrays_for(kernel, seed)
        found = [array.copy() for array in expected]
        values = {variable.arg[0]: variable.arg[2] for variable in kernel.variables}
        try:
            run_kernel(tree, expected, values)
        except RefError:
            return 0  # no fault of lowering: the tree itself means nothing
        Built(tree)(*found, workers=1 + seed % 3, **values)
    for k, (one, other) in enumerate(zip(found, expected, strict=True)):
        close = np.allclose(one, other, rtol=1e-4, atol=1e-4, equal_nan=True)
        assert close, f"seed {seed}: parameter {k} of {kernel.name} differs after {taken}"
    return len(taken)


if __name__ == "__main__":
    if sys.argv[1:2] == ["show"]:
        run(int(sys.argv[2]), verbose=True)
    else:
        sys.exit(bool(run_seeds(lambda seed: Counter(actions=run(seed)))[1]))
