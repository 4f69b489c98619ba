"""Gives mapped loops the form in which a target runs them: lanes, and one flat axis of tasks.

In: a kernel tree with loops @vec and @grid. Out: one with parallel lanes and a single grid loop.
Next file: stores.py.
"""

from tinycore.codegen.optimize.analysis import iterations
from tinycore.codegen.optimize.edit import (
    Illegal,
    Nodes,
    Statements,
    atom_of,
    changed,
    edit,
    edit_loops,
    find,
    loops_in,
    place_of,
    placed,
    refit,
)
from tinycore.codegen.optimize.pieces import rfactor
from tinycore.codegen.optimize.split import fused
from tinycore.errors import SpecError
from tinycore.runtime.contract import Caps
from tinycore.uop.affine import atoms
from tinycore.uop.index import Index, as_index, axis
from tinycore.uop.ops import MONOIDS, Ops, UOp
from tinycore.uop.tree import Access, Kernel, LoopArg, buffer, indices, load, loop, store
from tinycore.util import dedup

MAX_COPIES = 64
MAX_LANES = 128


def reduce(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with a state in each lane where it reduces along lanes, joined after the loop.

    What RFACTOR refuses runs lane by lane.
    """
    names = dedup([node.arg.axis for node in loops_in(kernel.body) if _joins_lanes(node)])
    if not names:
        return kernel
    for name in names:
        kernel = _parted(kernel, name)
    return kernel._replace(body=edit(kernel.body, _joined))


def _joins_lanes(node: UOp) -> bool:
    return place_of(node) == "vec" and node.kind != "par"


def _parted(kernel: Kernel, name: str) -> Kernel:
    try:
        found = rfactor(_on(kernel, name, ""), name)
        return _on(_on(found, name, "vec"), f"{name}.j", "vec")
    except Illegal:
        return edit_loops(
            kernel, name, lambda one: [refit(one, map="unroll") if _joins_lanes(one) else one]
        )


def _on(kernel: Kernel, name: str, place: str) -> Kernel:
    return edit_loops(kernel, name, lambda node: [refit(node, map=place)])


def _joined(node: UOp) -> Nodes:
    if not _joins_lanes(node):
        return [node]
    return [part for statement in node.src for part in _in_halves(statement, node.arg)]


def _in_halves(statement: UOp, lanes: LoopArg) -> Statements:
    place = "reg" if iterations(loops_in([statement])) <= MAX_COPIES else ""

    def change(part: UOp) -> Nodes:
        if part.op is Ops.LOOP:
            return [refit(part, map=place)]
        return _halved(part, lanes.axis, lanes.extent.const)

    return edit([statement], change)


def _halved(node: UOp, name: str, lanes: int) -> list[UOp]:
    """The store of one element: halves of the lanes combine while there are any."""
    target, value, *moved = node.src
    op = MONOIDS[node.arg.combine].op
    lane = axis(name, lanes)
    found: list[UOp] = []

    def at(index: Index | int) -> UOp:
        return placed((value,), {lane: as_index(index)})[0]

    def kept(name: str, value: UOp) -> UOp:
        part = buffer(f"{target.name}.{name}", value.dtype, [lanes], "reg")
        place = Access((axis(name, lanes),))
        body = [store(part, place, value)]
        found.extend([part, loop("par", name, lanes, body, "vec")])
        return load(part, place)

    if value.op is not Ops.LOAD:
        value = kept(name, value)
    while lanes > 2 and lanes % 2 == 0:
        lanes //= 2
        part = f"{name}.h{lanes}"
        index = axis(part, lanes)
        value = kept(part, at(index).alu(op, at(index + lanes)))
        lane = index
    total, *others = map(at, range(lanes))
    for other in others:
        total = total.alu(op, other)
    return [*found, node.replace(src=(target, total, *moved))]


def tasks(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with all its grid loops as one.

    Raises: SpecError if they follow one another or a parameter is stored to outside of them.
    """
    body = flat(kernel.body, "grid")
    grids = [one for one in loops_in(body) if place_of(one) == "grid"]
    if len(grids) > 1:
        found = f"{kernel.name} has grid loops {grids[0].name} and {grids[1].name}"
        raise SpecError(f"lower: {found} side by side; expected one")
    outside = changed(edit(body, lambda one: [] if one in grids else [one]))
    for param in kernel.params:
        if grids and param in outside:
            found = f"{kernel.name} stores to {param.name}"
            raise SpecError(f"lower: {found} outside of its grid loop")
    return kernel._replace(body=body)


def flat(statements: Statements, place: str) -> Statements:
    """Loops of a place directly inside each other as one; deeper ones run in order."""

    def change(one: UOp) -> Statements:
        if place_of(one) != place:
            return (one,)
        inner, *others = one.src
        is_alike = place_of(inner) == place and inner.kind == one.kind
        if is_alike and not others and inner.extent.is_const:
            return (fused(one, inner),)
        return (one.over(in_order(one.src, place)),)

    return edit(statements, change)


def in_order(statements: Statements, place: str) -> Statements:
    """Statements whose loops of a place run in order."""
    return edit(statements, lambda one: [refit(one, map="") if place_of(one) == place else one])


def lanes(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` whose loops say how they run."""
    return kernel._replace(body=edit(kernel.body, decided))


def decided(node: UOp) -> Nodes:
    """A loop as it runs: @grid, @vec in lanes, @reg and @unroll as copies, others in order."""
    if node.op is not Ops.LOOP:
        return [node]
    extent, place = node.extent, node.map
    if place == "vec" and not _has_lanes(node):
        place = "unroll" if extent.hi <= MAX_COPIES else ""
    if place in ("grid", "thread"):  # which the target runs side by side
        return [node]
    if extent.terms:
        place = ""
    elif extent.const <= 1:
        place = "unroll"
    return [refit(node, map=place)]


def _has_lanes(node: UOp) -> bool:
    """True if every iteration runs the same statements, one vector loop deep."""
    lane = atom_of(node)
    if lane is None or lane.hi >= MAX_LANES or node.kind != "par" or node.extent.terms:
        return False
    inside = find(node.src, Ops.LOOP, Ops.IF, Ops.BUFFER)
    known = atoms(*indices(tuple([one.arg for one in inside])))
    is_same = lane not in known and all(atom.kind != "gather" for atom in known)
    return is_same and "vec" not in map(place_of, inside)
