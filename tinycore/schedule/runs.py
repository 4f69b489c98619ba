"""Reductions of one kernel merged into loops.

Comes in: a body. Goes out: runs, each one loop over which several reductions are combined, in
order. Two share a loop of equal extents if the later does not read the earlier, or reads it only
as exp(x - m) beside its maximum (rebase, IR.md 3.2). Factors that do not depend on the loop and
come from a reduction leave their sum (FACTOR, a named rounding change). emit.py writes the loops.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tinycore.schedule.expression import Dependence, Rewrite, factors, in_order
from tinycore.schedule.stages import Stage
from tinycore.uop.affine import atoms
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.simplify import scalar
from tinycore.uop.tree import Access, load


class Run(NamedTuple):
    """One loop over the steps that its stages have in common, and what it combines, in order;
    after it, the stages in `scaled` are multiplied by the factors that left them."""

    stages: list[Stage]
    scaled: list[tuple[Stage, UOp]]


class Runs:
    """The runs of a body, in order. `ready[state]` is the run after which a state is final."""

    def __init__(self) -> None:
        self.depends = Dependence()
        self.ready: dict[object, int] = {}
        self.owner: dict[object, Stage] = {}
        self.runs: list[Run] = []

    def add(self, stage: Stage) -> None:
        """Put a reduction into a run, its own if need be."""
        leaving = self._take_out(stage)
        number = self._merge(stage)
        if number is None:
            number = len(self.runs)
            self.runs.append(Run([stage], []))
        if leaving:
            factor = _product(leaving)
            number = max(number, *[self.ready[state] for state in self._states(factor)])
            self.runs[number].scaled.append((stage, factor))
        self.ready[stage.state] = number
        self.owner[stage.state] = stage

    def _states(self, value: UOp) -> list[object]:
        """The finished reductions of this body that an expression reads."""
        return [found for found in self.depends(value) if found in self.ready]

    def _take_out(self, stage: Stage) -> list[UOp]:
        """The factors that come from a reduction and not from the loop, taken out of a sum."""
        own = {atom for axis in stage.steps.axes for atom in atoms(axis)}
        every = factors(stage.term) if stage.steps.combine == "sum" else []
        fixed = [one for one in every if self.depends(one).isdisjoint(own)]
        leaving = [one for one in fixed if self._states(one)]
        kept = [one for one in every if one not in leaving]
        if not kept or not leaving:
            return []
        stage.combine(_product(kept))
        return leaving

    def _merge(self, stage: Stage) -> int | None:
        """Put a reduction into the latest loop that may hold it; its number."""
        states = self._states(stage.term)
        for number in range(len(self.runs) - 1, -1, -1):
            run = self.runs[number]
            inside = [self.owner[state] for state in states if self.ready[state] >= number]
            fits = run.stages[0].steps.extents == stage.steps.extents
            if fits and (not inside or _follows(stage, inside, run)):
                for lead in inside:
                    lead.followers.append(stage)
                stage.combine(_through_fin(stage.term, inside) if inside else stage.term)
                run.stages.append(stage)
                return number
            if inside:
                return None
        return None


def _follows(stage: Stage, inside: Sequence[Stage], run: Run) -> bool:
    """True if each maximum a sum reads stands in one factor exp(x - m) of it, for the x it is the
    maximum of."""
    every = factors(stage.term)
    for lead in inside:
        plain = lead.steps.combine == "max" and not lead.inner and not lead.steps.mask
        if lead not in run.stages or not plain:
            return False
        scales = [one for one in every if _is_scale(one, lead)]
        rest = [one for one in every if one not in scales]
        if len(scales) != 1 or lead.stored_value in in_order([*rest, lead.term]):
            return False
    return stage.steps.combine == "sum"


def _is_scale(factor: UOp, lead: Stage) -> bool:
    """exp(x - m) for m the maximum of x."""
    if factor.op is not Ops.EXP or factor.src[0].op is not Ops.ADD:
        return False
    x, negated = factor.src[0].src
    return x is lead.term and negated.op is Ops.NEG and negated.src[0] is lead.stored_value


def _through_fin(value: UOp, inside: Sequence[Stage]) -> UOp:
    """`value` with running maxima read through fin: see `Ops.FIN`."""
    states = [lead.state for lead in inside]

    def read(node: UOp, access: Access) -> UOp | None:
        plain = load(node, access)
        return scalar(Ops.FIN, node.dtype, plain) if node in states else None

    return Rewrite({}, (), read)(value)


def _product(values: Sequence[UOp]) -> UOp:
    total = values[0]
    for value in values[1:]:
        total = scalar(Ops.MUL, total.dtype, total, value)
    return total


def find_runs(stages: Iterable[Stage]) -> list[Run]:
    """The loops over which the reductions of a body are combined, in order."""
    found = Runs()
    for stage in stages:
        if stage.reduces:
            found.add(stage)
    return found.runs
