"""The stages of a graph: the nodes whose value may be stored, each with its expression.

Comes in: sinks as nodes. Goes out: stages in topological order. What a stage reads are the LOADs
of its expression; the graph is not needed after this file. recompute.py comes next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tinycore.schedule.expression import Rewrite, gathered, reads_in
from tinycore.schedule.movement import Indices, only_moves_ones, source_place
from tinycore.schedule.push import Push, gathered_place
from tinycore.schedule.types import Limits
from tinycore.uop.affine import Mask
from tinycore.uop.graph import apply_view
from tinycore.uop.index import axis
from tinycore.uop.ops import CASTS, ELEMENTWISE, MOVEMENT, Ops, UOp, toposort
from tinycore.uop.shape import Shape, shape_of, size, size_of
from tinycore.uop.tree import Access, load

T = TypeVar("T")
REDUCTION, MAP, WRITE, SCATTER = "reduction", "map", "write", "scatter"
_KINDS = {Ops.REDUCE: REDUCTION, Ops.STORE: WRITE, Ops.SCATTER: SCATTER}
_ALWAYS = frozenset({Ops.REDUCE, Ops.STORE, Ops.SCATTER, Ops.CONTIGUOUS})


@dataclass(slots=True, eq=False)
class Stage:
    """One node with its expression over its own axes.

    `axes` are its parallel axes, one a dimension of `shape`, constant where the extent is 1.
    `mask` limits what a reduction combines; `place` is where a WRITE or a SCATTER goes in its
    base, whose own expression is `base` for a SCATTER. `is_kept`: readers read it where it is
    stored, never inline. From `sources` on it is what grouping asks: the stages it reads, and
    where; the dimensions that may become axes of a group; if it is a contraction, and keeps its own
    axes for tiles. From `inner` on it is what the stage becomes in its kernel: the
    dimensions that are loops inside, the register buffer of a reduction, and the sums that follow
    when this maximum grows.
    """

    number: int
    node: UOp
    kind: str
    shape: Shape
    axes: Indices
    value: UOp
    is_sink: bool
    is_kept: bool
    steps: Indices = ()
    extents: Shape = ()
    mask: Mask = ()
    place: Indices = ()
    base: UOp | None = None
    reads: dict[UOp, list[Access]] = field(default_factory=dict)
    sources: list[tuple[Stage, Indices]] = field(default_factory=list)
    usable: list[int] = field(default_factory=list)
    contracts: bool = False
    tiles: bool = False
    is_stored: bool = False
    inner: list[int] = field(default_factory=list)
    state: UOp = field(init=False)
    followers: list[Stage] = field(default_factory=list)

    def update(self, value: UOp) -> None:
        """Take another expression for the same values."""
        self.value = value
        self.reads = reads_in(self.expressions())

    def expressions(self) -> list[UOp]:
        """All it evaluates, the numbers of gathered rows included."""
        base = [] if self.base is None else [self.base]
        return [*base, self.value, *gathered(self.place)]

    def move(self, axes: Indices, steps: Indices, rewrite: Rewrite) -> None:
        """Take the axes of a kernel."""
        self.axes = axes
        self.steps = steps
        self.mask = rewrite.masked(self.mask)
        self.place = tuple([rewrite.index(index) for index in self.place]) or axes
        self.base = rewrite(self.base) if self.base is not None else None
        self.update(rewrite(self.value))

    def at(self, values: tuple[T, ...]) -> tuple[T, ...]:
        """Of one value a dimension, those of the loops inside."""
        return tuple([values[k] for k in self.inner])

    @property
    def inner_axes(self) -> Indices:
        """The axes of the loops inside."""
        return self.at(self.axes)

    @property
    def stored_value(self) -> UOp:
        """What is stored, once it is computed."""
        if self.kind != REDUCTION:
            return self.value
        return load(self.state, Access(self.inner_axes))

    @property
    def combine(self) -> str:
        """The monoid of a reduction."""
        arg = self.node.arg
        combine: str = arg if self.kind == SCATTER else arg.combine
        return combine

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
    chosen = {node for node in graph.order if node.op in _ALWAYS} | graph.sinks
    chosen |= {_epilogue(node, graph) for node in graph.order if node.op is Ops.REDUCE}
    costly = costly_nodes(graph, chosen, limits)
    chosen |= costly.keys()
    nodes = [node for node in graph.order if node in chosen]
    stages: dict[UOp, Stage] = {}
    for number, node in enumerate(nodes):
        kind = _KINDS.get(node.op, MAP)
        shape = shape_of(node.src[1] if kind == WRITE else node)
        axes = _axes(f"p{number}_", shape)
        is_kept = costly.get(node, False) or node.op is Ops.CONTIGUOUS
        stage = Stage(number, node, kind, shape, axes, node, node in graph.sinks, is_kept)
        _MAKERS[kind](stage, Push(chosen, node))
        stage.is_stored = stage.is_sink
        stage.update(stage.value)
        stages[node] = stage
    return stages


def _epilogue(reduction: UOp, graph: Graph) -> UOp:
    """The end of the scalar ops that alone read a reduction: what is stored, if anything is."""
    end = node = reduction
    while node not in graph.sinks and len(graph.consumers[node]) == 1:
        (node,) = graph.consumers[node]
        if node.op in ELEMENTWISE:
            end = node
        elif not only_moves_ones(node):
            break
    return end


def _axes(name: str, shape: Shape) -> Indices:
    return tuple([axis(f"{name}{k}", extent) for k, extent in enumerate(shape)])


def _make_map(stage: Stage, push: Push) -> None:
    stage.value = push.value(stage.node, stage.axes)


def _make_reduction(stage: Stage, push: Push) -> None:
    source = stage.node.src[0]
    shape = shape_of(source)
    inside = _axes(f"r{stage.number}_", shape)
    indices = list(stage.axes)
    for k in stage.node.arg.axes:
        indices[k] = inside[k]
    stage.steps = tuple([inside[k] for k in stage.node.arg.axes])
    stage.extents = tuple([shape[k] for k in stage.node.arg.axes])
    stage.value = push.value(source, tuple(indices))


def _make_write(stage: Stage, push: Push) -> None:
    base, value = stage.node.src
    stage.value = push.value(value, stage.axes)
    moved = apply_view(base, stage.node.arg)
    stage.place = stage.axes
    while moved is not base:
        stage.place, constraints = source_place(moved, stage.place)
        assert not constraints, "stages: a view that hides elements"
        moved = moved.src[0]


def _make_scatter(stage: Stage, push: Push) -> None:
    """The base runs over all axes; the values over those of the numbers and of a row."""
    base, ids, values = stage.node.src
    stage.extents = shape_of(ids)
    stage.steps = _axes(f"r{stage.number}_", stage.extents)
    stage.base = push.value(base, stage.axes)
    place = gathered_place(push.value(ids, stage.steps), base)
    stage.place = (place, *stage.axes[1:])
    stage.value = push.value(values, (*stage.steps, *stage.axes[1:]))


_MAKERS = {
    MAP: _make_map,
    REDUCTION: _make_reduction,
    WRITE: _make_write,
    SCATTER: _make_scatter,
}


# What costs too much to be evaluated at each of its uses

_THROUGH = MOVEMENT | CASTS
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


def costly_nodes(graph: Graph, stored: Collection[UOp], limits: Limits) -> dict[UOp, bool]:
    """The scalar ops to store; True for those that nobody in the same kernel computes again."""
    shared = _shared(graph, stored)
    operands = set(_operands(graph, limits))
    found: dict[UOp, bool] = {}
    below: dict[UOp, frozenset[UOp]] = {}  # the ops inline under a node, or more than the limit
    for node in graph.order:
        ops = [frozenset({node} if node.op in ELEMENTWISE else ())]
        ops += [below[source] for source in node.src]
        most = max(ops, key=len)
        inside = most if len(most) > limits.repeated_ops else most.union(*ops)
        is_op = node.op in ELEMENTWISE
        repeated = is_op and node in shared and len(inside) > limits.repeated_ops
        if node in stored:
            inside = frozenset()
        elif repeated or (node in operands and len(inside) > limits.operand_ops):
            found[node] = repeated
            inside = frozenset()
        below[node] = inside
    return found


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
