"""What is known of a kernel before it runs: which loops run at once, who shares which buffer.

In: a kernel. Out: facts about its nodes. Next file: frame.py.
"""

from collections.abc import Iterable, Iterator

from tinycore.dtype import COMPUTE
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import index_values, under, uses
from tinycore.uop.tree import GLOBAL, Kernel, axis_of

TOGETHER = (Ops.COPY, Ops.WAIT, Ops.FREE, Ops.MMA, Ops.BARRIER, Ops.BLOCK)
TEAMS = ("warpgroup", "warp")  # loops whose iterations run side by side

Path = tuple[tuple[str, int], ...]  # the role, warpgroup or warp that runs, from the outermost in


def is_scheduled(kernel: Kernel) -> bool:
    """True if nothing in `kernel` is asynchronous or bound to lanes."""
    for statement in under(kernel.body):
        if statement.op in TOGETHER or getattr(statement.arg, "own", None):
            return False
    return not kernel.spmd


def members(outer: UOp) -> list[tuple[UOp, str, int]]:
    """The roles, or the teams of a loop, that run side by side: statement, name, number."""
    arg = outer.arg
    if outer.op is Ops.LOOP and arg.map in TEAMS:
        return [(outer, arg.axis, at) for at in range(arg.extent.hi)]
    found = []
    for role in outer.src if outer.op is Ops.BLOCK and arg.kind == "roles" else ():
        found += [(role, role.arg.name, at) for at in range(role.arg.replicas)]
    return found


def at_once(kernel: Kernel) -> set[UOp]:
    """The loops whose iterations may run at once, as an axis of numpy.

    Extents of loops and shapes of buffers must not depend on them.
    """
    sizes: set[Atom] = set()
    loops = set()
    for statement in under(kernel.body):
        if statement.op in (Ops.LOOP, Ops.BUFFER):
            sizes |= _atoms(index_values(statement))
        if statement.op is Ops.LOOP and _is_free(statement):
            loops.add(statement)
    return {loop for loop in loops if sizes.isdisjoint(atoms(axis_of(loop)))}


def _is_free(loop: UOp) -> bool:
    """True if nothing in a par loop is done by a team as a whole; for a red loop see below."""
    if loop.arg.kind == "red":
        return _is_sum(loop)
    together = any(s.op in TOGETHER or members(s) for s in under([loop]))
    return loop.arg.kind == "par" and not together


def _is_sum(loop: UOp) -> bool:
    """True if a red loop may be combined by numpy: each outer buffer is used in one way.

    It is read; or has one combine, that needs no rounding of its own; or each store has its place.
    """
    inner = under(loop.src)
    ways: dict[UOp, str] = {}
    for use in [use for statement in inner for use in uses(statement)]:
        free = use.how == "load" or use.buffer.dtype not in COMPUTE
        if use.how == "store":
            free = atoms(axis_of(loop)) <= _atoms(use.indices)
        same = ways.setdefault(use.buffer, use.how) == use.how
        if use.buffer not in inner and not (free and same):
            return False
    return not any(s.op is Ops.STORE and s.arg.rebase for s in inner)


def _atoms(indices: Iterable[Index]) -> set[Atom]:
    found: set[Atom] = set()
    for index in indices:
        found |= atoms(index)
    return found


def changed(kernel: Kernel) -> dict[UOp, str]:
    """The buffers that change: "filled" by a COPY, if WAIT and FREE order them, else "written"."""
    found: dict[UOp, str] = {}
    for statement in under(kernel.body):
        for buffer in [node for node in statement.src if node.op is Ops.BUFFER]:
            found.setdefault(buffer, "written")
            if statement.op is Ops.COPY and buffer.arg.space != GLOBAL:
                found[buffer] = "filled"
    return found


def consumers(body: Iterable[UOp], path: Path = ()) -> Iterator[tuple[UOp, Path]]:
    """Buffers, each with a role or team that must free its slots."""
    for statement in body:
        if statement.op is Ops.FREE:
            yield from [(buffer, path) for buffer in statement.src]
        teams = members(statement)
        for inner, name, at in teams:
            yield from consumers(inner.src, (*path, (name, at)))
        if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK) and not teams:
            yield from consumers(statement.src, path)
