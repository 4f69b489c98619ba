"""Random graphs, scheduled, run on REF and compared with numpy.

    python -m tests.schedule.fuzz 10000 0 --shard 0/2 --state FILE

A failure is repeated by its seed alone. Next file: tests/shards.py.
"""

import sys
from collections import Counter

from tests.schedule.grammar import Maker, Program
from tests.schedule.running import check_sinks
from tests.shards import run_seeds
from tinycore.schedule.create import Schedule
from tinycore.uop.ops import Ops


def try_seed(seed: int) -> tuple[Program, Schedule]:
    """Make, schedule, run and compare one program. Raises: AssertionError, SpecError."""
    program = Maker(seed).program()
    sinks, variables = program.sinks, program.variables
    schedule = check_sinks(
        sinks, program.data, program.limits, variables, tolerance=program.tolerance
    )
    return program, schedule


def counted(seed: int) -> Counter[str]:
    """What one seed did."""
    program, schedule = try_seed(seed)
    counts = Counter({f"step {name}": n for name, n in program.steps.items()})
    counts["graphs"] += 1
    counts["kernels"] += len(schedule.kernels)
    counts["in place"] += sum(place.op is Ops.BUFFER for place in schedule.places)
    return counts


if __name__ == "__main__":
    _, failed, _ = run_seeds(counted)
    sys.exit(bool(failed))
