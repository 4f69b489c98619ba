"""Rows: values that the loops of a kernel would compute again, held near the core instead.

Comes in: a group. Goes out: loops that fill a row with what is reduced inside another reduction, or
with costly ops that two stages need, if it is short enough. Next file: writer.py.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tinycore.schedule.expression import Dependence, Indices, Rewrite, parts, renamed
from tinycore.schedule.groups import Group
from tinycore.schedule.stages import Stage
from tinycore.schedule.writer import Nest
from tinycore.uop.index import Atom, Shape, atoms, axes_over, size, upper_shape
from tinycore.uop.ops import Ops, UOp, postorder
from tinycore.uop.tree import Access, buffer, load, store

_COSTLY = frozenset({Ops.EXP, Ops.LOG, Ops.SIN, Ops.REDUCE})


class _Loops(NamedTuple):
    """The loops in which a stage is evaluated, and its value with the axes of a row for theirs."""

    axes: Indices
    row: Indices
    extents: Shape
    value: UOp


class Rows:
    """The rows of one group; `most` is how long they are, the `held` of `Limits`."""

    def __init__(self, group: Group, depends: Dependence, most: int) -> None:
        self.around = atoms(*group.axes)
        self.depends = depends
        self.held: dict[UOp, UOp] = {}
        self.loops: dict[Stage, _Loops] = {}
        self.uses: Counter[UOp] = Counter()
        for stage in group.stages:
            found = _loops_of(stage)
            if not stage.is_inline and 1 < size(found.extents) <= most:
                self.loops[stage] = found
                self.uses.update(self._costly(found))

    def fill(self, stage: Stage) -> Iterator[Nest]:
        """Let a stage read rows; the loops that fill those that nobody has read before."""
        loops = self.loops.get(stage)
        if not loops:
            return
        for node in self._costly(loops):
            is_wanted = node.is_reduce or self.uses[node] > 1
            if is_wanted and stage.reduces and node not in self.held:
                yield self._filled(node, loops)
        value = Rewrite(self.held).node(loops.value)
        stage.value = Rewrite(env=renamed(loops.row, loops.axes)).node(value)

    def _filled(self, node: UOp, loops: _Loops) -> Nest:
        name = f"r{len(self.held)}"
        row = buffer(name, node.dtype, upper_shape(loops.extents), "reg")
        place = Access(loops.row)
        filled = store(row, place, Rewrite(self.held).node(node))
        self.held[node] = load(row, place)
        return Nest("par", loops.row, loops.extents, [(filled,)], (row,))

    def _costly(self, loops: _Loops) -> Iterator[UOp]:
        """What is needed once at each step."""
        row = atoms(*loops.row)
        for node in postorder([loops.value], parts):
            if node.op in _COSTLY:
                needs = self.depends[node] - self.around
                if row == {need for need in needs if isinstance(need, Atom)}:
                    yield node


def _loops_of(stage: Stage) -> _Loops:
    if stage.reduces:
        axes, extents = stage.steps.axes, stage.steps.extents
    else:
        axes, extents = stage.at(stage.axes), stage.at(stage.shape)
    row = axes_over("row", extents)  # no steps inside have this name
    return _Loops(axes, row, extents, Rewrite(env=renamed(axes, row)).node(stage.value))
