"""Reads and writes of elements, in registers and in memory, one or a vector at a time.

Comes in: a buffer, a bound index, a test. Goes out: LOAD, STORE and SHUFFLE nodes, placed. What
no vector access can do (unequal steps) is refused, and values.py goes lane by lane.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinycore.codegen.lower.indices import TRUE, Indices
from tinycore.codegen.lower.scope import Scope
from tinycore.dtype import dtypes
from tinycore.uop.index import Index, make
from tinycore.uop.ops import Ops, UOp, alu, const


class Elements:
    """The elements of the buffers of a scope."""

    def __init__(self, scope: Scope, indices: Indices) -> None:
        self.scope = scope
        self.indices = indices
        self.addresses = scope.addresses
        self.blocks = scope.blocks
        self.units: dict[tuple[UOp, int], tuple[UOp, UOp]] = {}
        self.transposed: dict[tuple[UOp, ...], tuple[UOp, ...]] = {}

    def read(self, buffer: UOp, index: Index, test: UOp, fill: UOp) -> UOp | None:
        """What `buffer` holds at `index`, or `fill` where `test` is false; None if no vector
        access can tell."""
        width = self.scope.storage[buffer].width
        if width:
            return self._chosen(test, self._read_registers(buffer, width, index), fill)
        step = self.indices.step(index)
        lanes = 1 if step == 0 else self.scope.lanes
        if step not in (-1, 0, 1) or test.dtype.lanes > lanes:
            return None
        if step == -1:
            return self._read_backward(buffer, index, test, fill)
        return self._read_memory(buffer, index, test, fill, lanes)

    def write(self, buffer: UOp, index: Index, value: UOp, test: UOp) -> bool:
        """Put `value` at `index` where `test` holds; False if no vector access can."""
        width = self.scope.storage[buffer].width
        if width:
            return self._write_registers(buffer, width, index, value, test)
        step = self.indices.step(index)
        lanes = 1 if step == 0 else self.scope.lanes
        if step not in (-1, 0, 1) or max(test.dtype.lanes, value.dtype.lanes) > lanes:
            return False
        value = self.addresses.splat(value, lanes)
        if step == -1:
            order = tuple(range(lanes))[::-1]
            index, value = index - (lanes - 1), self.addresses.pick(value, order)
            test = self.addresses.pick(test, order) if test.dtype.lanes > 1 else test
        self._write_memory(buffer, index, value, test)
        return True

    # memory

    def _read_memory(self, buffer: UOp, index: Index, test: UOp, fill: UOp, lanes: int) -> UOp:
        dtype = buffer.dtype.vec(lanes)
        src = [self.scope.buffers[buffer], self._first(index, lanes)]
        if test is not TRUE:
            src += [self.addresses.splat(test, lanes), const(fill.arg, dtype)]
        return self.blocks.put_load(buffer, dtype, src, self.scope.moments.get(buffer, 0))

    def _read_backward(self, buffer: UOp, index: Index, test: UOp, fill: UOp) -> UOp:
        lanes = self.scope.lanes
        order = tuple(range(lanes))[::-1]
        test = self.addresses.pick(test, order) if test.dtype.lanes > 1 else test
        forward = self._read_memory(buffer, index - (lanes - 1), test, fill, lanes)
        return self.addresses.pick(forward, order)

    def _write_memory(self, buffer: UOp, index: Index, value: UOp, test: UOp) -> None:
        lanes = value.dtype.lanes
        src = [self.scope.buffers[buffer], self._first(index, lanes), value]
        if test is not TRUE:
            src.append(self.addresses.splat(test, lanes))
        self._store(buffer, tuple(src))

    def _first(self, index: Index, lanes: int) -> UOp:
        """The address of lane 0."""
        lane = self.scope.lane
        if lanes > 1 and lane is not None:
            terms = [term for term in index.terms if term[0] is not lane]
            index = make(index.const, tuple(terms))
        return self.addresses.value(index)

    def _store(self, buffer: UOp, src: tuple[UOp, ...]) -> None:
        moment = self.scope.changed(buffer)
        self.blocks.append(UOp(Ops.STORE, dtypes.void, src, None, moment))

    # registers

    def _read_registers(self, buffer: UOp, width: int, index: Index) -> UOp:
        places = self._places(index)
        if _is_unit(places, width):
            return self._register(buffer, places[0] // width)
        units = list(dict.fromkeys([place // width for place in places]))
        parts = [self._register(buffer, unit) for unit in units]
        if _is_column(places, width):
            return self._columns(tuple(parts))[places[0] % width]
        first = {unit: width * k for k, unit in enumerate(units)}
        lanes = [first[place // width] + place % width for place in places]
        return self._shuffle(tuple(parts), tuple(lanes))

    def _write_registers(
        self, buffer: UOp, width: int, index: Index, value: UOp, test: UOp
    ) -> bool:
        places = self._places(index)
        if max(value.dtype.lanes, test.dtype.lanes) > len(places):
            return False
        value = self.addresses.splat(value, len(places))
        if test is not TRUE:
            value = self._chosen(test, value, self._read_registers(buffer, width, index))
        if _is_unit(places, width):
            self._store(buffer, (*self._unit(buffer, places[0] // width), value))
            return True
        lanes_of: dict[int, dict[int, int]] = {}
        for lane, place in enumerate(places):
            lanes_of.setdefault(place // width, {})[place % width] = lane
        for unit, lanes in lanes_of.items():
            new = self._merged(buffer, unit, value, lanes)
            self._store(buffer, (*self._unit(buffer, unit), new))
        return True

    def _merged(self, buffer: UOp, unit: int, value: UOp, lanes: dict[int, int]) -> UOp:
        """A register with lane k replaced by lane lanes[k] of `value`; others stay."""
        width = self.scope.storage[buffer].width
        if len(lanes) == width:
            return self._shuffle((value,), tuple([lanes[k] for k in range(width)]))
        taken = [width + lanes[k] if k in lanes else k for k in range(width)]
        return self._shuffle((self._register(buffer, unit), value), tuple(taken))

    def write_all(self, buffer: UOp, value: UOp) -> None:
        """Put one value in every register of a buffer."""
        storage = self.scope.storage[buffer]
        value = self.addresses.splat(value, storage.width)
        for unit in range(storage.size // storage.width):
            self._store(buffer, (*self._unit(buffer, unit), value))

    def _places(self, index: Index) -> Sequence[int]:
        """The element of each lane."""
        step = self.indices.step(index)
        if step == 0:
            return (index.const,)
        lanes = self.scope.lanes
        if step is None:
            return [self.indices.at_lane(index, k).const for k in range(lanes)]
        return range(index.const, index.const + step * lanes, step)

    def _register(self, buffer: UOp, unit: int) -> UOp:
        src = self._unit(buffer, unit)
        moment = self.scope.moments.get(buffer, 0)
        return self.blocks.put_load(buffer, src[0].dtype, src, moment)

    def _columns(self, rows: tuple[UOp, ...]) -> tuple[UOp, ...]:
        """The transpose of as many registers as each has lanes: log2 rounds of pair shuffles.

        In the round of step s, rows i and i + s exchange their off-diagonal blocks of s lanes.
        """
        found = self.transposed.get(rows)
        if found is not None and self.blocks.is_live(found[0]):
            return found
        now = list(rows)
        lanes = range(len(rows))
        step = 1
        while step < len(rows):
            low = tuple([k if k & step == 0 else len(rows) + k - step for k in lanes])
            high = tuple([k + step if k & step == 0 else len(rows) + k for k in lanes])
            for row in lanes:
                if row & step == 0:
                    pair = (now[row], now[row + step])
                    now[row] = self._shuffle(pair, low)
                    now[row + step] = self._shuffle(pair, high)
            step *= 2
        self.transposed[rows] = tuple(now)
        return self.transposed[rows]

    def _unit(self, buffer: UOp, unit: int) -> tuple[UOp, UOp]:
        register = self.scope.buffers[buffer]
        key = (register, unit)
        found = self.units.get(key)
        if found is None:
            found = self.units[key] = (register, const(unit, dtypes.int64))
        return found

    def _shuffle(self, parts: tuple[UOp, ...], lanes: tuple[int, ...]) -> UOp:
        if len(parts) == 1:
            return self.addresses.pick(parts[0], lanes)
        dtype = parts[0].dtype.scalar.vec(len(lanes))
        return self.blocks.put(UOp(Ops.SHUFFLE, dtype, parts, lanes))

    def _chosen(self, test: UOp, value: UOp, other: UOp) -> UOp:
        """`value` where `test` holds, else `other`."""
        if test is TRUE:
            return value
        lanes = max(test.dtype.lanes, value.dtype.lanes)
        src = [self.addresses.splat(node, lanes) for node in (test, value, other)]
        return self.blocks.put(alu(Ops.WHERE, *src))


def _is_column(places: Sequence[int], width: int) -> bool:
    """True if the places are one lane of as many registers as each has lanes."""
    if len(places) != width or width & (width - 1) or width == 1:
        return False
    return places == range(places[0], places[0] + width * width, width)


def _is_unit(places: Sequence[int], width: int) -> bool:
    """True if the places are one register, lane by lane."""
    if len(places) != width or places[0] % width:
        return False
    return width == 1 or places == range(places[0], places[0] + width)
