"""What grouping asks of one stage, found once before any stage has a group.

Comes in: a stage, and the stages by node. Goes out: its `Facts`. groups.py compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tinycore.schedule.expression import Dependence, factors, reductions
from tinycore.schedule.movement import Indices
from tinycore.schedule.stages import REDUCTION, SCATTER, Stage
from tinycore.uop.affine import atoms
from tinycore.uop.ops import Ops, UOp


class Facts(NamedTuple):
    """`reads` are the stages it reads, and where. `usable` are the dimensions that may become
    axes of a group: those on which the reductions evaluated inside depend, if there are any.
    `tiles` says that it is a contraction that keeps its own axes for tiles.
    """

    reads: list[tuple[Stage, Indices]]
    usable: list[int]
    contracts: bool
    tiles: bool


def facts_of(stage: Stage, stages: Mapping[UOp, Stage], depends: Dependence) -> Facts:
    """The facts of one stage."""
    loads = [load for load in stage.reads if load.src[0] in stages]
    reads = [(stages[load.src[0]], load.arg.indices) for load in loads]
    inside = reductions(stage.value)
    usable = [] if stage.kind == SCATTER else stage.wide
    for node in inside:
        usable = [k for k in usable if atoms(stage.axes[k]) <= depends(node)]
    contracts = _contracts(stage, depends)
    return Facts(reads, usable, contracts, contracts and not inside)


def _contracts(stage: Stage, depends: Dependence) -> bool:
    """A sum of products in which every factor serves several elements or steps."""
    if stage.kind != REDUCTION or stage.combine != "sum":
        return False
    value = stage.value.src[0] if stage.value.op is Ops.CAST else stage.value
    every = {atom for axis in (*stage.axes, *stage.steps) for atom in atoms(axis)}
    known = [depends(factor) for factor in factors(value)]
    varying = [one for one in known if one]
    return len(varying) > 1 and not any(every <= one for one in varying)
