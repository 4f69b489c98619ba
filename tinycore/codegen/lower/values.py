"""Evaluates the expressions of a kernel at one point, and reads and writes its buffers.

In: a value of the tree, a STORE. Out: placed nodes; equal ones are one, so that copies of a loop
share them. Next file: expand.py.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import gcd
from typing import NamedTuple

from tinycore.codegen.lower.indices import FALSE, TRUE, Indices
from tinycore.codegen.lower.storage import Storage
from tinycore.dtype import DType, dtypes
from tinycore.uop.index import Index
from tinycore.uop.ops import CASTS, Ops, UOp, postorder
from tinycore.uop.tree import Access, operands
from tinycore.util import dedup


class Spot(NamedTuple):
    """An access here.

    `width` is the lanes of each register, 0 in memory; `step` is how far `offset` moves from lane
    to lane, None if unequally; `lanes` is how many elements it has; `inside` are the truths that
    what it gathers is in bounds.
    """

    buffer: UOp
    width: int
    offset: Index
    step: int | None
    lanes: int
    mask: Sequence[Index]
    inside: Sequence[UOp]


class Values(Indices):
    """Expressions to nodes.

    `buffers` holds what stands for each declared buffer; `visits` counts nodes.
    """

    def __init__(self, storage: dict[UOp, Storage], short: bool) -> None:
        super().__init__(short)
        self.storage = storage
        self.buffers = {buffer: buffer for buffer in storage}
        self.visits = 0
        self.order = cache(_sources_first)
        self.offset = cache(lambda buffer, access: storage[buffer].offset(access))

    def evaluate(self, value: UOp) -> UOp:
        """The node of `value` here and now."""
        done = {}
        order = self.order(value)
        self.visits += len(order)
        for node in order:
            leaf = _LEAVES.get(node.op)
            if leaf:
                done[node] = leaf(self, node)
                continue
            src = tuple([done.get(source, source) for source in node.src])
            if node.op in CASTS:
                dtype = node.dtype.vec(src[0].dtype.lanes)
                done[node] = self.put(UOp(node.op, dtype, src))
            else:
                done[node] = self.apply(node.op, *src, tag=node.tag)
        return done.get(value, value)

    def changed(self, *buffers: UOp) -> int:
        """Note that buffers hold something new from now on; the moment of that."""
        moment = self.moment()
        self.now.update(dict.fromkeys(buffers, moment))
        return moment

    def let(self, statement: UOp) -> None:
        """A LET is what its value is where it stands."""
        self.now[statement] = self.evaluate(statement.src[0])

    def variable(self, node: UOp) -> UOp:
        """A number bound at launch."""
        number = node.replace(dtype=dtypes.int64)
        return self.narrow(number, node.dtype)

    def index(self, node: UOp) -> UOp:
        """An index value as a number."""
        number = self.value(self.bind(node.arg))
        return self.narrow(number, node.dtype)

    def mask(self, conditions: Sequence[Index]) -> UOp:
        """The truth of a conjunction of the tree."""
        return self.holds(map(self.bind, conditions))

    # accesses

    def load(self, node: UOp) -> UOp:
        """What a LOAD reads."""
        spot = self._spot(node.source, node.arg)
        return self._read(spot, node.const_like(node.arg.fill or 0))

    def store(self, statement: UOp) -> None:
        """Run a STORE that combines with nothing."""
        [place] = statement.arg.places
        value = self.evaluate(statement.src[1])
        spot = self._spot(statement.source, place, value.dtype.lanes)
        self._write(spot, value)

    def _spot(self, buffer: UOp, access: Access, values: int = 1) -> Spot:
        storage = self.storage[buffer]
        place = self.offset(buffer, access)
        inside = self.inside(place)
        mask = [*map(self.bind, access.mask)]
        offset = self.bind(place)
        step = self.step(offset)
        if step == 0:
            lanes = max([values, *[node.dtype.lanes for node in inside]])
            if lanes > 1 or any(self.step(index) != 0 for index in mask):
                step = None
        elif step != 1 and not storage.width:
            step = None
        lanes = 1 if step == 0 else self.lanes
        return Spot(buffer, storage.width, offset, step, lanes, mask, inside)

    def _in_each_lane(self, spot: Spot) -> Iterator[Spot]:
        found = map(self.by_lane, (spot.offset, *spot.mask))
        for lane, (offset, *mask) in enumerate(zip(*found, strict=True)):
            inside = [self.one(node, lane) for node in spot.inside]
            yield spot._replace(offset=offset, step=0, lanes=1, mask=mask, inside=inside)

    def _read(self, spot: Spot, fill: UOp) -> UOp:
        if spot.step is None and not spot.width:
            parts = [self._read(one, fill) for one in self._in_each_lane(spot)]
            lanes = range(len(parts))
            return self.merge(parts, tuple(lanes))
        test = self.holds(spot.mask, spot.inside)
        if test is FALSE:
            return fill
        if spot.width:
            value = self._read_registers(spot)
            return self.apply(Ops.WHERE, test, value, fill)
        first = self.first(spot.offset)
        src = [self.same(first)]
        if test is not TRUE:
            src.append(self.splat(test, spot.lanes))
            src.append(self.splat(fill, spot.lanes))
        whole = is_multiple(first, spot.lanes)
        return self._load(spot.buffer, fill.dtype.vec(spot.lanes), whole, *src)

    def _write(self, spot: Spot, value: UOp) -> None:
        if spot.step is None:
            for lane, one in enumerate(self._in_each_lane(spot)):
                self._write(one, self.one(value, lane))
            return
        test = self.holds(spot.mask, spot.inside)
        if test is FALSE:
            return
        value = self.splat(value, spot.lanes)
        if spot.width:
            if test is not TRUE:
                old = self._read_registers(spot)
                value = self.apply(Ops.WHERE, test, value, old)
            self._write_registers(spot, value)
            return
        first = self.first(spot.offset)
        src = [self.same(first), value]
        if test is not TRUE:
            src.append(self.splat(test, spot.lanes))
        self._store(spot.buffer, is_multiple(first, spot.lanes), *src)

    def _load(self, buffer: UOp, dtype: DType, whole: bool, *src: UOp) -> UOp:
        node = UOp(Ops.LOAD, dtype, (self.buffers[buffer], *src), whole)
        return self.put_load(buffer, node, self.now.get(buffer, 0))

    def _store(self, buffer: UOp, whole: bool, *src: UOp) -> None:
        moment = self.changed(buffer)
        src = (self.buffers[buffer], *src)
        self.append(UOp(Ops.STORE, dtypes.void, src, whole, moment))

    # registers

    def _read_registers(self, spot: Spot) -> UOp:
        width, last = spot.width, self.storage[spot.buffer].size - 1
        # a lane outside is one that its mask leaves out
        inside = [min(max(element, 0), last) for element in self._elements(spot)]
        places = [divmod(element, width) for element in inside]
        units = dedup([unit for unit, _ in places])
        parts = [self._register(spot.buffer, unit) for unit in units]
        lanes = [width * units.index(unit) + lane for unit, lane in places]
        return self.merge(parts, tuple(lanes))

    def _write_registers(self, spot: Spot, value: UOp) -> None:
        width, size = spot.width, self.storage[spot.buffer].size
        places = enumerate(self._elements(spot))
        lane_of = {element: lane for lane, element in places if 0 <= element < size}
        for unit in dedup([element // width for element in lane_of]):
            parts = [value]
            first = unit * width
            lanes = [lane_of.get(first + k, -1) for k in range(width)]
            if -1 in lanes:
                parts = [self._register(spot.buffer, unit), value]
                lanes = [k if lane < 0 else width + lane for k, lane in enumerate(lanes)]
            new = self.merge(parts, tuple(lanes))
            self._store(spot.buffer, True, self.number(unit), new)

    def fill(self, buffer: UOp, value: UOp) -> None:
        """Put one value in every register of a buffer."""
        storage = self.storage[buffer]
        value = self.splat(value, storage.width)
        for unit in range(storage.size // storage.width):
            self._store(buffer, True, self.number(unit), value)

    def _elements(self, spot: Spot) -> list[int]:
        if spot.step is None:
            return [index.const for index in self.by_lane(spot.offset)]
        first = spot.offset.const
        return [first + spot.step * lane for lane in range(spot.lanes)]

    def _register(self, buffer: UOp, unit: int) -> UOp:
        dtype = self.buffers[buffer].dtype
        return self._load(buffer, dtype, True, self.number(unit))


_LEAVES: dict[Ops, Callable[[Values, UOp], UOp]] = {
    Ops.LET: lambda values, node: values.now[node],
    Ops.LOAD: Values.load,
    Ops.INDEX: Values.index,
    Ops.MASK: lambda values, node: values.mask(node.arg),
    Ops.VARIABLE: Values.variable,
}


def is_multiple(index: Index, number: int) -> bool:
    """True if every value of an index is known to be a multiple."""
    factors = [factor for _, factor in index.terms]
    return gcd(index.const, *factors) % number == 0


def _sources_first(value: UOp) -> list[UOp]:
    """What an expression is computed from, and itself, but for constants."""
    nodes = postorder([value], operands)
    return [node for node in nodes if node.op is not Ops.CONST]
