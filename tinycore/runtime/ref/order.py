"""What is known of a kernel before it runs: which loops run at once, who runs side by side.

In: a kernel. Out: facts about its nodes. Next file: memory.py.
"""

from collections.abc import Iterable, Iterator
from itertools import product

from tinycore.dtype import COMPUTE
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import under
from tinycore.uop.tree import BODIES, Kernel

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
    if statement.op is Ops.BLOCK and arg.kind == "role":
        return [(arg.name, at) for at in range(arg.extent.hi)]
    return []


def consumers(body: Iterable[UOp], path: Path = ()) -> Iterator[tuple[UOp, Path]]:
    """Buffers, each with a role or team that must free its slots."""
    for statement in body:
        if statement.op is Ops.FREE:
            yield from product(statement.src, [path])
        elif statement.op in BODIES:
            for inner in [(*path, agent) for agent in agents(statement)] or [path]:
                yield from consumers(statement.src, inner)


def is_at_once(loop: UOp) -> bool:
    """True if the iterations of a loop may run at once, as an axis of numpy.

    Nothing in a par loop is done by a team as a whole. A red loop only combines, and neither rounds
    after each step nor moves a state.
    """
    for statement in under([loop]):
        fine = statement.op in (*SCHEDULED, Ops.BLOCK) and not agents(statement)
        if loop.arg.kind == "red":
            fine = statement.op in (Ops.LOOP, Ops.LET)
            if statement.op is Ops.STORE and statement.src[0].dtype not in COMPUTE:
                fine = bool(statement.arg.combine and not statement.arg.rebase)
        if not fine:
            return False
    return loop.arg.kind in ("par", "red")
