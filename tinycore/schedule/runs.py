"""Reductions of one kernel merged into loops.

Comes in: the stages of a body. Goes out: runs, each one loop over which several reductions are
combined, in order. Two share a loop of equal extents if the later does not read the earlier, or
reads it only as exp(x - m) beside its maximum (rebase, docs/ir.md rule 2), unless a cache holds the
row, so that reading it again is cheaper. Factors that do not depend on the loop and come from a
reduction leave their sum (FACTOR, a named rounding change).
emit.py writes the loops.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tinycore.schedule.expression import Dependence, Rewrite, in_order
from tinycore.schedule.stages import Stage
from tinycore.uop.affine import atoms
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp, factors
from tinycore.uop.shape import size
from tinycore.uop.simplify import scalar
from tinycore.uop.tree import Access

_CHEAP_OPS = 8  # no dearer than a rebase


class Output(NamedTuple):
    """A STORE in loops over the dimensions of a stage that are inside; when its target grows, the
    states in `moved` follow."""

    stage: Stage
    target: UOp
    place: Access
    value: UOp
    combine: str
    moved: list[UOp]


class Run(NamedTuple):
    """One loop over the steps that reductions have in common, and what it combines, in order;
    after it, sums are multiplied by the factors that left them."""

    sums: list[Output]
    scaled: list[Output]


class Runs:
    """The runs over which the reductions among some stages are combined, in order. `done` holds,
    for each state, the run after which it is final and what it combines."""

    def __init__(self, stages: Iterable[Stage], cached: int = 0) -> None:
        self.cached = cached
        self.depends = Dependence()
        self.done: dict[object, tuple[int, Output]] = {}
        self.runs: list[Run] = []
        for stage in stages:
            if stage.reduces:
                self._add(stage)

    def _add(self, stage: Stage) -> None:
        """Put a reduction into a run, its own if need be."""
        leaving, term = self._divided(stage)
        number, leads = self._fitting(stage, term)
        if number == len(self.runs):
            self.runs.append(Run([], []))
        for lead in leads:
            lead.moved.append(stage.state)
        if leads:
            term = _through_fin(term, leads)
        place = Access(stage.at(stage.axes))
        at_step = Access(stage.place) if stage.scatters else place
        at_step = at_step._replace(mask=stage.steps.place.mask)
        output = Output(stage, stage.state, at_step, term, stage.steps.combine, [])
        self.runs[number].sums.append(output)
        if leaving:
            factor = _product(leaving)
            number = max(number, *[known for known, _ in self._read(factor)])
            scaled = Output(stage, stage.state, place, factor, "prod", [])
            self.runs[number].scaled.append(scaled)
        self.done[stage.state] = number, output

    def _read(self, value: UOp) -> list[tuple[int, Output]]:
        """The finished reductions of this body that an expression reads."""
        return [self.done[found] for found in self.depends(value) if found in self.done]

    def _divided(self, stage: Stage) -> tuple[list[UOp], UOp]:
        """The factors that leave a sum, since they come from a reduction and not from the loop;
        and what stays."""
        own = atoms(*stage.steps.axes)
        every = factors(stage.term) if stage.steps.combine == "sum" else []
        leaving: list[UOp] = []
        kept: list[UOp] = []
        for one in every:
            if self._read(one) and own.isdisjoint(self.depends(one)):
                leaving.append(one)
            else:
                kept.append(one)
        return (leaving, _product(kept)) if leaving and kept else ([], stage.term)

    def _fitting(self, stage: Stage, term: UOp) -> tuple[int, list[Output]]:
        """The latest run that may hold a reduction, and those of it that it must follow."""
        read = self._read(term)
        for number in range(len(self.runs) - 1, -1, -1):
            sums = self.runs[number].sums
            leads = [output for known, output in read if known >= number]
            fits = sums[0].stage.steps.extents == stage.steps.extents
            if fits and self._follows(stage, term, leads, sums):
                return number, leads
            if leads:
                break
        return len(self.runs), []

    def _follows(
        self, stage: Stage, term: UOp, leads: Sequence[Output], sums: Sequence[Output]
    ) -> bool:
        """True if each maximum a sum reads stands in one factor exp(x - m) of it, for the x it is
        the maximum of."""
        every = factors(term)
        for lead in leads:
            is_plain = lead.combine == "max" and not lead.stage.inner and not lead.place.mask
            if lead not in sums or not is_plain or stage.steps.combine != "sum":
                return False
            scale = (lead.value - lead.stage.stored_value).alu(Ops.EXP)
            rest = [one for one in every if one is not scale]
            known = [self.depends(one) for one in [*rest, lead.value]]
            if len(rest) != len(every) - 1 or any(lead.target in needs for needs in known):
                return False
        return not any(self._is_read_again(lead) for lead in leads)

    def _is_read_again(self, lead: Output) -> bool:
        """True if what a maximum is taken of costs less to read again, from a cache, than an exp to
        rebase by at every step."""
        if size(lead.stage.steps.extents) > self.cached:
            return False
        nodes = in_order([lead.value])
        operations = [node for node in nodes if node.op in ELEMENTWISE]
        return len(operations) <= _CHEAP_OPS and all(node.op is not Ops.REDUCE for node in nodes)


def _through_fin(value: UOp, leads: Sequence[Output]) -> UOp:
    """`value` with running maxima read through fin: see `Ops.FIN`."""
    rewrite = Rewrite({})
    for lead in leads:
        top = lead.stage.stored_value
        rewrite.memo[top] = scalar(Ops.FIN, top.dtype, top)
    return rewrite(value)


def _product(values: Sequence[UOp]) -> UOp:
    total = values[0]
    for value in values[1:]:
        total = scalar(Ops.MUL, total.dtype, total, value)
    return total
