"""Random programs in every way: what a seed makes, that all of it agrees, and what fired.

A seed gives a graph (tests/schedule/grammar.py), scheduled by its own thresholds or as the device
says; every sixth a kernel written by hand too, as the scheduler writes no argmax and no Welford.
Bounds: results are equal where they are not floats; floats differ by at most a tolerance, relative
and of the largest of their array (grammar.TOLERANCES; running.compare). REF is held to numpy by the
same bound. The actions of BEAM=0 and random ones reorder sums and contract products, so that the
bound is that of a sum in any order, not of equal bits.
"""

import os
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from random import Random

from tests.agreement.fired import ALL, in_graph, in_kernel
from tests.agreement.ways import Way, acted, as_scheduled, launched, optimised, run
from tests.codegen.lower.fuzz import arrays_for
from tests.codegen.optimize import kernels, random_sizes
from tests.codegen.optimize.fuzz import MAKERS
from tests.schedule.evaluate import Array, Evaluator
from tests.schedule.grammar import TOLERANCES, Maker
from tests.schedule.running import compare, used_part
from tinycore.runtime.ref import run_kernel
from tinycore.runtime.registry import Device
from tinycore.uop.ops import arena

LEAST = 20
"""Each thing that can fire does so in this many of 500 seeds."""
FAVOURITES = (*MAKERS, "FACTOR", "FILL", "MASK", "UPDATE")  # few kernels allow the last
WRITTEN = ("argmax", "variance", "")
EVERY = 6


def device_of_tests() -> str:
    """The device whose programs are compared with REF: CPU, or as AGREE says."""
    return os.environ.get("AGREE", "CPU")


def ways(seed: int, tolerance: float) -> dict[str, Way]:
    """The ways of a device, by name."""
    return {
        "NOOPT=1": as_scheduled(),
        "optimised": optimised(),
        "random actions": acted(Random(seed), FAVOURITES[seed % len(FAVOURITES)], tolerance),
    }


def try_seed(seed: int) -> Counter[str]:
    """Make and run a program in every way; what fired, each thing that has to once at most.

    Raises: AssertionError where two ways differ, naming them.
    """
    fired = _graph(seed)
    if seed % EVERY == 0:
        with arena():  # nodes of another one are others
            fired += _kernel(seed)
    return Counter({name: min(n, 1) if name in ALL else n for name, n in fired.items()})


def _graph(seed: int) -> Counter[str]:
    program = Maker(seed).program()
    evaluator = Evaluator(program.data, program.variables)
    exact = [evaluator(node) for node, _ in program.sinks]
    plain = run(program, "REF", as_scheduled(), own_limits=True).values
    _agree(f"seed {seed}, REF and numpy", plain, exact, program.tolerance)
    fired = Counter(graphs=1)
    for name, way in ways(seed, program.tolerance).items():
        ran = run(program, device_of_tests(), way, "REF", own_limits=bool(seed % 2))
        _agree(f"seed {seed}, {name} and REF", ran.values, plain, program.tolerance, exact)
        fired.update({*in_graph(ran.nodes), *chain.from_iterable(map(in_kernel, ran.kernels))})
        fired += _taken(name, way)
    return fired


def _kernel(seed: int) -> Counter[str]:
    """A kernel written by hand, without a graph."""
    random = Random(seed)
    wanted = WRITTEN[seed // EVERY % len(WRITTEN)]
    units = kernels(**random_sizes(random))
    kernel = units[wanted or random.choice(list(units))]
    values = {node.arg[0]: node.arg[2] for node in kernel.variables}
    inputs = arrays_for(kernel, seed)
    expected = [array.copy() for array in inputs]
    run_kernel(kernel, expected, values)
    fired = Counter({*in_kernel(kernel), "kernels by hand"})
    tolerance = TOLERANCES[min(p.dtype.itemsize for p in kernel.params if p.dtype.is_float)]
    device = Device[device_of_tests()]
    for name, way in ways(seed, tolerance).items():
        found = launched(way.load(kernel, device), inputs, values, device)
        _agree(f"seed {seed}, {kernel.name}, {name} and REF", found, expected, tolerance)
        fired += _taken(name, way)
    return fired


def _taken(name: str, way: Way) -> Counter[str]:
    """The actions of a way as they are counted: MAP by its places too."""
    counts = Counter[str]()
    for text, count in way.actions.items():
        action, _, place = text.partition(" ")
        counts[f"action {action}"] += count
        counts[f"  by BEAM=0: {action}"] += count * (name == "optimised")
        if place:
            counts[f"  MAP to {place}"] += count
    return counts


def _agree(
    about: str,
    found: Sequence[Array],
    wanted: Sequence[Array],
    tolerance: float,
    used: Sequence[Array] = (),
) -> None:
    """Raises: AssertionError unless arrays are equal within the bound, as far as they are used."""
    for one, other, part in zip(found, wanted, used or wanted, strict=True):
        try:
            compare(used_part(one, part), used_part(other, part), tolerance)
        except AssertionError as error:
            raise AssertionError(f"{about} differ: {error}") from None


def missing(counts: Counter[str]) -> dict[str, int]:
    """What fired too rarely in 500 seeds, and how often."""
    return {name: counts[name] for name in ALL if counts[name] < LEAST}
