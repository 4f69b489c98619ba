"""The kernel as a tree of loops: what statements hold, how states combine, how trees are rebuilt.

Comes in: buffers, axes and scalar expressions. Goes out: `Kernel` and `Plan`, in which the place of
a statement is its scope (docs/ir.md rule 5). Next files: printer.py, spec.py.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from tinycore.dtype import DType, Scalar, dtypes
from tinycore.uop.index import NEVER, TABLES, Atom, Index, Mask, as_index, atoms, gather, mask_of
from tinycore.uop.ops import Nodes as Nodes, Ops, UOp, const, postorder

GLOBAL = "global"

Box = tuple[tuple[str, Index], ...]  # axes and their extents


class Access(NamedTuple):
    """A place in a buffer: an index a dimension, a mask and the sequence number of a ring slot.

    A load under a false mask reads `fill` and touches no memory.
    """

    indices: tuple[Index, ...]
    mask: Mask = ()
    sequence: Index | None = None
    fill: Scalar = 0


class LoopArg(NamedTuple):
    """`axis` runs 0 .. extent - 1; `kind` is par, red or ser; `map` is where iterations run."""

    axis: str
    extent: Index
    kind: str
    map: str = ""


class Own(NamedTuple):
    """Lane t holds an element of a register buffer where lane = element."""

    lane: Index
    element: Index


class BufferArg(NamedTuple):
    """A buffer of a kernel; `names` are its dimensions in `own`."""

    name: str
    shape: tuple[Index, ...]
    space: str = GLOBAL
    slots: int = 1
    init: str = ""
    swizzle: tuple[int, ...] | None = None
    names: tuple[str, ...] = ()
    own: Own | None = None


class StoreArg(NamedTuple):
    """What a STORE does: its sources are a buffer for each of `places`, a value for each, then what
    `rebase` moves.

    A COPY and an MMA, of a product of two LOADs, store a whole `box` by an `engine`.
    """

    places: tuple[Access, ...]
    combine: str = ""
    rebase: str = ""
    box: Box = ()
    engine: str = ""


class BlockArg(NamedTuple):
    """A "seq" in order, "roles" side by side, or a "role", replicated along `axis`."""

    kind: str
    name: str = ""
    axis: str = ""
    extent: Index = as_index(1)


class Kernel(NamedTuple):
    """Parameters, variables bound at launch, and statements."""

    name: str
    params: Nodes
    variables: Nodes
    body: Nodes
    spmd: bool = False


class Launch(NamedTuple):
    """A step of a plan: a kernel, or a vendor's call by name."""

    name: str
    buffers: tuple[str, ...]
    kernel: Kernel | None = None


class Plan(NamedTuple):
    """Launches over parameters and temporaries."""

    name: str
    params: Nodes
    variables: Nodes
    temps: Nodes
    launches: tuple[Launch, ...]


# Statements


def buffer(
    name: str, dtype: DType, shape: Iterable[Index | int], space: str = GLOBAL, **more: Any
) -> UOp:
    """A buffer, filled with the identity of the monoid `init`."""
    arg = BufferArg(name, tuple(map(as_index, shape)), space, **more)
    return UOp(Ops.BUFFER, dtype, (), arg)


def loop(kind: str, name: str, extent: Index | int, body: Iterable[UOp], map: str = "") -> UOp:
    """A loop over axis `name`."""
    return UOp(Ops.LOOP, src=tuple(body), arg=LoopArg(name, as_index(extent), kind, map))


def let(name: str, value: UOp) -> UOp:
    """`value`, computed where this statement stands."""
    return value.under(Ops.LET, name)


def load(source: UOp, access: Access) -> UOp:
    """The element of `source` at `access`, or its fill."""
    if access.mask == NEVER:
        return const(access.fill, source.dtype)
    return source.under(Ops.LOAD, access)


def store(target: UOp, place: Access, value: UOp, combine: str = "", moved: Nodes = ()) -> UOp:
    """target[place] = value, or combined with what is there; sums of exp(x - it) are `moved`."""
    arg = StoreArg((place,), combine, "exp" if moved else "")
    return UOp(Ops.STORE, src=(target, value, *moved), arg=arg)


def index_value(value: Index, dtype: DType = dtypes.int32) -> UOp:
    """An index used as a value."""
    return UOp(Ops.INDEX, dtype, (), value) if value.terms else const(value.const, dtype)


def mask_value(mask: Mask) -> UOp:
    """A mask used as a boolean value."""
    if not mask or mask == NEVER:
        return const(not mask, dtypes.bool)
    return UOp(Ops.MASK, dtypes.bool, (), mask)


def all_of(*values: Index) -> UOp:
    """A flag: every value is at least zero."""
    return mask_value(mask_of(values))


# How the states of reductions combine


class Monoid(NamedTuple):
    """An associative combine of states, with its identity."""

    op: Ops
    identity: float
    text: str


MONOIDS: dict[str, Monoid] = {
    "sum": Monoid(Ops.ADD, 0.0, "+="),
    "prod": Monoid(Ops.MUL, 1.0, "*="),
    "max": Monoid(Ops.MAX, -inf, "max="),
    "min": Monoid(Ops.MIN, inf, "min="),
}


class Dependent(NamedTuple):
    """When its leading states move from r1 to r1', a state r2 that depends on them becomes
    moved(r1, r1', r2); partial states merge by the same function. Source: docs/ir.md rule 2."""

    leads: tuple[str, ...]
    moved: Callable[[Nodes, Nodes, UOp], UOp]


