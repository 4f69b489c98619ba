"""Groups: which stages share one kernel, over which parallel axes, and what they store where.

Comes in: stages in topological order. Goes out: groups, each with axes that all its stages have.
A stage starts as a group of its own, which joins those it reads (a row), or one that reads the same
data or does equal small work (a shared launch). Fused, unless that costs parallelism, the tiles of
a contraction, or the place of a sink. Then its stages use one set of axes: those of the group, and
for loops inside, or steps, of equal extents the same. Scalar ops of the group are inline, a
reduction of it is a LOAD of a register buffer; all other LOADs read what is stored.

A sink may overwrite the old buffer of its cell if, in its own kernel, every read of it is at the
stored element or comes before the store in the same iteration, and if no kernel that must follow
reads it; other readers run first. emit.py comes next.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence

from tinycore.schedule.expression import Indices, axes_over, reads_in
from tinycore.schedule.nodes import Limits
from tinycore.schedule.stages import Stage
from tinycore.uop import UOp
from tinycore.uop.index import Index
from tinycore.uop.shape import Shape, shape_of, size, size_of
from tinycore.uop.tree import Access, load

Dims = Mapping[Stage, Sequence[int]]  # the dimensions of each stage that are axes of a group
Pairs = Mapping[int, int]  # for axes of a group, those of another that run beside them
_CANDIDATES = 16  # a launch is shared with the latest groups, by as many stages
_PART = 4  # what two stages read is large if it is one in so many of their elements


class Group:
    """Stages in one kernel. `extents` are those of its parallel loops; `dims[stage]` says which
    dimensions of the stage these are. `bits` are the numbers of its stages, `before` those of all
    that must run before it. Once settled, it has `stages` in topological order over the `axes` of
    its loops, and `loops`, those that store: over equal inner dimensions in one loop."""

    def __init__(self, stage: Stage) -> None:
        self.extents: Shape = tuple([stage.shape[k] for k in stage.usable])
        self.dims = {stage: stage.usable}
        self.bits = 1 << stage.number
        self.before = 0
        self.axes: Indices = ()
        self.stages: dict[UOp, Stage] = {}
        self.loops: list[list[Stage]] = []

    def follows(self, other: Group) -> bool:
        """True if it must run after another, also through others."""
        return self.before & other.bits != 0

    def reads(self, node: UOp) -> bool:
        """True if a stage of it reads what is stored in a node."""
        return any(node in stage.reads for stage in self.dims)

    def settle(self, olds: Container[UOp]) -> None:
        """Move its stages to the axes of the kernel and put what they read of it inside. What may
        overwrite an old buffer is stored after all else, and last if without a loop."""
        self.axes = axes_over("g", self.extents)
        found: dict[Shape, list[Stage]] = {}
        for stage in sorted(self.dims, key=lambda stage: stage.number):
            self.stages[stage.node] = stage
            stage.settle(self.dims[stage], self.axes, self._read)
            if stage.is_stored and not stage.scatters:
                found.setdefault(stage.at(stage.shape), []).append(stage)

        def late(shape: Shape) -> tuple[bool, int]:
            replaces = any(stage.node in olds for stage in found[shape])
            return replaces, -len(shape) * replaces

        self.loops = [found[shape] for shape in sorted(found, key=late)]

    def _read(self, node: UOp, access: Access) -> UOp | None:
        stage = self.stages.get(node)
        if stage is None or stage.writes:
            return None
        if stage.reduces:
            return load(stage.state, access._replace(indices=stage.at(access.indices)))
        return stage.inlined(access)

    def allows(self, sink: Stage, old: UOp) -> bool:
        """True if a sink may overwrite a buffer that is read here only where and when it may be: at
        the stored element, or in a loop before where no other iteration of the group stores."""
        if shape_of(sink.node) != shape_of(old) or sink.node.dtype is not old.dtype:
            return False
        if sink.scatters or not self.reads(old):
            return not self.reads(old)
        loops = [[stage.term for stage in self.stages.values() if stage.reduces]]
        loops += [[stage.stored_value for stage in loop] for loop in self.loops]
        last = [sink in loop for loop in self.loops].index(True) + 1
        whole = range(len(sink.place))
        for position, values in enumerate(loops):
            before = position < last and not sink.writes
            dims = self.dims[sink] if before else whole
            for at in reads_in(values).get(old, ()):
                if position > last or any(at.indices[k] is not sink.place[k] for k in dims):
                    return False
        return True


class Grouping:
    """The groups of some stages; `olds` are the buffers that sinks may overwrite."""

    def __init__(self, stages: Sequence[Stage], olds: Mapping[UOp, UOp], limits: Limits) -> None:
        self.limits = limits
        self.olds = olds
        self.groups: list[Group] = []
        self.group_of: dict[UOp, Group] = {}
        self.kept = {stage.node for stage in stages if stage.is_kept}
        for stage in stages:
            self._place(stage)
        self._note_stored(stages)
        for group in self.groups:
            group.settle(olds)

    def places(self) -> dict[UOp, UOp]:
        """The old buffers that sinks overwrite; their groups then run after all that read these."""
        found = {}
        for group in self.groups:
            for node, sink in group.stages.items():
                old = self.olds.get(node)
                if old is None or not group.allows(sink, old):
                    continue
                others = [one for one in self.groups if one is not group and one.reads(old)]
                if any(other.follows(group) for other in others):
                    continue
                found[node] = old
                for other in others:
                    self.run_after(group, other.before | other.bits)
        return found

    def run_after(self, group: Group, before: int) -> None:
        """Let a group run after the stages in `before`, and so all that follow it."""
        group.before = (group.before | before) & ~group.bits
        for other in self.groups:
            if other.follows(group):
                other.before |= group.before

    def in_order(self) -> list[Group]:
        """The groups, each after those before it, else by first appearance."""
        waiting = list(self.groups)
        found = []
        done = 0
        while waiting:
            group = next(one for one in waiting if not one.before & ~done)
            waiting.remove(group)
            found.append(group)
            done |= group.bits
        return found

    def _place(self, stage: Stage) -> None:
        group = joined = self.group_of[stage.node] = Group(stage)
        read = self._read_by(group)
        for other in read:
            group.before |= other.before | other.bits
        kept = {self.group_of[node] for node in self.kept & stage.reads.keys()}
        rows = set() if stage.scatters else read - kept
        for other in [one for one in reversed(self.groups) if one in rows]:
            pairs = _match(other, joined)
            if self._is_cheap(other, joined, pairs) and self._fuse(other, joined, pairs):
                joined = other
        latest = [one for one in self.groups if one.extents == group.extents and one not in read]
        for other in latest[-_CANDIDATES:]:
            if joined is group and self._saves(stage, other):
                joined = other if self._fuse(other, group, _match(other, group)) else group
        if joined is group:
            self.groups.append(group)

    def _read_by(self, group: Group) -> set[Group]:
        """The groups that a group reads."""
        found = {self.group_of.get(node, group) for stage in group.dims for node in stage.reads}
        return found - {group}

    def _note_stored(self, stages: Sequence[Stage]) -> None:
        """A stage is stored if another group reads it."""
        by_node = {stage.node: stage for stage in stages}
        for stage in stages:
            group = self.group_of[stage.node]
            for node in stage.reads:
                if self.group_of.get(node, group) is not group:
                    by_node[node].is_stored = True

    def _fuse(self, group: Group, other: Group, pairs: Pairs) -> bool:
        """Put another group into a group along pairs of axes, if nothing must run between them and
        no sink loses its place."""
        others = self._read_by(other) - {group}
        if any(one.follows(group) for one in others):
            return False
        others = self._read_by(group) - {other}
        if any(one.follows(other) for one in others):
            return False
        touched = {node for stage in [*group.dims, *other.dims] for node in stage.touches}
        if len(touched) > self.limits.buffers:
            return False
        mine = _along(group.dims, pairs.keys())
        theirs = _along(other.dims, pairs.values())
        if self._loses(mine, theirs) or self._loses(theirs, mine):
            return False
        group.extents = tuple([group.extents[k] for k in pairs])
        group.dims = {**mine, **theirs}
        group.bits |= other.bits
        self.group_of.update({stage.node: group for stage in theirs})
        if other in self.groups:
            self.groups.remove(other)
        self.run_after(group, other.before)
        return True

    def _loses(self, sinks: Dims, readers: Dims) -> bool:
        """True if a reader reads an old buffer outside of the iteration that overwrites it."""
        for sink, places in sinks.items():
            old = self.olds.get(sink.node)
            if old is None:
                continue
            for reader, dims in readers.items():
                own = [reader.axes[k] for k in dims]
                for at in reader.reads.get(old, ()):
                    if sink.writes or [at.indices[k] for k in places] != own:
                        return True
        return False

    def _is_cheap(self, group: Group, reader: Group, pairs: Pairs) -> bool:
        """True if what reads a group costs it neither parallelism nor the tiles of a contraction.
        A reader that has joined another group already gives up no axis."""
        limits = self.limits
        kept = size([group.extents[k] for k in pairs])
        dropped = size(group.extents) // kept
        if len(reader.dims) > 1:
            return len(pairs) > 0 and dropped == size(reader.extents) // kept == 1
        (stage,) = reader.dims
        inner = stage.size // kept
        if kept < limits.units and (dropped > 1 or inner > limits.row):
            return False
        contracts = any(one.contracts for one in group.dims)
        may_drop = limits.contraction_axes if contracts else limits.row_axes
        return dropped <= may_drop and (inner <= limits.contraction_axes or not stage.tiles)

    def _saves(self, stage: Stage, group: Group) -> bool:
        """True for a sibling, which reads the same large data in the same loops, and for work so
        small that a launch costs more."""
        first = next(iter(group.dims))
        alike = first.reduces == stage.reduces and first.writes == stage.writes
        if stage.scatters or first.scatters or not (alike or group.extents == ()):
            return False
        if not stage.reduces and size(group.extents) <= self.limits.tiny:
            return len(group.dims) < _CANDIDATES
        if group.extents == () or first.steps.extents != stage.steps.extents or stage.tiles:
            return False
        shared = stage.reads.keys() & first.reads.keys()
        return any(size_of(node) * _PART >= stage.size for node in shared)


def _match(group: Group, reader: Group) -> Pairs:
    """The axes of two groups along which every read between them is in one iteration."""
    reads = _reads(reader, group)
    reads += [(there, own) for own, there in _reads(group, reader)]
    found: dict[int, int] = {}
    for k, extent in enumerate(group.extents):
        for j, other in enumerate(reader.extents):
            is_free = k not in found and j not in found.values()
            if is_free and extent == other and all(own[j] is there[k] for own, there in reads):
                found[k] = j
    return found


def _reads(group: Group, source: Group) -> list[tuple[list[Index], list[Index]]]:
    """The reads of one group from another: where it is, and where it reads, along their axes."""
    found = []
    for stage, dims in group.dims.items():
        own = [stage.axes[k] for k in dims]
        for one, theirs in source.dims.items():
            for at in stage.reads.get(one.node, ()):
                found.append((own, [at.indices[k] for k in theirs]))
    return found


def _along(dims: Dims, axes: Collection[int]) -> dict[Stage, list[int]]:
    """The dimensions of each stage along some axes of its group."""
    return {stage: [own[k] for k in axes] for stage, own in dims.items()}
