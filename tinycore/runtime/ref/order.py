"""What may be known of a kernel before it runs: which loops can run all at once.

In: kernels and loops. Out: claims about them. Next file: control.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tinycore.dtype import COMPUTE
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import Use, evaluated, index_values, loads, under, written
from tinycore.uop.tree import Kernel, axis_of

SCHEDULED = frozenset({Ops.LOOP, Ops.BUFFER, Ops.LET, Ops.STORE, Ops.IF})
TOGETHER = frozenset({Ops.COPY, Ops.WAIT, Ops.FREE, Ops.MMA, Ops.BARRIER, Ops.BLOCK})
TEAMS = frozenset({"warpgroup", "warp"})  # loops whose iterations run side by side


def is_scheduled(kernel: Kernel) -> bool:
    """True if the oracle can run `kernel`: nothing in it is asynchronous or bound to lanes."""
    inner = under(kernel.body)
    plain = all(statement.op in SCHEDULED for statement in inner)
    buffers = [statement for statement in inner if statement.op is Ops.BUFFER]
    return plain and not kernel.spmd and not any(buffer.arg.own for buffer in buffers)


def bounds(kernel: Kernel) -> set[Atom]:
    """What the extents of loops and the shapes of buffers depend on: such axes run in order."""
    found: set[Atom] = set()
    for statement in under(kernel.body):
        if statement.op in (Ops.LOOP, Ops.BUFFER):
            found |= _atoms(index_values(statement))
    return found


def is_together(loop: UOp) -> bool:
    """True if something in a loop is done by a team as a whole."""
    return any(s.op in TOGETHER or is_team(s) for s in under(loop.src))


def is_team(statement: UOp) -> bool:
    """True for a loop over warpgroups or warps."""
    return statement.op is Ops.LOOP and statement.arg.map in TEAMS


def order_free(loop: UOp) -> bool:
    """True if the iterations of a red loop may be combined by one numpy reduction.

    No iteration reads what another changes, each state has one combine that needs no rounding
    of its own, and every plain store goes to a place of its own.
    """
    inner = under(loop.src)
    read: set[UOp] = set()
    combines: dict[UOp, str] = {}
    for statement in inner:
        read.update([node.src[0] for node in loads(evaluated(statement))])
        if statement.op is Ops.STORE and statement.arg.rebase:
            return False
    for use in _shared(inner):
        first = combines.setdefault(use.buffer, use.how)
        if use.buffer in read or use.how != first or not _mergeable(use, loop):
            return False
    return True


def _shared(inner: list[UOp]) -> Iterator[Use]:
    """What statements of a loop write outside it."""
    for statement in inner:
        for use in written(statement):
            if use.buffer not in inner:
                yield use


def _mergeable(use: Use, loop: UOp) -> bool:
    if use.how != "store":
        return use.buffer.dtype not in COMPUTE
    return atoms(axis_of(loop)) <= _atoms(use.indices)


def changed(outer: UOp) -> frozenset[UOp]:
    """The buffers in which iterations, or roles, must not meet: in a red loop those of plain
    stores."""
    found: set[UOp] = set()
    combining = outer.arg.kind != "red"
    for statement in under(outer.src if outer.arg.kind != "ser" else ()):
        uses = written(statement)
        found.update([use.buffer for use in uses if combining or use.how == "store"])
        if combining and statement.op is Ops.STORE:
            found.update(statement.src[2 * len(uses) :])
    return frozenset(found)


def _atoms(indices: Iterable[Index]) -> set[Atom]:
    return {atom for index in indices for atom in atoms(index)}
