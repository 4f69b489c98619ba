"""A grammar of random graphs, which reaches every op, monoid and kind of mask.

In: a seed. Out: a `Program`, made from the seed alone. Next files: fuzz.py, which runs programs
on REF under random thresholds, and tests/agreement, which runs them on devices.

    program   leaf{1..3} step{2..14}, then 1..7 sinks, some stored over a leaf
    leaf      normal numbers, or whole ones from -2 to 2 ("exact"), of one float type
    step      one of STEPS applied to recent nodes; its result is a node that others may take
    unary     every scalar op of one operand, on what keeps it defined and continuous
    binary    + * max min of two nodes, broadcast; whole: every op on integers, on exact nodes
    choice    where(mask, x, y): mask compares places, or values that are exact
    reduce    sum max min prod over some axes; weighted: a sum of terms that share a factor
    row       chains over rows, some with a maximum inside exp
    move      every movement op; windows, unwindows, convolution: SKEW and its inverse
    rows      gather, or scatter by any monoid, of row numbers of which some lie outside
    setitem   a STORE through a random view; symbolic: bounds known at launch; number: a VARIABLE
    backward  the gradient of a sum of squares by any node, where that is smooth

What is compared or rounded to whole numbers is exact, so that no order of a sum decides it.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.schedule.evaluate import Array, numpy_type
from tinycore.dtype import DType, dtypes
from tinycore.gradient import gradient
from tinycore.schedule.nodes import Limits
from tinycore.uop import graph
from tinycore.uop.graph import elementwise
from tinycore.uop.index import as_index, upper_shape, variable
from tinycore.uop.ops import SHIFTS, Ops, UOp, const, toposort

LIMITS = (
    Limits(units=2, row=16, row_axes=64),
    Limits(units=1, row=64, row_axes=64, tiny=64, operand_ops=2),
    Limits(units=32, row=4096, row_axes=1024),
    Limits(units=2, row=4, row_axes=4, contraction_axes=2, recomputed_steps=4, tiny=0),
    Limits(units=2, repeated_ops=3, buffers=6),
    Limits(units=2, cached=1 << 10, held=1 << 7),
    Limits(),
)
FLOATS = (dtypes.float64,) * 4 + (dtypes.float32,) * 3 + (dtypes.float16,)
EXTENTS = (1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 6), (1, 3, 4, 8, 16, 17), (1, 2, 5, 33, 64)
"""Of axes, a choice for each program: most are small, some hold whole vectors and tails."""
LARGEST = 400, 400, 3000, 6000
TOLERANCES = {8: 1e-9, 4: 3e-4, 2: 3e-2}
"""How far results may differ, relative and of the largest element of an array, by the bytes of the
narrowest float that a program rounds to: some ten roundings of two bytes, thousands of four."""


@dataclass
class Item:
    """A node a graph may go on with. `exact`: small integers, so that comparing it is safe;
    `finite`: no infinity in it."""

    node: UOp
    exact: bool = False
    finite: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        return upper_shape(self.node.shape)


@dataclass
class Program:
    """What one seed makes: sinks with old buffers, data, thresholds, and numbers of VARIABLEs."""

    sinks: list[tuple[UOp, UOp | None]]
    data: dict[UOp, Array]
    limits: Limits
    variables: dict[str, int]
    bounds: dict[str, tuple[int, int]]
    steps: Counter[str]
    tolerance: float

    @property
    def nodes(self) -> list[UOp]:
        """All that its sinks compute, sources first."""
        return toposort([node for node, _ in self.sinks])


class Maker:
    """Makes one random program."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.dtype: DType = self.random.choice(FLOATS)
        self.tolerance = TOLERANCES[self.dtype.itemsize]
        sizes = list(zip(EXTENTS, LARGEST, strict=True))
        if self.dtype is dtypes.float16:  # whose long sums round too often
            sizes = sizes[:2]
        self.extents, self.largest = self.random.choice(sizes)
        self.data: dict[UOp, Array] = {}
        self.pool: list[Item] = []
        self.number = 0
        self.variables: dict[str, int] = {}
        self.bounds: dict[str, tuple[int, int]] = {}
        self.steps: Counter[str] = Counter()

    # leaves

    def buffer(self, array: Array, dtype: DType) -> UOp:
        self.number += 1
        node = graph.graph_buffer(self.number, array.shape, dtype, "REF")
        self.data[node] = array.astype(numpy_type(dtype))
        return node

    def leaf(self, shape: tuple[int, ...], exact: bool) -> Item:
        values = self.numpy.standard_normal(shape)
        array = self.numpy.integers(-2, 3, shape) if exact else values
        return Item(self.buffer(array, self.dtype), exact)

    def ids(self, shape: tuple[int, ...], rows: int) -> UOp:
        """Row numbers, some negative, some outside."""
        low, high = self.random.choice([(0, rows), (-rows, rows), (-rows - 1, rows + 2)])
        return self.buffer(self.numpy.integers(low, high, shape), dtypes.int32)

    def shape(self) -> tuple[int, ...]:
        rank = self.random.choice([0, 1, 1, 2, 2, 2, 3, 3])
        return tuple(self.random.choice(self.extents) for _ in range(rank))

    # choice

    def pick(self, rank: int = 0, finite: bool = True) -> Item:
        """A recent node with at least `rank` axes."""
        found = [item for item in self.pool if len(item.shape) >= rank]
        found = [item for item in found if item.finite or not finite]
        if not found:
            shape = tuple(self.random.choice([2, 3, 4]) for _ in range(max(rank, 1)))
            item = self.leaf(shape, self.random.random() < 0.5)
            self.pool.append(item)
            return item
        weights = [k + 1 for k in range(len(found))]
        return self.random.choices(found, weights)[0]

    def add(self, node: UOp, exact: bool = False, finite: bool = True) -> None:
        if node.size <= self.largest and node.dtype is self.dtype:
            self.pool.append(Item(node, exact, finite))

    def axes(self, rank: int) -> list[int]:
        count = self.random.randint(1, rank)
        return self.random.sample(range(rank), count)

    # program

    def program(self) -> Program:
        for _ in range(self.random.randint(1, 3)):
            self.pool.append(self.leaf(self.shape(), self.random.random() < 0.4))
        for _ in range(self.random.randint(2, 14)):
            step = self.random.choices(list(STEPS), list(WEIGHTS))[0]
            self.steps[step.__name__] += 1
            step(self)
        limits = self.random.choice(LIMITS)
        sinks = self.sinks()
        told = self.variables, self.bounds, self.steps, self.tolerance
        return Program(sinks, self.data, limits, *told)

    def sinks(self) -> list[tuple[UOp, UOp | None]]:
        computed = [item.node for item in self.pool if item.node.op is not Ops.BUFFER]
        computed = list(dict.fromkeys(computed)) or [graph.contiguous(self.pool[-1].node, 1)]
        inner = set(toposort([source for node in computed for source in node.src]))
        ends = [node for node in computed if node not in inner]
        count = min(len(computed), self.random.choice([1, 1, 2, 3, 4]))
        chosen = [computed[-1], *self.random.sample(computed[:-1], count - 1)]
        chosen = list(dict.fromkeys(chosen + self.random.sample(ends, min(len(ends), 3))))
        taken: set[UOp] = set()
        found: list[tuple[UOp, UOp | None]] = []
        for node in chosen:
            old = self._old(node, taken)
            taken |= {old} if old is not None else set()
            found.append((node, old))
        return found

    def _old(self, node: UOp, taken: set[UOp]) -> UOp | None:
        """A buffer of its shape that the sink may overwrite; for a STORE, often its base."""
        if node.op is Ops.STORE and node.src[0] in self.data and node.src[0] not in taken:
            return node.src[0] if self.random.random() < 0.9 else None
        if self.random.random() < 0.4:
            return None
        same = [b for b in self.data if b.shape == node.shape and b.dtype is node.dtype]
        same = [b for b in same if b not in taken]
        return self.random.choice(same) if same else None


