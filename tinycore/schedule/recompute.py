"""Which stages are evaluated where they are read, and never stored.

Comes in: stages in topological order. Goes out: fewer stages; the expressions of readers hold the
others as REDUCE or as scalar ops. Decided by counting evaluations, never by what an expression
means: a sum of moved sums is one sum (NEST), a short reduction that its readers need once an
element is put inside them. groups.py comes next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tinycore.schedule.expression import Rewrite, inline, reduction, renamed
from tinycore.schedule.movement import Indices
from tinycore.schedule.stages import Stage, make_stages
from tinycore.schedule.types import Limits
from tinycore.uop.affine import atoms
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.shape import size, size_of
from tinycore.uop.tree import Access, both

_NESTED = 4  # times an element may be evaluated in a sum of sums


class Read(NamedTuple):
    """A reader, and the place it reads."""

    stage: Stage
    indices: Indices


def find_stages(sinks: Sequence[UOp], limits: Limits) -> list[Stage]:
    """The stages that remain, in topological order."""
    stages = make_stages(sinks, limits)
    nest_sums(stages)
    chosen = choose_recomputed(stages, limits)
    put_inside(stages, chosen)
    return [stage for node, stage in stages.items() if node not in chosen]


# NEST


def nest_sums(stages: dict[UOp, Stage]) -> None:
    """Make one sum of a sum whose value is a moved sum that nobody else reads."""
    readers = _readers(stages)
    for stage in list(stages.values()):
        if not stage.reduces or stage.writes or stage.term.op is not Ops.LOAD:
            continue
        source = stage.term.src[0]
        inner = stages.get(source)
        if inner is not None and len(readers[source]) == 1 and _is_one_sum(stage, inner):
            access: Access = stage.term.arg
            mine = stage.steps
            inside = Rewrite(renamed(inner.axes, access.indices), access.mask)(inner.value)
            theirs = inside.arg
            value = reduction(
                inside.src[0],
                mine.axes + theirs.axes,
                mine.extents + theirs.extents,
                "sum",
                both(mine.mask, both(access.mask, theirs.mask)),
            )
            stage.update(value)
            del stages[source]


def _is_one_sum(stage: Stage, inner: Stage) -> bool:
    """True if each element of the inner sum is used once for an element of the outer one."""
    if not inner.reduces or {stage.steps.combine, inner.steps.combine} != {"sum"}:
        return False
    access: Access = stage.term.arg
    used = {atom for index in access.indices for atom in atoms(index)}
    own = {atom for index in (*stage.axes, *stage.steps.axes) for atom in atoms(index)}
    few = stage.size * size(stage.steps.extents) <= _NESTED * inner.size
    return few and own <= used and not access.fill and not inner.is_stored


def _readers(stages: Mapping[UOp, Stage]) -> dict[UOp, list[Read]]:
    found: dict[UOp, list[Read]] = {node: [] for node in stages}
    for stage in stages.values():
        for node in [node for node in stage.reads if node in stages]:
            found[node] += [Read(stage, at.indices) for at in stage.reads[node]]
    return found


# Reductions inside their readers


def choose_recomputed(stages: dict[UOp, Stage], limits: Limits) -> set[UOp]:
    """The reductions, and the scalar ops over them, to evaluate where they are read."""
    readers = _readers(stages)
    chosen: set[UOp] = set()
    for stage in stages.values():
        if not stage.reduces or stage.is_stored or stage.steps.mask:
            continue
        is_short = size(stage.steps.extents) <= limits.recomputed_steps
        if is_short and chosen.isdisjoint(stage.reads):
            found = _reached(stage, readers)
            users = [read for read in found if not read.stage.is_inline]
            fits = all(_once(user, limits) for user in users)
            if fits and _pays(stage, users, limits):
                chosen |= {read.stage.node for read in found if read.stage.is_inline}
                chosen.add(stage.node)
    return chosen


def _reached(stage: Stage, readers: Mapping[UOp, Sequence[Read]]) -> list[Read]:
    """Who reads a stage, also through scalar ops, and where."""
    found: dict[Read, None] = {}
    work = [Read(stage, stage.axes)]
    for inner, place in work:
        for user, indices in readers[inner.node]:
            rewrite = Rewrite(renamed(inner.axes, indices))
            read = Read(user, tuple([rewrite.index(index) for index in place]))
            if read not in found and user.is_inline:
                work.append(read)
            found[read] = None
    return list(found)


def _pays(stage: Stage, users: Sequence[Read], limits: Limits) -> bool:
    """It saves memory for a result as large as what it reads, or launches for a small one whose
    readers will merge: reductions over axes of one kind and extent."""
    kinds = {user.stage.reduces for user in users}
    if True not in kinds or stage.size >= sum(map(size_of, stage.reads)):
        return True in kinds
    several = len({user.stage for user in users}) > 1
    one_space = len(kinds) == 1 and len({_space(user) for user in users}) == 1
    return several and one_space and stage.size <= limits.tiny


def _space(user: Read) -> tuple[tuple[bool, int], ...]:
    """Which axes of a place are reduced, with their extents."""
    wide = [index for index in user.indices if index.terms]
    return tuple([(index in user.stage.steps.axes, index.hi) for index in wide])


def _once(user: Read, limits: Limits) -> bool:
    """Each loop of the reader needs each element once: distinct plain axes, few others."""
    stage = user.stage
    found = {index for index in user.indices if index.terms}
    steps = stage.steps.axes
    if stage.scatters or not found <= {*stage.axes, *steps}:
        return False
    if len(found) != len([index for index in user.indices if index.terms]):
        return False
    if stage.reduces and found.isdisjoint(steps):
        return False
    others = [stage.shape[k] for k in stage.wide if stage.axes[k] not in found]
    return size(others) <= limits.recomputed_steps


def put_inside(stages: Mapping[UOp, Stage], chosen: set[UOp]) -> None:
    """Put the chosen stages into the expressions of their readers, sources first."""

    def read(node: UOp, access: Access) -> UOp | None:
        if node not in chosen:
            return None
        stage = stages[node]
        return inline(stage.value, renamed(stage.axes, access.indices), access)

    for stage in stages.values():
        if not chosen.isdisjoint(stage.reads):
            stage.update(Rewrite({}, (), read)(stage.value))
