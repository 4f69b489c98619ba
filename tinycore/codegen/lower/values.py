"""Evaluates the expressions of a kernel at one point, and reads and writes its buffers.

In: a value of the tree, a STORE. Out: placed nodes; equal ones are one, so that copies of a loop
share them. Next file: expand.py.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from math import gcd
from typing import NamedTuple

from tinycore.codegen.lower.indices import FALSE, TRUE, Indices
from tinycore.codegen.lower.storage import Storage
from tinycore.dtype import dtypes
from tinycore.uop.index import Index
from tinycore.uop.lowered import WARP
from tinycore.uop.ops import CASTS, Ops, UOp, postorder
from tinycore.uop.tree import Access, operands
from tinycore.util import dedup


class Spot(NamedTuple):
    """An access here, or that of one lane.

    `width` is the lanes of each register, 0 in memory; `step` is how far `offset` moves from lane
    to lane, None if unequally; `lanes` is how many elements it has, `test` where it has them.
    """

    buffer: UOp
    width: int
    offset: Index
    step: int | None
    lanes: int
    test: UOp


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
            if node.op is Ops.DOT:
                lanes = [self.splat(part, self.lanes) for part in src]
                done[node] = self.put(node.over(tuple(lanes)))
            elif node.op in CASTS:
                dtype = node.dtype.vec(src[0].lanes)
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
        self.now[statement] = self.evaluate(statement.source)

    def index(self, node: UOp) -> UOp:
        """An index value as a number."""
        number = self.value(self.bind(node.arg))
        return self.narrow(number, node.dtype)

    # accesses

    def load(self, node: UOp) -> UOp:
        """What a LOAD reads."""
        fill = node.const_like(node.arg.fill)
        spots = self._spots(node.source, node.arg)
        parts = [self._read(spot, fill) for spot in spots]
        if node.source.space == WARP:
            return self._exchanged(node, *parts)
        if len(parts) == 1:
            return parts[0]
        lanes = range(len(parts))
        return self.merge(parts, tuple(lanes))

    def _exchanged(self, node: UOp, held: UOp) -> UOp:
        """What the thread at the index of a LOAD holds."""
        number = self.value(self.bind(*node.arg.indices))
        if number.is_loop:
            return held
        return self.put(UOp(Ops.EXCHANGE, held.dtype, (held, number)))

    def store(self, statement: UOp) -> None:
        """Run a STORE that combines with nothing."""
        [place] = statement.places
        value = self.evaluate(statement.src[1])
        spots = self._spots(statement.source, place, value.lanes)
        for lane, spot in enumerate(spots):
            if spot.test is not FALSE:
                part = value if spot.lanes > 1 else self.one(value, lane)
                self._write(spot, part)

    def _spots(self, buffer: UOp, access: Access, stored: int = 0) -> Iterator[Spot]:
        """An access as a whole, or lane by lane; `stored` is how many lanes it writes."""
        width = self.storage[buffer].width
        place = self.offset(buffer, access)
        inside = self.inside(place)
        mask = [*map(self.bind, access.mask)]
        offset = self.bind(place)
        step = self.step(offset)
        if step == 0:
            lanes = max([stored, *[node.lanes for node in inside]])
            if lanes > 1 or any(self.step(index) != 0 for index in mask):
                step = None
        elif step != 1 and not width:
            step = None
        if step is not None or (width and not stored):
            lanes = 1 if step == 0 else self.lanes
            test = self.holds(mask, inside)
            yield Spot(buffer, width, offset, step, lanes, test)
            return
        places = map(self.by_lane, (offset, *mask))
        for lane, (offset, *mask) in enumerate(zip(*places, strict=True)):
            tests = [self.one(node, lane) for node in inside]
            test = self.holds(mask, tests)
            yield Spot(buffer, width, offset, 0, 1, test)

    def _read(self, spot: Spot, fill: UOp) -> UOp:
        if spot.test is FALSE:
            return fill
        if spot.width:
            held = self._read_registers(spot)
            return self.apply(Ops.WHERE, spot.test, held, fill)
        masked = [] if spot.test is TRUE else [spot.test, fill]
        is_whole, first = self._first(spot)
        return self._load(spot.buffer, spot.lanes, is_whole, first, *masked)

    def _write(self, spot: Spot, value: UOp) -> None:
        value = self.splat(value, spot.lanes)
        if spot.width:
            if spot.test is not TRUE:
                value = self.apply(Ops.WHERE, spot.test, value, self._read_registers(spot))
            self.write_registers(spot.buffer, self._elements(spot), value)
            return
        masked = [] if spot.test is TRUE else [self.splat(spot.test, spot.lanes)]
        is_whole, first = self._first(spot)
        self._store(spot.buffer, is_whole, first, value, *masked)

    def _first(self, spot: Spot) -> tuple[bool, UOp]:
        """If the offset of the first lane is a multiple of the lanes, and that offset."""
        first = self.first(spot.offset)
        factors = [factor for _, factor in first.terms]
        is_whole = gcd(first.const, *factors) % spot.lanes == 0
        return is_whole, self.same(first)

    def _load(self, buffer: UOp, lanes: int, whole: bool, offset: UOp, *masked: UOp) -> UOp:
        src = [self.buffers[buffer], offset]
        src += [self.splat(node, lanes) for node in masked]
        moment = self.now.get(buffer, 0)
        dtype = buffer.dtype.vec(lanes)
        return self.put_load(buffer, moment, dtype, tuple(src), whole)

    def _store(self, buffer: UOp, whole: bool, *src: UOp) -> None:
        moment = self.changed(buffer)
        src = (self.buffers[buffer], *src)
        self.append(UOp(Ops.STORE, dtypes.void, src, whole, moment))

    # registers

    def _read_registers(self, spot: Spot) -> UOp:
        width = spot.width
        last = self.storage[spot.buffer].size - 1
        # a lane outside is one that its mask leaves out
        inside = [min(max(element, 0), last) for element in self._elements(spot)]
        places = [divmod(element, width) for element in inside]
        units = dedup([unit for unit, _ in places])
        parts = [self._load(spot.buffer, width, True, self.number(unit)) for unit in units]
        lanes = [width * units.index(unit) + lane for unit, lane in places]
        return self.merge(parts, tuple(lanes))

    def write_registers(self, buffer: UOp, elements: Iterable[int], value: UOp) -> None:
        """Put the lanes of a value, in turn, in those of the elements that there are."""
        storage = self.storage[buffer]
        count = value.lanes
        places = enumerate(elements)
        lane_of = {one: lane % count for lane, one in places if 0 <= one < storage.size}
        for unit in dedup([element // storage.width for element in lane_of]):
            inside = range(storage.width)
            lanes = [lane_of.get(unit * storage.width + k, count + k) for k in inside]
            place = self.number(unit)
            parts = [value]
            if max(lanes) >= count:
                parts.append(self._load(buffer, storage.width, True, place))
            new = self.merge(parts, tuple(lanes))
            self._store(buffer, True, place, new)

    def _elements(self, spot: Spot) -> list[int]:
        if spot.step is None:
            return [index.const for index in self.by_lane(spot.offset)]
        first = spot.offset.const
        return [first + spot.step * lane for lane in range(spot.lanes)]


_LEAVES: dict[Ops, Callable[[Values, UOp], UOp]] = {
    Ops.LET: lambda values, node: values.now[node],
    Ops.LOAD: Values.load,
    Ops.INDEX: Values.index,
    Ops.MASK: lambda values, node: values.mask(node.arg),
}


def _sources_first(value: UOp) -> list[UOp]:
    """What an expression is computed from, and itself, but for constants."""
    nodes = postorder([value], operands)
    return [node for node in nodes if not node.is_const]
