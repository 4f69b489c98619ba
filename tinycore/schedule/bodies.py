"""What one kernel computes and stores: the stages of a group over the axes of the group.

Comes in: groups. Goes out: a `Body` for each. Scalar ops of the group are inline, a reduction of
it is a LOAD of a register buffer; all other LOADs read what is stored. inplace.py decides which
stores may overwrite an old buffer, runs.py merges the reductions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from tinycore.schedule.expression import Rewrite, inline, loads
from tinycore.schedule.groups import Group
from tinycore.schedule.movement import Indices
from tinycore.schedule.stages import MAP, REDUCTION, SCATTER, Stage
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index
from tinycore.uop.ops import UOp
from tinycore.uop.shape import Dim, upper
from tinycore.uop.tree import Access, buffer, load


class Member:
    """A stage inside its group. `axes` are its dimensions: axes of the group, else its own.

    `state` is the register buffer of a reduction, whose dimensions are `inner`.
    """

    def __init__(self, stage: Stage, axes: Indices, inner: list[int]) -> None:
        self.stage = stage
        self.axes = axes
        self.inner = inner
        self.value = stage.value
        self.base = stage.base
        self.mask = stage.mask
        self.place: Indices = axes
        self.is_stored = stage.is_sink
        self.state: UOp | None = None
        if stage.kind == REDUCTION:
            shape = [upper(stage.shape[k]) for k in inner]
            name = f"t{stage.name}"
            self.state = buffer(name, stage.node.dtype, shape, "reg", init=stage.combine)

    def at(self, indices: Indices) -> Indices:
        """The part of a place that its register buffer has dimensions for."""
        return tuple([indices[k] for k in self.inner])

    def expressions(self) -> list[UOp]:
        """All it evaluates, the numbers of gathered rows included."""
        gathers = [atom.node for index in self.place for atom in atoms(index)]
        found = [self.base, self.value, *gathers]
        return [one for one in found if isinstance(one, UOp)]

    @cached_property
    def reads(self) -> list[UOp]:
        """Its LOADs."""
        return loads(self.expressions())


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


class Body:
    """The members of a group in topological order, over `axes`, the loops of the kernel; `loops`
    are the last of it, which store."""

    def __init__(self, group: Group) -> None:
        self.group = group
        first = group.stages[0]
        self.axes = tuple([first.axes[dim] for dim in group.dims[first]])
        self.members: dict[UOp, Member] = {}
        self.loops: list[StoreLoop] = []
        for stage in group.stages:
            self._settle(stage)

    def _settle(self, stage: Stage) -> None:
        """Move a stage to the axes of the group and put what it reads of the group inside."""
        env: dict[Atom, Index] = {}
        axes = list(stage.axes)
        for index, dim in zip(self.axes, self.group.dims[stage], strict=True):
            if axes[dim] is not index:
                env.update({atom: index for atom, _ in axes[dim].terms})
            axes[dim] = index
        member = self.members[stage.node] = Member(stage, tuple(axes), self.group.inner(stage))
        if not env and not any(load.src[0] in self.members for load in stage.reads):
            member.place = stage.place or member.place
            return
        rewrite = Rewrite(env, (), self._read)
        member.value = rewrite(stage.value)
        member.mask = rewrite.masked(stage.mask)
        if stage.base is not None:
            member.base = rewrite(stage.base)
        if stage.place:
            member.place = tuple([rewrite.index(index) for index in stage.place])

    def _read(self, node: UOp, access: Access) -> UOp | None:
        member = self.members.get(node)
        if member is None or member.stage.kind not in (MAP, REDUCTION):
            return None
        indices = member.at(access.indices)
        if member.state is not None:
            return load(member.state, access._replace(indices=indices))
        pairs = zip(member.at(member.axes), indices, strict=True)
        env = {atom: index for own, index in pairs for atom, _ in own.terms}
        return inline(member.value, env, access)

    def arrange(self, olds: Mapping[UOp, UOp | None]) -> None:
        """Put what is stored into loops over inner dimensions. Those that may overwrite an old
        buffer come after all others, and among them those without a loop last."""
        found: dict[tuple[Dim, ...], StoreLoop] = {}
        for member in self.members.values():
            if member.is_stored:
                extents = tuple([member.stage.shape[k] for k in member.inner])
                axes = member.at(member.axes)
                loop = found.setdefault(extents, StoreLoop(axes, extents, []))
                loop.stores.append(_store(member, axes, loop.axes))

        def order(loop: StoreLoop) -> tuple[bool, int]:
            replaces = any(olds.get(one.node) is not None for one in loop.stores)
            return replaces, -len(loop.extents) if replaces else 0

        self.loops = sorted(found.values(), key=order)

    def position(self, sink: Member) -> tuple[int, Store]:
        """The number of the loop that stores a member, and the store."""
        for number, loop in enumerate(self.loops):
            for store in loop.stores:
                if store.member is sink:
                    return number, store
        raise AssertionError("bodies: a member that is not stored")

    @property
    def number(self) -> int:
        """The number of its group, by which groups are ordered."""
        return self.group.number

    @cached_property
    def reads(self) -> dict[UOp, None]:
        """The stored nodes it reads."""
        reads = [load.src[0] for member in self.members.values() for load in member.reads]
        return dict.fromkeys(reads)

    @property
    def is_scatter(self) -> bool:
        """True if its one stage is a SCATTER, whose loops are its own."""
        return self.group.holds(SCATTER)


def make_bodies(groups: Iterable[Group], olds: Mapping[UOp, UOp | None]) -> list[Body]:
    """The bodies of all groups; a member is stored if it is a sink or read by another group."""
    bodies = [Body(group) for group in groups]
    owner = {node: body for body in bodies for node in body.members}
    for body in bodies:
        for node in body.reads:
            other = owner.get(node)
            if other is not None and other is not body:
                other.members[node].is_stored = True
    for body in bodies:
        body.arrange(olds)
    return bodies


def _store(member: Member, axes: Indices, shared: Indices) -> Store:
    """The store of a member whose inner axes are replaced by those of its loop."""
    value = member.value
    if member.state is not None:
        value = load(member.state, Access(axes))
    pairs = zip(axes, shared, strict=True)
    env = {atom: new for old, new in pairs for atom, _ in old.terms if old is not new}
    if not env:
        return Store(member, value, member.axes, member.place)
    rewrite = Rewrite(env)
    moved = [rewrite.index(index) for index in member.axes]
    place = [rewrite.index(index) for index in member.place]
    return Store(member, rewrite(value), tuple(moved), tuple(place))
