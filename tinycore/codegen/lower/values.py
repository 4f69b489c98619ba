"""Evaluates the expressions of a kernel at one point of it, and reads and writes its buffers.

Comes in: a value of the tree, a STORE. Goes out: placed nodes, vectors where the value runs along
lanes; equal nodes are one, so that copies of a loop share what they have in common. What no vector
access can do (unequal steps) is done lane by lane. expand.py runs the statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from tinycore.codegen.lower.blocks import Blocks
from tinycore.codegen.lower.indices import FALSE, TRUE, Indices
from tinycore.codegen.lower.storage import Storage
from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import Mask
from tinycore.uop.index import Index
from tinycore.uop.ops import CASTS, Ops, UOp, const, postorder
from tinycore.uop.tree import Access
from tinycore.util import dedup


class Spot(NamedTuple):
    """An access here: its offset, how far that moves from lane to lane (None: not by equal steps),
    its mask, and the truths that what it gathers is in bounds."""

    offset: Index
    step: int | None
    mask: Mask
    inside: tuple[UOp, ...]


class Values:
    """Expressions to nodes.

    `buffers` holds what stands for a buffer of the tree; `visits` counts the nodes looked at.
    """

    def __init__(self, storage: Mapping[UOp, Storage]) -> None:
        self.storage = storage
        self.blocks = Blocks()
        self.indices = Indices(self.blocks, self.evaluate)
        self.now = self.indices.now
        self.buffers: dict[UOp, UOp] = {}
        self.visits = 0
        self.order = cache(_sources_first)
        self.offset = cache(self._offset)

    def evaluate(self, value: UOp) -> UOp:
        """The node of `value` here and now."""
        done: dict[UOp, UOp] = {}
        order = self.order(value)
        self.visits += len(order)
        for node in order:
            done[node] = self._made(node, done)
        return done[value]

    def changed(self, *buffers: UOp) -> int:
        """Note that buffers hold something new from here on; the moment they do."""
        moment = self.blocks.number()
        self.now.update(dict.fromkeys(buffers, moment))
        return moment

    # scalar ops

    def _made(self, node: UOp, done: Mapping[UOp, UOp]) -> UOp:
        leaf = _LEAVES.get(node.op)
        if leaf is not None:
            return leaf(self, node)
        src = [done.get(source, source) for source in node.src]
        if node.op not in CASTS:
            return self.blocks.apply(node.op, *src, tag=node.tag)
        dtype = node.dtype.vec(src[0].dtype.lanes)
        return self.blocks.put(UOp(node.op, dtype, tuple(src)))

    def let(self, statement: UOp) -> None:
        """A LET is what its value is where it stands."""
        self.now[statement] = self.evaluate(statement.src[0])

    def read(self, let: UOp) -> UOp:
        """What a LET was where it stands."""
        found: UOp = self.now[let]
        return found

    def variable(self, node: UOp) -> UOp:
        """A number bound at launch."""
        number = UOp(Ops.VARIABLE, dtypes.int64, (), node.arg)
        return self.blocks.narrow(number, node.dtype)

    def index(self, node: UOp) -> UOp:
        """An index value as a number."""
        number = self.indices.value(self.indices.bind(node.arg))
        return self.blocks.narrow(number, node.dtype)

    def holds(self, mask: Mask) -> UOp:
        """The truth of a conjunction of the tree."""
        return self.indices.holds(map(self.indices.bind, mask))

    # accesses

    def load(self, node: UOp) -> UOp:
        """What a LOAD reads."""
        return self._read(node, self._spot(node.src[0], node.arg))

    def store(self, statement: UOp) -> None:
        """Run a STORE, which combines with nothing any more."""
        buffer, value = statement.src
        value = self.evaluate(value)
        spot = self._spot(buffer, statement.arg.places[0], value.dtype.lanes)
        self._write(buffer, spot, value)

    def _offset(self, buffer: UOp, access: Access) -> Index:
        return self.storage[buffer].offset(access, buffer.arg.slots)

    def _spot(self, buffer: UOp, access: Access, lanes: int = 1) -> Spot:
        """An access that moves so many values."""
        here = self.indices
        place = self.offset(buffer, access)
        inside = here.inside(place)
        mask = tuple(map(here.bind, access.mask))
        offset = here.bind(place)
        step = here.step(offset)
        lanes = max([lanes, *[node.dtype.lanes for node in inside]])
        if step == 0 and (lanes > 1 or any(here.step(index) != 0 for index in mask)):
            step = None
        return Spot(offset, step, mask, tuple(inside))

    def _in_each_lane(self, spot: Spot) -> Iterator[Spot]:
        places = zip(*map(self.indices.by_lane, (spot.offset, *spot.mask)), strict=True)
        for lane, (offset, *mask) in enumerate(places):
            inside = [self.blocks.one(node, lane) for node in spot.inside]
            yield Spot(offset, 0, tuple(mask), tuple(inside))

    def _read(self, node: UOp, spot: Spot) -> UOp:
        """What is at a spot, or the fill of the LOAD where its test is false."""
        buffer = node.src[0]
        in_registers = self.storage[buffer].width > 0
        if spot.step not in (0, 1) and not in_registers:
            parts = [self._read(node, one) for one in self._in_each_lane(spot)]
            return self.blocks.join(parts)
        test = self.indices.holds(spot.mask, spot.inside)
        if test is FALSE:
            return _fill(node)
        if in_registers:
            value = self._read_registers(buffer, spot)
            if test is TRUE:
                return value
            return self.blocks.apply(Ops.WHERE, test, value, _fill(node))
        lanes = self._lanes(spot)
        src = [self._first(spot)]
        if test is not TRUE:
            src += [self.blocks.splat(part, lanes) for part in (test, _fill(node))]
        return self._load(buffer, node.dtype.vec(lanes), *src)

    def _write(self, buffer: UOp, spot: Spot, value: UOp) -> None:
        """Put `value` at a spot where its test holds."""
        in_registers = self.storage[buffer].width > 0
        if spot.step is None or (spot.step not in (0, 1) and not in_registers):
            for lane, one in enumerate(self._in_each_lane(spot)):
                self._write(buffer, one, self.blocks.one(value, lane))
            return
        test = self.indices.holds(spot.mask, spot.inside)
        if test is FALSE:
            return
        lanes = self._lanes(spot)
        value = self.blocks.splat(value, lanes)
        if in_registers:
            if test is not TRUE:
                old = self._read_registers(buffer, spot)
                value = self.blocks.apply(Ops.WHERE, test, value, old)
            self._write_registers(buffer, spot, value)
            return
        src = [self._first(spot), value]
        if test is not TRUE:
            src.append(self.blocks.splat(test, lanes))
        self._store(buffer, *src)

    def _lanes(self, spot: Spot) -> int:
        return 1 if spot.step == 0 else self.indices.lanes

    def _first(self, spot: Spot) -> UOp:
        """The offset of the first lane."""
        first = spot.offset
        if spot.step:
            first = self.indices.first(first)
        return self.indices.same(first)

    def _load(self, buffer: UOp, dtype: DType, *src: UOp) -> UOp:
        moment: int = self.now.get(buffer, 0)
        stored = self.buffers[buffer]
        return self.blocks.put_load(buffer, dtype, (stored, *src), moment)

    def _store(self, buffer: UOp, *src: UOp) -> None:
        moment = self.changed(buffer)
        stored = self.buffers[buffer]
        node = UOp(Ops.STORE, dtypes.void, (stored, *src), None, moment)
        self.blocks.append(node)

    # registers

    def _read_registers(self, buffer: UOp, spot: Spot) -> UOp:
        storage = self.storage[buffer]
        width, last = storage.width, storage.size - 1
        # a lane outside is one that its mask leaves out
        elements = [min(max(element, 0), last) for element in self._elements(spot)]
        units = dedup([element // width for element in elements])
        parts = [self._register(buffer, unit) for unit in units]
        lanes = [width * units.index(element // width) + element % width for element in elements]
        return self.blocks.merge(parts, tuple(lanes))

    def _write_registers(self, buffer: UOp, spot: Spot, value: UOp) -> None:
        storage = self.storage[buffer]
        width, size = storage.width, storage.size
        places = enumerate(self._elements(spot))
        lane_of = {element: lane for lane, element in places if 0 <= element < size}
        for unit in dedup([element // width for element in lane_of]):
            parts = [value]
            first = unit * width
            lanes = [lane_of.get(first + k, -1) for k in range(width)]
            if -1 in lanes:
                parts = [self._register(buffer, unit), value]
                lanes = [k if lane < 0 else width + lane for k, lane in enumerate(lanes)]
            new = self.blocks.merge(parts, tuple(lanes))
            self._store(buffer, self.indices.number(unit), new)

    def fill(self, buffer: UOp, value: UOp) -> None:
        """Put one value in every register of a buffer."""
        storage = self.storage[buffer]
        value = self.blocks.splat(value, storage.width)
        for unit in range(storage.size // storage.width):
            self._store(buffer, self.indices.number(unit), value)

    def _elements(self, spot: Spot) -> Sequence[int]:
        """The element of each lane."""
        if spot.step is None:
            return [index.const for index in self.indices.by_lane(spot.offset)]
        first, step = spot.offset.const, spot.step or 1
        return range(first, first + step * self._lanes(spot), step)

    def _register(self, buffer: UOp, unit: int) -> UOp:
        dtype = self.buffers[buffer].dtype
        return self._load(buffer, dtype, self.indices.number(unit))


_LEAVES: dict[Ops, Callable[[Values, UOp], UOp]] = {
    Ops.CONST: lambda values, node: node,
    Ops.LET: Values.read,
    Ops.LOAD: Values.load,
    Ops.INDEX: Values.index,
    Ops.MASK: lambda values, node: values.holds(node.arg),
    Ops.VARIABLE: Values.variable,
}


def _fill(node: UOp) -> UOp:
    """What a LOAD gives where it does not read."""
    return const(node.arg.fill or 0, node.dtype)


def _evaluated_before(node: UOp) -> list[UOp]:
    """The sources of a scalar op but for constants; leaves have none."""
    sources = () if node.op in _LEAVES else node.src
    return [source for source in sources if source.op is not Ops.CONST]


def _sources_first(value: UOp) -> list[UOp]:
    return postorder([value], _evaluated_before)
