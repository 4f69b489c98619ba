"""What one kernel computes and stores: the stages of a group over the axes of the group.

Comes in: groups. Goes out: a `Body` for each. Its stages use one set of axes: those of the group,
and for loops inside, or steps, of equal extents the same. Scalar ops of the group are inline, a
reduction of it is a LOAD of a register buffer; all other LOADs read what is stored. A sink may
overwrite the old buffer of its cell if, in its own kernel, every read of it is at the stored
element or comes before the store in the same iteration, and if no kernel that must follow reads
it; other readers run first: see `Grouping.run_after`. runs.py comes next.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from tinycore.schedule.expression import Rewrite, inline, reads_in, renamed
from tinycore.schedule.groups import Group, Grouping
from tinycore.schedule.movement import axes_over
from tinycore.schedule.stages import Stage
from tinycore.uop.ops import UOp
from tinycore.uop.shape import Shape, shape_of, upper_shape
from tinycore.uop.tree import Access, buffer, load


class Body:
    """The stages of a group in topological order, over `axes`, the loops of the kernel; `loops`
    are the last of it, which store."""

    def __init__(self, group: Group, olds: Container[UOp]) -> None:
        self.group = group
        self.extents = tuple(group.axes)
        self.axes = axes_over("g", self.extents)
        self.stages: dict[UOp, Stage] = {}
        self.reads: set[UOp] = set()
        for stage in group.stages:
            self._settle(stage)
            self.stages[stage.node] = stage
            self.reads.update(stage.reads)
        self.loops = self._arranged(olds)

    def _settle(self, stage: Stage) -> None:
        """Move a stage to the axes of the kernel and put what it reads of the group inside."""
        dims = self.group.dims[stage]
        stage.inner = [k for k in stage.wide if k not in dims]
        shape = stage.at(stage.shape)
        axes = dict(enumerate(stage.axes))
        axes.update(zip(dims, self.axes, strict=True))
        axes.update(zip(stage.inner, axes_over("n", shape), strict=True))
        new = tuple(axes.values())
        steps = stage.steps
        inside = axes_over("r", steps.extents)
        env = renamed(stage.axes + steps.axes, new + inside)
        stage.state = stage.node
        if stage.reduces and not stage.scatters:
            name = f"t{stage.number}"
            dtype = stage.node.dtype
            stage.state = buffer(name, dtype, upper_shape(shape), "reg", init=steps.combine)
        stage.move(new, Rewrite(env, (), self._read))

    def _read(self, node: UOp, access: Access) -> UOp | None:
        stage = self.stages.get(node)
        if stage is None or stage.writes:
            return None
        indices = stage.at(access.indices)
        if stage.reduces:
            return load(stage.state, access._replace(indices=indices))
        own = stage.at(stage.axes)
        return inline(stage.value, renamed(own, indices), access)

    def _arranged(self, olds: Container[UOp]) -> list[list[Stage]]:
        """What is stored, in loops over equal inner dimensions. Those that may overwrite an old
        buffer come after all others, and among them those without a loop last."""
        found: dict[Shape, list[Stage]] = {}
        for stage in self.stages.values():
            if stage.is_stored and not stage.scatters:
                found.setdefault(stage.at(stage.shape), []).append(stage)

        def late(shape: Shape) -> tuple[bool, int]:
            replaces = any(stage.node in olds for stage in found[shape])
            return replaces, -len(shape) * replaces

        return [found[shape] for shape in sorted(found, key=late)]

    def allows(self, sink: Stage, old: UOp) -> bool:
        """True if a sink may overwrite a buffer that is read here only where and when it may be: at
        the stored element, or in a loop before where no other iteration of the group stores."""
        if shape_of(sink.node) != shape_of(old) or sink.node.dtype is not old.dtype:
            return False
        if sink.scatters or old not in self.reads:
            return old not in self.reads
        loops = [[stage.term for stage in self.stages.values() if stage.reduces]]
        loops += [[stage.stored_value for stage in loop] for loop in self.loops]
        last = [sink in loop for loop in self.loops].index(True) + 1
        whole = range(len(sink.place))
        for position, values in enumerate(loops):
            before = position < last and not sink.writes
            dims = self.group.dims[sink] if before else whole
            for at in reads_in(values).get(old, ()):
                if position > last or any(at.indices[k] is not sink.place[k] for k in dims):
                    return False
        return True


# In place: old buffers that sinks overwrite


def choose_places(bodies: Mapping[Group, Body], grouping: Grouping) -> dict[UOp, UOp]:
    """The old buffers that sinks overwrite; their groups then run after all that read these."""
    places: dict[UOp, UOp] = {}
    for group, body in bodies.items():
        for node, sink in body.stages.items():
            old = grouping.olds.get(node)
            if old is None or not body.allows(sink, old):
                continue
            others = [one for one in bodies if one is not group and old in bodies[one].reads]
            if any(other.follows(group) for other in others):
                continue
            places[node] = old
            for other in others:
                grouping.run_after(group, other.before | other.bits)
    return places
