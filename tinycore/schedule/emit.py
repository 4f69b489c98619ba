"""One kernel written: loops of the group, merged reductions, then the stores.

Comes in: a body, and where values are stored. Goes out: a kernel tree and its parameters. `par
G`, then each run of reductions, then one loop for each shape of what is stored: all values first,
all stores last, since a store may overwrite what is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tinycore.dtype import dtypes
from tinycore.schedule.bodies import Body
from tinycore.schedule.expression import reductions
from tinycore.schedule.runs import find_runs
from tinycore.schedule.stages import Stage
from tinycore.schedule.types import ScheduledKernel
from tinycore.schedule.writer import Writer
from tinycore.uop.affine import atoms
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Access, Kernel, walk


class Output(NamedTuple):
    """A STORE of a stage, in loops over its dimensions inside: of a value, or of a term."""

    stage: Stage
    target: UOp
    place: Access
    value: UOp
    combine: str = ""
    moved: Sequence[UOp] = ()


def emit(body: Body, places: Mapping[UOp, UOp], name: str) -> ScheduledKernel:
    """The kernel of a body; `places` holds the buffers that nodes are stored in."""
    writer = Writer(places)
    _write_group(writer, body)
    (scope,) = writer.scopes
    statements = tuple(scope.statements)
    stores = [one for one, _ in walk(statements) if one.op is Ops.STORE]
    written = {one.src[0] for one in stores}
    params = tuple(writer.params.values())
    outputs = [k for k, param in enumerate(params) if param in written]
    bounds = sorted([(atom.name, atom.lo, atom.hi) for atom in writer.variables])
    variables = [UOp(Ops.VARIABLE, dtypes.int32, (), arg) for arg in bounds]
    kernel = Kernel(name, params, tuple(variables), statements)
    return ScheduledKernel(kernel, tuple(writer.params), tuple(outputs))


def _write_group(writer: Writer, body: Body) -> None:
    runs = find_runs(body.stages.values())
    sums = [[_combined(stage) for stage in run.stages] for run in runs]
    scaled = [[_scaled(*pair) for pair in run.scaled] for run in runs]
    ends = [[_stored(stage) for stage in loop] for loop in body.loops]
    every = [output.value for outputs in [*sums, *scaled, *ends] for output in outputs]
    writer.open("par", body.axes, body.extents, every)
    for inside, after in zip(sums, scaled, strict=True):
        steps = inside[0].stage.steps
        states = [one.target for one in inside if not one.stage.scatters]
        writer.write(*states)
        writer.open("red", steps.axes, steps.extents, [one.value for one in inside], states)
        for output in inside:
            _write(writer, [output])
        writer.close()
        for output in after:
            _write(writer, [output])
    for outputs in ends:
        _write(writer, outputs)
    writer.close()


def _combined(stage: Stage) -> Output:
    """The term of a reduction, combined with its state at each step."""
    place = stage.place if stage.scatters else stage.at(stage.axes)
    access = Access(place, stage.steps.mask)
    moved = [other.state for other in stage.followers]
    return Output(stage, stage.state, access, stage.term, stage.steps.combine, moved)


def _scaled(stage: Stage, factor: UOp) -> Output:
    """The state of a sum, multiplied by what has left it."""
    return Output(stage, stage.state, Access(stage.at(stage.axes)), factor, "prod")


def _stored(stage: Stage) -> Output:
    return Output(stage, stage.node, Access(stage.place), stage.stored_value)


def _write(writer: Writer, outputs: Sequence[Output]) -> None:
    """All values first, all stores last, inside loops over the same dimensions. Those on which a
    reduction inside depends come first: it is then evaluated outside the rest."""
    stage = outputs[0].stage
    values = [output.value for output in outputs]
    needed: set[object] = set()
    for node in reductions(*values):
        needed |= writer.depends(node)
    inner = sorted(stage.inner, key=lambda k: needed.isdisjoint(atoms(stage.axes[k])))
    for k in inner:
        writer.open("par", (stage.axes[k],), (stage.shape[k],), values)
    place = writer if len(values) == 1 else writer.name
    placed = [place(value) for value in values]
    for output, value in zip(outputs, placed, strict=True):
        writer.store(output.target, output.place, value, output.combine, output.moved)
    for _ in inner:
        writer.close()
