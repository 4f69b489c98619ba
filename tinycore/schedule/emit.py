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
from tinycore.schedule.runs import Run, find_runs
from tinycore.schedule.stages import Stage
from tinycore.schedule.types import ScheduledKernel
from tinycore.schedule.writer import Writer
from tinycore.uop.affine import atoms
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Access, Kernel, StoreArg, walk


def emit(body: Body, places: Mapping[UOp, UOp], name: str) -> ScheduledKernel:
    """The kernel of a body; `places` holds the buffers that sinks overwrite."""
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
    runs = find_runs(list(body.stages.values()))
    values = [stage.stored_value for loop in body.loops for stage in loop]
    values += [stage.term for run in runs for stage in run.stages]
    values += [factor for run in runs for _, factor in run.scaled]
    writer.open("par", body.axes, tuple(body.group.axes), values)
    for run in runs:
        _write_run(writer, run)
    for loop in body.loops:
        _write_stores(writer, loop)
    writer.close()


def _write_run(writer: Writer, run: Run) -> None:
    steps = run.stages[0].steps
    states = [stage.state for stage in run.stages if not stage.writes]
    values = [stage.term for stage in run.stages]
    writer.write(*states)
    writer.open("red", steps.axes, steps.extents, values, states)
    for stage in run.stages:
        _open_inner(writer, stage, [stage.term])
        value = writer(stage.term)
        target = writer.param(stage.node) if stage.writes else stage.state
        indices = stage.place if stage.writes else stage.at(stage.axes)
        place = writer.access(Access(indices, stage.steps.mask))
        moved = [other.state for other in stage.followers]
        arg = StoreArg((place,), stage.steps.combine, "exp" if moved else "")
        writer.write(UOp(Ops.STORE, dtypes.void, (target, value, *moved), arg))
        _close_inner(writer, stage)
    writer.close()
    for stage, factor in run.scaled:
        _open_inner(writer, stage, [factor])
        value = writer(factor)
        writer.store(stage.state, stage.at(stage.axes), value, "prod")
        _close_inner(writer, stage)


def _open_inner(writer: Writer, stage: Stage, values: Sequence[UOp]) -> None:
    """Open the loops inside one by one, those first on which a reduction inside depends: it is
    then evaluated outside the rest."""
    needed: set[object] = set()
    for value in values:
        for node in reductions(value):
            needed |= writer.depends(node)
    first = [k for k in stage.inner if needed & atoms(stage.axes[k])]
    rest = [k for k in stage.inner if k not in first]
    for k in first + rest:
        index, extent = stage.axes[k], stage.shape[k]
        writer.open("par", (index,), (extent,), values)


def _close_inner(writer: Writer, stage: Stage) -> None:
    for _ in stage.inner:
        writer.close()


def _write_stores(writer: Writer, loop: Sequence[Stage]) -> None:
    values = [stage.stored_value for stage in loop]
    _open_inner(writer, loop[0], values)
    place = writer if len(values) == 1 else writer.name
    placed = [place(value) for value in values]
    for stage, value in zip(loop, placed, strict=True):
        writer.store(writer.param(stage.node), stage.place, value)
    _close_inner(writer, loop[0])
