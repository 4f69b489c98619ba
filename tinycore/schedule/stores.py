"""What a kernel stores, and the loops around it.

Comes in: a body. Goes out: its last loops, in order, each with the stores of stages whose inner
dimensions have equal extents. inplace.py decides which of them may overwrite an old buffer.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property

from tinycore.schedule.arithmetic import element
from tinycore.schedule.bodies import Body, Member
from tinycore.schedule.expression import Rewrite, loads
from tinycore.schedule.movement import Indices
from tinycore.uop.ops import UOp
from tinycore.uop.shape import Dim
from tinycore.uop.tree import Access


@dataclass(eq=False)
class Store:
    """One value stored: `axes` are the dimensions of the stage, `place` where it goes."""

    member: Member
    value: UOp
    axes: Indices
    place: Indices

    @cached_property
    def reads(self) -> list[UOp]:
        """Its LOADs."""
        return loads([self.value])

    @property
    def node(self) -> UOp:
        """The node whose value this is."""
        return self.member.stage.node


@dataclass(slots=True, eq=False)
class StoreLoop:
    """One loop over some inner dimensions, and what it stores."""

    axes: Indices
    extents: tuple[Dim, ...]
    stores: list[Store]


def store_loops(body: Body, replacing: Container[UOp]) -> list[StoreLoop]:
    """The last loops of a kernel. Those that may overwrite old buffers (`replacing` holds their
    nodes) come after all others, and among them those without a loop last."""
    loops: dict[tuple[Dim, ...], StoreLoop] = {}
    for member in body.members.values():
        if not member.is_stored:
            continue
        extents = tuple([member.stage.shape[k] for k in member.inner])
        axes = member.at(member.axes)
        if extents not in loops:
            loops[extents] = StoreLoop(axes, extents, [])
        loops[extents].stores.append(_store(member, axes, loops[extents].axes))

    def order(loop: StoreLoop) -> tuple[bool, int]:
        replaces = any(one.node in replacing for one in loop.stores)
        return replaces, -len(loop.extents) if replaces else 0

    return sorted(loops.values(), key=order)


def _store(member: Member, axes: Indices, shared: Indices) -> Store:
    """The store of a member whose inner axes are replaced by those of its loop."""
    value = member.value
    if member.state is not None:
        value = element(member.state, Access(axes))
    pairs = zip(axes, shared, strict=True)
    env = {atom: new for old, new in pairs for atom, _ in old.terms if old is not new}
    if not env:
        return Store(member, value, member.axes, member.place)
    rewrite = Rewrite(env)
    moved = [rewrite.index(index) for index in member.axes]
    place = [rewrite.index(index) for index in member.place]
    return Store(member, rewrite(value), tuple(moved), tuple(place))
