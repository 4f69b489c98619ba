"""Reductions of one kernel merged into loops.

Comes in: a body. Goes out: runs, each one loop over which several reductions are combined, in
order. Two share a loop of equal extents if the later does not read the earlier, or reads it only
as exp(x - m) beside its maximum (rebase, IR.md 3.2). Factors that do not depend on the loop and
come from a reduction leave their sum (FACTOR, a named rounding change). emit.py writes the loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tinycore.schedule.bodies import Body, Member
from tinycore.schedule.expression import Dependence, Rewrite, factors, in_order
from tinycore.schedule.stages import REDUCTION, Step
from tinycore.uop.affine import Mask, atoms
from tinycore.uop.index import Atom
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.simplify import scalar
from tinycore.uop.tree import Access, load


@dataclass(slots=True, eq=False)
class Sum:
    """One reduction of a run: `kept` is combined in the loop, under `mask`; `leaving` multiplies
    the result after it; `moved` are the sums that follow when this maximum grows."""

    member: Member
    kept: UOp
    mask: Mask
    leaving: UOp | None
    moved: list[Sum] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Run:
    """One loop over `steps`, and what it combines, in order."""

    steps: tuple[Step, ...]
    sums: list[Sum]
    after: list[Sum] = field(default_factory=list)


class Runs:
    """The runs of a body, in order. `ready[state]` is the run after which a state is final."""

    def __init__(self, body: Body) -> None:
        self.depends = Dependence()
        self.ready: dict[UOp, int] = {}
        self.sums: dict[UOp, Sum] = {}
        self.runs: list[Run] = []
        for member in body.members.values():
            if member.stage.kind == REDUCTION:
                self._add(member)

    def _add(self, member: Member) -> None:
        found = self._split(member)
        number = self._merge(found)
        if number is None:
            number = len(self.runs)
            self.runs.append(Run(member.stage.steps, [found]))
        last = number
        for state in self._states(found.leaving):
            last = max(last, self.ready[state])
        if found.leaving is not None:
            self.runs[last].after.append(found)
        assert member.state is not None, "runs: a reduction without a state"
        self.ready[member.state] = last
        self.sums[member.state] = found

    # FACTOR

    def _split(self, member: Member) -> Sum:
        """Separate the factors that the loop does not need."""
        stage = member.stage
        own = {atom for axis in stage.step_axes for atom in atoms(axis)}
        every = factors(member.value) if stage.combine == "sum" else [member.value]
        leaving = [one for one in every if self._leaves(one, own)]
        kept = [one for one in every if one not in leaving]
        if not kept or not leaving:
            return Sum(member, member.value, member.mask, None)
        return Sum(member, _product(kept), member.mask, _product(leaving))

    def _leaves(self, factor: UOp, own: set[Atom]) -> bool:
        return self.depends(factor).isdisjoint(own) and bool(self._states(factor))

    def _states(self, value: UOp | None) -> list[UOp]:
        """The finished reductions of this body that an expression reads."""
        order = in_order([] if value is None else [value])
        reads = [node.src[0] for node in order if node.op is Ops.LOAD]
        return [state for state in dict.fromkeys(reads) if state in self.ready]

    # merging

    def _merge(self, found: Sum) -> int | None:
        """Put a sum into the latest loop that may hold it; its number."""
        steps = found.member.stage.steps
        extents = [step.extent for step in steps]
        states = self._states(found.kept)
        for number in range(len(self.runs) - 1, -1, -1):
            run = self.runs[number]
            inside = [self.sums[state] for state in states if self.ready[state] >= number]
            if [step.extent for step in run.steps] == extents:
                moved = _moved(found, run)
                value = moved(found.kept)
                if not inside or self._rebase(found, value, inside, run):
                    found.kept = value if not inside else _through_fin(value, inside)
                    found.mask = moved.masked(found.mask)
                    run.sums.append(found)
                    return number
            if inside:
                return None
        return None

    def _rebase(self, found: Sum, value: UOp, inside: Sequence[Sum], run: Run) -> bool:
        """Let a sum follow the maxima it reads, if each stands in one factor exp(x - m) of it,
        for the x it is the maximum of."""
        if found.member.stage.combine != "sum":
            return False
        every = factors(value)
        for lead in inside:
            stage = lead.member.stage
            if lead not in run.sums or stage.combine != "max" or lead.member.inner or lead.mask:
                return False
            scales = [one for one in every if _is_scale(one, lead)]
            rest = [one for one in every if one not in scales]
            if len(scales) != 1 or _value_of(lead) in in_order([*rest, lead.kept]):
                return False
        for lead in inside:
            lead.moved.append(found)
        return True


def _moved(found: Sum, run: Run) -> Rewrite:
    """The axes of a sum replaced by those of a run."""
    pairs = zip(found.member.stage.steps, run.steps, strict=True)
    return Rewrite({atom: new.axis for old, new in pairs for atom, _ in old.axis.terms})


def _value_of(lead: Sum) -> UOp:
    assert lead.member.state is not None, "runs: a maximum without a state"
    return load(lead.member.state, Access(()))


def _is_scale(factor: UOp, lead: Sum) -> bool:
    """exp(x - m) for m the maximum of x."""
    if factor.op is not Ops.EXP or factor.src[0].op is not Ops.ADD:
        return False
    x, negated = factor.src[0].src
    return x is lead.kept and negated.op is Ops.NEG and negated.src[0] is _value_of(lead)


def _through_fin(value: UOp, inside: Sequence[Sum]) -> UOp:
    """`value` with running maxima read through fin: see `Ops.FIN`."""
    states = {lead.member.state for lead in inside}

    def read(node: UOp, access: Access) -> UOp | None:
        if node not in states:
            return None
        return scalar(Ops.FIN, node.dtype, load(node, access))

    return Rewrite({}, (), read)(value)


def _product(values: Sequence[UOp]) -> UOp:
    total = values[0]
    for value in values[1:]:
        total = scalar(Ops.MUL, total.dtype, total, value)
    return total


def find_runs(body: Body) -> list[Run]:
    """The loops over which the reductions of a body are combined, in order."""
    return Runs(body).runs
