"""What one kernel computes and stores: the stages of a group over the axes of the group.

Comes in: groups. Goes out: a `Body` for each. Its stages use one set of axes: those of the group,
and for loops inside, or steps, of equal extents the same. Scalar ops of the group are inline, a
reduction of it is a LOAD of a register buffer; all other LOADs read what is stored. A sink may
overwrite the old buffer of its cell if, in its own kernel, every read of it is at the stored
element or comes before the store in the same iteration, and if no kernel that must follow reads
it; other readers run first: an edge in `Reach`. runs.py comes next.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from tinycore.schedule.expression import Rewrite, inline, reads_in, renamed
from tinycore.schedule.groups import Group
from tinycore.schedule.movement import Indices
from tinycore.schedule.reach import Reach
from tinycore.schedule.sinks import home_of
from tinycore.schedule.stages import Stage
from tinycore.uop.index import axis
from tinycore.uop.ops import UOp
from tinycore.uop.shape import Dim, Shape, shape_of, upper_shape
from tinycore.uop.tree import Access, buffer, load


class Body:
    """The stages of a group in topological order, over `axes`, the loops of the kernel; `loops`
    are the last of it, which store."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.axes = _axes("g", group.axes)
        self.stages: dict[UOp, Stage] = {}
        self.loops: list[list[Stage]] = []
        for stage in group.stages:
            self._settle(stage)
        self.reads = {node for stage in group.stages for node in stage.reads}

    def _settle(self, stage: Stage) -> None:
        """Move a stage to the axes of the kernel and put what it reads of the group inside."""
        dims = self.group.dims[stage]
        stage.inner = [k for k in stage.wide if k not in dims]
        shape = stage.at(stage.shape)
        inner = _axes("n", shape)
        axes = dict(enumerate(stage.axes))
        axes.update(zip(dims, self.axes, strict=True))
        axes.update(zip(stage.inner, inner, strict=True))
        new = tuple(axes.values())
        env = renamed(stage.axes, new)
        if stage.reduces:
            steps = stage.steps
            env |= renamed(steps.axes, _axes("r", steps.extents))
            name, dtype = f"t{stage.number}", stage.node.dtype
            stage.state = buffer(name, dtype, upper_shape(shape), "reg", init=steps.combine)
        stage.move(new, Rewrite(env, (), self._read))
        self.stages[stage.node] = stage

    def _read(self, node: UOp, access: Access) -> UOp | None:
        stage = self.stages.get(node)
        if stage is None or stage.writes:
            return None
        indices = stage.at(access.indices)
        if stage.reduces:
            return load(stage.state, access._replace(indices=indices))
        env = renamed(stage.at(stage.axes), indices)
        return inline(stage.value, env, access)

    def arrange(self, olds: Container[UOp]) -> None:
        """Put what is stored into loops over inner dimensions. Those that may overwrite an old
        buffer come after all others, and among them those without a loop last."""
        found: dict[Shape, list[Stage]] = {}
        for stage in self.stages.values():
            if stage.is_stored and not (stage.reduces and stage.writes):
                found.setdefault(stage.at(stage.shape), []).append(stage)
        late = {k: any(stage.node in olds for stage in loop) for k, loop in found.items()}
        order = sorted(found, key=lambda shape: (late[shape], -len(shape) * late[shape]))
        self.loops = [found[shape] for shape in order]


def _axes(letter: str, extents: Sequence[Dim]) -> Indices:
    return tuple([axis(f"{letter}{k}", extent) for k, extent in enumerate(extents)])


def make_bodies(groups: Iterable[Group], olds: Mapping[UOp, UOp]) -> dict[int, Body]:
    """The bodies of all groups by number; a stage is stored if it is a sink or another reads it."""
    bodies = {group.number: Body(group) for group in groups}
    owner = {node: body for body in bodies.values() for node in body.stages}
    for body in bodies.values():
        for node in body.reads:
            if owner.get(node, body) is not body:
                owner[node].stages[node].is_stored = True
    for body in bodies.values():
        body.arrange(olds)
    return bodies


# In place: old buffers that sinks overwrite


def choose_places(
    bodies: Mapping[int, Body], olds: Mapping[UOp, UOp], reach: Reach
) -> dict[UOp, UOp]:
    """For each sink in place, the old buffer it overwrites; `reach` gains what must run before."""
    readers: dict[UOp, list[int]] = {}
    for number, body in bodies.items():
        for node in body.reads:
            readers.setdefault(node, []).append(number)
    places: dict[UOp, UOp] = {}
    for number, body in bodies.items():
        for node in [node for node in body.stages if node in olds]:
            old = olds[node]
            fits = shape_of(node) == shape_of(old) and node.dtype is old.dtype
            others = [other for other in readers.get(old, []) if other != number]
            follow = any(reach.follows(other, number) for other in others)
            if fits and not follow and _allows(body, body.stages[node], old):
                places[node] = old
                for other in others:
                    reach.edge(number, other)
    copied = [node for body in bodies.values() for node in body.stages if home_of(node) is not node]
    return places | {node: places.get(home_of(node), home_of(node)) for node in copied}


def _allows(body: Body, sink: Stage, old: UOp) -> bool:
    """True if the kernel of a sink reads `old` only where and when it may still be read."""
    if old not in body.reads:
        return True
    if sink.reduces and sink.writes:
        return False
    for stage in body.stages.values():
        reads = stage.reads.get(old, []) if stage.reduces else []
        if not all(_apart(body, sink, at) for at in reads):
            return False
    number = [sink in loop for loop in body.loops].index(True)
    for position, loop in enumerate(body.loops):
        found = reads_in([stage.stored_value for stage in loop])
        for at in found.get(old, []):
            before = position < number and _apart(body, sink, at)
            if position > number or not (before or at.indices == sink.place):
                return False
    return True


def _apart(body: Body, sink: Stage, at: Access) -> bool:
    """True if no other iteration of the group's loops stores what this one reads."""
    if sink.writes:
        return at.indices == sink.place
    dims = body.group.dims[sink]
    return all(at.indices[dim] is sink.axes[dim] for dim in dims)
