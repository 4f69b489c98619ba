"""The stages of a graph: the nodes whose value may be stored, each with its expression.

Comes in: sinks as nodes. Goes out: stages in topological order. What a stage reads are the LOADs
of its expression; the graph is not needed after this file. recompute.py comes next.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tinycore.schedule.expression import (
    Dependence,
    Indices,
    Inner,
    Read,
    Rewrite,
    axes_over,
    inline,
    reads_in,
    reduction,
    reductions,
    renamed,
)
from tinycore.schedule.nodes import WRITES, Limits, home_of, stored_nodes
from tinycore.schedule.push import Push
from tinycore.uop.affine import atoms
from tinycore.uop.graph import apply_view, gather
from tinycore.uop.ops import Ops, UOp, factors
from tinycore.uop.shape import Shape, shape_of, size, upper_shape
from tinycore.uop.tree import Access, buffer, gathered, load, mapped

T = TypeVar("T")
_NO_STEPS = Inner((), (), "")


@dataclass(slots=True, eq=False)
class Stage:
    """One node with its expression over its own axes: a REDUCE if it is a reduction.

    `axes` are its parallel axes, one a dimension of `shape`, constant where the extent is 1.
    `place` is where in its base a STORE or SCATTER writes. `is_kept`: readers read it where it is
    stored, never inline. From `usable` on it is what grouping asks: the dimensions that may become
    axes of a group; if it is a contraction, and keeps its own axes for tiles. From `inner` on it is
    what it becomes in its kernel: the dimensions that are loops inside.
    """

    number: int
    node: UOp
    shape: Shape
    axes: Indices
    value: UOp
    place: Indices
    is_stored: bool = False
    is_kept: bool = False
    reads: dict[UOp, list[Access]] = field(default_factory=dict)
    usable: list[int] = field(default_factory=list)
    contracts: bool = False
    tiles: bool = False
    inner: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.update(self.value)

    def update(self, value: UOp) -> None:
        """Take another expression for the same values."""
        self.value = value
        self.reads = reads_in([value, *gathered(self.place)])
        home = home_of(self.node)
        if home is not self.node:
            self.reads[home] = [Access(self.axes)]

    def settle(self, dims: Sequence[int], axes: Indices, read: Read) -> None:
        """Take the axes of a kernel for some dimensions, with loops inside for the others."""
        self.inner = [k for k in self.wide if k not in dims]
        own = dict(enumerate(self.axes)) | dict(zip(dims, axes, strict=True))
        own |= zip(self.inner, axes_over("n", self.at(self.shape)), strict=True)
        new = tuple(own.values())
        steps = self.steps
        env = renamed(self.axes + steps.axes, new + axes_over("r", steps.extents))
        rewrite = Rewrite(env, (), read)
        self.axes = new
        self.place = mapped(self.place, rewrite.index)
        self.update(rewrite(self.value))

    def inlined(self, access: Access) -> UOp:
        """Its value evaluated where it is read."""
        return inline(self.value, renamed(self.axes, access.indices), access)

    def at(self, values: tuple[T, ...]) -> tuple[T, ...]:
        """Of one value a dimension, those of the loops inside."""
        return tuple([values[k] for k in self.inner])

    @property
    def reduces(self) -> bool:
        """True for a reduction: its value is combined over steps."""
        return self.value.op is Ops.REDUCE

    @property
    def writes(self) -> bool:
        """True if it changes a part of its base, in place."""
        return self.node.op in WRITES

    @property
    def scatters(self) -> bool:
        """True if what it combines is its base itself."""
        return self.node.op is Ops.SCATTER

    @property
    def is_inline(self) -> bool:
        """True for scalar ops that are evaluated where they are read."""
        return not (self.reduces or self.writes or self.is_stored)

    @property
    def steps(self) -> Inner:
        """What a reduction is combined over, and how."""
        return self.value.arg if self.reduces else _NO_STEPS

    @property
    def term(self) -> UOp:
        """What a reduction combines at each step."""
        return self.value.source

    @property
    def state(self) -> UOp:
        """Where a reduction of a kernel is combined: a register, or the base of a SCATTER."""
        if self.scatters:
            return self.node
        shape = upper_shape(self.at(self.shape))
        name = f"t{self.number}"
        return buffer(name, self.node.dtype, shape, "reg", init=self.steps.combine)

    @property
    def stored_value(self) -> UOp:
        """What is stored, once it is computed."""
        return load(self.state, Access(self.at(self.axes))) if self.reduces else self.value

    @property
    def touches(self) -> set[UOp]:
        """What it reads, and itself."""
        return {self.node, *self.reads}

    @property
    def wide(self) -> list[int]:
        """The dimensions whose extent is not 1."""
        return [k for k, extent in enumerate(self.shape) if extent != 1]

    @property
    def size(self) -> int:
        """Elements of its value."""
        return size(self.shape)


def make_stages(sinks: Sequence[UOp], limits: Limits) -> dict[UOp, Stage]:
    """A stage for each node that may be stored, in topological order, with its expression."""
    ends = frozenset(sinks)
    chosen = stored_nodes(sinks, limits)
    stages: dict[UOp, Stage] = {}
    for node, is_kept in chosen.items():
        stage = stages[node] = _make(node, len(stages), chosen)
        stage.is_kept = is_kept
        stage.is_stored = is_kept or node in ends
    return stages


def _make(node: UOp, number: int, chosen: Collection[UOp]) -> Stage:
    letter = f"r{number}_"
    push = Push(chosen, node, letter)
    shape = shape_of(node)
    if node.op is Ops.STORE:
        shape = shape_of(node.src[1])
    elif node.op is Ops.SCATTER:
        shape = (1, *shape[1:])
    axes = place = axes_over(f"p{number}_", shape)
    if node.op is Ops.STORE:
        base, written = node.src
        value = push.value(written, axes)
        seen = apply_view(base, node.arg)  # also where a part of it is stored apart
        place = _place(Push({base}).value(seen, axes), base)
    elif node.op is Ops.SCATTER:
        base, ids, written = node.src
        extents = shape_of(ids)
        steps = axes_over(letter, extents)
        inside = steps + axes[1:]
        value = reduction(push.value(written, inside), steps, extents, node.arg)
        seen = gather(base, ids)
        place = _place(Push(chosen, seen).value(seen, inside), base)
    else:
        value = push.value(node, axes)
    return Stage(number, node, shape, axes, value, place)


def _place(seen: UOp, base: UOp) -> Indices:
    """Where an expression reads a base: a write through the same view writes there."""
    (access,) = reads_in([seen])[base]
    return access.indices


# What grouping asks of a stage


def describe(stages: Sequence[Stage]) -> None:
    """Note in every stage what grouping asks of it."""
    depends = Dependence()
    for stage in stages:
        inside = [node for node in reductions(stage.value) if node is not stage.value]
        stage.usable = [] if stage.scatters else stage.wide
        for node in inside:
            needs = depends(node)
            stage.usable = [k for k in stage.usable if atoms(stage.axes[k]) <= needs]
        stage.contracts = _contracts(stage, depends)
        stage.tiles = stage.contracts and not inside


def _contracts(stage: Stage, depends: Dependence) -> bool:
    """A sum of products in which every factor serves several elements or steps."""
    if not stage.reduces or stage.steps.combine != "sum":
        return False
    term = stage.term
    value = term.source if term.op is Ops.CAST else term
    every = atoms(*stage.axes, *stage.steps.axes)
    needs = [depends(factor) for factor in factors(value)]
    varying = [one for one in needs if one]
    return len(varying) > 1 and not any(every <= one for one in varying)
