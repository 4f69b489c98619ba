"""The stages of a graph: the nodes whose value may be stored, each with its expression.

Comes in: sinks as nodes. Goes out: stages in topological order. What a stage reads are the LOADs
of its expression; the graph is not needed after this file. recompute.py comes next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tinycore.schedule.expression import Rewrite, gathered, loads
from tinycore.schedule.movement import Indices, only_moves_ones, source_place
from tinycore.schedule.push import Push, gathered_place
from tinycore.schedule.types import Limits
from tinycore.uop.affine import Mask
from tinycore.uop.graph import apply_view
from tinycore.uop.index import axis
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp, toposort
from tinycore.uop.shape import Shape, shape_of, size
from tinycore.uop.tree import Access, load

REDUCTION, MAP, WRITE, SCATTER = "reduction", "map", "write", "scatter"
_KINDS = {Ops.REDUCE: REDUCTION, Ops.STORE: WRITE, Ops.SCATTER: SCATTER}
_ALWAYS = frozenset({Ops.REDUCE, Ops.STORE, Ops.SCATTER, Ops.CONTIGUOUS})


@dataclass(slots=True, eq=False)
class Stage:
    """One node with its expression over its own axes.

    `axes` are its parallel axes, one a dimension of `shape`, constant where the extent is 1.
    `mask` limits what a reduction combines; `place` is where a WRITE or a SCATTER goes in its
    base, whose own expression is `base` for a SCATTER. `is_kept`: readers read it where it is
    stored, never inline. From `inner` on it is what the stage becomes in its kernel: the
    dimensions that are loops inside, the register buffer of a reduction, the factors that left a
    sum, and the sums that follow when this maximum grows.
    """

    name: str
    node: UOp
    kind: str
    shape: Shape
    axes: Indices
    value: UOp
    steps: Indices = ()
    extents: Shape = ()
    mask: Mask = ()
    place: Indices = ()
    base: UOp | None = None
    number: int = 0
    is_sink: bool = False
    is_kept: bool = False
    inlined: set[UOp] = field(default_factory=set)
    reads: list[UOp] = field(default_factory=list)
    is_stored: bool = False
    inner: list[int] = field(default_factory=list)
    state: UOp | None = None
    leaving: UOp | None = None
    followers: list[Stage] = field(default_factory=list)

    def update(self, value: UOp) -> None:
        """Take another expression for the same values."""
        self.value = value
        self.reads = loads(self.expressions())

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

    def at(self, indices: Indices) -> Indices:
        """The part of a place that its register buffer has dimensions for."""
        return tuple([indices[k] for k in self.inner])

    @property
    def stored_value(self) -> UOp:
        """What is stored, once it is computed."""
        if self.state is None:
            return self.value
        return load(self.state, Access(self.at(self.axes)))

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

    @property
    def count(self) -> int:
        """Steps of the reduction for one element; 1 if it is none."""
        return size(self.extents)


class Graph:
    """The nodes under some sinks, sources first, and who reads each of them."""

    def __init__(self, sinks: Iterable[UOp]) -> None:
        self.sinks = frozenset(sinks)
        self.order = toposort(sinks)
        self.consumers: dict[UOp, list[UOp]] = {node: [] for node in self.order}
        for node in self.order:
            for source in dict.fromkeys(node.src):
                self.consumers[source].append(node)


def stored_nodes(graph: Graph, limits: Limits, extra: Iterable[UOp] = ()) -> dict[UOp, bool]:
    """The nodes that become stages, in topological order; True for those too costly to evaluate
    where they are read."""
    chosen = {node for node in graph.order if node.op in _ALWAYS}
    chosen |= graph.sinks
    chosen |= {_epilogue(node, graph) for node in graph.order if node.op is Ops.REDUCE}
    chosen.update(extra)
    costly = _costly(graph, chosen, limits.repeated_ops)
    chosen |= costly
    return {node: node in costly for node in graph.order if node in chosen}


def _costly(graph: Graph, chosen: Collection[UOp], limit: int) -> set[UOp]:
    """Scalar ops that several stages would evaluate, each with more ops than `limit` below."""
    shared = _shared(graph, chosen)
    found: set[UOp] = set()
    below: dict[UOp, frozenset[UOp] | None] = {}  # the ops inline under a node; None: too many
    for node in graph.order:
        below[node] = frozenset() if node in chosen else _inline_ops(node, below, limit)
        if below[node] is None and node.op in ELEMENTWISE and node in shared:
            found.add(node)
            below[node] = frozenset()
    return found


def _inline_ops(
    node: UOp, below: Mapping[UOp, frozenset[UOp] | None], limit: int
) -> frozenset[UOp] | None:
    found: frozenset[UOp] = frozenset({node} if node.op in ELEMENTWISE else ())
    for source in node.src:
        inside = below[source]
        if inside is None:
            return None
        found |= inside
    return found if len(found) <= limit else None


def _shared(graph: Graph, chosen: Collection[UOp]) -> set[UOp]:
    """The nodes where ways to different stages part."""
    carrier: dict[UOp, UOp] = {}  # the one node or stage that all uses of a node pass through
    found = set()
    for node in reversed(graph.order):
        ways = {user if user in chosen else carrier[user] for user in graph.consumers[node]}
        carrier[node] = node
        if len(ways) == 1:
            (carrier[node],) = ways
        elif ways:
            found.add(node)
    return found


def _epilogue(reduction: UOp, graph: Graph) -> UOp:
    """The end of the scalar ops that alone read a reduction: what is stored, if anything is."""
    end = node = reduction
    while node not in graph.sinks and len(graph.consumers[node]) == 1:
        (node,) = graph.consumers[node]
        if node.op in ELEMENTWISE:
            end = node
        elif not only_moves_ones(node):
            return end
    return end


def make_stages(
    graph: Graph, nodes: Mapping[UOp, bool], known: Mapping[UOp, Stage] | None = None
) -> dict[UOp, Stage]:
    """A stage for each of `nodes`, with its expression, unless it is `known`."""
    known = known or {}
    stages = {}
    for number, node in enumerate(nodes):
        stage = known.get(node) or _stage(node, f"{number}{'_' if known else ''}", nodes)
        stage.number = number
        stage.is_sink = stage.is_stored = node in graph.sinks
        stage.is_kept = nodes[node] or node.op is Ops.CONTIGUOUS
        stages[node] = stage
    return stages


def _stage(node: UOp, name: str, nodes: Mapping[UOp, bool]) -> Stage:
    kind = _KINDS.get(node.op, MAP)
    shape = shape_of(node.src[1] if kind == WRITE else node)
    axes = tuple([axis(f"p{name}_{k}", extent) for k, extent in enumerate(shape)])
    stage = Stage(name, node, kind, shape, axes, node)
    push = Push(nodes)
    _MAKERS[kind](stage, push)
    stage.update(stage.value)
    stage.inlined = {state.node for state in push.values}
    return stage


def _make_map(stage: Stage, push: Push) -> None:
    if stage.node.op is Ops.CONTIGUOUS:
        stage.value = push.value(stage.node.src[0], stage.axes)
    else:
        stage.value = push.value(stage.node, stage.axes, top=True)


def _make_reduction(stage: Stage, push: Push) -> None:
    source = stage.node.src[0]
    shape = shape_of(source)
    indices = list(stage.axes)
    for k in stage.node.arg.axes:
        indices[k] = axis(f"r{stage.name}_{k}", shape[k])
    stage.steps = tuple([indices[k] for k in stage.node.arg.axes])
    stage.extents = tuple([shape[k] for k in stage.node.arg.axes])
    stage.value = push.value(source, tuple(indices))


def _make_write(stage: Stage, push: Push) -> None:
    base, value = stage.node.src
    stage.value = push.value(value, stage.axes)
    moved = apply_view(base, stage.node.arg)
    place = stage.axes
    while moved is not base:
        place, constraints = source_place(moved, place)
        assert all(c is True for c in constraints), "stages: a view that hides elements"
        moved = moved.src[0]
    stage.place = place


def _make_scatter(stage: Stage, push: Push) -> None:
    """The base runs over all axes; the values over those of the numbers and of a row."""
    base, ids, values = stage.node.src
    counts = shape_of(ids)
    own = tuple([axis(f"r{stage.name}_{k}", extent) for k, extent in enumerate(counts)])
    stage.steps, stage.extents = own, counts
    stage.base = push.value(base, stage.axes)
    place = gathered_place(push.value(ids, own), base)
    stage.place = (place, *stage.axes[1:])
    stage.value = push.value(values, (*own, *stage.axes[1:]))


_MAKERS = {
    MAP: _make_map,
    REDUCTION: _make_reduction,
    WRITE: _make_write,
    SCATTER: _make_scatter,
}
