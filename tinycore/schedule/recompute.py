"""Which stages are evaluated where they are read, and never stored.

Comes in: stages in topological order. Goes out: fewer stages; the expressions of readers hold the
others as REDUCE or as scalar ops. Decided by counting evaluations, never by what an expression
means: a sum of moved sums is one sum (NEST), a short reduction that its readers need once an
element is put inside them. groups.py comes next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tinycore.schedule.expression import Indices, Rewrite, renamed
from tinycore.schedule.nodes import Limits
from tinycore.schedule.stages import Stage, describe, make_stages
from tinycore.uop import Ops, UOp
from tinycore.uop.affine import atoms
from tinycore.uop.shape import size, size_of
from tinycore.uop.tree import Access, both, mapped

_NESTED = 4  # times an element may be evaluated in a sum of sums


class Read(NamedTuple):
    """A reader, and the place it reads."""

    stage: Stage
    indices: Indices


Readers = Mapping[UOp, Sequence[Read]]


def find_stages(sinks: Sequence[UOp], limits: Limits) -> list[Stage]:
    """The stages that remain, in topological order."""
    stages = make_stages(sinks, limits)
    nest_sums(stages)
    chosen = choose_recomputed(stages, limits)
    put_inside(stages, chosen)
    found = [stage for node, stage in stages.items() if node not in chosen]
    describe(found)
    return found


def _readers(stages: Mapping[UOp, Stage]) -> Readers:
    found: dict[UOp, list[Read]] = {node: [] for node in stages}
    for stage in stages.values():
        for node in stage.reads.keys() & stages.keys():
            found[node] += [Read(stage, at.indices) for at in stage.reads[node]]
    return found


# NEST


def nest_sums(stages: dict[UOp, Stage]) -> None:
    """Make one sum of a sum whose value is a moved sum that nobody else reads."""
    readers = _readers(stages)
    for stage in list(stages.values()):
        if not stage.reduces or stage.scatters or stage.term.op is not Ops.LOAD:
            continue
        source = stage.term.source
        inner = stages.get(source)
        if inner is None or len(readers[source]) != 1 or not _is_one_sum(stage, inner):
            continue
        access: Access = stage.term.arg
        value = Rewrite(renamed(inner.axes, access.indices), access.mask)(inner.value)
        mine, theirs = stage.steps, value.arg
        joint = theirs._replace(
            axes=mine.axes + theirs.axes,
            extents=mine.extents + theirs.extents,
            mask=both(mine.mask, both(access.mask, theirs.mask)),
        )
        stage.update(value.replace(arg=joint))
        del stages[source]


def _is_one_sum(stage: Stage, inner: Stage) -> bool:
    """True if each element of the inner sum is used once for an element of the outer one."""
    if inner.is_stored or {stage.steps.combine, inner.steps.combine} != {"sum"}:
        return False
    access: Access = stage.term.arg
    if access.fill or stage.size * size(stage.steps.extents) > _NESTED * inner.size:
        return False
    return atoms(*stage.axes, *stage.steps.axes) <= atoms(*access.indices)


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
            few = all(len(one.touches | stage.touches) <= limits.buffers for one, _ in users)
            if few and _pays(stage, users, limits):
                chosen |= {read.stage.node for read in found if read.stage.is_inline}
                chosen.add(stage.node)
    return chosen


def _reached(stage: Stage, readers: Readers) -> list[Read]:
    """Who reads a stage, also through scalar ops, and where."""
    found: dict[Read, None] = {}
    work = [Read(stage, stage.axes)]
    for inner, place in work:
        for user, indices in readers[inner.node]:
            rewrite = Rewrite(renamed(inner.axes, indices))
            read = Read(user, mapped(place, rewrite.index))
            if read not in found and user.is_inline:
                work.append(read)
            found[read] = None
    return list(found)


def _pays(stage: Stage, users: Sequence[Read], limits: Limits) -> bool:
    """It saves memory for a result as large as what it reads, or launches for a small one whose
    readers will merge: reductions over axes of one kind and extent."""
    spaces = {_space(user, limits) for user in users}
    reducing = {user.stage for user in users if user.stage.reduces}
    if () in spaces or not reducing:
        return False
    if stage.size >= sum(map(size_of, stage.reads)):
        return True
    merge = len(spaces) == 1 and reducing == {user.stage for user in users}
    return merge and len(reducing) > 1 and stage.size <= limits.tiny


def _space(user: Read, limits: Limits) -> tuple[object, ...]:
    """The axes that name what a reader needs, with extents, if each of its loops needs each element
    once: distinct plain axes, one of them a step, few others; else nothing."""
    stage = user.stage
    found = [index for index in user.indices if index.terms]
    steps = [index in stage.steps.axes for index in found]
    is_plain = {*stage.axes, *stage.steps.axes}.issuperset(found)
    if stage.scatters or not is_plain or len(set(found)) != len(found):
        return ()
    others = [stage.shape[k] for k in stage.wide if stage.axes[k] not in found]
    if any(steps) != stage.reduces or size(others) > limits.recomputed_steps:
        return ()
    return (*steps, *[index.hi for index in found], None)


def put_inside(stages: Mapping[UOp, Stage], chosen: set[UOp]) -> None:
    """Put the chosen stages into the expressions of their readers, sources first."""

    def read(node: UOp, access: Access) -> UOp | None:
        if node not in chosen:
            return None
        return stages[node].inlined(access)

    for stage in stages.values():
        if not chosen.isdisjoint(stage.reads):
            stage.update(Rewrite({}, (), read)(stage.value))