def _exp(old: Nodes, new: Nodes, state: UOp) -> UOp:
    """Sums of exp(x - old) become sums of exp(x - new), even where both are infinite."""
    factor = (old[0] - new[0]).alu(Ops.EXP)
    factor = old[0].eq(new[0]).where(1, factor)
    return state * factor.cast(state.dtype)


def _reset(old: Nodes, new: Nodes, state: UOp) -> UOp:
    """A state of an old leader starts again from the identity of min."""
    return old[0].eq(new[0]).where(state, state.dtype.max)


def _var(old: Nodes, new: Nodes, state: UOp) -> UOp:
    """Squared deviations around the new mean. Source: Welford 1962."""
    count = old[0]
    old_mean = (count < 1).where(0, _mean(*old))
    shift = old_mean - _mean(*new)
    return state + (count * shift * shift).cast(state.dtype)


def _mean(count: UOp, total: UOp) -> UOp:
    return total / count.alu(Ops.MAX, 1)


DEPENDENT: dict[str, Dependent] = {
    "exp": Dependent(("max",), _exp),
    "reset": Dependent(("max",), _reset),
    "var": Dependent(("sum", "sum"), _var),
}


# Walking

BODIES = (Ops.LOOP, Ops.IF, Ops.BLOCK)
STORES = (Ops.STORE, Ops.COPY, Ops.MMA)


def walk(statements: Iterable[UOp], loops: Nodes = ()) -> Iterator[tuple[UOp, Nodes]]:
    """Every statement in source order, with the loops around it."""
    for statement in statements:
        yield statement, loops
        if statement.op in BODIES:
            inner = (*loops, statement) if statement.is_loop else loops
            yield from walk(statement.src, inner)


def values(statement: UOp) -> Nodes:
    """The expressions that a statement evaluates."""
    if statement.op in STORES:
        count = len(statement.places)
        return statement.src[count : 2 * count]
    return statement.src if statement.is_let else ()


def dependents(statement: UOp) -> Nodes:
    """The buffers that the rebase of a STORE moves."""
    return statement.src[2 * len(statement.places) :]


def operands(node: UOp) -> Nodes:
    """The sources of a node in an expression; none for a LOAD or LET."""
    return () if node.is_load or node.is_let else node.src


def parts(node: UOp) -> Sequence[UOp]:
    """The sources of a node, and those under its gathered indices."""
    return (*node.src, *gathered(node.arg))


def indices(arg: Any) -> Iterator[Index]:
    """Every index value in an argument, at any depth."""
    if isinstance(arg, Index):
        yield arg
    elif isinstance(arg, tuple):
        for part in arg:
            yield from indices(part)


def gathered(arg: Any) -> list[UOp]:
    """The nodes under gathered indices in an argument."""
    if not TABLES.gathers:
        return []
    return [atom.node for atom in atoms(*indices(arg)) if atom.kind == "gather"]


# Rebuilding


def mapped(arg: Any, change: Callable[[Index], Index]) -> Any:
    """An argument with every index value changed and the masks of accesses in normal form."""
    if isinstance(arg, Index):
        return change(arg)
    if not isinstance(arg, tuple):
        return arg
    parts = [mapped(part, change) for part in arg]
    if isinstance(arg, Access) and parts[1] != arg.mask:
        parts[1] = mask_of(parts[1])
    return type(arg)(*parts) if hasattr(arg, "_fields") else tuple(parts)


class Rebuild:
    """Rebuilds trees and expressions with nodes and index atoms replaced, each node once.

    `nodes` maps nodes, `env` maps atoms, also under gathered atoms; `look` replaces a node whose
    sources are new.
    """

    parts = staticmethod(parts)

    def __init__(
        self,
        nodes: Mapping[UOp, UOp] | None = None,
        env: Mapping[Atom, Index] | None = None,
        look: Callable[[UOp], UOp] | None = None,
    ) -> None:
        self.memo = dict(nodes or {})
        self.env = env  # kept even if empty: a Writer fills it
        self.look = look
        self.indices: dict[Index, Index] = {}

    def index(self, value: Index) -> Index:
        """An index value with atoms replaced."""
        return value.replaced(self._atom, self.indices)

    def _atom(self, atom: Atom) -> Index | None:
        if self.env and atom in self.env:
            return self.env[atom]
        return gather(self.node(atom.node), atom.hi + 1) if atom.kind == "gather" else None

    def node(self, node: UOp) -> UOp:
        """A node with everything under it replaced, without recursion."""
        for inner in postorder([node], self.parts, self.memo):
            self.memo[inner] = self._rebuild(inner)
        return self.memo[node]

    def body(self, statements: Iterable[UOp]) -> Nodes:
        """Statements in order."""
        return tuple(map(self.node, statements))

    def _rebuild(self, node: UOp) -> UOp:
        src = tuple([self.memo.get(source, source) for source in node.src])
        arg = node.arg
        if arg and (self.env is not None or TABLES.gathers):
            arg = mapped(arg, self.index)
        new = node if src == node.src and arg == node.arg else self.made(node, src, arg)
        return self.look(new) if self.look else new

    def made(self, node: UOp, src: Nodes, arg: Any) -> UOp:
        """The node for one whose sources or index values changed."""
        if node.is_load:
            return load(src[0], arg)
        if node.op is Ops.INDEX:
            return index_value(arg, node.dtype)
        if node.op is Ops.MASK:
            return all_of(*arg)
        if node.op is Ops.IF:
            arg = mask_of(arg)
        return UOp(node.op, node.dtype, src, arg, node.tag)


def rebuild(statements: Iterable[UOp], nodes: Mapping[UOp, UOp]) -> Nodes:
    """`statements` with nodes replaced."""
    return Rebuild(nodes).body(statements)
