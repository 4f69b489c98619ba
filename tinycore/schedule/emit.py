"""One kernel written: loops of the group, merged reductions, then the stores.

Comes in: a group, and where values are stored. Goes out: a kernel tree and its parameters. A run is
a loop of several reductions: the later does not read the earlier, or reads it only as exp(x - m)
beside its maximum (rebase, docs/ir.md rule 2), if no cache holds the row. Next file: rows.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

from tinycore.schedule.expression import Dependence, Rewrite, parts, reductions
from tinycore.schedule.groups import Group
from tinycore.schedule.nodes import Limits
from tinycore.schedule.rows import Rows
from tinycore.schedule.stages import Stage
from tinycore.schedule.writer import Nest, Part, Writer
from tinycore.uop.index import atoms, size
from tinycore.uop.ops import ELEMENTWISE, Nodes, Ops, UOp, factors, postorder
from tinycore.uop.simplify import simple
from tinycore.uop.tree import Access, Kernel, store

_CHEAP_OPS = 8  # no dearer than a rebase


class ScheduledKernel(NamedTuple):
    """A kernel and the buffers behind its parameters."""

    kernel: Kernel
    buffers: Nodes


def emit(group: Group, places: Mapping[UOp, UOp], name: str, limits: Limits) -> ScheduledKernel:
    """The kernel of a group; `places` are the buffers of nodes."""
    writer = Writer(places)
    rows = Rows(group, writer.depends, limits.held)
    runs = Runs(writer.depends, limits.cached)
    for stage in group.stages:
        for nest in rows.fill(stage):
            runs.fill(nest, stage)
        if stage.reduces:
            runs.add(stage)
    body = [*runs.body()]
    for loop in group.loops:
        stores = [store(stage.node, Access(stage.place), stage.stored_value) for stage in loop]
        body.append(runs.inside(loop[0], *stores))
    writer.write(Nest("par", group.axes, group.extents, body))
    return ScheduledKernel(writer.kernel(name), tuple(writer.params))


class Run(NamedTuple):
    """One loop that combines reductions; after it, rows are filled, and sums multiplied by the
    factors that left them (FACTOR, a named rounding change)."""

    sums: list[Stage]
    after: list[Part]


class Runs:
    """The runs of the reductions of a kernel, in order.

    `done` holds, for each state, the run after which it is final and what it combines.
    """

    def __init__(self, depends: Dependence, cached: int) -> None:
        self.cached = cached
        self.depends = depends
        self.done: dict[object, tuple[int, Stage]] = {}
        self.runs: list[Run] = []

    def fill(self, nest: Nest, stage: Stage) -> None:
        """Put a loop that fills a row for a stage after all else."""
        for row in nest.states:
            self.done[row] = len(self.runs), stage
        self.runs.append(Run([], [nest]))

    def add(self, stage: Stage) -> None:
        """Put a reduction into a run; running maxima are read through FIN."""
        leaving, term = self._divided(stage)
        number, leads = self._fitting(stage, term)
        if number == len(self.runs):
            self.runs.append(Run([], []))
        for lead in leads:
            top = lead.stored_value
            term = Rewrite({top: top.alu(Ops.FIN)}).node(term)
        stage.value = stage.value.over((term,))
        self.runs[number].sums.append(stage)
        if leaving:
            read = [known for one in leaving for known, _ in self._read(one)]
            number = max(number, *read)
            place = Access(stage.at(stage.axes))
            # one after the other: their own product may be too large
            scaled = [store(stage.state, place, one, "prod") for one in leaving]
            self.runs[number].after.append(self.inside(stage, *scaled))
        self.done[stage.state] = number, stage

    def body(self) -> Iterator[Part]:
        """What computes the final states."""
        for sums, after in self.runs:
            if sums:
                steps = sums[0].steps
                parts = [self._combined(stage, sums) for stage in sums]
                states = [stage.state for stage in sums if not stage.scatters]
                yield Nest("red", steps.axes, steps.extents, parts, states)
            yield from after

    def _combined(self, stage: Stage, sums: Sequence[Stage]) -> Part:
        """When a state grows, those that follow it move."""
        state, steps = stage.state, stage.steps
        moved = tuple(one.state for one in sums if state in self.depends[one.term])
        place = stage.place if stage.scatters else stage.at(stage.axes)
        access = Access(place, steps.mask)
        return self.inside(stage, store(state, access, stage.term, steps.combine, moved))

    def inside(self, stage: Stage, *stores: UOp) -> Part:
        """STOREs in loops over the inner dimensions of a stage; those that a reduction inside needs
        are outermost."""
        values = [one.src[1] for one in stores]
        needed = {need for node in reductions(*values) for need in self.depends[node]}
        inner = sorted(stage.inner, key=lambda k: needed.isdisjoint(atoms(stage.axes[k])))
        part: Part = stores
        for k in reversed(inner):
            part = Nest("par", (stage.axes[k],), (stage.shape[k],), [part])
        return part

    def _read(self, value: UOp) -> list[tuple[int, Stage]]:
        return [self.done[found] for found in self.depends[value] if found in self.done]

    def _divided(self, stage: Stage) -> tuple[list[UOp], UOp]:
        """The factors from reductions that leave a sum, since they do not depend on its loop, and
        the rest."""
        term, steps = stage.term, stage.steps
        leaving, kept = [], []
        for one in factors(term):
            varies = atoms(*steps.axes) & self.depends[one]
            if self._read(one) and not varies:
                leaving.append(one)
            else:
                kept.append(one)
        if steps.combine != "sum" or not leaving or not kept:
            return [], term
        rest = reduce(lambda x, y: simple(x * y), kept)
        return leaving, rest

    def _fitting(self, stage: Stage, term: UOp) -> tuple[int, list[Stage]]:
        """The latest run that may hold a reduction, and those in it that it must follow."""
        read = self._read(term)
        for number in reversed(range(len(self.runs))):
            leads = [lead for known, lead in read if known >= number]
            extents = [one.steps.extents for one in self.runs[number].sums[:1]]
            if extents == [stage.steps.extents] and self._follows(stage, term, leads):
                return number, leads
            if leads:
                break
        return len(self.runs), []

    def _follows(self, stage: Stage, term: UOp, leads: Sequence[Stage]) -> bool:
        """True if each maximum that a sum reads stands in one factor exp(x - m), with its own x."""
        for lead in leads:
            is_plain = lead.steps.combine == "max" and not lead.inner and not lead.steps.mask
            if not is_plain or stage.steps.combine != "sum" or self._is_read_again(lead):
                return False
            scale = (lead.term - lead.stored_value).alu(Ops.EXP)
            if [one for one in factors(term) if lead.state in self.depends[one]] != [scale]:
                return False
        return True

    def _is_read_again(self, lead: Stage) -> bool:
        """True if the operand of a maximum costs less to read again than a rebase at every step."""
        if size(lead.steps.extents) > self.cached:
            return False
        ops = [node.op for node in postorder([lead.term], parts)]
        return Ops.REDUCE not in ops and sum(op in ELEMENTWISE for op in ops) <= _CHEAP_OPS
