"""What grouping asks of one stage, found once before any stage has a group.

Comes in: a stage, and the stages by node. Goes out: its `Facts`. groups.py compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tinycore.schedule.expression import Dependence, factors, plain_axis, reductions
from tinycore.schedule.movement import Indices
from tinycore.schedule.stages import REDUCTION, SCATTER, Stage
from tinycore.uop.affine import atoms
from tinycore.uop.index import Index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.shape import Dim


class Facts(NamedTuple):
    """`reads` are the stages it reads, and where. `usable` are the dimensions that may become
    axes of a group: those on which the reductions evaluated inside depend, if there are any.

    `tiles` says that it is a contraction that keeps its own axes for tiles; `space` is equal for
    stages whose loops could be the same.
    """

    reads: tuple[tuple[Stage, Indices], ...]
    usable: list[int]
    contracts: bool
    tiles: bool
    space: object

    def dimension(self, stage: Stage, index: Index, extent: Dim) -> int | None:
        """The usable dimension of `stage` that an index of a read is, if it has that extent."""
        for k in self.usable:
            if stage.axes[k] is index and plain_axis(index) and stage.shape[k] == extent:
                return k
        return None


def facts_of(stage: Stage, stages: Mapping[UOp, Stage], depends: Dependence) -> Facts:
    """The facts of one stage."""
    reads = [(stages.get(load.src[0]), load.arg.indices) for load in stage.reads]
    inside = reductions(stage.value)
    usable = [] if stage.kind == SCATTER else stage.wide
    for node in inside:
        usable = [k for k in usable if atoms(stage.axes[k]) <= depends(node)]
    contracts = _contracts(stage, depends)
    return Facts(
        tuple([(read, indices) for read, indices in reads if read is not None]),
        usable,
        contracts,
        contracts and not inside,
        (stage.kind, stage.extents),
    )


def _contracts(stage: Stage, depends: Dependence) -> bool:
    """A sum of products in which every factor serves several elements or steps."""
    if stage.kind != REDUCTION or stage.combine != "sum":
        return False
    value = stage.value.src[0] if stage.value.op is Ops.CAST else stage.value
    every = {atom for axis in (*stage.axes, *stage.steps) for atom in atoms(axis)}
    known = [depends(factor) for factor in factors(value)]
    varying = [one for one in known if one]
    return len(varying) > 1 and not any(every <= one for one in varying)