# steps

INTEGER = (Ops.ADD, Ops.MUL, Ops.MAX, Ops.MIN, Ops.IDIV, Ops.MOD, Ops.AND, Ops.OR, Ops.XOR)
INTEGER += (Ops.SHL, Ops.SHR, Ops.IDIV)


def _like(item: Item, value: float) -> UOp:
    return item.node.const_like(value)


def unary(make: Maker) -> None:
    item = make.pick()
    name = make.random.choice([*UNARY, "fin", "trunc", "positive"])
    keeps = name in ("neg", "shift", "relu", "detach", "positive")
    if name == "trunc" and not item.exact:
        item = make.leaf(item.shape, True)
    make.add(UNARY[name](make, item), item.exact and (keeps or name == "trunc"))


def _least(item: Item) -> UOp:
    """x * x + 1, at least 1."""
    square = elementwise(Ops.MUL, item.node, item.node)
    return elementwise(Ops.ADD, square, _like(item, 1.0))


def _finite(make: Maker, item: Item) -> UOp:
    """What a mask makes infinite is 0 again."""
    low = item.node.const_like(float("-inf"))
    return elementwise(Ops.FIN, elementwise(Ops.WHERE, _mask(make, item.shape), item.node, low))


def _truncated(make: Maker, item: Item) -> UOp:
    scaled = elementwise(Ops.MUL, item.node, _like(item, make.random.choice([0.5, 0.75, -1.25])))
    return elementwise(Ops.TRUNC, scaled)


