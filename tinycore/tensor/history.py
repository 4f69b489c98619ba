"""What a stored value was computed from: so that a loss that was read can still be differentiated.

Comes in: cells to realize. Goes out: the same cells, stored; of those that a gradient flows
through, the graph is kept as long as their BUFFER lives, or until something it reads is
overwritten. Next: storage.py, which realizes tensors, and autograd.py, which asks for histories.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence

from tinycore.engine.cell import PENDING, STATES, Cell, buffer_of, stored_cell
from tinycore.engine.realize import realize
from tinycore.runtime.buffer import Buffer
from tinycore.tensor.leaves import ORIGINS, REQUIRING, carriers
from tinycore.uop.ops import Ops, UOp, postorder, toposort
from tinycore.uop.tree import Rebuild

# BUFFERs whose history was lost, since something it reads was overwritten.
LOST: weakref.WeakSet[UOp] = weakref.WeakSet()


def realize_cells(cells: Iterable[Cell]) -> None:
    """Store cells, and remember what those were computed from that a gradient may be asked of.

    Raises: what compiling and running raise.
    """
    pending = {}
    if REQUIRING or ORIGINS:
        pending = {cell: cell.stored for cell in [*PENDING]}
    origins = _wanted(pending)
    realize(cells)
    settled = [cell for cell in pending if cell.is_realized]
    written = {cell.uop for cell in settled if cell.uop is pending[cell]}
    _forget(written)
    for cell in settled:
        if cell in origins:
            _remember(cell.uop, origins[cell], written)


def _remember(stored: UOp, origin: UOp, written: set[UOp]) -> None:
    """Keep what a BUFFER was computed from, unless that was just overwritten by it."""
    if written.isdisjoint(toposort([origin])):
        ORIGINS[stored] = origin
    elif origin in carriers([origin]):
        LOST.add(stored)


def _wanted(pending: Iterable[Cell]) -> dict[Cell, UOp]:
    """The nodes of cells that a gradient flows through, or that belong to a leaf."""
    leaves = {tensor.cell for tensor in REQUIRING.values()}
    cells = list(pending)
    open_nodes = carriers([cell.uop for cell in cells])
    found = {}
    for cell in cells:
        node = cell.uop
        is_leaf = cell in leaves and node.op is not Ops.DETACH
        if is_leaf or node in open_nodes:
            found[cell] = node
    return _with_copied_states(found)


def _with_copied_states(nodes: dict[Cell, UOp]) -> dict[Cell, UOp]:
    """The same, reading copies of the random counters, which the realization will move on."""
    if not nodes or not STATES:
        return nodes
    reached = set(toposort(nodes.values()))
    moving = [state.stored for state in [*STATES] if not state.is_realized]
    copies = {stored: _copy(stored) for stored in moving if stored in reached}
    if not copies:
        return nodes
    kept = Rebuild(copies)
    return {cell: kept.node(node) for cell, node in nodes.items()}


def _copy(node: UOp) -> UOp:
    old = buffer_of(node)
    new = Buffer(old.device, old.dtype, old.count)
    new.copyin(old.as_memoryview())
    return stored_cell(new, node.arg.shape).uop


def _forget(written: set[UOp]) -> None:
    """Drop the histories of overwritten BUFFERs, and those that read one."""
    if not written or not ORIGINS:
        return
    kept = dict(ORIGINS)
    for stored, origin in kept.items():
        if stored in written:
            del ORIGINS[stored]
        elif not written.isdisjoint(toposort([origin])):
            del ORIGINS[stored]
            LOST.add(stored)


def unrolled(roots: Sequence[UOp]) -> tuple[list[UOp], dict[UOp, UOp]]:
    """`roots` with stored values replaced by what they were computed from, and the way back."""
    new: dict[UOp, UOp] = {}
    back: dict[UOp, UOp] = {}

    def sources(node: UOp) -> tuple[UOp, ...]:
        origin = ORIGINS.get(node) if node.op is Ops.BUFFER else None
        return node.src if origin is None else (origin,)

    for node in postorder(roots, sources):
        found = tuple([new[source] for source in sources(node)])
        if node.op is Ops.BUFFER and found:
            new[node] = found[0]
            back[found[0]] = node
        else:
            new[node] = node.over(found)
    return [new[root] for root in roots], back
