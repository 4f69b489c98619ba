"""Copies of tiles, their WAIT and FREE, and MMA.

In: such statements. Out: what happens now, and what happens at the WAIT. A generator stops where
it must wait for another role, and says for what. Next file: entry.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from tinycore.runtime.ref import number
from tinycore.runtime.ref.control import SCHEDULED, Handlers
from tinycore.runtime.ref.memory import Instance
from tinycore.runtime.ref.number import Array
from tinycore.runtime.ref.order import TEAMS
from tinycore.runtime.ref.rings import Slot, State
from tinycore.runtime.ref.suspect import Suspect
from tinycore.uop.affine import atoms
from tinycore.uop.index import Index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import GLOBAL, Access, MmaArg
from tinycore.util import np


def copy(machine: Suspect, statement: UOp) -> Iterator[str]:
    """Begin a copy; towards a near space it waits until its slot is free."""
    target = statement.src[0]
    if target.arg.space == GLOBAL:
        _copy_out(machine, statement)
        return
    ring = machine.rings[machine.instance(target)]
    sequence = ring.coming(_sequence(machine, statement.arg.place.sequence))
    while not ring.may_fill(sequence):
        yield f"copy {target.arg.name}[{sequence}], whose slot is {ring.slot(sequence)}"
    _copy_in(machine, statement, sequence)


def _sequence(machine: Suspect, sequence: Index | None) -> Array | None:
    return None if sequence is None else machine.index(sequence, [])


def _copy_in(machine: Suspect, statement: UOp, sequence: int) -> None:
    target, source = statement.src
    instance = machine.instance(target)
    with machine.boxed(statement.arg.box):
        cells, mask = machine.cells(instance, statement.arg.place._replace(sequence=None))
        if mask is not None:
            machine.fail("a copy towards a near space is masked there", "a masked source")
        flat = machine.each(cells, None) + sequence % target.arg.slots * instance.size
        if not np().unique(flat).size == flat.size == instance.size:
            machine.fail(f"a copy does not fill {target.arg.name}", "a box that covers it once")
        stored = _read(machine, source, target, None)
    instance.data[flat] = number.poison(target.dtype)
    slot = machine.rings[instance].slot(sequence)
    slot.start(State.PENDING, sequence, lambda: _put(instance, flat, stored))
    machine.clock += 1


def _read(machine: Suspect, source: UOp, target: UOp, mask: Array | None) -> Array:
    """The values that a copy moves, as elements of its target."""
    machine.copying = True
    values = machine.value(source)
    machine.copying = False
    return machine.each(number.encode(values, target.dtype), mask)


def _put(instance: Instance, flat: Array, stored: Array) -> None:
    instance.data[flat] = stored


def _copy_out(machine: Suspect, statement: UOp) -> None:
    """The elements are poison, and nobody may touch them, until the slot is waited for."""
    target, source = statement.src
    if source.op is not Ops.LOAD or source.src[0].arg.space == GLOBAL:
        machine.fail("a copy towards global memory computes", "a slot of a near buffer")
    instance = machine.instance(target)
    slot, sequence = _slot(machine, source.src[0], source.arg.sequence)
    if slot.state is State.READING:
        machine.fail(f"the slot is {slot}", "a wait before it is copied again")
    with machine.boxed(statement.arg.box):
        cells, mask = machine.cells(instance, statement.arg.place)
        flat = machine.each(cells, mask)
        stored = _read(machine, source, target, mask)
        machine.claim(instance, flat, stored, mask, "")
    instance.data[flat] = number.poison(target.dtype)
    flying = machine.flying.setdefault(instance, np().zeros(instance.data.size, bool))
    flying[flat] = True

    def arrive() -> None:
        flying[flat] = False
        _put(instance, flat, stored)

    slot.start(State.READING, sequence, arrive)


def _slot(machine: Suspect, buffer: UOp, sequence: Index | None) -> tuple[Slot, int]:
    ring = machine.rings[machine.instance(buffer)]
    found = ring.number(_sequence(machine, sequence))
    return ring.slot(found), found


def wait(machine: Suspect, statement: UOp) -> Iterator[str]:
    """Go on when each copy is complete; it is visible to the role or team that waited."""
    for buffer, index in zip(statement.src, statement.arg, strict=True):
        if buffer not in machine.filled:
            _wait_out(machine, buffer, index)
            continue
        ring = machine.rings[machine.instance(buffer)]
        sequence = ring.coming(_sequence(machine, index))
        slot = ring.slot(sequence)
        while slot.sequence != sequence or slot.state is State.EMPTY:
            yield f"wait {buffer.arg.name}[{sequence}], whose slot is {slot}"
        if slot.state is State.PENDING:
            slot.complete(State.FULL)
        slot.waited.add(machine.scope.path)
        machine.clock += 1


def _wait_out(machine: Suspect, buffer: UOp, index: Index | None) -> None:
    slot, sequence = _slot(machine, buffer, index)
    if slot.state is not State.READING or slot.sequence != sequence:
        machine.fail(f"wait {buffer.arg.name}[{sequence}], whose slot is {slot}", "a copy from it")
    slot.complete(State.EMPTY)


def free(machine: Suspect, statement: UOp) -> None:
    """Give slots back; one is empty when every consumer has."""
    path = machine.scope.path
    for buffer, index in zip(statement.src, statement.arg, strict=True):
        slot, sequence = _slot(machine, buffer, index)
        name = f"{buffer.arg.name}[{sequence}]"
        if not slot.visible(sequence, path) or path in slot.freed:
            machine.fail(f"free {name}, whose slot is {slot}", "a wait before, and one free")
        slot.freed.add(path)
        machine.clock += 1
        if len(slot.freed) == machine.consumers[buffer]:
            slot.state = State.EMPTY
            instance = machine.instance(buffer)
            start = sequence % buffer.arg.slots * instance.size
            instance.data[start : start + instance.size] = number.poison(buffer.dtype)


def mma(machine: Suspect, statement: UOp) -> None:
    """acc += a * b: exact products, one rounding."""
    arg: MmaArg = statement.arg
    acc, a, b = statement.src
    scope = machine.scope
    if scope.lane is not None or (arg.scope in TEAMS and not scope.path):
        machine.fail("mma is not run by a team as a whole", f"a {arg.scope} around, no lanes")
    kept = {atom.name for index in arg.acc.indices for atom in atoms(index)}
    with machine.boxed([entry for entry in arg.box if entry[0] in kept]):
        shape = machine.scope.shape
        with machine.boxed([entry for entry in arg.box if entry[0] not in kept]):
            products = _exact(machine, a, arg.a) * _exact(machine, b, arg.b)
            products = np().broadcast_to(products, machine.scope.shape)
        contracted = tuple(range(products.ndim - len(shape)))
        exact = _exact(machine, acc, arg.acc) + products.sum(axis=contracted)
        machine.write(machine.instance(acc), arg.acc, number.convert(exact, acc.dtype), "")


def _exact(machine: Suspect, buffer: UOp, access: Access) -> Array:
    """Values in a type that holds their products."""
    machine.copying = True
    values = machine.load(buffer, access)
    machine.copying = False
    return values.astype(np().float64 if buffer.dtype.is_float else np().int64)


def barrier(machine: Suspect, statement: UOp) -> None:
    """All threads of the block meet, or those of the team that runs."""
    scope = machine.scope
    if scope.lane is not None or scope.dims:
        machine.fail("a barrier stands where lanes diverge", "a place that all of a team reach")
    machine.threads.barrier(machine.team() if scope.path else None)


HANDLERS: Handlers = {
    **SCHEDULED,
    Ops.COPY: copy,
    Ops.WAIT: wait,
    Ops.FREE: free,
    Ops.MMA: mma,
    Ops.BARRIER: barrier,
}