def _positive(make: Maker, item: Item) -> UOp:
    """Numbers without their sign, which is the highest bit."""
    wide = {8: dtypes.int64, 4: dtypes.int32, 2: dtypes.int16}[item.node.dtype.itemsize]
    bits = graph.bitcast(item.node, wide)
    return graph.bitcast(elementwise(Ops.AND, bits, bits.const_like(wide.max)), item.node.dtype)


UNARY: dict[str, Callable[[Maker, Item], UOp]] = {
    "neg": lambda make, item: elementwise(Ops.NEG, item.node),
    "sin": lambda make, item: elementwise(Ops.SIN, item.node),
    "exp": lambda make, item: elementwise(
        Ops.EXP, elementwise(Ops.MIN, item.node, _like(item, 2.0))
    ),
    "log": lambda make, item: elementwise(Ops.LOG, _least(item)),
    "root": lambda make, item: elementwise(Ops.SQRT, _least(item)),
    "recip": lambda make, item: elementwise(Ops.RECIP, _least(item)),
    "scale": lambda make, item: elementwise(Ops.MUL, item.node, _like(item, 0.5)),
    "shift": lambda make, item: elementwise(Ops.ADD, item.node, _like(item, 1.0)),
    "relu": lambda make, item: elementwise(Ops.MAX, item.node, _like(item, 0.0)),
    "detach": lambda make, item: graph.detach(item.node),
    "fin": _finite,
    "trunc": _truncated,
    "positive": _positive,
}


def _pair(make: Maker) -> tuple[Item, Item]:
    """Two nodes broadcast to one shape."""
    a = make.pick()
    same = [item for item in make.pool if item.finite and _broadcasts(item.shape, a.shape)]
    b = make.random.choice(same)
    rank = max(len(a.shape), len(b.shape))
    shapes = [(1,) * (rank - len(item.shape)) + item.shape for item in (a, b)]
    shape = tuple(max(x, y) for x, y in zip(*shapes, strict=True))
    found = [Item(graph.broadcast(item.node, shape), item.exact) for item in (a, b)]
    return found[0], found[1]


def _broadcasts(x: tuple[int, ...], y: tuple[int, ...]) -> bool:
    pairs = zip(reversed(x), reversed(y), strict=False)
    return all(a == b or 1 in (a, b) for a, b in pairs)


def binary(make: Maker) -> None:
    a, b = _pair(make)
    op = make.random.choice([Ops.ADD, Ops.ADD, Ops.MUL, Ops.MUL, Ops.MAX, Ops.MIN])
    exact = a.exact and b.exact and op is not Ops.MUL
    make.add(elementwise(op, a.node, b.node), exact)


def choice(make: Maker) -> None:
    a, b = _pair(make)
    if a.exact and b.exact:
        op = make.random.choice([Ops.LT, Ops.EQ])
        return make.add(elementwise(Ops.WHERE, elementwise(op, a.node, b.node), a.node, b.node))
    mask = _mask(make, a.shape)
    make.add(elementwise(Ops.WHERE, mask, a.node, b.node), False)


