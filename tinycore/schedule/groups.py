"""Groups: which stages share one kernel, and over which parallel axes.

Comes in: stages in topological order. Goes out: groups, each with axes that all its stages have.
A stage joins the first group that fits: that of a producer (row), of a reader of the same data
(sibling), of equal small work (tiny); else it starts its own. Fused, unless that costs
parallelism or the tiles of a contraction. place.py comes next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinycore.schedule.expression import Dependence, factors, plain_axis, reductions
from tinycore.schedule.limits import Limits
from tinycore.schedule.reach import Reach
from tinycore.schedule.stages import MAP, REDUCTION, SCATTER, WRITE, Stage
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.shape import Dim, size, size_of

Dims = Mapping[Stage, list[int]]  # the dimensions of each stage that are axes of a group
Match = list[int | None]  # for each axis of a group, the dimension of a stage that runs along it
_CANDIDATES = 16  # groups of one space that a stage is compared with, the latest ones


class Group:
    """Stages in one kernel. `axes` are the extents of its parallel loops; `dims[stage]` says which
    dimensions of the stage these are."""

    def __init__(self, number: int, axes: list[Dim]) -> None:
        self.number = number
        self.axes = axes
        self.dims: dict[Stage, list[int]] = {}
        self.joins: list[str] = []

    @property
    def stages(self) -> list[Stage]:
        """Its stages in topological order."""
        return sorted(self.dims, key=lambda stage: stage.number)

    @property
    def first(self) -> Stage:
        """The stage that started it."""
        return next(iter(self.dims))

    def inner(self, stage: Stage) -> list[int]:
        """The dimensions of a stage that are loops inside those of the group."""
        return [k for k in stage.wide if k not in self.dims[stage]]

    def holds(self, *kinds: str) -> bool:
        """True if it has a stage of one of these kinds."""
        return any(stage.kind in kinds for stage in self.dims)


@dataclass(slots=True, eq=False)
class Facts:
    """What grouping asks of a stage. `usable` are the dimensions that may become axes of a group:
    those on which the reductions inside it depend, if there are any (`evaluates`)."""

    dimension: dict[Atom, int]
    usable: list[int]
    contracts: bool
    evaluates: bool


class Grouping:
    """The groups of some stages; `olds` are the buffers that sinks may overwrite."""

    def __init__(
        self, stages: Sequence[Stage], olds: Mapping[UOp, UOp | None], limits: Limits
    ) -> None:
        self.limits = limits
        self.olds = olds
        self.stages = {stage.node: stage for stage in stages}
        self.depends = Dependence()
        self.facts = {stage: self._facts(stage) for stage in stages}
        self.reach = Reach()
        self.group_of: dict[Stage, Group] = {}
        self.by_space: dict[object, list[Group]] = {}
        for stage in stages:
            self._place(stage)

    @property
    def groups(self) -> list[Group]:
        """The groups by first appearance."""
        return list(dict.fromkeys(self.group_of.values()))

    # facts

    def _facts(self, stage: Stage) -> Facts:
        dimension = {axis.terms[0][0]: k for k, axis in enumerate(stage.axes) if axis.terms}
        inside = reductions(stage.value)
        usable = [] if stage.kind == SCATTER else stage.wide
        for node in inside:
            known = self.depends(node)
            usable = [k for k in usable if atoms(stage.axes[k]) <= known]
        return Facts(dimension, usable, self._contracts(stage), bool(inside))

    def _contracts(self, stage: Stage) -> bool:
        """A sum of products in which every factor serves several elements or steps."""
        if stage.kind != REDUCTION or stage.combine != "sum":
            return False
        value = stage.value.src[0] if stage.value.op is Ops.CAST else stage.value
        every = {atom for axis in (*stage.axes, *stage.step_axes) for atom in atoms(axis)}
        found = [self.depends(factor) for factor in factors(value)]
        varying = [known for known in found if known]
        return len(varying) > 1 and not any(every <= known for known in varying)

    def producers(self, stage: Stage) -> list[Group]:
        """The groups whose stages it reads, the latest first."""
        read = [self.stages.get(load.src[0]) for load in stage.reads]
        found = {self.group_of[one] for one in read if one is not None}
        return sorted(found, key=lambda group: -group.number)

    # one stage after the other

    def _place(self, stage: Stage) -> None:
        producers = self.producers(stage)
        facts = self.facts[stage]
        for group in producers:
            match = self._row(stage, group, producers)
            if match is not None:
                self._join_row(stage, group, match, producers)
                return
        axes = [stage.shape[k] for k in facts.usable]
        found = self._sibling(stage, axes, producers) or self._tiny(stage, axes, producers)
        if found is None:
            found = Group(self.reach.add(), axes)
        self._join(stage, found, list(facts.usable), producers)

    def _join(
        self, stage: Stage, group: Group, dims: list[int], producers: Sequence[Group]
    ) -> None:
        group.dims[stage] = dims
        self.group_of[stage] = group
        self._index(group)
        for other in producers:
            if other is not group:
                self.reach.edge(group.number, other.number)

    def _index(self, group: Group) -> None:
        """Let siblings and tiny stages find the group by its space."""
        first = group.first
        if first.kind == SCATTER:
            return
        for key in (_space(first, group.axes), (first.kind, tuple(group.axes))):
            known = self.by_space.setdefault(key, [])
            if group not in known[-_CANDIDATES:]:
                known.append(group)

    # row: what is read lies in the same iteration

    def match(self, stage: Stage, group: Group) -> Match:
        """The dimension of `stage` along which it reads each axis of `group`, if always one."""
        facts = self.facts[stage]
        found: list[set[int | None]] = [set() for _ in group.axes]
        for load in stage.reads:
            read = self.stages.get(load.src[0])
            if read is None or self.group_of[read] is not group:
                continue
            for k, dim in enumerate(group.dims[read]):
                atom = plain_axis(load.arg.indices[dim])
                mine = None if atom is None else facts.dimension.get(atom)
                fits = mine in facts.usable and stage.shape[mine or 0] == group.axes[k]
                found[k].add(mine if fits else None)
        return _distinct([one.pop() if len(one) == 1 else None for one in found])

    def _row(self, stage: Stage, group: Group, producers: Sequence[Group]) -> Match | None:
        """How a stage fits into the group of a producer, if that costs neither parallelism nor
        the tiles of a contraction."""
        if stage.kind == SCATTER or group.holds(SCATTER, WRITE) or self._reads_kept(stage, group):
            return None
        if any(self.reach.follows(other.number, group.number) for other in producers):
            return None
        match = self.match(stage, group)
        kept = size([n for n, dim in zip(group.axes, match, strict=True) if dim is not None])
        dropped = size([n for n, dim in zip(group.axes, match, strict=True) if dim is None])
        inner = size([stage.shape[k] for k in stage.wide if k not in match])
        if dropped > 1 and (dropped > self._may_drop(group) or kept < self.limits.units):
            return None
        if inner > self.limits.row and kept < self.limits.units:
            return None
        facts = self.facts[stage]
        if facts.contracts and not facts.evaluates and inner > self.limits.contraction_axes:
            return None
        dims = _kept_dims(group.dims, match)
        mine = [dim for dim in match if dim is not None]
        return match if self._keeps_places({stage: mine}, dims) else None

    def _reads_kept(self, stage: Stage, group: Group) -> bool:
        """True if a stage reads what the group stores and must not evaluate again."""
        read = [self.stages.get(load.src[0]) for load in stage.reads]
        return any(one in group.dims and one.is_kept for one in read if one is not None)

    def _may_drop(self, group: Group) -> int:
        contracts = any(self.facts[stage].contracts for stage in group.dims)
        return self.limits.contraction_axes if contracts else self.limits.row_axes

    def _join_row(
        self, stage: Stage, group: Group, match: Match, producers: Sequence[Group]
    ) -> None:
        kept = [k for k, dim in enumerate(match) if dim is not None]
        group.axes = [group.axes[k] for k in kept]
        group.dims = _kept_dims(group.dims, match)
        group.joins.append("row")
        self._join(stage, group, [dim for dim in match if dim is not None], producers)
        for other in producers:
            if other is not group and group.axes:
                self._merge(stage, group, other)

    def _merge(self, stage: Stage, group: Group, other: Group) -> None:
        """Take in another producer that is read at the same axes."""
        if other.holds(SCATTER, WRITE):
            return
        match = self.match(stage, other)
        mine = group.dims[stage]
        if len(match) != len(mine) or set(match) != set(mine):
            return
        if self.reach.between(group.number, other.number):
            return
        if self.reach.between(other.number, group.number):
            return
        order = [match.index(dim) for dim in mine]
        moved = {member: [dims[k] for k in order] for member, dims in other.dims.items()}
        if not self._reads_agree(group, moved) or not self._keeps_places(group.dims, moved):
            return
        for member, dims in moved.items():
            group.dims[member] = dims
            self.group_of[member] = group
        group.joins += ["merge", *other.joins]
        other.dims = {}
        self.reach.merge(group.number, other.number)

    def _reads_agree(self, group: Group, moved: Mapping[Stage, list[int]]) -> bool:
        """Every read between the two groups is at the same coordinates."""
        both = {**group.dims, **moved}
        for stage, dims in both.items():
            for load in stage.reads:
                read = self.stages.get(load.src[0])
                if read is None or read not in both or (read in moved) == (stage in moved):
                    continue
                if read.is_kept:
                    return False
                for mine, theirs in zip(dims, both[read], strict=True):
                    if load.arg.indices[theirs] is not stage.axes[mine]:
                        return False
        return True

    # sibling and tiny: nothing is read, a launch or a pass over data is saved

    def _sibling(self, stage: Stage, axes: list[Dim], producers: Sequence[Group]) -> Group | None:
        """A group over the same space that reads the same large data."""
        facts = self.facts[stage]
        if stage.kind not in (REDUCTION, MAP) or (facts.contracts and not facts.evaluates):
            return None
        mine = {load.src[0] for load in stage.reads}
        dims = {stage: list(facts.usable)}
        for group in self._candidates(_space(stage, axes), axes, producers):
            shared = mine & {load.src[0] for load in group.first.reads}
            large = [size_of(n) * self.limits.shared_part >= stage.size for n in shared]
            if any(large) and self._keeps_places(dims, group.dims):
                group.joins.append("sibling")
                return group
        return None

    def _tiny(self, stage: Stage, axes: list[Dim], producers: Sequence[Group]) -> Group | None:
        """A group of equal small work, joined for the cost of a launch alone."""
        if stage.kind not in (MAP, WRITE) or size(axes) > self.limits.tiny:
            return None
        dims = {stage: list(self.facts[stage].usable)}
        for group in self._candidates((stage.kind, tuple(axes)), axes, producers):
            if len(group.dims) < self.limits.tiny_stages and self._keeps_places(dims, group.dims):
                group.joins.append("tiny")
                return group
        return None

    def _candidates(self, key: object, axes: list[Dim], producers: Sequence[Group]) -> list[Group]:
        known = self.by_space.get(key, [])[-_CANDIDATES:] if axes else []
        return [group for group in known if group.axes == axes and self._apart(group, producers)]

    def _apart(self, group: Group, producers: Sequence[Group]) -> bool:
        """True if the group is not needed by what a stage reads."""
        if not group.dims or group in producers:
            return False
        return not any(self.reach.follows(other.number, group.number) for other in producers)

    def _keeps_places(self, one: Dims, other: Dims) -> bool:
        """True if no sink on one side loses its place because the other reads its buffer."""
        return self._spares(one, other) and self._spares(other, one)

    def _spares(self, sinks: Dims, readers: Dims) -> bool:
        """True if every old buffer of `sinks` is read by `readers` where it may be overwritten:
        in the iteration that does so, and before it or at the same element."""
        for sink, dims in sinks.items():
            old = self.olds.get(sink.node)
            for reader, theirs in readers.items() if old is not None else ():
                before = reader.kind == REDUCTION or len(dims) == len(sink.wide)
                for at in [load.arg for load in reader.reads if load.src[0] is old]:
                    own = [reader.axes[k] for k in theirs]
                    if sink.kind != MAP or [at.indices[k] for k in dims] != own:
                        return False
                    if not before and set(at.indices) != set(reader.axes):
                        return False
        return True


def _space(stage: Stage, axes: Sequence[Dim]) -> object:
    return stage.kind, tuple(axes), tuple([step.extent for step in stage.steps])


def _kept_dims(dims: Dims, match: Match) -> dict[Stage, list[int]]:
    """The dimensions of each stage along the axes that a match keeps."""
    kept = [k for k, dim in enumerate(match) if dim is not None]
    return {stage: [own[k] for k in kept] for stage, own in dims.items()}


def _distinct(match: Match) -> Match:
    """Each dimension once: an axis that would be a second name for one is dropped."""
    return [None if dim in match[:k] else dim for k, dim in enumerate(match)]
