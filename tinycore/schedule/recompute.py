"""Which stages are evaluated where they are read, and never stored.

Comes in: stages in topological order. Goes out: fewer stages; the expressions of readers hold the
others as REDUCE or as scalar ops. Decided by counting evaluations, never by what an expression
means: a sum of moved sums is one sum (NEST), a short reduction that its readers need once an
element is put inside them. groups.py comes next.
"""

from __future__ import annotations

from tinycore.schedule.costly import Graph
from tinycore.schedule.expression import Inner, Rewrite, inline, plain_axis, renamed
from tinycore.schedule.stages import (
    MAP,
    REDUCTION,
    SCATTER,
    Stage,
    make_stages,
)
from tinycore.schedule.types import Limits
from tinycore.uop.affine import atoms
from tinycore.uop.index import as_index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.shape import size, size_of
from tinycore.uop.tree import Access, both

_NESTED = 4  # times an element may be evaluated in a sum of sums
Reads = list[tuple[Stage, Access]]  # readers with the place each of them reads


def find_stages(graph: Graph, limits: Limits) -> list[Stage]:
    """The stages that remain, in topological order."""
    stages = make_stages(graph, limits)
    nest_sums(stages)
    chosen = choose_recomputed(stages, limits)
    put_inside(stages, chosen)
    return [stage for node, stage in stages.items() if node not in chosen]


# NEST


def nest_sums(stages: dict[UOp, Stage]) -> None:
    """Make one sum of a sum whose value is a moved sum that nobody else reads."""
    readers = _readers(stages)
    for stage in list(stages.values()):
        inner = _nested(stage, stages)
        if inner is None or len(readers[inner.node]) != 1 or inner.is_sink:
            continue
        if stage.size * stage.count > _NESTED * inner.size:
            continue
        access = stage.value.arg
        rewrite = Rewrite(renamed(inner.axes, access.indices), access.mask)
        stage.steps += inner.steps
        stage.extents += inner.extents
        stage.mask = both(stage.mask, both(access.mask, rewrite.masked(inner.mask)))
        stage.update(rewrite(inner.value))
        del stages[inner.node]


def _nested(stage: Stage, stages: dict[UOp, Stage]) -> Stage | None:
    """The sum that is all of the value of this sum, each element of it used once."""
    if stage.kind != REDUCTION or stage.combine != "sum" or stage.value.op is not Ops.LOAD:
        return None
    inner = stages.get(stage.value.src[0])
    if inner is None or inner.kind != REDUCTION or inner.combine != "sum":
        return None
    access: Access = stage.value.arg
    used = {atom for index in access.indices for atom in atoms(index)}
    own = {atom for index in (*stage.axes, *stage.steps) for atom in atoms(index)}
    return inner if own <= used and not access.fill else None


def _readers(stages: dict[UOp, Stage]) -> dict[UOp, Reads]:
    found: dict[UOp, Reads] = {node: [] for node in stages}
    for stage in stages.values():
        for read in stage.reads:
            if read.src[0] in stages:
                found[read.src[0]].append((stage, read.arg))
    return found


# Reductions inside their readers


def choose_recomputed(stages: dict[UOp, Stage], limits: Limits) -> dict[UOp, None]:
    """The reductions, and the scalar ops over them, to evaluate where they are read."""
    readers = _readers(stages)
    chosen: dict[UOp, None] = {}
    for stage in stages.values():
        if stage.kind != REDUCTION or stage.is_sink or stage.mask or stage.node in chosen:
            continue
        if stage.count > limits.recomputed_steps or any(r.src[0] in chosen for r in stage.reads):
            continue
        between, users = _final_readers(stage, readers)
        if _pays(stage, users, limits) and all(_once(user, at, limits) for user, at in users):
            chosen.update(dict.fromkeys([stage.node, *between]))
    return chosen


def _final_readers(stage: Stage, readers: dict[UOp, Reads]) -> tuple[list[UOp], Reads]:
    """Who reads a stage through scalar ops, and the stages of those ops."""
    between: dict[UOp, None] = {}
    users: dict[tuple[Stage, Access], None] = {}
    seen: set[tuple[Stage, Access]] = set()
    work: list[tuple[Stage, Access]] = [(stage, Access(stage.axes))]
    while work:
        inner, own = work.pop()
        if (inner, own) in seen:
            continue
        seen.add((inner, own))
        for user, access in readers[inner.node]:
            rewrite = Rewrite(renamed(inner.axes, access.indices))
            moved = Access(tuple([rewrite.index(index) for index in own.indices]))
            if user.kind == MAP and not user.is_sink and not user.is_kept:
                between[user.node] = None
                work.append((user, moved))
            else:
                users[user, moved] = None
    return list(between), list(users)


def _pays(stage: Stage, users: Reads, limits: Limits) -> bool:
    """It saves memory for a result as large as what it reads, or launches for a small one."""
    if not any(user.kind == REDUCTION for user, _ in users):
        return False
    read = sum(size_of(node) for node in {load.src[0] for load in stage.reads})
    if stage.size >= read:
        return True
    spaces = {_space(user, at) for user, at in users}
    all_reduce = all(user.kind == REDUCTION for user, _ in users)
    will_merge = len({user for user, _ in users}) > 1 and all_reduce and len(spaces) == 1
    return will_merge and stage.size <= limits.tiny


def _space(user: Stage, at: Access) -> tuple[tuple[bool, int], ...]:
    """Which axes of a place are reduced, with their extents: readers that agree will merge."""
    reduced = set(user.steps)
    return tuple([(index in reduced, index.hi) for index in at.indices if index.terms])


def _once(user: Stage, at: Access, limits: Limits) -> bool:
    """Each loop of the reader needs each element once: distinct plain axes, few others."""
    found = [index for index in at.indices if index.terms]
    if not all(plain_axis(index) for index in found) or len(set(found)) != len(found):
        return False
    if user.kind == SCATTER:
        return False
    if user.kind == REDUCTION and set(found).isdisjoint(user.steps):
        return False
    others = [k for k in user.wide if user.axes[k] not in found]
    return size([user.shape[k] for k in others]) <= limits.recomputed_steps


def put_inside(stages: dict[UOp, Stage], chosen: dict[UOp, None]) -> None:
    """Put the chosen stages into the expressions of their readers, sources first."""

    def read(node: UOp, access: Access) -> UOp | None:
        if node not in chosen:
            return None
        stage = stages[node]
        return inline(_whole_value(stage), renamed(stage.axes, access.indices), access)

    for stage in stages.values():
        if any(load.src[0] in chosen for load in stage.reads):
            stage.update(Rewrite({}, (), read)(stage.value))


def _whole_value(stage: Stage) -> UOp:
    """The value of one element, its reduction included."""
    if stage.kind != REDUCTION:
        return stage.value
    arg = Inner(stage.steps, tuple(map(as_index, stage.extents)), stage.combine, stage.mask)
    return UOp(Ops.REDUCE, stage.node.dtype, (stage.value,), arg)