def _mask(make: Maker, shape: tuple[int, ...]) -> UOp:
    """A comparison of places: triangular, a band, a diagonal, every other element."""
    if not shape:
        return const(True, dtypes.bool)
    axis = make.random.randrange(len(shape))
    other = make.random.randrange(len(shape))
    x, y = _places(shape, axis), _places(shape, other)
    kind = make.random.choice(["less", "equal", "limit", "odd", "both"])
    limit = const(make.random.randint(0, shape[axis]), dtypes.int32)
    if kind == "less" and axis != other:
        return elementwise(Ops.LT, x, y)
    if kind == "equal" and axis != other:
        return elementwise(Ops.EQ, x, y)
    if kind == "odd":
        rest = elementwise(Ops.MOD, x, const(2, dtypes.int32))
        return elementwise(Ops.EQ, rest, const(1, dtypes.int32))
    low = elementwise(Ops.LT, x, limit)
    if kind != "both":
        return low
    inverse = elementwise(Ops.EQ, low, const(False, dtypes.bool))
    return elementwise(Ops.AND, inverse, elementwise(Ops.LT, y, limit))


def _places(shape: tuple[int, ...], axis: int) -> UOp:
    alone = tuple(n if k == axis else 1 for k, n in enumerate(shape))
    return graph.expand(graph.reshape(graph.iota(shape[axis]), alone), shape)


def reduce(make: Maker) -> None:
    item = make.pick(1)
    combine = make.random.choice(["sum", "sum", "sum", "max", "max", "min", "prod"])
    node = item.node
    if combine == "prod":
        node = elementwise(Ops.SIN, node)
    found = graph.reduce(node, make.axes(len(item.shape)), combine)
    make.add(_maybe_squeezed(make, found), item.exact and combine in ("max", "min"))


def weighted(make: Maker) -> None:
    """A sum of terms that share a factor, perhaps reduced again with zeros around it."""
    item = make.pick(1)
    axis = make.random.randrange(len(item.shape))
    alone = tuple(1 if k == axis else n for k, n in enumerate(item.shape))
    weights = make.leaf(alone, False).node
    term = elementwise(Ops.MUL, item.node, graph.expand(weights, item.shape))
    found = graph.reduce(term, [axis], "sum")
    if make.random.random() < 0.6:
        found = graph.pad(found, [(make.random.randint(0, 2), 1) for _ in alone])
        other = make.random.choice([axis, make.random.randrange(len(alone))])
        found = graph.reduce(found, [other], make.random.choice(["sum", "sum", "max"]))
    make.add(found)


def _maybe_squeezed(make: Maker, node: UOp) -> UOp:
    if make.random.random() < 0.5:
        return node
    return graph.reshape(node, tuple(n for n in node.shape if n != 1))


def row(make: Maker) -> None:
    """Chains over a row: softmax, logsumexp, weighted means, normalisation."""
    item = make.pick(1)
    axes = make.axes(len(item.shape))
    x = item.node
    clamped = make.random.random() < 0.5
    if make.random.random() < 0.4:
        mask = _mask(make, item.shape)
        mask = mask if clamped else _open_row(mask, item.shape, axes)
        x = elementwise(Ops.WHERE, mask, x, const(float("-inf"), x.dtype))
    shape = item.shape
    top = graph.reduce(x, axes, "max")
    top = elementwise(Ops.MAX, top, const(-50.0, x.dtype)) if clamped else top
    top = graph.detach(top) if make.random.random() < 0.5 else top
    negative = elementwise(Ops.NEG, graph.expand(top, shape))
    scale = elementwise(Ops.EXP, elementwise(Ops.ADD, x, negative))
    total = graph.reduce(scale, axes, "sum")
    total = elementwise(Ops.ADD, total, const(0.001, x.dtype))
    kind = make.random.choice(["softmax", "logsumexp", "weighted", "square"])
    if kind == "logsumexp":
        return make.add(elementwise(Ops.ADD, elementwise(Ops.LOG, total), top), finite=False)
    share = elementwise(Ops.MUL, scale, graph.expand(elementwise(Ops.RECIP, total), shape))
    if kind == "softmax":
        return make.add(share, finite=False)
    other = make.leaf(shape, False).node if kind == "weighted" else share
    make.add(graph.reduce(elementwise(Ops.MUL, share, other), axes, "sum"), finite=False)


