"""Decides how mapped loops run and where buffers live.

In: a kernel tree with loops @vec and @grid. Out: one with parallel lanes and one grid loop; then a
`Storage` for each buffer, in registers or in memory at an offset. Next file: stores.py.
"""

from collections.abc import Iterable
from typing import NamedTuple

from tinycore.codegen.optimize.edit import atom_of, changed, edit, find, loops_in, place_of, refit
from tinycore.codegen.optimize.split import fused
from tinycore.errors import SpecError
from tinycore.runtime.contract import Caps
from tinycore.uop import Nodes, Ops, UOp
from tinycore.uop.index import Atom, Index, Indices, as_index, atoms, of_atom
from tinycore.uop.lowered import GROUP, WARP
from tinycore.uop.sites import uses
from tinycore.uop.tree import Access, BufferArg, Kernel, indices, walk
from tinycore.util import round_up

MAX_COPIES = 64
MAX_LANES = 128
MAX_REGISTERS = 1024

PADDING = 4
"""Elements after each row of group memory, so that those of a column are in several banks."""


def tasks(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with all its grid loops as one.

    Raises: SpecError if they follow one another or a parameter is stored to outside of them.
    """
    body = flat(kernel.body, "grid")
    grids = [one for one in loops_in(body) if one.map == "grid"]
    if len(grids) > 1:
        found = f"{kernel.name} has grid loops {grids[0].name} and {grids[1].name}"
        raise SpecError(f"lower: {found} side by side; expected one")
    outside = changed(edit(body, lambda one: [] if one in grids else [one]))
    for param in kernel.params:
        if grids and param in outside:
            found = f"{kernel.name} stores to {param.name}"
            raise SpecError(f"lower: {found} outside of its grid loop")
    return kernel._replace(body=body)


def flat(statements: Nodes, place: str) -> Nodes:
    """Loops of a place directly inside each other as one; deeper ones run in order."""

    def change(one: UOp) -> Nodes:
        if place_of(one) != place:
            return (one,)
        inner, *others = one.src
        is_alike = place_of(inner) == place and inner.kind == one.kind
        if is_alike and not others and inner.extent.is_const:
            return (fused(one, inner),)
        return (one.over(in_order(one.src, place)),)

    return edit(statements, change)


def in_order(statements: Nodes, place: str) -> Nodes:
    """Nodes whose loops of a place run in order."""
    return edit(statements, lambda one: [refit(one, map="") if place_of(one) == place else one])


def lanes(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` whose loops say how they run."""
    return kernel._replace(body=edit(kernel.body, decided))


def decided(node: UOp) -> Nodes:
    """A loop as it runs: @grid, @vec in lanes, @reg and @unroll as copies, others in order."""
    if not node.is_loop:
        return (node,)
    extent, place = node.extent, node.map
    if place == "vec" and not _has_lanes(node):
        place = "unroll" if extent.hi <= MAX_COPIES else ""
    if place in ("grid", "thread"):  # which the target runs side by side
        return (node,)
    if extent.terms:
        place = ""
    elif extent.const <= 1:
        place = "unroll"
    return (refit(node, map=place),)


def _has_lanes(node: UOp) -> bool:
    """True if every iteration runs the same statements, one vector loop deep."""
    lane = atom_of(node)
    if not lane or lane.hi >= MAX_LANES or node.kind != "par" or node.extent.terms:
        return False
    inside = find(node.src, Ops.LOOP, Ops.IF, Ops.BUFFER)
    known = atoms(*indices(tuple(one.arg for one in inside)))
    is_same = lane not in known and all(atom.kind != "gather" for atom in known)
    return is_same and "vec" not in map(place_of, inside)


# Where buffers live


class Storage(NamedTuple):
    """How an access becomes one offset.

    `width` is the lanes of each register, 0 in memory; `size` counts the elements of all `slots`;
    each lane of the vector axis `lane` has its own elements.
    """

    width: int
    strides: tuple[int, ...]
    size: int
    slots: int
    lane: Atom | None

    def run_of(self, dimension: int) -> str:
        """How a loop over a dimension should run to stay in the same registers."""
        if self.width > 1 and self.strides[dimension] == 1:
            return "vec"
        return "reg" if self.width else ""

    def offset(self, access: Access) -> Index:
        """The place of an access, in elements."""
        pairs = zip(access.indices, self.strides, strict=True)
        total = sum((index * stride for index, stride in pairs), as_index(0))
        if access.sequence:
            total += access.sequence % self.slots * (self.size // self.slots)
        if self.lane:
            total += of_atom(self.lane)
        return total


def laid_out(arg: BufferArg, lane: Atom | None = None, width: int = 0, last: int = -1) -> Storage:
    """Row by row, symbolic extents at their upper bounds, before lanes of their own.

    In registers of `width` lanes, dimension `last` is innermost and padded to whole ones.
    """
    extents = [extent.hi for extent in arg.shape]
    if lane:
        extents.append(lane.hi + 1)
    if width > 1:
        extents[last] = round_up(extents[last], width)
    if arg.space == GROUP and len(extents) > 1:
        extents[-1] += PADDING
    strides, size = [0] * len(extents), 1
    order = sorted(range(len(extents)), key=lambda k: (k == last, k))
    for k in reversed(order):
        strides[k] = size
        size *= extents[k]
    own = tuple(strides[: len(arg.shape)])
    return Storage(width, own, size * arg.slots, arg.slots, lane)


Uses = list[tuple[Indices, Nodes]]
"""The indices and the loops around, for the declaration of a buffer and each access."""


def plan(kernel: Kernel) -> dict[UOp, Storage]:
    """The storage of every buffer of a kernel."""
    found: dict[UOp, Uses] = {param: [((), ())] for param in kernel.params}
    for statement, loops in walk(kernel.body):
        if statement.is_buffer:
            found[statement] = [((), loops)]
        for use in uses(statement):
            found[use.buffer].append((use.access.indices, loops))
    return {buffer: _storage(buffer.arg, seen) for buffer, seen in found.items()}


def _storage(arg: BufferArg, seen: Uses) -> Storage:
    own = _lane(seen[0][1])
    if arg.space == WARP:
        return Storage(1, (0,), 1, 1, None)
    if arg.space != "reg" or arg.slots > 1:
        return laid_out(arg, own)
    lanes = [k for place, loops in seen for k in _along(place, loops)]
    memory = laid_out(arg, own, last=-1 if own else [*lanes, -1][0])
    last, width = -1, own.hi + 1 if own else 1
    for place, loops in seen:
        lane = _lane(loops)
        expanded = {atom_of(loop) for loop in loops if loop.map in ("reg", "unroll", "vec")}
        if not atoms(*place) <= expanded:
            return memory
        along = _along(place, loops)
        if lane and not own and len(along) == 1 and lane.hi >= width:
            [last], width = along, lane.hi + 1
    storage = laid_out(arg, own, width, last)
    return memory if storage.size > MAX_REGISTERS * width else storage


def _along(place: Indices, loops: Nodes) -> list[int]:
    """The dimensions that move with the lanes."""
    lane = _lane(loops)
    return [k for k, index in enumerate(place) if (lane, 1) in index.terms]


def _lane(loops: Iterable[UOp]) -> Atom | None:
    return next((atom_of(loop) for loop in loops if loop.map == "vec"), None)
