"""The stages of a graph: the nodes whose value may be stored, each with its expression.

Comes in: sinks as nodes. Goes out: stages in topological order. A short reduction that its readers
need once an element is no stage but a REDUCE in their expressions. Next file: groups.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tinycore.schedule.expression import (
    Indices,
    Inner,
    Look,
    Push,
    Rewrite,
    reads_in,
    reduction,
    renamed,
    replaced,
)
from tinycore.schedule.nodes import WRITES, Limits, home_of, stored_nodes
from tinycore.uop.affine import substitute
from tinycore.uop.graph import apply_view, gather
from tinycore.uop.index import axes_over
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.shape import Shape, shape_of, size, size_of, upper_shape
from tinycore.uop.simplify import choose
from tinycore.uop.tree import Access, both, buffer, gathered, load, mapped

T = TypeVar("T")
_NO_STEPS = Inner((), (), "")


def pick(values: Sequence[T], places: Iterable[int]) -> tuple[T, ...]:
    """The values at some places."""
    return tuple(values[k] for k in places)


@dataclass(slots=True, eq=False)
class Stage:
    """One node with its expression over its own axes: a REDUCE if it is a reduction.

    `axes` are parallel, constant where the extent is 1. `place` is where in its base a write goes.
    One that `is_kept` is never inline. `inner` dimensions are loops in its kernel.
    """

    number: int
    node: UOp
    shape: Shape
    axes: Indices
    value: UOp
    place: Indices
    is_stored: bool = False
    is_kept: bool = False
    reads: dict[UOp, list[Indices]] = field(init=False)
    inner: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.update(self.value)

    def update(self, value: UOp) -> None:
        """Take another expression for the same values."""
        self.value = value
        self.reads = reads_in([value, *gathered(self.place)])
        home = home_of(self.node)
        if home is not self.node:
            self.reads[home] = [self.axes]

    def settle(self, dims: Sequence[int], axes: Indices, look: Look) -> None:
        """Take the axes of a kernel, and loops inside for other dimensions."""
        self.inner = tuple(k for k in self.wide if k not in dims)
        inside = axes_over("n", self.at(self.shape))
        new = replaced(self.axes, (*dims, *self.inner), axes + inside)
        steps = self.steps
        env = renamed(self.axes + steps.axes, new + axes_over("r", steps.extents))
        rewrite = Rewrite(env=env, look=look)
        self.axes = new
        self.place = mapped(self.place, rewrite.index)
        self.update(rewrite.node(self.value))

    def inlined(self, access: Access) -> UOp:
        """Its value where it is read, under the mask and fill of a LOAD."""

        def masked(node: UOp) -> UOp:
            if node.op is not Ops.LOAD:
                return node
            return load(node.source, node.arg._replace(mask=both(node.arg.mask, access.mask)))

        env = renamed(self.axes, access.indices)
        value = Rewrite(env=env, look=masked if access.mask else None).node(self.value)
        return choose(access.mask, value, access.fill)

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
    chosen = stored_nodes(sinks, limits)
    stages: dict[UOp, Stage] = {}
    for node, is_kept in chosen.items():
        stage = stages[node] = _make(node, stages)
        stage.is_kept = is_kept
        stage.is_stored = is_kept or node in ends
    inside = _recomputed(stages, limits)

    def look(node: UOp) -> UOp:
        is_inside = node.op is Ops.LOAD and node.source in inside
        return stages[node.source].inlined(node.arg) if is_inside else node

    for stage in stages.values():
        if not inside.isdisjoint(stage.reads):
            stage.update(Rewrite(look=look).node(stage.value))
    return {node: stage for node, stage in stages.items() if node not in inside}


def _make(node: UOp, stages: Stages) -> Stage:
    """The next of some stages; a write is where the same view, or the same rows, would be read."""
    shape, number = shape_of(node), len(stages)
    letter = f"r{number}_"
    push = Push(stages, letter)
    if node.op not in WRITES:
        axes = axes_over("p", shape)
        return Stage(number, node, shape, axes, push.value(node, axes), axes)
    base, *ids, written = node.src
    seen = gather(base, *ids) if ids else apply_view(base, node.arg)
    shape = (1, *shape[1:]) if ids else shape_of(written)
    axes = axes_over("p", shape)
    extents = shape_of(ids[0]) if ids else ()
    steps = axes_over(letter, extents)
    inside = steps + axes[1:] if ids else axes
    value = push.value(written, inside)
    if ids:
        value = reduction(value, steps, extents, node.arg)
    stored = stages.keys() - {seen} if ids else ()  # even if a part of the view is stored
    (place,) = reads_in([Push(stored).value(seen, inside)])[base]
    return Stage(number, node, shape, axes, value, place)


# What is evaluated where it is read

Read = tuple[Stage, Indices]  # a reader, and the place it reads


def _recomputed(stages: Stages, limits: Limits) -> set[UOp]:
    """The reductions, with scalar ops over them, to evaluate where they are read."""
    readers: dict[UOp, list[Read]] = {node: [] for node in stages}
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


def _reached(stage: Stage, readers: Mapping[UOp, Sequence[Read]]) -> dict[Read, None]:
    found: dict[Read, None] = {}
    work = [(stage, stage.axes)]
    for inner, place in work:
        for user, indices in readers[inner.node]:
            env = renamed(inner.axes, indices)
            read = user, tuple(substitute(index, env) for index in place)
            if read not in found and user.is_inline:
                work.append(read)
            found[read] = None
    return found


def _pays(stage: Stage, reads: Sequence[Read], limits: Limits) -> bool:
    """True if the result is as large as what it reads, or if it is small and its readers merge."""
    users = {user for user, _ in reads}
    spaces = {_space(*read, limits) for read in reads}
    reducing = [user for user in users if user.reduces]
    many = any(
        len({user.node, stage.node, *user.reads, *stage.reads}) > limits.buffers for user in users
    )
    if () in spaces or not reducing or many:
        return False
    merge = len(spaces) == 1 and 1 < len(reducing) == len(users) and stage.size <= limits.tiny
    return merge or stage.size >= sum(map(size_of, stage.reads))


def _space(stage: Stage, place: Indices, limits: Limits) -> tuple[object, ...]:
    """The axes, with extents, of a reader's elements, if each of its loops needs each once:
    distinct plain axes, one of them a step, few others; else nothing."""
    found = [index for index in place if index.terms]
    steps = [index in stage.steps.axes for index in found]
    is_plain = {*stage.axes, *stage.steps.axes}.issuperset(found) and len({*found}) == len(found)
    others = [stage.shape[k] for k in stage.wide if stage.axes[k] not in found]
    few = size(others) <= limits.recomputed_steps and any(steps) == stage.reduces
    if stage.scatters or not is_plain or not few:
        return ()
    return (*steps, *[index.hi for index in found], None)
