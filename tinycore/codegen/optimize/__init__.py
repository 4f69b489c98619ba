"""The optimiser: a scheduled kernel becomes a plan of mapped kernels.

In: a kernel and the capabilities of a target. Out: a `Plan`. Next files: actions.py (the
vocabulary), heuristic.py (BEAM=0), search.py (BEAM=n).
"""

from tinycore.codegen.optimize.heuristic import heuristic
from tinycore.codegen.optimize.pieces import as_plan
from tinycore.config import DEBUG, NOOPT
from tinycore.runtime.contract import Caps
from tinycore.uop.tree import Kernel, Plan


def optimize(kernel: Kernel, caps: Caps) -> Plan:
    """The launches that compute `kernel`; NOOPT=1 leaves it as scheduled."""
    if NOOPT.value:
        return as_plan(kernel)
    chosen, actions = heuristic(kernel, caps)
    if DEBUG.value >= 3:
        print(f"{kernel.name}: {' '.join(actions) or 'no action applies'}")
    return as_plan(chosen)
