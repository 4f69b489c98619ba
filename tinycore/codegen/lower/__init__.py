"""Lowering: a kernel tree after its actions becomes a program for one target.

In: a `Kernel` and a `Target`. Out: `Lowered`. Next files: stores.py, joins.py, mapped.py,
decompose.py, expand.py.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from tinycore.codegen.lower.decompose import decompose
from tinycore.codegen.lower.expand import expand
from tinycore.codegen.lower.joins import reduce
from tinycore.codegen.lower.mapped import lanes, tasks
from tinycore.codegen.lower.stores import combine, copies, dots
from tinycore.codegen.lower.threads import threads
from tinycore.config import DEBUG, SPEC
from tinycore.errors import SpecError
from tinycore.runtime.contract import Caps, Target
from tinycore.uop.lowered import Lowered, check_lowered, show_lowered
from tinycore.uop.ops import Interning, Ops, toposort
from tinycore.uop.printer import show
from tinycore.uop.spec import check
from tinycore.uop.tree import Kernel
from tinycore.uop.upat import COUNTERS

PASSES: Mapping[Callable[[Kernel, Caps], Kernel], tuple[Ops, ...]] = {
    copies: (Ops.COPY, Ops.WAIT, Ops.FREE),
    dots: (),
    reduce: (),
    tasks: (),
    threads: (),
    combine: (),
    decompose: (Ops.FIN,),
    lanes: (),
}
"""In order, with the ops that are gone after each; `expand` follows them and makes the program."""


def lower(kernel: Kernel, target: Target) -> Lowered:
    """The program of `kernel`. Raises: Unsupported if the target cannot do what it asks."""
    if SPEC.value:
        check(kernel, "sync" if kernel.spmd else "action")
    gone: set[Ops] = set()
    for step, removes in PASSES.items():
        kernel = _counted(step, kernel, target.caps)
        gone.update(removes)
        left = [node for node in toposort(kernel.body) if node.op in gone] if SPEC.value else []
        if left:
            found = f"{step.__name__} left {left[0]!r} in {kernel.name}"
            raise SpecError(f"lower: {found}; expected only ops of its row")
        if DEBUG.value >= 5:
            print(f"# after {step.__name__}\n{show(kernel)}")
    program: Lowered = _counted(expand, kernel, target.caps)
    if SPEC.value:
        check_lowered(program)
    if DEBUG.value >= 6:
        print(show_lowered(program))
    return program


SECONDS: dict[str, float] = {}
"""Seconds spent in each pass since this was cleared."""


def _counted(step: Callable[..., Any], *given: Any) -> Any:
    """What a pass makes, after which its seconds and nodes are known."""
    name, begin = step.__name__, time.perf_counter()
    before = COUNTERS[name].created - Interning.created
    made = step(*given)
    SECONDS[name] = SECONDS.get(name, 0.0) + time.perf_counter() - begin
    COUNTERS[name].created = before + Interning.created
    return made
