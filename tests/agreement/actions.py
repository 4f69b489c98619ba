"""Each action alone, wherever it is legal on a kernel: the tree is legal, REF's checked entry takes
it for the same, and a device computes with it what REF computes of the kernel.

    python -m tests.agreement.actions

A kernel is one of tests/codegen/optimize/kernels.ir, at sizes with tails, or one that the scheduler
writes for a random graph: of those, as many as an action needs that few kernels allow. Of the ways
to take an action, which random arguments find, some are tried. Bounds: see graphs.py; inputs are
small whole numbers.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from random import Random

from tests.agreement.graphs import LEAST, device_of_tests
from tests.agreement.ways import built, fits, launched
from tests.codegen.optimize import assert_same, inputs, kernels
from tests.codegen.optimize.fuzz import MAKERS, legal_actions
from tests.schedule.grammar import TOLERANCES, Maker
from tests.schedule.running import compare
from tinycore.codegen.optimize.actions import ACTIONS
from tinycore.runtime.contract import Unsupported
from tinycore.runtime.ref import run_kernel
from tinycore.runtime.registry import Device
from tinycore.schedule.create import schedule_within
from tinycore.uop.ops import arena
from tinycore.uop.tree import Kernel

KERNELS = kernels(A=3, B=17, C=9, D=8, E=5)
GRAPHS = 300
DRAWS = 60
MOST = 6  # ways to take an action on one kernel


def alone(kernel: Kernel, name: str, seed: int = 0) -> dict[str, Kernel]:
    """What one action makes of a kernel, by the action's text."""
    found: dict[str, Kernel] = {}
    for draw in range(DRAWS):
        random = Random(f"{seed} {draw}")
        steps = legal_actions(kernel, random, 1, lambda tree, r: MAKERS[name](name, tree, r), fits)
        found |= dict(steps)
        if len(found) >= MOST:
            break
    return found


def try_alone(kernel: Kernel, name: str, seed: int = 0) -> Counter[str]:
    """Take an action in each way, run what it makes, and count. Raises: AssertionError."""
    counts = Counter[str]()
    device = Device[device_of_tests()]
    narrow = min([param.dtype.itemsize for param in kernel.params if param.is_float], default=8)
    values = {node.arg[0]: node.arg[2] for node in kernel.variables}
    with arena():
        given = inputs(kernel, seed)
        wanted = [array.copy() for array in given]
        run_kernel(kernel, wanted, values)
        for text, tree in alone(kernel, name, seed).items():
            assert_same(kernel, tree, seed)
            counts[name] += 1
            try:
                found = launched(built(tree, device), given, values, device)
            except Unsupported:
                counts[f"{name}, refused by lowering"] += 1
                continue
            for one, other in zip(found, wanted, strict=True):
                try:
                    compare(one, other, TOLERANCES[narrow])
                except AssertionError as error:
                    raise AssertionError(f"{kernel.name} after {text}: {error}") from None
    return counts


def all_kernels(seed: int = 0) -> Iterator[tuple[str, Kernel]]:
    """Names and kernels: those written by hand, then the scheduler's."""
    yield from KERNELS.items()
    for number in range(seed, seed + GRAPHS):
        program = Maker(number).program()
        with arena():  # while they are tried: nodes of another one are others
            found = schedule_within(program.sinks, program.limits).kernels
            yield from [(f"graph {number}", kernel) for kernel, _ in found]


def try_everywhere(name: str) -> Counter[str]:
    """An action on every kernel by hand, and on the scheduler's until it was taken LEAST times.

    Raises: AssertionError, which names the kernel.
    """
    counts = Counter[str]()
    for number, (title, kernel) in enumerate(all_kernels()):
        if number >= len(KERNELS) and counts[name] >= LEAST:
            break
        try:
            found = try_alone(kernel, name)
        except AssertionError as error:
            raise AssertionError(f"{title}: {error}") from error
        counts += found
        counts[f"{name}, kernels"] += found[name] > 0
    return counts


def main() -> int:
    """Try all, and tell how often each action was taken, and on how many kernels."""
    counts, failed = Counter[str](), 0
    for name in ACTIONS:
        try:
            counts += try_everywhere(name)
        except AssertionError as error:
            failed += 1
            print(f"{name}: {error}", flush=True)
    for text, count in sorted(counts.items()):
        print(f"{text:32}{count:8}")
    rare = [name for name in ACTIONS if counts[name] < LEAST]
    print(f"{failed} failed; taken less than {LEAST} times: {rare}")
    return int(bool(failed or rare))


if __name__ == "__main__":
    sys.exit(main())
