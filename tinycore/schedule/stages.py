"""The stages of a graph: the nodes whose value may be stored, each with its expression.

Comes in: sinks as nodes. Goes out: stages in topological order. What a stage reads are the LOADs
of its expression; the graph is not needed after this file. recompute.py comes next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tinycore.schedule.expression import (
    Dependence,
    Inner,
    Rewrite,
    reads_in,
    reduction,
    reductions,
)
from tinycore.schedule.movement import Indices, axes_over, only_moves_ones
from tinycore.schedule.push import Push
from tinycore.schedule.sinks import home_of
from tinycore.schedule.types import Limits
from tinycore.uop.affine import atoms
from tinycore.uop.graph import apply_view, gather
from tinycore.uop.ops import CASTS, ELEMENTWISE, MOVEMENT, Ops, UOp, factors, toposort
from tinycore.uop.shape import Shape, shape_of, size, size_of
from tinycore.uop.tree import Access, gathered, load, mapped

T = TypeVar("T")
_NO_STEPS = Inner((), (), "")
WRITES = frozenset({Ops.STORE, Ops.SCATTER})
_KEPT = WRITES | {Ops.CONTIGUOUS}


@dataclass(slots=True, eq=False)
class Stage:
    """One node with its expression over its own axes: a REDUCE if it is a reduction.

    `axes` are its parallel axes, one a dimension of `shape`, constant where the extent is 1.
    `place` is where in its base a STORE or SCATTER writes. `is_kept`: readers read it where it is
    stored, never inline. From `usable` on it is what grouping asks: the dimensions that may become
    axes of a group; if it is a contraction, and keeps its own axes for tiles. From `inner` on it is
    what it becomes in its kernel: the dimensions that are loops inside, and where it is combined.
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
    state: UOp = field(init=False)

    def __post_init__(self) -> None:
        self.update(self.value)

    def update(self, value: UOp) -> None:
        """Take another expression for the same values."""
        self.value = value
        self.reads = reads_in([value, *gathered(self.place)])
        home = home_of(self.node)
        if home is not self.node:
            self.reads[home] = [Access(self.axes)]

    def move(self, axes: Indices, rewrite: Rewrite) -> None:
        """Take the axes of a kernel."""
        self.axes = axes
        self.place = mapped(self.place, rewrite.index)
        self.update(rewrite(self.value))

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
        return self.value.src[0]

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
    graph = Graph(sinks)
    chosen = {node for node in graph.order if node.op in _KEPT} | graph.sinks
    for node in graph.order:
        if node.op is Ops.REDUCE:
            moved = graph.end(node, _CUTS)  # what is cut away is not computed
            chosen |= {moved, graph.end(moved, ELEMENTWISE)}
    costly = costly_nodes(graph, chosen, limits)
    chosen |= costly.keys()
    stages: dict[UOp, Stage] = {}
    for node in graph.order:
        if node in chosen:
            stage = stages[node] = _make(node, len(stages), chosen)
            stage.is_kept = costly.get(node, node.op in _KEPT)
            stage.is_stored = stage.is_kept or node in graph.sinks
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


# What costs too much to be evaluated at each of its uses

_THROUGH = MOVEMENT | CASTS
_CUTS = frozenset({Ops.SHRINK, Ops.PERMUTE})
_OFTEN = 16  # uses of an operand from which on it is worth a trip to memory


class Graph:
    """The nodes under some sinks, sources first, and who reads each of them."""

    def __init__(self, sinks: Sequence[UOp]) -> None:
        self.sinks = frozenset(sinks)
        self.order = toposort(sinks)
        self.consumers: dict[UOp, list[UOp]] = {node: [] for node in self.order}
        for node in self.order:
            for source in dict.fromkeys(node.src):
                self.consumers[source].append(node)

    def end(self, node: UOp, ops: Collection[Ops]) -> UOp:
        """The last of the nodes of some ops that alone read `node`, one after the other."""
        found = node
        while node not in self.sinks and len(self.consumers[node]) == 1:
            (node,) = self.consumers[node]
            if node.op in ops:
                found = node
            elif not only_moves_ones(node):
                break
        return found


def costly_nodes(graph: Graph, stored: Collection[UOp], limits: Limits) -> dict[UOp, bool]:
    """The nodes to store since their ops cost too much, or read too many buffers, where they are
    read; True for those that nobody in the same kernel computes again."""
    shared = _shared(graph, stored)
    operands = set(_operands(graph, limits))
    found: dict[UOp, bool] = {}
    own = {node: 1 << number for number, node in enumerate(graph.order)}
    ops: dict[UOp, int] = {}  # the ops inline under a node, as bits
    leaves: dict[UOp, int] = {}  # what is read under it
    for node in graph.order:
        for source in sorted(node.src, key=lambda one: -leaves[one].bit_count()):
            if _joint(leaves, node).bit_count() < limits.buffers:
                break
            found[source] = True
            ops[source], leaves[source] = 0, own[source]
        ops[node] = _joint(ops, node)
        leaves[node] = _joint(leaves, node)
        is_op = node.op in ELEMENTWISE
        if is_op:
            ops[node] |= own[node]
        count = ops[node].bit_count()
        repeated = is_op and node in shared and count > limits.repeated_ops
        if node in stored or node.op is Ops.BUFFER:
            ops[node], leaves[node] = 0, own[node]
        elif repeated or (node in operands and count > limits.operand_ops):
            found[node] = repeated
            ops[node], leaves[node] = 0, own[node]
    return {node: is_kept for node, is_kept in found.items() if node not in stored}


def _joint(bits: Mapping[UOp, int], node: UOp) -> int:
    """What is under any source of a node."""
    total = 0
    for source in node.src:
        total |= bits[source]
    return total


def _shared(graph: Graph, stored: Collection[UOp]) -> set[UOp]:
    """The nodes where ways to different stages part."""
    carrier: dict[UOp, UOp] = {}  # the one node or stage that all uses of a node pass through
    found = set()
    for node in reversed(graph.order):
        ways = {user if user in stored else carrier[user] for user in graph.consumers[node]}
        carrier[node] = node
        if len(ways) == 1:
            (carrier[node],) = ways
        elif ways:
            found.add(node)
    return found


def _operands(graph: Graph, limits: Limits) -> Iterator[UOp]:
    """The operands that contractions use often, but for those above a short reduction that may
    be evaluated where it is read."""
    short: set[UOp] = set()
    for node in graph.order:
        if node.op in _INLINE and node not in graph.sinks:
            short |= {node} if any(source in short for source in node.src) else set()
        if node.op is not Ops.REDUCE:
            continue
        product = _below(node.src[0], CASTS)
        sources = [_below(source, _THROUGH) for source in product.src]
        for operand in sources if product.op is Ops.MUL else ():
            often = limits.recomputed_steps if operand in short else _OFTEN
            if size_of(product) >= often * size_of(operand):
                yield operand
        is_short = size_of(product) <= limits.recomputed_steps * size_of(node)
        if is_short and size_of(node) >= sum(map(size_of, sources)):
            short.add(node)


_INLINE = ELEMENTWISE | MOVEMENT


def _below(node: UOp, through: Collection[Ops]) -> UOp:
    while node.op in through:
        node = node.src[0]
    return node


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
    value = term.src[0] if term.op is Ops.CAST else term
    every = atoms(*stage.axes, *stage.steps.axes)
    needs = [depends(factor) for factor in factors(value)]
    varying = [one for one in needs if one]
    return len(varying) > 1 and not any(every <= one for one in varying)
