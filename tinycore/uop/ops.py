"""The node of every level of the compiler: `UOp(op, dtype, src, arg, tag)`, immutable and interned.

Comes in: an operation with its sources. Goes out: the one node that means it, which knows its shape
if it is a graph's. Next file: upat.py.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from operator import attrgetter
from typing import Any, Self, TypeVar
from weakref import KeyedRef

from tinycore.dtype import AS_BITS, DType, Scalar, dtypes
from tinycore.errors import DTypeError, ShapeError
from tinycore.uop.index import TABLES, Index, Shape, axis, simplest, size
from tinycore.uop.table import SIGNATURES, Ops as Ops
from tinycore.util import dedup


def _group(*names: str) -> frozenset[Ops]:
    return frozenset(op for op in Ops if op.row.group in names)


MOVEMENT = _group("movement")
UNARY = _group("unary")
COMPARISON = _group("comparison")
SHIFTS = _group("shift")
BINARY = _group("binary", "comparison", "shift")
CASTS = _group("cast")
ELEMENTWISE = _group(*SIGNATURES)
COMMUTATIVE = _group("binary") - {Ops.IDIV, Ops.MOD} | {Ops.EQ}

Nodes = tuple["UOp", ...]
Key = tuple[Ops, DType, Nodes, Any, Any]


_weak: dict[Key, KeyedRef[Key, UOp]] = {}


def _forget(reference: KeyedRef[Key, UOp]) -> None:
    if _weak.get(reference.key) is reference:
        del _weak[reference.key]


class Interning:
    """The arena while something compiles, and a count of created nodes."""

    arena: dict[Key, UOp] | None = None
    users = created = 0


@contextmanager
def arena() -> Iterator[None]:
    """Nodes created inside live in one table that is dropped whole at the end.

    Arenas that overlap, also in threads, share one table until the last ends.
    """
    Interning.users += 1
    if Interning.arena is None:
        Interning.arena = {}
    try:
        yield
    finally:
        Interning.users -= 1
        if Interning.users == 0:
            Interning.arena = None
            if len(TABLES.values) > 200_000:
                TABLES.clear()


Value = TypeVar("Value", bound="Arithmetic")


def _operator(op: Ops) -> Callable[[Value, Value | Scalar], Value]:
    return lambda value, other: value.alu(op, other)


class Arithmetic:
    """Operators by `alu`, on nodes and patterns."""

    __slots__ = ()

    def alu(self, op: Ops, *others: Self | Scalar) -> Self:
        """`op` applied to this and `others`."""
        raise NotImplementedError

    def eq(self, other: Self | Scalar) -> Self:
        """Where this equals `other`; == compares the objects."""
        return self.alu(Ops.EQ, other)

    def where(self, value: Self | Scalar, other: Self | Scalar) -> Self:
        """`value` where this holds, else `other`."""
        return self.alu(Ops.WHERE, value, other)

    def __neg__(self) -> Self:
        return self.alu(Ops.NEG)

    __add__ = __radd__ = _operator(Ops.ADD)
    __mul__ = __rmul__ = _operator(Ops.MUL)
    __floordiv__ = _operator(Ops.IDIV)
    __mod__ = _operator(Ops.MOD)
    __and__ = _operator(Ops.AND)
    __or__ = _operator(Ops.OR)
    __xor__ = _operator(Ops.XOR)
    __lshift__ = _operator(Ops.SHL)
    __rshift__ = _operator(Ops.SHR)
    __lt__ = _operator(Ops.LT)


FIELDS = ("op", "dtype", "src", "arg", "tag")
_fields = attrgetter(*FIELDS)


class UOp(Arithmetic):
    """One node of a graph, a kernel or a lowered program; equal nodes are one object.

    A statement has no type.
    """

    __slots__ = ("__weakref__", "_shape", *FIELDS)

    op: Ops
    dtype: DType
    src: Nodes
    arg: Any
    tag: Any
    _shape: Any

    def __new__(
        cls, op: Ops, dtype: DType = dtypes.void, src: Nodes = (), arg: Any = None, tag: Any = None
    ) -> UOp:
        # repr keeps apart -0.0 and 0.0, which compare equal
        key = (op, dtype, src, arg if op is not Ops.CONST else repr(arg), tag)
        table = Interning.arena
        if table is not None and key in table:
            return table[key]
        reference = _weak.get(key)
        found = reference and reference()
        if found:
            return found
        node = object.__new__(cls)
        node.op = op
        node.dtype = dtype
        node.src = src
        node.arg = arg
        node.tag = tag
        node._shape = None
        Interning.created += 1
        if table is not None:
            table[key] = node
        else:
            _weak[key] = KeyedRef(node, _forget, key)
        return node

    def __reduce__(self) -> tuple[type[UOp], tuple[Any, ...]]:
        return UOp, _fields(self)

    def __repr__(self) -> str:
        sources = ", ".join(source.op.name for source in self.src)
        arg = "" if self.arg is None else f", arg={self.arg!r}"
        return f"UOp({self.op}, {self.dtype!r}, ({sources}){arg})"

    def replace(self, **fields: Any) -> UOp:
        """This node with some fields changed."""
        return UOp(**(dict(zip(FIELDS, _fields(self), strict=True)) | fields))

    @property
    def name(self) -> str:
        """The name of a buffer or LET, or of the axis of a loop or role."""
        if self.is_let:
            return str(self.arg)
        return str(self.arg.name if self.is_buffer else self.arg.axis)

    kind = property(attrgetter("arg.kind"))
    """Of a loop: par, red or ser."""
    extent = property(attrgetter("arg.extent"))
    """Of a loop or role: the number of iterations, an Index."""
    map = property(attrgetter("arg.map"))
    """Of a loop: the place where its iterations run."""
    space = property(attrgetter("arg.space"))
    """Of a buffer: the memory it lies in."""
    init = property(attrgetter("arg.init"))
    """Of a buffer: the monoid whose identity fills it."""
    combine = property(attrgetter("arg.combine"))
    """Of a store or a reduction: the monoid by which it combines."""
    places = property(attrgetter("arg.places"))
    """Of a store: a place in each of its buffers."""
    place = property(lambda node: node.arg.places[0])
    """Of a store: the place in its first buffer."""
    is_float = property(attrgetter("dtype.is_float"))
    """True if it computes in a floating-point type."""

    # what it is
    is_const = property(lambda node: node.op is Ops.CONST)
    is_buffer = property(lambda node: node.op is Ops.BUFFER)
    is_loop = property(lambda node: node.op is Ops.LOOP)
    is_let = property(lambda node: node.op is Ops.LET)
    is_load = property(lambda node: node.op is Ops.LOAD)
    is_store = property(lambda node: node.op is Ops.STORE)
    is_copy = property(lambda node: node.op is Ops.COPY)
    is_reduce = property(lambda node: node.op is Ops.REDUCE)

    @property
    def index(self) -> Index:
        """Of a loop or role: the value of its axis."""
        return axis(self.arg.axis, self.arg.extent)

    @property
    def shape(self) -> Shape:
        """Of a graph node or a buffer: its extents, computed once.

        Raises: ShapeError if elementwise sources differ in shape.
        """
        if self._shape is None:
            for node in postorder([self], lambda one: [x for x in one.src if x._shape is None]):
                node._shape = _derived(node)
        return self._shape  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """The number of its elements at the upper bounds of symbolic extents."""
        return size(self.shape)

    @property
    def lanes(self) -> int:
        """How many values it is in a vector register."""
        return self.dtype.lanes

    @property
    def source(self) -> UOp:
        """The first source."""
        return self.src[0]

    def over(self, src: Nodes) -> UOp:
        """This node over other sources."""
        return self if src == self.src else UOp(self.op, self.dtype, src, self.arg, self.tag)

    def around(self, *src: UOp) -> UOp:
        """This node over these sources, as a loop around statements."""
        return self.over(src)

    def under(self, op: Ops, arg: Any = None) -> UOp:
        """`op` over this node alone."""
        return UOp(op, self.dtype, (self,), arg)

    def const_like(self, value: Scalar) -> UOp:
        """A constant of this node's type."""
        return const(value, self.dtype)

    def alu(self, op: Ops, *others: UOp | Scalar) -> UOp:
        """`op` of this and `others`; numbers take the type of the last node."""
        typed = [node for node in (self, *others) if isinstance(node, UOp)][-1]
        nodes = [o if isinstance(o, UOp) else typed.const_like(o) for o in others]
        return alu(op, self, *nodes)

    def cast(self, dtype: DType) -> UOp:
        """This value as `dtype`; a constant that stays exact is one."""
        if self.dtype is dtype:
            return self
        if self.is_const and _exact(self.arg, dtype):
            return const(self.arg, dtype)
        return UOp(Ops.CAST, dtype, (self,))

    def __sub__(self, other: UOp | Scalar) -> UOp:
        return self + (-other)

    def __rsub__(self, other: Scalar) -> UOp:
        return self.const_like(other) + (-self)

    def __truediv__(self, other: UOp | Scalar) -> UOp:
        if not isinstance(other, UOp):
            other = self.const_like(other)
        return self * other.alu(Ops.RECIP)


