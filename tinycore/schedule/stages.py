"""The stages of a graph: the nodes whose value may be stored, each with its expression.

Comes in: sinks as nodes. Goes out: stages in topological order. A short reduction that its readers
need once an element is inside them: a REDUCE in their expressions. Next file: groups.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tinycore.schedule.expression import Indices, Inner, Push, reads_in, renamed, replaced
from tinycore.schedule.nodes import WRITES, Limits, home_of, stored_nodes
from tinycore.uop.graph import apply_view, gather
from tinycore.uop.index import Shape, axes_over, size, upper_shape
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Access, buffer, gathered, load
from tinycore.util import prod

T = TypeVar("T")
_NO_STEPS = Inner((), (), "")
_PART = 4  # of what is read, a result is at least one in so many


def pick(values: Sequence[T], places: Iterable[int]) -> tuple[T, ...]:
    """The values at some places."""
    return tuple(values[k] for k in places)


@dataclass(slots=True, eq=False)
class Stage:
    """One node with its expression over its own axes: a REDUCE if it is a reduction.

    `axes` are parallel, constant where the extent is 1. `place` is where in its base a write goes.
    One that `is_kept` is never inline; one that `is_inside` is evaluated by its readers alone.
    `inner` dimensions are loops in the kernel of its `group`.
    """

    number: int
    node: UOp
    shape: Shape
    is_kept: bool
    is_stored: bool
    is_inside: bool = False
    group: Any = None
    axes: Indices = ()
    value: UOp = field(init=False)
    place: Indices = ()
    reads: dict[UOp, list[Indices]] = field(init=False)
    inner: tuple[int, ...] = ()

    def express(self, axes: Indices, stages: Stages) -> None:
        """Find its expression over some axes, from the graph: what it reads is known better each
        time. A write is where the same view, or the same rows, would be read."""
        node, push = self.node, Push(stages, self, self.node)
        self.axes = self.place = axes
        if not self.writes:
            self.value = push.value(node, axes)
        else:
            base, *ids, written = node.src
            extents = ids[0].shape if ids else ()
            steps = axes_over("s", extents)
            inside = steps + axes[len(ids) :]
            self.value = push.value(written, inside)
            if ids:
                self.value = self.value.under(Ops.REDUCE, Inner(steps, extents, node.arg))
            seen = gather(base, *ids) if ids else apply_view(base, node.arg)
            push = Push(stages if ids else {}, self, seen)  # even if a part of it is stored
            (self.place,) = reads_in([push.value(seen, inside)])[base]
        self.reads = reads_in([self.value, *gathered(self.place)])
        if home_of(node) is not node:
            self.reads[node.source] = [axes]

    def read(self, reader: Stage, access: Access) -> UOp | None:
        """An element for another stage; None if that computes it."""
        is_near = self.group and self.group is reader.group and not self.writes
        if self.is_inside or (is_near and not self.reduces):
            return None
        if is_near:
            return load(self.state, access._replace(indices=self.at(access.indices)))
        return load(self.node, access)

    def settle(self, dims: Sequence[int], axes: Indices, stages: Stages) -> None:
        """Take the axes of a kernel, and loops inside for other dimensions."""
        self.inner = tuple(k for k in self.wide if k not in dims)
        inside = axes_over("n", self.at(self.shape))
        self.express(replaced(self.axes, (*dims, *self.inner), axes + inside), stages)

    def at(self, values: tuple[T, ...]) -> tuple[T, ...]:
        """The values, one a dimension, of the loops inside."""
        return pick(values, self.inner)

    @property
    def reduces(self) -> bool:
        """True if it is combined over steps."""
        return self.value.op is Ops.REDUCE

    @property
    def writes(self) -> bool:
        """True if it changes its base in place."""
        return self.node.op in WRITES

    @property
    def scatters(self) -> bool:
        """True if it combines into its base."""
        return self.node.op is Ops.SCATTER

    @property
    def is_inline(self) -> bool:
        """True for scalar ops evaluated where they are read."""
        return not (self.reduces or self.writes or self.is_stored)

    @property
    def steps(self) -> Inner:
        """What a reduction is combined over, and how."""
        return self.value.arg if self.reduces else _NO_STEPS

    @property
    def term(self) -> UOp:
        """What a reduction combines at each step."""
        return self.value.source

    @property
    def state(self) -> UOp:
        """The register, or the base of a SCATTER, in which a reduction is combined."""
        if self.scatters:
            return self.node
        shape, combine = upper_shape(self.at(self.shape)), self.steps.combine
        return buffer(f"t{self.number}", self.node.dtype, shape, "reg", init=combine)

    @property
    def stored_value(self) -> UOp:
        """What is stored."""
        return load(self.state, Access(self.at(self.axes))) if self.reduces else self.value

    @property
    def wide(self) -> tuple[int, ...]:
        """The dimensions with an extent other than 1."""
        return tuple(k for k, extent in enumerate(self.shape) if extent != 1)

    @property
    def size(self) -> int:
        """The elements of its value."""
        return size(self.shape)


Stages = Mapping[UOp, Stage]  # in topological order


def find_stages(sinks: Sequence[UOp], limits: Limits) -> Stages:
    """The stages in topological order."""
    ends = frozenset(sinks)
    stages: dict[UOp, Stage] = {}
    for node, is_kept in stored_nodes(sinks, limits).items():
        stage = Stage(len(stages), node, _shape(node), is_kept, is_kept or node in ends)
        stage.express(axes_over("p", stage.shape), stages)
        stages[node] = stage
    inside = _recomputed(stages, limits)
    for stage in stages.values():
        stage.is_inside = stage.node in inside
        if not (stage.is_inside or inside.isdisjoint(stage.reads)):
            stage.express(stage.axes, stages)
    return stages


def _shape(node: UOp) -> Shape:
    """The shape of what is stored at once: of a STORE its part, of a SCATTER one row."""
    if node.is_store:
        return node.src[1].shape
    return (1, *node.shape[1:]) if node.op is Ops.SCATTER else node.shape


# What is evaluated where it is read

Reader = tuple[Stage, Indices]  # a reader, and the place it reads


def _recomputed(stages: Stages, limits: Limits) -> set[UOp]:
    """The reductions, with scalar ops over them, to evaluate where they are read."""
    readers: dict[UOp, list[Reader]] = {node: [] for node in stages}
    for stage in stages.values():
        for node in stage.reads.keys() & stages.keys():
            readers[node] += [(stage, at) for at in stage.reads[node]]
    chosen: set[UOp] = set()
    for stage in stages.values():
        is_short = stage.reduces and size(stage.steps.extents) <= limits.recomputed_steps
        if is_short and not (stage.is_stored or stage.steps.mask or chosen & stage.reads.keys()):
            found = _reached(stage, readers)
            if _pays(stage, [read for read in found if not read[0].is_inline], limits):
                chosen |= {stage.node, *[user.node for user, _ in found if user.is_inline]}
    return chosen


def _reached(stage: Stage, readers: Mapping[UOp, Sequence[Reader]]) -> Iterable[Reader]:
    found: dict[Reader, None] = {}
    work = [(stage, stage.axes)]
    for inner, place in work:
        for user, indices in readers[inner.node]:
            env = renamed(inner.axes, indices)
            read = user, tuple(index.substitute(env) for index in place)
            if read not in found and user.is_inline:
                work.append(read)
            found[read] = None
    return found


def _pays(stage: Stage, reads: Sequence[Reader], limits: Limits) -> bool:
    """True if the result is as large as what it reads; if its readers merge, also if it is small or
    a part of that."""
    users = {user for user, _ in reads}
    spaces = {_space(*read, limits) for read in reads}
    reducing = [user for user in users if user.reduces]
    held = [len({user.node, stage.node, *user.reads, *stage.reads}) for user in users]
    if () in spaces or not reducing or max(held) > limits.buffers:
        return False
    merge = len(spaces) == 1 and 1 < len(reducing) == len(users)
    read_size = sum(_read_size(*read) for read in stage.reads.items())
    if merge and stage.size <= limits.tiny:
        return True
    return stage.size * (_PART if merge else 1) >= read_size


def _read_size(node: UOp, places: Iterable[Indices]) -> int:
    """At most so many elements of a node are read."""
    found = [prod(index.hi - index.lo + 1 for index in at) for at in places]
    return min(node.size, sum(found))


def _space(stage: Stage, place: Indices, limits: Limits) -> tuple[object, ...]:
    """The axes, with extents, of a reader's elements, if each of its loops needs each once:
    distinct plain axes, one of them a step, few others; else nothing."""
    found = [index for index in place if index.terms]
    steps = [index in stage.steps.axes for index in found]
    plain = [axis for axis in stage.axes + stage.steps.axes if axis in found]
    others = [stage.shape[k] for k in stage.wide if stage.axes[k] not in found]
    few = size(others) <= limits.recomputed_steps and any(steps) == stage.reduces
    if stage.scatters or len(plain) < len(found) or not few:
        return ()
    return (*steps, *[index.hi for index in found], None)