def _open_row(mask: UOp, shape: tuple[int, ...], axes: list[int]) -> UOp:
    """`mask` with the first element of each row let through: a row without any is NaN."""
    zero = const(0, dtypes.int32)
    first = [elementwise(Ops.EQ, _places(shape, axis), zero) for axis in axes]
    both = first[0]
    for one in first[1:]:
        both = elementwise(Ops.AND, both, one)
    return elementwise(Ops.OR, mask, both)


def normalise(make: Maker) -> None:
    item = make.pick(1)
    axes = make.axes(len(item.shape))
    count = int(np.prod([item.shape[k] for k in axes]))
    part = _like(item, 1 / count)
    mean = elementwise(Ops.MUL, graph.reduce(item.node, axes, "sum"), part)
    centred = elementwise(Ops.ADD, item.node, elementwise(Ops.NEG, graph.expand(mean, item.shape)))
    square = graph.reduce(elementwise(Ops.MUL, centred, centred), axes, "sum")
    deviation = elementwise(Ops.SQRT, elementwise(Ops.ADD, square, _like(item, 0.1)))
    scale = graph.expand(elementwise(Ops.RECIP, deviation), item.shape)
    make.add(elementwise(Ops.MUL, centred, scale))


def matmul(make: Maker) -> None:
    item = make.pick(2)
    node = graph.reshape(item.node, (-1, 1)) if len(item.shape) < 2 else item.node
    rows, steps = item.shape[-2:]
    lead = item.shape[:-2]
    columns = make.random.choice([1, 2, 4, 5])
    other = make.leaf((steps, columns), False).node
    if make.random.random() < 0.3:
        other = elementwise(Ops.SIN, other)
    shape = (*lead, rows, columns, steps)
    left = graph.expand(graph.reshape(node, (*lead, rows, 1, steps)), shape)
    right = graph.permute(other, (1, 0))
    right = graph.broadcast(right, shape)
    total = graph.reduce(elementwise(Ops.MUL, left, right), [len(shape) - 1], "sum")
    make.add(graph.reshape(total, (*lead, rows, columns)))


def move(make: Maker) -> None:
    item = make.pick(1)
    for _ in range(make.random.randint(1, 3)):
        item = Item(_moved(make, item), item.exact)
    make.add(item.node, item.exact)


def _moved(make: Maker, item: Item) -> UOp:
    shape, node = item.shape, item.node
    rank = len(shape)
    kind = make.random.choice(["reshape", "permute", "pad", "shrink", "flip", "expand"])
    if kind == "permute":
        return graph.permute(node, make.random.sample(range(rank), rank))
    if kind == "flip":
        return graph.flip(node, make.axes(rank)) if rank else node
    if kind == "shrink":
        return graph.shrink(node, [_range(make, n) for n in shape])
    if kind == "pad" and np.prod(shape) < 60:
        widths = [(make.random.randint(0, 2), make.random.randint(0, 2)) for _ in shape]
        return graph.pad(node, widths, make.random.choice([0.0, 0.0, 2.0, -1.5]))
    if kind == "expand" and np.prod(shape) < 60:
        place = make.random.randint(0, rank)
        wide = (*shape[:place], 1, *shape[place:])
        times = make.random.randint(1, 3)
        return graph.expand(graph.reshape(node, wide), (*shape[:place], times, *shape[place:]))
    return graph.reshape(node, _reshaped(make, shape))


def _range(make: Maker, extent: int) -> tuple[int, int]:
    begin = make.random.randint(0, extent - 1)
    return begin, make.random.randint(begin + 1, extent)


def _reshaped(make: Maker, shape: tuple[int, ...]) -> tuple[int, ...]:
    total = int(np.prod(shape))
    found = []
    while total > 1:
        divisors = [k for k in range(2, total + 1) if total % k == 0]
        found.append(make.random.choice(divisors[:4] + divisors[-1:]))
        total //= found[-1]
        if make.random.random() < 0.2:
            found.append(1)
    return tuple(found[:4]) if np.prod(found[:4]) == np.prod(shape) else (int(np.prod(shape)),)


