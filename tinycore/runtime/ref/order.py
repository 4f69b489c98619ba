"""Decides which loops of a scheduled kernel may run all at once.

In: a loop. Out: claims about it, from what its body reads and writes. Next file: oracle.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tinycore.dtype import COMPUTE
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Access, Kernel, axis_of, values, walk

SCHEDULED = frozenset({Ops.LOOP, Ops.BUFFER, Ops.LET, Ops.STORE, Ops.IF})


def is_scheduled(kernel: Kernel) -> bool:
    """True if the oracle can run `kernel`: nothing in it is asynchronous or bound to lanes."""
    if kernel.spmd:
        return False
    return all(_is_plain(statement) for statement, _ in walk(kernel.body))


def _is_plain(statement: UOp) -> bool:
    if statement.op is Ops.BUFFER:
        return statement.arg.own is None and statement.arg.slots == 1
    return statement.op in SCHEDULED


def bounds(kernel: Kernel) -> set[Atom]:
    """What the extents of loops and the shapes of buffers depend on: such axes run in order."""
    found: set[Atom] = set()
    for statement, _ in walk(kernel.body):
        if statement.op is Ops.LOOP:
            found |= atoms(statement.arg.extent)
        elif statement.op is Ops.BUFFER:
            found |= {atom for extent in statement.arg.shape for atom in atoms(extent)}
    return found


def order_free(loop: UOp) -> bool:
    """True if the iterations of a red loop may be combined by one numpy reduction.

    No iteration reads what another changes, each state has one combine that needs no rounding
    of its own, and every plain store goes to a place of its own.
    """
    inside = {statement for statement, _ in walk(loop.src) if statement.op is Ops.BUFFER}
    read = {buffer for statement, _ in walk(loop.src) for buffer in buffers_read(statement)}
    combines: dict[UOp, str] = {}
    for statement, _ in walk(loop.src):
        if statement.op is not Ops.STORE:
            continue
        for target, place in zip(statement.src, statement.arg.places, strict=False):
            if target in inside:
                continue
            combine = combines.setdefault(target, statement.arg.combine)
            if target in read or statement.arg.rebase or combine != statement.arg.combine:
                return False
            if not _mergeable(target, place, combine, loop):
                return False
    return True


def _mergeable(target: UOp, place: Access, combine: str, loop: UOp) -> bool:
    if combine:
        return target.dtype not in COMPUTE
    own = atoms(axis_of(loop))
    return all(any(atom in atoms(index) for index in place.indices) for atom in own)


def buffers_read(statement: UOp) -> Iterator[UOp]:
    """The buffers that a statement loads from, those under gathered indices included."""
    work = [*values(statement)]
    work += [node for access in accesses(statement) for node in gathered(access)]
    seen: set[UOp] = set()
    while work:
        node = work.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op is Ops.LOAD:
            yield node.src[0]
            work += gathered(node.arg)
        elif node.op in (Ops.INDEX, Ops.MASK):
            indices = (node.arg,) if node.op is Ops.INDEX else node.arg
            work += gathered(Access(indices))
        elif node.op is not Ops.LET:
            work += node.src


def accesses(statement: UOp) -> tuple[Access, ...]:
    """Where a statement writes, and the mask it depends on."""
    if statement.op is Ops.STORE:
        places: tuple[Access, ...] = statement.arg.places
        return places
    return (Access((), statement.arg),) if statement.op is Ops.IF else ()


def gathered(access: Access) -> list[UOp]:
    """The nodes whose values are gathered indices of `access`."""
    found: Iterable[Index] = (*access.indices, *access.mask)
    nodes = [atom.node for index in found for atom in atoms(index) if atom.kind == "gather"]
    return [node for node in nodes if isinstance(node, UOp)]
