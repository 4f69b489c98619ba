"""Fragments: which lanes of a team hold an element of a register buffer, and which may touch it.

In: a STORE, inside a loop over lanes or one mapped `own`. Out: the lanes that run it, or RefError.
`own L(t) = F(dims)`: lane t holds an element iff L(t) = F. Next file: suspect.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tinycore.runtime.ref.machine import Machine
from tinycore.runtime.ref.number import Array
from tinycore.uop.affine import atoms, evaluate
from tinycore.uop.index import Atom
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Access, Own
from tinycore.util import np

Place = tuple[UOp, Access]  # a buffer and where in it


def operands(statement: UOp) -> Iterator[Place]:
    """The places a store reads, through names too."""
    count = len(statement.arg.places)
    work = [*statement.src[count : 2 * count]]
    seen: set[UOp] = set()
    while work:
        node = work.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op is Ops.LOAD:
            yield node.src[0], node.arg
        else:
            work += node.src


def lanes_of(machine: Machine, statement: UOp, owned: bool, crossing: bool) -> Array | None:
    """The first lane that runs a store for each element; None if its place does not tell.

    Inside a loop mapped `own` the lanes that hold the target run it, and must hold what it reads,
    unless a reduction crosses lanes; without a target that is held, those that hold all it reads.
    Raises: RefError.
    """
    target: Place = statement.src[0], statement.arg.places[0]
    held = [place for place in (target, *operands(statement)) if place[0].arg.own is not None]
    if not held:
        return None
    if not owned:
        for place in held:
            _require_own_lane(machine, place)
        return None
    holders = [_holders(machine, place) for place in held]
    executing = holders[0]
    for other in holders[1:]:
        executing = executing if crossing else executing & other
    if held[0] is target and _within(machine, target, holders[0] & ~executing):
        names = ", ".join(place[0].arg.name for place in held)
        machine.fail(f"a lane reads a register that it does not own, of {names}", "equal own")
    if _within(machine, target, ~executing.any(axis=0)):
        machine.fail("no lane owns all that it touches", "operands that share lanes")
    return np().argmax(executing, axis=0)


def _require_own_lane(machine: Machine, place: Place) -> None:
    own: Own = place[0].arg.own
    names = {atom.name: value for atom, value in machine.scope.axes.items()}
    missing = [atom.name for atom in atoms(own.lane) if atom.name not in names]
    name = place[0].arg.name
    if missing:
        machine.fail(f"{name} is touched with no lane {missing[0]} around", "a loop over lanes")
    lane = evaluate(own.lane, _by_name(names))
    if _within(machine, place, lane != _element(machine, place)):
        machine.fail(f"a lane touches a register of {name} that it does not own", "its own lane")


def _within(machine: Machine, place: Place, where: Array) -> bool:
    """True if `where` holds anywhere under the mask of `place`."""
    _, mask = machine.cells(machine.instance(place[0]), place[1])
    return bool(np().any(where if mask is None else where & mask))


def _holders(machine: Machine, place: Place) -> Array:
    """For each lane, in front of all loops, whether it holds the element."""
    own: Own = place[0].arg.own
    count = 1 + max(atom.hi for atom in atoms(own.lane))
    lanes = np().arange(count).reshape((count,) + (1,) * len(machine.scope.dims))
    lane = evaluate(own.lane, lambda atom: lanes)
    return lane == np().broadcast_to(_element(machine, place), machine.scope.shape)


def _element(machine: Machine, place: Place) -> Array:
    buffer, access = place
    values = [machine.index(index, []) for index in access.indices]
    named = dict(zip(buffer.arg.names, values, strict=True))
    return evaluate(buffer.arg.own.element, _by_name(named))


def _by_name(values: dict[str, Array]) -> Callable[[Atom], Array]:
    return lambda atom: values[atom.name]