def const(value: Scalar, dtype: DType) -> UOp:
    """`value` converted to a constant of `dtype`."""
    return UOp(Ops.CONST, dtype, (), dtype.cast(value))


def _exact(value: Scalar, dtype: DType) -> bool:
    if not isfinite(value):
        return dtype.is_float
    if dtype.is_float:
        most, parts = (4, 2) if dtype.scalar in AS_BITS else (256, 4)  # in three bits, or in ten
        return abs(value) < most and float(value * parts).is_integer()
    return value == int(value) and dtype.holds(value)


def alu(op: Ops, *src: UOp) -> UOp:
    """A scalar op with the folds that cost nothing; NaN and signed zero are kept.

    Raises: DTypeError if two sources differ in type.
    """
    folded = _fold_pair(op, *src) if len(src) == 2 else _fold(op, *src)
    if folded:
        return folded
    if len(src) == 2 and src[0].dtype is not src[1].dtype and op not in SHIFTS:
        found = f"{op.name.lower()}: operands have types {src[0].dtype!r} and {src[1].dtype!r}"
        raise DTypeError(f"{found}; expected one type. Cast one of them.")
    return unfolded(op, *src)


def unfolded(op: Ops, *src: UOp) -> UOp:
    """A scalar op as it stands, of the type that its sources give it."""
    dtype = src[0 if op in SHIFTS else -1].dtype
    if op in COMPARISON:
        dtype = dtypes.bool.vec(dtype.lanes)
    return UOp(op, dtype, src)


