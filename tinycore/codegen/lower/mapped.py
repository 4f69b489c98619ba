"""Gives mapped loops the form in which a target runs them: lanes, and one flat axis of tasks.

In: a kernel tree with loops @vec and @grid. Out: one with parallel lanes and a single grid loop.
Next file: stores.py.
"""

from tinycore.codegen.optimize.edit import (
    Nodes,
    Statements,
    atom_of,
    changed,
    edit,
    find,
    loops_in,
    place_of,
    refit,
)
from tinycore.codegen.optimize.split import fused
from tinycore.errors import SpecError
from tinycore.runtime.contract import Caps
from tinycore.uop.index import atoms
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Kernel, indices

MAX_COPIES = 64
MAX_LANES = 128


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
    if not node.is_loop:
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
