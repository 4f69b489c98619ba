"""The optimiser: a scheduled kernel becomes a plan of mapped kernels.

Comes in: a kernel, the capabilities of a target and, for a search, a way to time candidates. Goes
out: a `Plan`, whose launches codegen/lower takes one by one. Files: actions.py (the vocabulary),
heuristic.py (BEAM=0), search.py (BEAM=n), pieces.py (what cannot be one launch).
"""

from tinycore.codegen.optimize.heuristic import heuristic
from tinycore.codegen.optimize.pieces import as_plan
from tinycore.config import DEBUG, NOOPT
from tinycore.runtime.contract import Caps
from tinycore.uop.tree import Kernel, Plan


def optimize(kernel: Kernel, caps: Caps) -> Plan:
    """The launches that compute `kernel` on a target with these capabilities.

    `NOOPT=1` leaves the kernel as scheduled. DEBUG=3 tells the actions.
    """
    if NOOPT.value:
        return as_plan(kernel)
    chosen, actions = heuristic(kernel, caps)
    if DEBUG.value >= 3:
        print(f"{kernel.name}: {' '.join(actions) or 'no action applies'}")
    return as_plan(chosen)