def low_pad(make: Maker) -> None:
    """-inf outside, then a maximum or an exp: nothing infinite remains."""
    item = make.pick(1)
    widths = [(make.random.randint(0, 2), make.random.randint(0, 2)) for _ in item.shape]
    padded = graph.pad(item.node, widths, float("-inf"))
    if make.random.random() < 0.5:
        node = elementwise(Ops.EXP, elementwise(Ops.MIN, padded, _like(item, 2.0)))
    else:
        node = graph.reduce(padded, make.axes(len(item.shape)), "max")
        node = elementwise(Ops.MAX, node, _like(item, -5.0))
    make.add(node)


def windows(make: Maker) -> None:
    item = make.pick(1)
    axis = make.random.randrange(len(item.shape))
    extent = item.shape[axis]
    size = make.random.randint(1, min(3, extent))
    stride, dilation = make.random.choice([(1, 1), (1, 1), (2, 1), (1, 2)])
    if dilation * (size - 1) >= extent:
        return
    seen = graph.windows(item.node, axis, size, stride, dilation)
    if make.random.random() < 0.4:
        return make.add(seen, item.exact)
    weights = make.leaf((size,), False).node
    shape = seen.shape
    lined = graph.reshape(weights, tuple(size if k == axis + 1 else 1 for k in range(len(shape))))
    product = elementwise(Ops.MUL, seen, graph.expand(lined, shape))
    make.add(graph.reduce(product, [axis + 1], "sum"))


def unwindows(make: Maker) -> None:
    """The adjoint of windows: overlapping sums."""
    item = make.pick(2)
    if np.prod(item.shape) > 100:
        return
    places, size = item.shape[-2:]
    stride, dilation = make.random.choice([(1, 1), (2, 1), (1, 2), (3, 1)])
    extent = (places - 1) * stride + (size - 1) * dilation + 1 + make.random.randint(0, 1)
    axis = len(item.shape) - 2
    spread = graph.skew(item.node, graph.SkewArg(axis, axis + 1, stride, dilation, extent, True))
    summed = make.random.random() < 0.7
    make.add(graph.reduce(spread, [axis + 1], "sum") if summed else spread)


def convolution(make: Maker) -> None:
    """A padded convolution over the last axis, or its gradient by the input or the weights."""
    item = make.pick(2)
    channels, extent = item.shape[-2:]
    if extent < 2 or np.prod(item.shape) > 80:
        return
    size, outside = make.random.choice([2, 3]), make.random.choice([1, 2])
    lead = item.shape[:-2]
    padded = graph.pad(item.node, [(0, 0)] * (len(lead) + 1) + [(1, 1)])
    stride = make.random.choice([1, 1, 2])
    seen = graph.windows(padded, len(lead) + 1, size, stride)
    *_, places, taps = upper_shape(seen.shape)
    weight = make.leaf((outside, channels, taps), False).node
    shape = (*lead, outside, channels, places, taps)
    spread = graph.expand(graph.reshape(seen, (*lead, 1, channels, places, taps)), shape)
    kernel = graph.broadcast(graph.reshape(weight, (outside, channels, 1, taps)), shape)
    rank = len(shape)
    total = graph.reduce(elementwise(Ops.MUL, spread, kernel), [rank - 3, rank - 1], "sum")
    found = graph.reshape(total, (*lead, outside, places))
    target = make.random.choice([None, item.node, weight])
    if target is None:
        return make.add(found)
    seed = make.leaf((*lead, outside, places), False).node
    (grad,) = gradient(found, [target], seed)
    if grad is not None:
        make.add(grad)


def statistics(make: Maker) -> None:
    """Two reductions of different data over the same rows, in one expression."""
    item = make.pick(2)
    rows = item.shape[:-1]
    other = make.leaf((*rows, make.random.choice([2, 3, 5])), False)
    last = len(rows)
    first = graph.reduce(
        elementwise(Ops.SIN, item.node), [last], make.random.choice(["sum", "max"])
    )
    second = graph.reduce(other.node, [last], make.random.choice(["sum", "min"]))
    if make.random.random() < 0.3:
        second = graph.flip(second, [0])
    make.add(elementwise(Ops.MUL, first, second))


