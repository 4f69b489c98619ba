"""One kernel written: loops of the group, merged reductions, then the stores.

Comes in: a group, and where values are stored. Goes out: a kernel tree and its parameters. A run is
a loop of several reductions: the later does not read the earlier, or reads it only as exp(x - m)
beside its maximum (rebase, docs/ir.md rule 2), if no cache holds the row. Next file: writer.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

from tinycore.dtype import dtypes
from tinycore.schedule.expression import Dependence, Rewrite, parts, reductions
from tinycore.schedule.groups import Group
from tinycore.schedule.stages import Stage
from tinycore.schedule.writer import Writer
from tinycore.uop.affine import atoms
from tinycore.uop.ops import ELEMENTWISE, Nodes, Ops, UOp, factors, postorder
from tinycore.uop.shape import size
from tinycore.uop.simplify import scalar, simple
from tinycore.uop.tree import Access, Kernel

_CHEAP_OPS = 8  # no dearer than a rebase


class ScheduledKernel(NamedTuple):
    """A kernel and the buffers behind its parameters."""

    kernel: Kernel
    buffers: Nodes


def emit(group: Group, places: Mapping[UOp, UOp], name: str, cached: int) -> ScheduledKernel:
    """The kernel of a group; `places` are the buffers of nodes, `cached` is that of `Limits`."""
    writer = Writer(places)
    runs = Runs(group.stages.values(), cached).runs
    ends = [[_stored(stage) for stage in loop] for loop in group.loops]
    every = [*ends, *[run.sums + run.scaled for run in runs]]
    values = [output.value for outputs in every for output in outputs]
    writer.open("par", group.axes, group.extents, values)
    for run in runs:
        _write_run(writer, run)
    for loop in ends:
        _write(writer, loop)
    writer.close()
    params = tuple(writer.params.values())
    bounds = sorted(writer.variables)
    variables = tuple(UOp(Ops.VARIABLE, dtypes.int32, (), arg) for arg in bounds)
    kernel = Kernel(name, params, variables, tuple(writer.scopes[0].statements))
    return ScheduledKernel(kernel, tuple(writer.params))


def _write_run(writer: Writer, run: Run) -> None:
    steps = run.sums[0].stage.steps
    states = [output.target for output in run.sums if not output.stage.scatters]
    values = [output.value for output in run.sums]
    writer.open("red", steps.axes, steps.extents, values, states)
    for output in run.sums:
        _write(writer, [output])
    writer.close()
    for output in run.scaled:
        _write(writer, [output])


def _write(writer: Writer, outputs: Sequence[Output]) -> None:
    """All values first, since a store may overwrite what is read, then all stores, in loops over
    the same dimensions; those that a reduction inside needs are outermost."""
    stage = outputs[0].stage
    values = [output.value for output in outputs]
    needed = {need for node in reductions(*values) for need in writer.depends[node]}
    inner = sorted(stage.inner, key=lambda k: needed.isdisjoint(atoms(stage.axes[k])))
    for k in inner:
        writer.open("par", (stage.axes[k],), (stage.shape[k],), values)
    place = writer.node if len(values) == 1 else writer.name
    placed = [place(value) for value in values]
    for output, value in zip(outputs, placed, strict=True):
        writer.store(output.target, output.place, value, output.combine, output.moved)
    for _ in inner:
        writer.close()


# Reductions merged into loops


class Output(NamedTuple):
    """A STORE in loops over a stage's inner dimensions; when its target grows, `moved` follow."""

    stage: Stage
    target: UOp
    place: Access
    value: UOp
    combine: str
    moved: list[UOp]


def _stored(stage: Stage) -> Output:
    return Output(stage, stage.node, Access(stage.place), stage.stored_value, "", [])


class Run(NamedTuple):
    """One loop that combines reductions; after it, sums are multiplied by the factors that left
    them (FACTOR, a named rounding change)."""

    sums: list[Output]
    scaled: list[Output]


class Runs:
    """The runs of the reductions among some stages, in order.

    `done` holds, for each state, the run after which it is final and what it combines.
    """

    def __init__(self, stages: Iterable[Stage], cached: int) -> None:
        self.cached = cached
        self.depends = Dependence()
        self.done: dict[object, tuple[int, Output]] = {}
        self.runs: list[Run] = []
        for stage in stages:
            if stage.reduces:
                self._add(stage)

    def _add(self, stage: Stage) -> None:
        """Put a reduction into a run; running maxima are read through FIN."""
        leaving, term = self._divided(stage)
        number, leads = self._fitting(stage, term)
        if number == len(self.runs):
            self.runs.append(Run([], []))
        for lead in leads:
            lead.moved.append(stage.state)
            top = lead.stage.stored_value
            running = Rewrite({})
            running.memo[top] = simple(top.alu(Ops.FIN))
            term = running.node(term)
        own = stage.at(stage.axes)
        place = Access(stage.place if stage.scatters else own, stage.steps.mask)
        output = Output(stage, stage.state, place, term, stage.steps.combine, [])
        self.runs[number].sums.append(output)
        if leaving:
            factor = _product(leaving)
            number = max(number, *[known for known, _ in self._read(factor)])
            scaled = Output(stage, stage.state, Access(own), factor, "prod", [])
            self.runs[number].scaled.append(scaled)
        self.done[stage.state] = number, output

    def _read(self, value: UOp) -> list[tuple[int, Output]]:
        return [self.done[found] for found in self.depends[value] if found in self.done]

    def _divided(self, stage: Stage) -> tuple[list[UOp], UOp]:
        """The factors from a reduction that leave a sum, since they do not depend on its loop, and
        the rest."""
        own = atoms(*stage.steps.axes)
        every = factors(stage.term) if stage.steps.combine == "sum" else []
        leaving = [one for one in every if self._read(one) and own.isdisjoint(self.depends[one])]
        kept = [one for one in every if one not in leaving]
        return (leaving, _product(kept)) if leaving and kept else ([], stage.term)

    def _fitting(self, stage: Stage, term: UOp) -> tuple[int, list[Output]]:
        """The latest run that may hold a reduction, and those in it that it must follow."""
        read = self._read(term)
        for number in reversed(range(len(self.runs))):
            steps = self.runs[number].sums[0].stage.steps
            leads = [output for known, output in read if known >= number]
            if steps.extents == stage.steps.extents and self._follows(stage, term, leads):
                return number, leads
            if leads:
                break
        return len(self.runs), []

    def _follows(self, stage: Stage, term: UOp, leads: Sequence[Output]) -> bool:
        """True if each maximum that a sum reads stands in one factor exp(x - m), with its own x."""
        every = factors(term)
        for lead in leads:
            is_plain = lead.combine == "max" and not lead.stage.inner and not lead.place.mask
            if not is_plain or stage.steps.combine != "sum":
                return False
            scale = (lead.value - lead.stage.stored_value).alu(Ops.EXP)
            rest = [one for one in every if one is not scale]
            if len(rest) != len(every) - 1 or self._is_read_again(lead):
                return False
            if any(lead.target in self.depends[one] for one in (*rest, lead.value)):
                return False
        return True

    def _is_read_again(self, lead: Output) -> bool:
        """True if the operand of a maximum costs less to read again than a rebase at every step."""
        if size(lead.stage.steps.extents) > self.cached:
            return False
        ops = [node.op for node in postorder([lead.value], parts)]
        return Ops.REDUCE not in ops and sum(op in ELEMENTWISE for op in ops) <= _CHEAP_OPS


def _product(values: Sequence[UOp]) -> UOp:
    return reduce(lambda x, y: scalar(Ops.MUL, x.dtype, x, y), values)
