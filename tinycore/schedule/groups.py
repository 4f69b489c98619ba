"""Groups: which stages share one kernel, over which parallel axes, and what they store where.

Comes in: stages in topological order. Goes out: groups, each with axes that all its stages have: a
stage joins what it reads, or one that reads the same data or does small work, unless that costs
parallelism, a contraction's tiles, or the place of a sink. Next file: emit.py.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from tinycore.schedule.expression import Dependence, Indices, reductions
from tinycore.schedule.nodes import Limits
from tinycore.schedule.stages import Stage, Stages, pick
from tinycore.uop.index import Shape, atoms, axes_over, size
from tinycore.uop.ops import Ops, UOp, factors

Dims = Mapping[Stage, Sequence[int]]  # which dimensions are axes of a group
Pairs = Mapping[int, int]  # axes of two groups, side by side
_CANDIDATES = 16  # latest groups, and stages, that may share a launch
_PART = 4  # large data has one in so many of a stage's elements


class Group:
    """Stages in one kernel.

    `extents` are those of its parallel loops, `dims` the dimensions of each stage that these are,
    `nodes` what it computes or reads, `bits` the numbers of its stages, `before` those of all that
    must run earlier. A contraction keeps its axes for `tiles`; a reader takes at most `may_drop` of
    the iterations, none of a group with reductions inside others. Each of the `loops` stores stages
    of equal inner dimensions.
    """

    axes: Indices
    stages: list[Stage]
    loops: list[list[Stage]]

    def __init__(self, stage: Stage, limits: Limits) -> None:
        depends = Dependence()
        inside = [depends[node] for node in reductions(stage.value) if node is not stage.value]
        free = () if stage.scatters else stage.wide
        dims = [k for k in free if all(atoms(stage.axes[k]) <= needs for needs in inside)]
        self.dims: Dims = {stage: dims}
        self.extents = pick(stage.shape, dims)
        self.nodes = {stage.node, *stage.reads}
        contracts = _contracts(stage, depends)
        self.tiles = contracts and not inside
        self.may_drop = limits.contraction_axes if contracts else limits.row_axes
        if inside:
            self.may_drop = 1
        self.bits = 1 << stage.number
        self.before = 0

    def follows(self, other: Group) -> bool:
        """True if it must run after another, also through others."""
        return self.before & other.bits != 0

    def settle(self, stages: Stages, olds: Container[UOp]) -> None:
        """Move its stages to the axes of the kernel and put what they read of it inside.

        What may overwrite an old buffer is stored after all else.
        """
        self.axes = axes_over("g", self.extents)
        found: dict[Shape, list[Stage]] = {}
        self.stages = sorted(self.dims, key=lambda stage: stage.number)
        for stage in self.stages:
            stage.settle(self.dims[stage], self.axes, stages)
            if stage.is_stored and not stage.scatters:
                found.setdefault(stage.at(stage.shape), []).append(stage)

        def late(loop: Sequence[Stage]) -> tuple[bool, int]:
            replaces = any(stage.node in olds for stage in loop)
            return replaces, -len(loop[0].inner) * replaces

        self.loops = sorted(found.values(), key=late)

    def allows(self, sink: Stage, old: UOp) -> bool:
        """True if a sink may overwrite an old buffer: it is read here only at the stored element,
        or before another iteration stores there."""
        if sink.node.shape != old.shape or sink.node.dtype is not old.dtype:
            return False
        if sink.scatters:
            return old not in self.nodes
        when = {stage: k for k, loop in enumerate(self.loops) for stage in loop}
        last = when[sink]
        when |= {stage: -1 for stage in self.dims if stage.reduces}
        for stage, position in when.items():
            is_before = position < last and not sink.writes
            dims = self.dims[sink] if is_before else range(len(sink.place))
            for at in stage.reads.get(old, ()):
                if position > last or pick(at, dims) != pick(sink.place, dims):
                    return False
        return True


class Grouping:
    """The groups of some stages; `olds` are the buffers that sinks may overwrite."""

    def __init__(self, stages: Stages, olds: Mapping[UOp, UOp], limits: Limits) -> None:
        self.limits = limits
        self.olds = olds
        self.stages = stages
        self.groups: list[Group] = []
        placed = [stage for stage in stages.values() if not stage.is_inside]
        for stage in placed:
            self._place(stage)
        for stage in placed:
            for other in self._known(stage.reads):
                other.is_stored |= other.group is not stage.group
        for group in self.groups:
            group.settle(stages, olds)

    def places(self) -> dict[UOp, UOp]:
        """The old buffers that sinks overwrite, their groups being put after all other readers."""
        found = {}
        for node, old in self.olds.items():
            group = self.stages[node].group
            others = [one for one in self.groups if one is not group and old in one.nodes]
            is_last = not any(other.follows(group) for other in others)
            if is_last and group.allows(self.stages[node], old):
                found[node] = old
                for other in others:
                    self.run_after(group, other.before | other.bits)
        return found

    def run_after(self, group: Group, before: int) -> None:
        """Let a group, and all that follow it, run after the stages in `before`."""
        group.before = (group.before | before) & ~group.bits
        for other in self.groups:
            if other.follows(group):
                other.before |= group.before

    def in_order(self) -> Iterator[Group]:
        """The groups, each after those before it, else by first appearance."""
        waiting, done = list(self.groups), 0
        while waiting:
            group = next(one for one in waiting if not one.before & ~done)
            waiting.remove(group)
            yield group
            done |= group.bits

    def _place(self, stage: Stage) -> None:
        group = stage.group = Group(stage, self.limits)
        sources = self._known(stage.reads)
        read = {one.group for one in sources}
        for other in read:
            group.before |= other.before | other.bits
        rows = set() if stage.scatters else read - {one.group for one in sources if one.is_kept}
        latest = [one for one in self.groups if one.extents == group.extents and one not in read]
        self.groups.append(group)
        for other in [one for one in reversed(self.groups) if one in rows]:
            pairs = _match(other, stage.group)
            if self._is_cheap(other, stage.group, pairs):
                self._fuse(other, stage.group, pairs)
        for other in latest[-_CANDIDATES:]:
            if stage.group is group and self._is_shared(other, group):
                self._fuse(other, group, _match(other, group))

    def _known(self, nodes: Iterable[UOp]) -> list[Stage]:
        return [self.stages[node] for node in nodes if node in self.stages]

    def _fuse(self, group: Group, other: Group, pairs: Pairs) -> None:
        """Join two groups along pairs of axes, if nothing must run between and no sink loses its
        place."""
        for first, last in ((group, other), (other, group)):
            between = {one.group for one in self._known(last.nodes)} - {last}
            if any(one.follows(first) for one in between):
                return
        nodes = group.nodes | other.nodes
        if len(nodes) > self.limits.buffers:
            return
        mine = {stage: pick(own, pairs) for stage, own in group.dims.items()}
        theirs = {stage: pick(own, pairs.values()) for stage, own in other.dims.items()}
        if self._loses(mine, theirs) or self._loses(theirs, mine):
            return
        group.extents = pick(group.extents, pairs)
        group.dims = {**mine, **theirs}
        group.nodes = nodes
        group.bits |= other.bits
        group.may_drop = min(group.may_drop, other.may_drop)
        for stage in theirs:
            stage.group = group
        self.groups.remove(other)
        self.run_after(group, other.before)

    def _loses(self, sinks: Dims, readers: Dims) -> bool:
        """True if a reader reads an old buffer outside the iteration that overwrites it."""
        for sink, places in sinks.items():
            old = self.olds.get(sink.node)
            for reader, dims in readers.items():
                for at in reader.reads.get(old, ()) if old else ():
                    if sink.writes or pick(at, places) != pick(reader.axes, dims):
                        return True
        return False

    def _is_cheap(self, group: Group, reader: Group, pairs: Pairs) -> bool:
        """True if fusing a reader costs neither parallelism nor the tiles of a contraction; one
        that has joined another group gives up no axis."""
        limits = self.limits
        kept = size(pick(group.extents, pairs))
        dropped = size(group.extents) // kept
        if len(reader.dims) > 1:
            return len(pairs) > 0 and dropped == size(reader.extents) // kept == 1
        (stage,) = reader.dims
        inner = stage.size // kept
        work = inner * size(stage.steps.extents) if inner > 1 else 1
        if kept < limits.units and (dropped > 1 or work > limits.row):
            return False
        return dropped <= group.may_drop and (inner <= limits.contraction_axes or not reader.tiles)

    def _is_shared(self, group: Group, sibling: Group) -> bool:
        """True if two groups read the same large data in the same loops, or a launch costs more
        than they do."""
        (first, *_), (stage,) = group.dims, sibling.dims
        alike = first.reduces == stage.reduces and first.writes == stage.writes
        if first.scatters or not (alike or not group.extents):
            return False
        if not stage.reduces and size(group.extents) <= self.limits.tiny:
            return len(group.dims) < _CANDIDATES
        if not group.extents or first.steps.extents != stage.steps.extents or sibling.tiles:
            return False
        shared = stage.reads.keys() & first.reads.keys()
        return any(node.size * _PART >= stage.size for node in shared)


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


def _reads(group: Group, source: Group) -> list[tuple[Indices, Indices]]:
    """The places in one group, and those it reads in another, along their axes."""
    found = []
    for stage, dims in group.dims.items():
        own = pick(stage.axes, dims)
        for one, theirs in source.dims.items():
            reads = stage.reads.get(one.node, ())
            found += [(own, pick(at, theirs)) for at in reads]
    return found


def _contracts(stage: Stage, depends: Dependence) -> bool:
    """A sum of products in which every factor serves several elements or steps."""
    if stage.steps.combine != "sum":
        return False
    term = stage.term
    every = atoms(*stage.axes, *stage.steps.axes)
    product = term.source if term.op is Ops.CAST else term
    varying = [depends[factor] for factor in factors(product) if depends[factor]]
    return len(varying) > 1 and not any(every <= needs for needs in varying)