def setitem(make: Maker) -> None:
    """A write through a random view; of a buffer, or of something computed."""
    item = make.pick(1)
    if make.random.random() < 0.6:
        item = make.leaf(item.shape, False)
        make.pool.append(item)
    view: list[tuple[Ops, Any]] = []
    node = item.node
    for _ in range(make.random.randint(1, 3)):
        shape = node.shape
        op, arg = _view_step(make, upper_shape(shape))
        view.append((op, arg))
        node = graph.apply_view(node, ((op, arg),))
    shape = upper_shape(node.shape)
    same = [other for other in make.pool if other.shape == shape and other.finite]
    value = make.random.choice(same).node if same else make.leaf(shape, False).node
    if make.random.random() < 0.4:
        value = elementwise(Ops.ADD, value, graph.apply_view(item.node, tuple(view)))
    make.add(graph.store_view(item.node, value, tuple(view)))


def _view_step(make: Maker, shape: tuple[int, ...]) -> tuple[Ops, Any]:
    rank = len(shape)
    kind = make.random.choice(["reshape", "permute", "shrink", "shrink", "flip"])
    if kind == "permute":
        return Ops.PERMUTE, tuple(make.random.sample(range(rank), rank))
    if kind == "flip" and rank:
        return Ops.FLIP, tuple(sorted(make.axes(rank)))
    if kind == "shrink":
        return Ops.SHRINK, tuple(_range(make, n) for n in shape)
    return Ops.RESHAPE, _reshaped(make, shape)


def symbolic(make: Maker) -> None:
    """A part whose bounds are known at launch: reduced, or written through."""
    item = make.pick(1)
    axis = make.random.randrange(len(item.shape))
    extent = item.shape[axis]
    name = make.random.choice("LMN")
    if name not in make.variables:
        make.variables[name] = make.random.randint(1, extent)
        make.bounds[name] = (1, extent)
    if make.bounds[name][1] > extent:
        return
    end = variable(name, *make.bounds[name])
    begin = make.random.choice([as_index(0), end - 1])
    box = [(begin, end) if k == axis else (0, n) for k, n in enumerate(item.shape)]
    part = graph.shrink(item.node, box)
    kind = make.random.choice(["sum", "max", "write", "weights"])
    if kind == "write":
        value = elementwise(Ops.MUL, part, _like(item, 0.5))
        view = ((Ops.SHRINK, tuple(box)),)
        return make.add(graph.store_view(item.node, value, view))
    if kind == "weights":
        negative = elementwise(Ops.NEG, graph.reduce(part, [axis], "max"))
        negative = graph.expand(negative, part.shape)
        part = elementwise(Ops.EXP, elementwise(Ops.ADD, part, negative))
    found = graph.reduce(part, [axis], "max" if kind == "max" else "sum")
    make.add(found, item.exact and kind == "max")


def rows(make: Maker) -> None:
    """Gather or scatter of rows."""
    item = make.pick(1)
    shape = make.random.choice([(3,), (4,), (2, 2)])
    ids = make.ids(shape, item.shape[0])
    if make.random.random() < 0.2 and shape == (4,) and item.shape[0] >= 4:
        ids = graph.iota(4)
    if make.random.random() < 0.5:
        return make.add(graph.gather(item.node, ids), item.exact)
    values = make.leaf((*shape, *item.shape[1:]), item.exact).node
    combine = make.random.choice(["sum", "max", "min", "prod"])
    exact = item.exact and combine in ("max", "min")
    make.add(graph.scatter(item.node, ids, values, combine), exact)


