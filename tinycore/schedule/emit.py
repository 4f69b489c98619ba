"""One kernel written: loops of the group, merged reductions, then the stores.

Comes in: a body with its runs and store loops, and where values are stored. Goes out: a kernel
tree and its parameters. `par G`, then each run of reductions, then one loop for each shape of
what is stored: all values first, all stores last, since a store may overwrite what is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tinycore.dtype import dtypes
from tinycore.schedule.bodies import Body, Member, StoreLoop
from tinycore.schedule.expression import reductions
from tinycore.schedule.runs import Run, Sum
from tinycore.schedule.types import ScheduledKernel
from tinycore.schedule.writer import Writer, count_uses
from tinycore.uop.affine import atoms
from tinycore.uop.index import Index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.shape import Dim
from tinycore.uop.tree import Kernel, StoreArg, store, walk


def emit(body: Body, runs: Sequence[Run], places: Mapping[UOp, UOp], name: str) -> ScheduledKernel:
    """The kernel of a body; `places` holds the buffers that sinks overwrite."""
    writer = Writer(count_uses(list(_values(body, runs))), places)
    if body.is_scatter:
        (member,) = body.members.values()
        _write_scatter(writer, member)
    else:
        _write_group(writer, body, runs)
    (scope,) = writer.scopes
    return _scheduled(writer, tuple(scope.statements), name)


def _values(body: Body, runs: Sequence[Run]) -> Iterator[UOp]:
    """Every expression that a statement of the kernel evaluates."""
    if body.is_scatter:
        for member in body.members.values():
            yield from member.expressions()
        return
    for run in runs:
        for one in run.sums:
            yield one.kept
            if one.leaving is not None:
                yield one.leaving
    for loop in body.loops:
        for found in loop.stores:
            yield found.value


def _write_group(writer: Writer, body: Body, runs: Sequence[Run]) -> None:
    writer.open("par", body.axes, body.group.axes)
    for run in runs:
        _write_run(writer, run)
    for loop in body.loops:
        _write_stores(writer, loop)
    writer.close()


# reductions


def _write_run(writer: Writer, run: Run) -> None:
    for one in run.sums:
        writer.write(_state(one.member))
    axes = [step.axis for step in run.steps]
    writer.open("red", axes, [step.extent for step in run.steps])
    writer.run(_state(one.member) for one in run.sums)
    for one in run.sums:
        _combine(writer, one)
    writer.close()
    for one in run.after:
        assert one.leaving is not None, "emit: a sum without the factor that left it"
        _scale(writer, one.member, one.leaving)


def _state(member: Member) -> UOp:
    assert member.state is not None, "emit: a reduction without a state"
    return member.state


def _combine(writer: Writer, one: Sum) -> None:
    member = one.member
    _open_inner(writer, member, one.kept)
    value = writer.place(one.kept)
    place = writer.access(member.at(member.axes), one.mask)
    moved = [_state(other.member) for other in one.moved]
    arg = StoreArg((place,), member.stage.combine, "exp" if moved else "")
    writer.write(UOp(Ops.STORE, dtypes.void, (_state(member), value, *moved), arg))
    _close_inner(writer, member)


def _scale(writer: Writer, member: Member, leaving: UOp) -> None:
    """Multiply a finished sum by the factor that left it."""
    _open_inner(writer, member, leaving)
    value = writer.place(leaving)
    place = writer.access(member.at(member.axes))
    writer.write(store(_state(member), place, value, "prod"))
    _close_inner(writer, member)


def _open_inner(writer: Writer, member: Member, value: UOp) -> None:
    extents = [member.stage.shape[k] for k in member.inner]
    _open_each(writer, member.at(member.axes), extents, [value])


def _close_inner(writer: Writer, member: Member) -> None:
    for _ in member.inner:
        writer.close()


def _open_each(
    writer: Writer, axes: Sequence[Index], extents: Sequence[Dim], values: Sequence[UOp]
) -> None:
    """Open loops one in the other, those first on which a reduction inside depends: it is then
    evaluated outside the rest."""
    inside = [node for value in values for node in reductions(value)] if len(axes) > 1 else []
    needed = {atom for node in inside for atom in writer.depends(node)}
    pairs = list(zip(axes, extents, strict=True))
    for index, extent in sorted(pairs, key=lambda pair: needed.isdisjoint(atoms(pair[0]))):
        writer.open("par", [index], [extent])


# stores


def _write_stores(writer: Writer, loop: StoreLoop) -> None:
    _open_each(writer, loop.axes, loop.extents, [one.value for one in loop.stores])
    several = len(loop.stores) > 1
    values = [writer.name(one.value) if several else writer.place(one.value) for one in loop.stores]
    for one, value in zip(loop.stores, values, strict=True):
        place = writer.access(one.place)
        writer.write(store(writer.param(one.node), place, value))
    for _ in loop.extents:
        writer.close()


def _write_scatter(writer: Writer, member: Member) -> None:
    """Copy the base, unless it is overwritten; then combine each value with the row it names."""
    stage = member.stage
    target = writer.param(stage.node)
    base = member.base
    assert base is not None, "emit: a scatter without a base"
    in_place = base.op is Ops.LOAD and writer.param(base.src[0]) is target
    if not in_place:
        writer.open("par", stage.axes, stage.shape)
        value = writer.place(base)
        writer.write(store(target, writer.access(stage.axes), value))
        writer.close()
    writer.open("red", stage.step_axes, [step.extent for step in stage.steps])
    writer.open("par", stage.axes[1:], stage.shape[1:])
    value = writer.place(member.value)
    writer.write(store(target, writer.access(member.place), value, stage.combine))
    writer.close()
    writer.close()


# the kernel


def _scheduled(writer: Writer, statements: tuple[UOp, ...], name: str) -> ScheduledKernel:
    params = tuple(writer.params.values())
    nodes = tuple(writer.params)
    written = {one.src[0] for one, _ in walk(statements) if one.op is Ops.STORE}
    outputs = tuple([k for k, param in enumerate(params) if param in written])
    atoms = [writer.variables[known] for known in sorted(writer.variables)]
    variables = [UOp(Ops.VARIABLE, dtypes.int32, (), (a.name, a.lo, a.hi)) for a in atoms]
    kernel = Kernel(name, params, tuple(variables), statements)
    return ScheduledKernel(kernel, nodes, outputs)
