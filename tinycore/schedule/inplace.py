"""Which sinks overwrite the buffer their cell had, and what must run before them.

Comes in: bodies with their store loops, and the old buffer of each sink. Goes out: the nodes that
are stored in place. A sink may do so if, in its own kernel, every read of the buffer is at the
stored element or comes before the store in the same iteration, and if no kernel that must follow
reads the buffer. Other readers run first: an edge in `Reach`. emit.py comes next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinycore.schedule.bodies import Body, Member
from tinycore.schedule.expression import loads
from tinycore.schedule.reach import Reach
from tinycore.schedule.stages import REDUCTION, SCATTER, WRITE
from tinycore.schedule.stores import Store, StoreLoop
from tinycore.uop.ops import UOp
from tinycore.uop.shape import shape_of
from tinycore.uop.tree import Access


class Kernel:
    """A body with its store loops, as this file sees it."""

    def __init__(self, body: Body, loops: list[StoreLoop]) -> None:
        self.body = body
        self.loops = loops
        self.number = body.group.number
        self.reads: dict[UOp, None] = {}
        for member in body.members.values():
            self.reads.update(dict.fromkeys(load.src[0] for load in member.reads))

    def position(self, sink: Member) -> tuple[int, Store]:
        """The number of the loop that stores a sink, and the store."""
        for number, loop in enumerate(self.loops):
            for store in loop.stores:
                if store.member is sink:
                    return number, store
        raise AssertionError("inplace: a sink that is not stored")


def choose_places(
    kernels: Sequence[Kernel], olds: Mapping[UOp, UOp | None], reach: Reach
) -> dict[UOp, UOp]:
    """For each sink in place, the old buffer it overwrites; `reach` gains what must run before."""
    readers: dict[UOp, list[Kernel]] = {}
    for kernel in kernels:
        for node in kernel.reads:
            readers.setdefault(node, []).append(kernel)
    places: dict[UOp, UOp] = {}
    for kernel in kernels:
        for node, member in kernel.body.members.items():
            old = olds.get(node)
            if old is None or not _fits(node, old) or not _allows(kernel, member, old):
                continue
            others = [other for other in readers.get(old, []) if other is not kernel]
            if any(reach.follows(other.number, kernel.number) for other in others):
                continue
            places[node] = old
            for other in others:
                reach.edge(kernel.number, other.number)
    return places


def _fits(node: UOp, old: UOp) -> bool:
    return shape_of(node) == shape_of(old) and node.dtype is old.dtype


def _allows(kernel: Kernel, sink: Member, old: UOp) -> bool:
    """True if the kernel of a sink reads `old` only where and when it may still be read."""
    if old not in kernel.reads:
        return True
    if sink.stage.kind == SCATTER:
        base = [] if sink.base is None else loads([sink.base])
        own = [at.indices == sink.axes for at in _of(base, old)]
        return all(own) and len(own) == len(_of(sink.reads, old))
    number, store = kernel.position(sink)
    for member in kernel.body.members.values():
        reads = _of(member.reads, old) if member.stage.kind == REDUCTION else []
        if not all(_apart(kernel, store, at) for at in reads):
            return False
    for position, loop in enumerate(kernel.loops):
        for other in loop.stores:
            for at in _of(other.reads, old):
                same = at.indices == store.place
                if position > number or not (same or position < number):
                    return False
                if not same and not _apart(kernel, store, at):
                    return False
    return True


def _apart(kernel: Kernel, store: Store, at: Access) -> bool:
    """True if no other iteration of the group's loops stores what this one reads."""
    if store.member.stage.kind == WRITE:
        return at.indices == store.place
    dims = kernel.body.group.dims[store.member.stage]
    return all(at.indices[dim] is store.axes[dim] for dim in dims)


def _of(reads: Sequence[UOp], old: UOp) -> list[Access]:
    """Where `old` is read."""
    return [load.arg for load in reads if load.src[0] is old]