_NEUTRAL: dict[Ops, Scalar] = {Ops.ADD: 0, Ops.MUL: 1, Ops.OR: 0, Ops.XOR: 0}
_IDEMPOTENT = (Ops.AND, Ops.OR, Ops.MAX, Ops.MIN)


def _fold_pair(op: Ops, a: UOp, b: UOp) -> UOp | None:
    """x + 0 = x, although for floats only -0.0 is neutral."""
    for x, y in ((a, b), (b, a)):
        if y.op is not Ops.CONST:
            continue
        if y.arg == _NEUTRAL.get(op):
            return x
        if y.dtype.kind == "b" and op in (Ops.AND, Ops.OR):
            return x if y.arg is (op is Ops.AND) else y
    if a is b and op in _IDEMPOTENT:
        return a
    return None


def _fold(op: Ops, a: UOp, *choices: UOp) -> UOp | None:
    match op:
        case Ops.NEG if a.op is Ops.NEG:
            return a.source
        case Ops.NEG if a.is_const and a.dtype.kind != "b":
            return a.const_like(-a.arg)
        case Ops.WHERE if choices[0] is choices[1]:
            return choices[0]
        case Ops.WHERE if a.is_const:
            return choices[0 if a.arg else 1]
    return None


T = TypeVar("T")


def toposort(roots: Iterable[UOp]) -> list[UOp]:
    """Every node under `roots` once, sources before users."""
    return postorder(roots, attrgetter("src"))


def factors(root: UOp) -> list[UOp]:
    """The factors of a product, in order."""
    found = []
    work = [root]
    while work:
        node = work.pop()
        if node.op is Ops.MUL:
            work += reversed(node.src)
        else:
            found.append(node)
    return found


def postorder(
    roots: Iterable[T], below: Callable[[T], Sequence[T]], done: Container[T] = ()
) -> list[T]:
    """All that is under `roots`, each once, after what is `below` it, without recursion.

    What is `done`, and what is under that alone, is left out.
    """
    order = []
    seen = set()
    work: list[Any] = [*roots][::-1]
    while work:
        one = work.pop()
        if one is None:  # all below the one under this mark is done
            order.append(work.pop())
        elif one not in seen and one not in done:
            seen.add(one)
            work += (one, None, *reversed(below(one)))
    return order


# Shapes of graph nodes: one rule an op


def _derived(node: UOp) -> Any:
    """The shape of a node whose sources have theirs."""
    arg, op = node.arg, node.op
    if op in ELEMENTWISE:
        return _common(node)
    shape = node.source._shape if node.src else ()
    match op:
        case Ops.BUFFER:
            return arg.shape
        case Ops.IOTA:
            return (arg,)
        case Ops.RESHAPE | Ops.EXPAND:
            return arg
        case Ops.PERMUTE:
            return tuple(shape[axis] for axis in arg)
        case Ops.PAD:
            pairs = zip(shape, arg.pairs, strict=True)
            return tuple(simplest(n + lo + hi) for n, (lo, hi) in pairs)
        case Ops.SHRINK:
            return tuple(simplest(end - begin) for begin, end in arg)
        case Ops.SKEW:
            return (*shape[: arg.axis], arg.extent, *shape[arg.axis + 1 :])
        case Ops.REDUCE:
            return tuple(1 if k in arg.axes else n for k, n in enumerate(shape))
        case Ops.GATHER:
            return (*node.src[1]._shape, *shape[1:])
    return shape


def _common(node: UOp) -> Shape:
    shapes = dedup(source._shape for source in node.src if not source.is_const)
    if len(shapes) > 1:
        found = f"{node.op.name.lower()}: shapes {shapes[0]} and {shapes[1]} differ"
        raise ShapeError(f"{found}; expected equal shapes. Expand the smaller one.")
    return shapes[0] if shapes else ()
