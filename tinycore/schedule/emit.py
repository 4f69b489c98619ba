"""One kernel written: loops of the group, merged reductions, then the stores.

Comes in: a body, and where values are stored. Goes out: a kernel tree and its parameters. `par
G`, then each run of reductions, then one loop for each shape of what is stored: all values first,
all stores last, since a store may overwrite what is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinycore.dtype import dtypes
from tinycore.schedule.bodies import Body
from tinycore.schedule.expression import reductions
from tinycore.schedule.runs import Output, Run, Runs
from tinycore.schedule.stages import Stage
from tinycore.schedule.types import ScheduledKernel
from tinycore.schedule.writer import Writer
from tinycore.uop.affine import atoms
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Access, Kernel


def emit(body: Body, places: Mapping[UOp, UOp], name: str, cached: int = 0) -> ScheduledKernel:
    """The kernel of a body; `places` holds the buffers that nodes are stored in. `cached`: see
    `Limits`."""
    writer = Writer(places)
    _write_group(writer, body, cached)
    (scope,) = writer.scopes
    statements = tuple(scope.statements)
    params = tuple(writer.params.values())
    outputs = [k for k, param in enumerate(params) if param in writer.written]
    bounds = sorted([(atom.name, atom.lo, atom.hi) for atom in writer.variables])
    variables = [UOp(Ops.VARIABLE, dtypes.int32, (), arg) for arg in bounds]
    kernel = Kernel(name, params, tuple(variables), statements)
    return ScheduledKernel(kernel, tuple(writer.params), tuple(outputs))


def _write_group(writer: Writer, body: Body, cached: int) -> None:
    runs = Runs(body.stages.values(), cached).runs
    ends = [[_stored(stage) for stage in loop] for loop in body.loops]
    outputs = [output for loop in ends for output in loop]
    for run in runs:
        outputs += run.sums + run.scaled
    writer.open("par", body.axes, body.extents, _values(outputs))
    for run in runs:
        _write_run(writer, run)
    for loop in ends:
        _write(writer, loop)
    writer.close()


def _stored(stage: Stage) -> Output:
    return Output(stage, stage.node, Access(stage.place), stage.stored_value, "", [])


def _values(outputs: Sequence[Output]) -> list[UOp]:
    return [output.value for output in outputs]


def _write_run(writer: Writer, run: Run) -> None:
    steps = run.sums[0].stage.steps
    states = [output.target for output in run.sums if not output.stage.scatters]
    writer.open("red", steps.axes, steps.extents, _values(run.sums), states)
    for output in run.sums:
        _write(writer, [output])
    writer.close()
    for output in run.scaled:
        _write(writer, [output])


def _write(writer: Writer, outputs: Sequence[Output]) -> None:
    """All values first, all stores last, inside loops over the same dimensions. Those on which a
    reduction inside depends come first: it is then evaluated outside the rest."""
    stage = outputs[0].stage
    values = _values(outputs)
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