def whole(make: Maker) -> None:
    """Some ops on integers of one type, and what they lead to; then back."""
    exact = [item for item in make.pool if item.exact]
    if not exact:
        return
    item = make.random.choice(exact)
    dtype = make.random.choice(
        [dtypes.int32, dtypes.int32, dtypes.int16, dtypes.int8, dtypes.int64]
    )
    number = first = graph.cast(item.node, dtype)
    for _ in range(make.random.randint(1, 4)):
        op = make.random.choice(INTEGER)
        other = number.const_like(make.random.randint(-3, 3))
        if op in SHIFTS:
            other = number.const_like(make.random.randint(0, dtype.itemsize))
        elif make.random.random() < 0.4:
            other = first
        number = elementwise(op, number, other)
    # of three bits, so that the result is small; a sign makes no difference
    number = elementwise(Ops.AND, number, number.const_like(7))
    kind = make.random.choice(["plain", "compare", "any", "all", "count", "place"])
    if kind == "compare":
        number = elementwise(make.random.choice([Ops.LT, Ops.EQ]), number, number.const_like(2))
    if item.shape and kind in ("any", "all"):
        hits = elementwise(Ops.LT, number, number.const_like(3))
        number = graph.reduce(hits, make.axes(len(item.shape)), "max" if kind == "any" else "min")
    if item.shape and kind == "count":
        number = graph.reduce(number, make.axes(len(item.shape)), "sum", dtypes.int32)
    if item.shape and kind == "place":
        number = _place_of_largest(number, make.random.randrange(len(item.shape)))
    make.add(graph.cast(number, item.node.dtype), kind != "count")


def _place_of_largest(number: UOp, axis: int) -> UOp:
    shape = upper_shape(number.shape)
    top = graph.expand(graph.reduce(number, [axis], "max"), shape)
    places = _places(shape, axis)
    other = places.const_like(shape[axis])
    hits = elementwise(Ops.WHERE, elementwise(Ops.EQ, number, top), places, other)
    return graph.reduce(hits, [axis], "min")


def number(make: Maker) -> None:
    """A VARIABLE as a value."""
    item = make.pick()
    name = make.random.choice("PQ")
    make.bounds[name] = low, high = make.bounds.get(name, (-1, 3))
    make.variables.setdefault(name, make.random.randint(low, high))
    value = UOp(Ops.VARIABLE, dtypes.int32, (), (name, low, high))
    whole = graph.broadcast(graph.cast(value, item.node.dtype), item.shape)
    op = make.random.choice([Ops.ADD, Ops.MUL, Ops.MAX])
    make.add(elementwise(op, item.node, whole), item.exact and op is not Ops.MUL)


def half(make: Maker) -> None:
    """A type of two bytes and back; one of any size where nothing depends on how it rounds."""
    item = make.pick()
    narrow = dtypes.float16
    if item.exact:
        narrow = make.random.choice([dtypes.bfloat16, dtypes.fp8e4m3, dtypes.fp8e5m2])
    else:
        make.tolerance = TOLERANCES[2]
    make.add(graph.cast(graph.cast(item.node, narrow), item.node.dtype), item.exact)


def store(make: Maker) -> None:
    make.number += 1
    make.add(graph.contiguous(make.pick().node, make.number))


def backward(make: Maker) -> None:
    """The gradient of a sum of squares by some leaf or inner node."""
    item = make.pick()
    order = [
        n for n in toposort([item.node]) if n.dtype is item.node.dtype and n.op is not Ops.CONST
    ]
    if not _is_smooth(order):
        return
    target = make.random.choice(order)
    axes = range(len(item.shape))
    loss = graph.reduce(elementwise(Ops.MUL, item.node, item.node), axes, "sum")
    (found,) = gradient(loss, [target])
    if found is not None:
        make.add(found, finite=False)


def _is_smooth(order: list[UOp]) -> bool:
    """Ties of rounded numbers would be another tie for each order of a sum; FIN has no gradient."""
    exact = (Ops.MAX, Ops.MIN, Ops.SCATTER, Ops.FIN)
    tops = [n for n in order if n.op is Ops.REDUCE and n.arg.combine in ("max", "min", "prod")]
    return not tops and not any(node.op in exact for node in order)


STEPS: dict[Callable[[Maker], None], int] = {
    unary: 7,
    binary: 6,
    choice: 2,
    reduce: 6,
    row: 4,
    weighted: 4,
    normalise: 1,
    matmul: 3,
    move: 6,
    low_pad: 1,
    windows: 2,
    unwindows: 3,
    convolution: 2,
    statistics: 1,
    setitem: 3,
    rows: 4,
    symbolic: 2,
    whole: 6,
    number: 2,
    half: 1,
    store: 1,
    backward: 2,
}
"""How often each step is taken."""
WEIGHTS = STEPS.values()
