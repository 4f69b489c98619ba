"""What is known of a kernel before it runs: which loops run at once, who runs side by side.

In: a kernel. Out: facts about its nodes. Next file: memory.py.
"""

from itertools import product

from tinycore.dtype import COMPUTE
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import ROLE, sites, under
from tinycore.uop.tree import Kernel

SCHEDULED = (Ops.LOOP, Ops.IF, Ops.BUFFER, Ops.LET, Ops.STORE)
TEAMS = ("warpgroup", "warp")  # loops whose iterations run side by side

Path = tuple[tuple[str, int], ...]  # the role, warpgroup or warp that runs, from the outermost in


def is_scheduled(kernel: Kernel) -> bool:
    """True if nothing in `kernel` is asynchronous or bound to lanes."""
    for statement in under(kernel.body):
        if statement.op not in SCHEDULED or getattr(statement.arg, "own", None):
            return False
    return not kernel.spmd


def agents(statement: UOp) -> list[tuple[str, int]]:
    """Name and number of each that runs a role, or the loop of a team; none for others."""
    arg = statement.arg
    if statement.op is Ops.LOOP and arg.map in TEAMS:
        return [(arg.axis, at) for at in range(arg.extent.hi)]
    if statement.op is Ops.BLOCK and arg.kind == ROLE:
        return [(arg.name, at) for at in range(arg.replicas)]
    return []


def consumers(kernel: Kernel) -> set[tuple[UOp, Path]]:
    """Buffers, each with a role or team that must free its slots."""
    found: set[tuple[UOp, Path]] = set()
    for site in sites(kernel, ""):
        if site.statement.op is Ops.FREE:
            teams = [agents(outer) for outer in site.around]
            paths = product(*[team for team in teams if team])
            found.update(product(site.statement.src, paths))
    return found


def is_at_once(loop: UOp, trusted: bool) -> bool:
    """True if the iterations of a loop may run at once, as an axis of numpy.

    Nothing in a par loop is done by a team as a whole; a red loop only combines.
    """
    if loop.arg.kind == "ser" or (loop.arg.kind == "red" and not trusted):
        return False
    allowed = _may_be_in_par if loop.arg.kind == "par" else _may_be_in_red
    return all(allowed(statement) for statement in under([loop]))


def _may_be_in_par(statement: UOp) -> bool:
    return statement.op in SCHEDULED and not agents(statement)


def _may_be_in_red(statement: UOp) -> bool:
    """What combines must neither round after each step nor move a state."""
    if statement.op is not Ops.STORE:
        return statement.op in (Ops.LOOP, Ops.LET)
    exact = statement.src[0].dtype not in COMPUTE
    return exact and statement.arg.combine and not statement.arg.rebase
