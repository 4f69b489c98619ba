"""Groups: which stages share one kernel, and over which parallel axes.

Comes in: stages in topological order. Goes out: groups, each with axes that all its stages have.
A stage joins the first group that fits: that of a producer (row), one that reads the same data or
does equal small work (a shared launch); else it starts its own. Fused, unless that costs
parallelism, the tiles of a contraction, or the place of a sink. bodies.py comes next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinycore.schedule.expression import Dependence, factors, reductions
from tinycore.schedule.reach import Reach
from tinycore.schedule.stages import Stage
from tinycore.schedule.types import Limits
from tinycore.uop.affine import atoms
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.shape import Dim, size, size_of

Dims = Mapping[Stage, list[int]]  # the dimensions of each stage that are axes of a group
Match = dict[int, int]  # for axes of a group, the dimension of a stage along each
_CANDIDATES = 16  # a launch is shared with the latest groups, by as many stages
_PART = 4  # what two stages read is large if it is one in so many of their elements


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


class Grouping:
    """The groups of some stages; `olds` are the buffers that sinks may overwrite."""

    def __init__(self, stages: Sequence[Stage], olds: Mapping[UOp, UOp], limits: Limits) -> None:
        self.limits = limits
        self.olds = olds
        _describe(stages)
        self.reach = Reach()
        self.group_of: dict[Stage, Group] = {}
        self.by_axes: dict[tuple[Dim, ...], list[Group]] = {}
        self.producers: list[Group] = []  # the groups that the stage at hand reads, latest first
        for stage in stages:
            self._place(stage)

    @property
    def groups(self) -> list[Group]:
        """The groups by first appearance."""
        return list(dict.fromkeys(self.group_of.values()))

    def _place(self, stage: Stage) -> None:
        read = {self.group_of[one] for one, _ in stage.sources}
        self.producers = sorted(read, key=lambda group: -group.number)
        kept = {self.group_of[one] for one, _ in stage.sources if one.is_kept}
        able = [group for group in self.producers if group not in kept]
        for group in able:
            match = self._match(stage, group)
            if self._may_follow(stage, group, match):
                group.axes = [group.axes[k] for k in match]
                group.dims = _along(group.dims, list(match))
                self._join(stage, group, list(match.values()))
                for other in able:
                    self._merge(stage, group, other)
                return
        axes = [stage.shape[k] for k in stage.usable]
        shared = self._shared_launch(stage, axes)
        group = shared or Group(self.reach.add(), axes)
        self._join(stage, group, stage.usable)

    def _join(self, stage: Stage, group: Group, dims: list[int]) -> None:
        group.dims[stage] = dims
        self.group_of[stage] = group
        known = self.by_axes.setdefault(tuple(group.axes), [])
        if group not in known[-_CANDIDATES:]:
            known.append(group)
        for other in self.producers:
            if other is not group:
                self.reach.edge(group.number, other.number)

    # row: what is read lies in the same iteration

    def _match(self, stage: Stage, group: Group) -> Match:
        """The dimension of `stage` along which it reads each axis of `group`, if always one; no
        dimension twice."""
        found: Match = {}
        reads = [pair for pair in stage.sources if pair[0] in group.dims]
        for k, extent in enumerate(group.axes):
            places = {indices[group.dims[read][k]] for read, indices in reads}
            for dim in stage.usable:
                same = places == {stage.axes[dim]} and stage.shape[dim] == extent
                if same and dim not in found.values():
                    found[k] = dim
        return found

    def _may_follow(self, stage: Stage, group: Group, match: Match) -> bool:
        """True if a stage fits into the group of a producer."""
        if (
            (stage.writes and stage.reduces)
            or self._leads_to(group)
            or not self._is_cheap(stage, group, match)
        ):
            return False
        mine = {stage: list(match.values())}
        return self._spares_places(mine, _along(group.dims, list(match)))

    def _is_cheap(self, stage: Stage, group: Group, match: Match) -> bool:
        """True if joining costs neither parallelism nor the tiles of a contraction."""
        limits = self.limits
        kept = size([group.axes[k] for k in match])
        dropped = size([extent for k, extent in enumerate(group.axes) if k not in match])
        own = [k for k in stage.wide if k not in match.values()]
        inner = size([stage.shape[k] for k in own])
        contracts = any(one.contracts for one in group.dims)
        may_drop = limits.contraction_axes if contracts else limits.row_axes
        if dropped > 1 and (dropped > may_drop or kept < limits.units):
            return False
        if inner > limits.row and kept < limits.units:
            return False
        return inner <= limits.contraction_axes or not stage.tiles

    def _merge(self, stage: Stage, group: Group, other: Group) -> None:
        """Take in another producer that is read at the same axes."""
        if other is group or not group.axes:
            return
        match = self._match(stage, other)
        axis_of = {dim: k for k, dim in match.items()}
        mine = group.dims[stage]
        if len(match) != len(other.axes) or axis_of.keys() != set(mine):
            return
        one, two = group.number, other.number
        if self.reach.between(one, two) or self.reach.between(two, one):
            return
        moved = _along(other.dims, [axis_of[dim] for dim in mine])
        agree = self._reads_agree(group.dims, moved) and self._reads_agree(moved, group.dims)
        if agree and self._spares_places(group.dims, moved):
            group.dims.update(moved)
            self.group_of.update(dict.fromkeys(moved, group))
            other.dims = {}
            self.reach.merge(one, two)

    def _reads_agree(self, readers: Dims, sources: Dims) -> bool:
        """Every read between two groups is at the same coordinates, and may be inline."""
        for stage, dims in readers.items():
            own = [stage.axes[k] for k in dims]
            reads = [pair for pair in stage.sources if pair[0] in sources]
            for read, indices in reads:
                if read.is_kept or [indices[k] for k in sources[read]] != own:
                    return False
        return True

    # a shared launch: nothing of the group is read, a launch or a pass over data is saved

    def _shared_launch(self, stage: Stage, axes: list[Dim]) -> Group | None:
        """The first of the latest groups over the same axes that a stage may run beside."""
        known = self.by_axes.get(tuple(axes), [])
        mine = {stage: stage.usable}
        for group in known[-_CANDIDATES:]:
            if group.axes != axes or not group.dims or group in self.producers:
                continue
            if self._leads_to(group) or not self._saves(stage, group, axes):
                continue
            if self._spares_places(mine, group.dims):
                return group
        return None

    def _saves(self, stage: Stage, group: Group, axes: list[Dim]) -> bool:
        """True for a sibling, which reads the same large data in the same loops, and for work so
        small that a launch costs more."""
        first = next(iter(group.dims))
        kinds = {(one.reduces, one.writes) for one in (first, stage)}
        if (True, True) in kinds or (len(kinds) > 1 and axes):
            return False
        if not stage.reduces and size(axes) <= self.limits.tiny:
            return len(group.dims) < _CANDIDATES
        if axes == [] or first.steps.extents != stage.steps.extents or stage.tiles:
            return False
        shared = stage.reads.keys() & first.reads.keys()
        return any(size_of(node) * _PART >= stage.size for node in shared)

    # what every join must keep

    def _leads_to(self, group: Group) -> bool:
        """True if a producer needs the group: joining it would be a circle."""
        return any(self.reach.follows(other.number, group.number) for other in self.producers)

    def _spares_places(self, one: Dims, other: Dims) -> bool:
        """True if no sink on one side loses its place because the other reads its buffer."""
        return not (self._loses(one, other) or self._loses(other, one))

    def _loses(self, sinks: Dims, readers: Dims) -> bool:
        """True if a reader reads an old buffer outside of the iteration that overwrites it."""
        for sink in [sink for sink in sinks if sink.node in self.olds]:
            dims = sinks[sink]
            for reader, theirs in readers.items():
                own = [reader.axes[k] for k in theirs]
                for at in reader.reads.get(self.olds[sink.node], ()):
                    there = None if sink.writes else [at.indices[k] for k in dims]
                    if there != own:
                        return True
        return False


def _along(dims: Dims, order: Sequence[int]) -> dict[Stage, list[int]]:
    """The dimensions of each stage along some axes of its group, in another order."""
    return {stage: [own[k] for k in order] for stage, own in dims.items()}


def _describe(stages: Sequence[Stage]) -> None:
    """Note in every stage what grouping asks of it."""
    by_node = {stage.node: stage for stage in stages}
    depends = Dependence()
    for stage in stages:
        for node in [node for node in stage.reads if node in by_node]:
            for at in stage.reads[node]:
                stage.sources.append((by_node[node], at.indices))
        base = by_node.get(stage.node.src[0]) if stage.writes else None
        if base is not None:
            stage.sources.append((base, stage.axes))
        inside = reductions(stage.term if stage.reduces else stage.value)
        stage.usable = [] if stage.reduces and stage.writes else stage.wide
        for node in inside:
            needs = depends(node)
            stage.usable = [k for k in stage.usable if atoms(stage.axes[k]) <= needs]
        stage.contracts = _contracts(stage, depends)
        stage.tiles = stage.contracts and not inside


def _contracts(stage: Stage, depends: Dependence) -> bool:
    """A sum of products in which every factor serves several elements or steps."""
    if not stage.reduces or stage.steps.combine != "sum":
        return False
    term = stage.term
    value = term.src[0] if term.op is Ops.CAST else term
    axes = stage.axes + stage.steps.axes
    every = {atom for axis in axes for atom in atoms(axis)}
    known = [depends(factor) for factor in factors(value)]
    varying = [one for one in known if one]
    return len(varying) > 1 and not any(every <= one for one in varying)
