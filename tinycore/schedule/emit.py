"""One kernel written: loops of the group, merged reductions, then the stores.

Comes in: a body, and where values are stored. Goes out: a kernel tree and its parameters. `par
G`, then each run of reductions, then one loop for each shape of what is stored: all values first,
all stores last, since a store may overwrite what is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinycore.dtype import dtypes
from tinycore.schedule.bodies import Body, StoreLoop
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
    if body.is_scatter:
        (stage,) = body.stages.values()
        _write_scatter(writer, stage)
    else:
        _write_group(writer, body)
    (scope,) = writer.scopes
    statements = tuple(scope.statements)
    written = {one.src[0] for one, _ in walk(statements) if one.op is Ops.STORE}
    outputs = [k for k, param in enumerate(writer.params.values()) if param in written]
    found = [writer.variables[known] for known in sorted(writer.variables)]
    variables = [UOp(Ops.VARIABLE, dtypes.int32, (), (a.name, a.lo, a.hi)) for a in found]
    kernel = Kernel(name, tuple(writer.params.values()), tuple(variables), statements)
    return ScheduledKernel(kernel, tuple(writer.params), tuple(outputs))


def _write_group(writer: Writer, body: Body) -> None:
    runs = find_runs(list(body.stages.values()))
    values = [stage.stored_value for loop in body.loops for stage in loop.stages]
    for run in runs:
        values += [stage.value for stage in run.stages]
        values += [stage.leaving for stage in run.scaled if stage.leaving is not None]
    writer.open("par", body.axes, tuple(body.group.axes), values)
    for run in runs:
        _write_run(writer, run)
    for loop in body.loops:
        _write_stores(writer, loop)
    writer.close()


def _write_run(writer: Writer, run: Run) -> None:
    states = [_state(stage) for stage in run.stages]
    for state in states:
        writer.write(state)
    first = run.stages[0]
    writer.open("red", first.steps, first.extents, [stage.value for stage in run.stages], states)
    for stage in run.stages:
        _open_inner(writer, stage, [stage.value])
        value = writer(stage.value)
        place = writer.access(Access(stage.at(stage.axes), stage.mask))
        moved = [_state(other) for other in stage.followers]
        arg = StoreArg((place,), stage.combine, "exp" if moved else "")
        writer.write(UOp(Ops.STORE, dtypes.void, (_state(stage), value, *moved), arg))
        _close_inner(writer, stage)
    writer.close()
    for stage in run.scaled:
        assert stage.leaving is not None, "emit: a sum without the factor that left it"
        _open_inner(writer, stage, [stage.leaving])
        writer.store(_state(stage), stage.at(stage.axes), writer(stage.leaving), "prod")
        _close_inner(writer, stage)


def _state(stage: Stage) -> UOp:
    assert stage.state is not None, "emit: a reduction without a state"
    return stage.state


def _open_inner(writer: Writer, stage: Stage, values: Sequence[UOp]) -> None:
    """Open the loops inside one by one, those first on which a reduction inside depends: it is
    then evaluated outside the rest."""
    needed: set[object] = set()
    for value in values if len(stage.inner) > 1 else ():
        for node in reductions(value):
            needed |= writer.depends(node)
    for k in sorted(stage.inner, key=lambda k: needed.isdisjoint(atoms(stage.axes[k]))):
        writer.open("par", (stage.axes[k],), (stage.shape[k],), values)


def _close_inner(writer: Writer, stage: Stage) -> None:
    for _ in stage.inner:
        writer.close()


def _write_stores(writer: Writer, loop: StoreLoop) -> None:
    values = [stage.stored_value for stage in loop.stages]
    _open_inner(writer, loop.stages[0], values)
    placed = [writer.name(value) if len(values) > 1 else writer(value) for value in values]
    for stage, value in zip(loop.stages, placed, strict=True):
        writer.store(writer.param(stage.node), stage.place, value)
    _close_inner(writer, loop.stages[0])


def _write_scatter(writer: Writer, stage: Stage) -> None:
    """Copy the base, unless it is overwritten; then combine each value with the row it names."""
    target = writer.param(stage.node)
    base = stage.base
    assert base is not None, "emit: a scatter without a base"
    in_place = base.op is Ops.LOAD and writer.param(base.src[0]) is target
    if not in_place:
        writer.open("par", stage.axes, stage.shape, [base])
        writer.store(target, stage.axes, writer(base))
        writer.close()
    values = [one for one in stage.expressions() if one is not base]
    writer.open("red", stage.steps, stage.extents, values)
    writer.open("par", stage.axes[1:], stage.shape[1:], values)
    writer.store(target, stage.place, writer(stage.value), stage.combine)
    writer.close()
    writer.close()
