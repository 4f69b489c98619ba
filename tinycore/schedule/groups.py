"""Groups: which stages share one kernel, and over which parallel axes.

Comes in: stages in topological order. Goes out: groups, each with axes that all its stages have.
A stage joins the first group that fits: that of a producer (row), of a reader of the same data
(sibling), of equal small work (tiny); else it starts its own. Fused, unless that costs
parallelism, the tiles of a contraction, or the place of a sink. bodies.py comes next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tinycore.schedule.expression import Dependence
from tinycore.schedule.facts import facts_of
from tinycore.schedule.reach import Reach
from tinycore.schedule.stages import MAP, REDUCTION, SCATTER, WRITE, Stage
from tinycore.schedule.types import Limits
from tinycore.uop.ops import UOp
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

    def keep(self, match: Match) -> None:
        """Give up the axes that have no match: they become loops inside."""
        kept = [k for k, dim in enumerate(match) if dim is not None]
        self.axes = [self.axes[k] for k in kept]
        self.dims = chosen(self.dims, kept)


class Grouping:
    """The groups of some stages; `olds` are the buffers that sinks may overwrite."""

    def __init__(self, stages: Sequence[Stage], olds: Mapping[UOp, UOp], limits: Limits) -> None:
        self.limits = limits
        self.olds = olds
        by_node = {stage.node: stage for stage in stages}
        depends = Dependence()
        self.facts = {stage: facts_of(stage, by_node, depends) for stage in stages}
        self.reach = Reach()
        self.group_of: dict[Stage, Group] = {}
        self.by_space: dict[object, list[Group]] = {}
        for stage in stages:
            self._place(stage)

    @property
    def groups(self) -> list[Group]:
        """The groups by first appearance."""
        return list(dict.fromkeys(self.group_of.values()))

    def _place(self, stage: Stage) -> None:
        facts = self.facts[stage]
        read = {self.group_of[one] for one, _ in facts.reads}
        producers = sorted(read, key=lambda group: -group.number)
        for group in producers:
            match = self._row(stage, group, producers)
            if match is not None:
                self._join_row(stage, group, match, producers)
                return
        axes = [stage.shape[k] for k in facts.usable]
        found = self._sibling(stage, axes, producers) or self._tiny(stage, axes, producers)
        self._join(stage, found or Group(self.reach.add(), axes), facts.usable, producers)

    def _join(
        self, stage: Stage, group: Group, dims: list[int], producers: Sequence[Group]
    ) -> None:
        group.dims[stage] = list(dims)
        self.group_of[stage] = group
        self._let_find(group)
        for other in producers:
            if other is not group:
                self.reach.edge(group.number, other.number)

    # row: what is read lies in the same iteration

    def match(self, stage: Stage, group: Group) -> Match:
        """The dimension of `stage` along which it reads each axis of `group`, if always one; no
        dimension twice."""
        facts = self.facts[stage]
        found: list[set[int | None]] = [set() for _ in group.axes]
        for read, indices in facts.reads:
            if self.group_of[read] is group:
                for k, dim in enumerate(group.dims[read]):
                    found[k].add(facts.dimension(stage, indices[dim], group.axes[k]))
        match = [one.pop() if len(one) == 1 else None for one in found]
        return [None if dim in match[:k] else dim for k, dim in enumerate(match)]

    def _row(self, stage: Stage, group: Group, producers: Sequence[Group]) -> Match | None:
        """How a stage fits into the group of a producer, if it may join."""
        if stage.kind == SCATTER or group.holds(SCATTER, WRITE):
            return None
        reads = self.facts[stage].reads
        if any(one.is_kept and self.group_of[one] is group for one, _ in reads):
            return None
        if self._leads_to(group, producers):
            return None
        match = self.match(stage, group)
        if not self._is_cheap(stage, group, match):
            return None
        kept = [k for k, dim in enumerate(match) if dim is not None]
        mine = {stage: [dim for dim in match if dim is not None]}
        return match if self._spares_places(mine, chosen(group.dims, kept)) else None

    def _is_cheap(self, stage: Stage, group: Group, match: Match) -> bool:
        """True if joining costs neither parallelism nor the tiles of a contraction."""
        limits = self.limits
        pairs = list(zip(group.axes, match, strict=True))
        kept = size([extent for extent, dim in pairs if dim is not None])
        dropped = size([extent for extent, dim in pairs if dim is None])
        inner = size([stage.shape[k] for k in stage.wide if k not in match])
        contracts = any(self.facts[one].contracts for one in group.dims)
        may_drop = limits.contraction_axes if contracts else limits.row_axes
        if dropped > 1 and (dropped > may_drop or kept < limits.units):
            return False
        if inner > limits.row and kept < limits.units:
            return False
        return inner <= limits.contraction_axes or not self.facts[stage].tiles

    def _join_row(
        self, stage: Stage, group: Group, match: Match, producers: Sequence[Group]
    ) -> None:
        group.keep(match)
        self._join(stage, group, [dim for dim in match if dim is not None], producers)
        for other in producers:
            if other is not group and group.axes and not other.holds(SCATTER, WRITE):
                self._merge(stage, group, other)

    def _merge(self, stage: Stage, group: Group, other: Group) -> None:
        """Take in another producer that is read at the same axes."""
        match = self.match(stage, other)
        mine = group.dims[stage]
        if len(match) != len(mine) or set(match) != set(mine):
            return
        ends = (group.number, other.number)
        if self.reach.between(*ends) or self.reach.between(*reversed(ends)):
            return
        moved = chosen(other.dims, [match.index(dim) for dim in mine])
        if not self._reads_agree(group.dims, moved) or not self._spares_places(group.dims, moved):
            return
        group.dims.update(moved)
        self.group_of.update(dict.fromkeys(moved, group))
        other.dims = {}
        self.reach.merge(*ends)

    def _reads_agree(self, one: Dims, other: Dims) -> bool:
        """Every read between two groups is at the same coordinates, and may be inline."""
        for stages, sources in ((one, other), (other, one)):
            for stage, dims in stages.items():
                own = [stage.axes[k] for k in dims]
                for read, indices in self.facts[stage].reads:
                    if read not in sources:
                        continue
                    if read.is_kept or [indices[k] for k in sources[read]] != own:
                        return False
        return True

    # sibling and tiny: nothing is read, a launch or a pass over data is saved

    def _let_find(self, group: Group) -> None:
        """Let siblings and tiny stages find the group by its space."""
        first = group.first
        for key in (self.facts[first].space, first.kind):
            known = self.by_space.setdefault((key, tuple(group.axes)), [])
            if first.kind != SCATTER and group not in known[-_CANDIDATES:]:
                known.append(group)

    def _sibling(self, stage: Stage, axes: list[Dim], producers: Sequence[Group]) -> Group | None:
        """A group over the same space that reads the same large data."""
        facts = self.facts[stage]
        if stage.kind not in (REDUCTION, MAP) or facts.tiles:
            return None
        mine = {load.src[0] for load in stage.reads}
        for group in self._candidates(facts.space, axes, producers):
            shared = mine & {load.src[0] for load in group.first.reads}
            large = [size_of(node) * 4 >= stage.size for node in shared]
            if any(large) and self._may_enter(stage, group):
                return group
        return None

    def _tiny(self, stage: Stage, axes: list[Dim], producers: Sequence[Group]) -> Group | None:
        """A group of equal small work, joined for the cost of a launch alone."""
        if stage.kind not in (MAP, WRITE) or size(axes) > self.limits.tiny:
            return None
        for group in self._candidates(stage.kind, axes, producers):
            if len(group.dims) < _CANDIDATES and self._may_enter(stage, group):
                return group
        return None

    def _candidates(
        self, space: object, axes: list[Dim], producers: Sequence[Group]
    ) -> Iterator[Group]:
        """The latest groups of a space that no producer needs."""
        known = self.by_space.get((space, tuple(axes)), []) if axes else []
        for group in known[-_CANDIDATES:]:
            if group.axes != axes or not group.dims or group in producers:
                continue
            if not self._leads_to(group, producers):
                yield group

    def _may_enter(self, stage: Stage, group: Group) -> bool:
        return self._spares_places({stage: self.facts[stage].usable}, group.dims)

    # what every join must keep

    def _leads_to(self, group: Group, producers: Sequence[Group]) -> bool:
        """True if a producer needs the group: joining it would be a circle."""
        return any(self.reach.follows(other.number, group.number) for other in producers)

    def _spares_places(self, one: Dims, other: Dims) -> bool:
        """True if no sink on one side loses its place because the other reads its buffer."""
        for sinks, readers in ((one, other), (other, one)):
            for sink, dims in sinks.items():
                old = self.olds.get(sink.node)
                if old is not None and not all(
                    _spares(sink, dims, old, reader, theirs) for reader, theirs in readers.items()
                ):
                    return False
        return True


def chosen(dims: Dims, order: Sequence[int]) -> dict[Stage, list[int]]:
    """The dimensions of each stage along some axes of its group, in another order."""
    return {stage: [own[k] for k in order] for stage, own in dims.items()}


def _spares(sink: Stage, dims: list[int], old: UOp, reader: Stage, theirs: list[int]) -> bool:
    """True if `reader` reads the old buffer of `sink` where that may be overwritten: in the
    iteration that does so, and before it or at the same element."""
    before = reader.kind == REDUCTION or len(dims) == len(sink.wide)
    own = [reader.axes[k] for k in theirs]
    for load in reader.reads:
        if load.src[0] is not old:
            continue
        indices = load.arg.indices
        if sink.kind != MAP or [indices[k] for k in dims] != own:
            return False
        if not before and set(indices) != set(reader.axes):
            return False
    return True
