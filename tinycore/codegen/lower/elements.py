"""Reads and writes of elements, in registers and in memory, one or a vector at a time.

Comes in: a buffer, a bound index, a test. Goes out: LOAD, STORE and SHUFFLE nodes, placed. What
no vector access can do (unequal steps) is refused with None, and values.py goes lane by lane.
"""

from __future__ import annotations

from tinycore.codegen.lower.indices import Indices
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

    def read(self, buffer: UOp, index: Index, test: UOp, fill: UOp) -> UOp | None:
        """What `buffer` holds at `index`, or `fill` where `test` is false."""
        if self.scope.storage[buffer].width:
            return self._chosen(test, self._read_registers(buffer, index), fill)
        step = self.indices.step(index)
        lanes = 1 if step == 0 else self.scope.lanes
        if step not in (-1, 0, 1) or test.dtype.lanes > lanes:
            return None
        if step == -1:
            return self._read_backward(buffer, index, test, fill)
        return self._read_memory(buffer, index, test, fill, lanes)

    def write(self, buffer: UOp, index: Index, value: UOp, test: UOp) -> bool:
        """Put `value` at `index` where `test` holds; False if lanes must go one by one."""
        if self.scope.storage[buffer].width:
            return self._write_registers(buffer, index, value, test)
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
        if test.op is not Ops.CONST:
            src += [self.addresses.splat(test, lanes), const(fill.arg, dtype)]
        block = self.blocks.block_of_load(buffer, src)
        tag = (self.scope.moments.get(buffer, 0), block.serial)
        return self.blocks.put_load(UOp(Ops.LOAD, dtype, tuple(src), None, tag), block)

    def _read_backward(self, buffer: UOp, index: Index, test: UOp, fill: UOp) -> UOp:
        lanes = self.scope.lanes
        order = tuple(range(lanes))[::-1]
        test = self.addresses.pick(test, order) if test.dtype.lanes > 1 else test
        forward = self._read_memory(buffer, index - (lanes - 1), test, fill, lanes)
        return self.addresses.pick(forward, order)

    def _write_memory(self, buffer: UOp, index: Index, value: UOp, test: UOp) -> None:
        lanes = value.dtype.lanes
        src = [self.scope.buffers[buffer], self._first(index, lanes), value]
        if test.op is not Ops.CONST:
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
        self.scope.changed(buffer)
        self.blocks.append(UOp(Ops.STORE, dtypes.void, src, None, self.scope.moments[buffer]))

    # registers

    def _read_registers(self, buffer: UOp, index: Index) -> UOp:
        places = self._places(index)
        width = self.scope.storage[buffer].width
        units = list(dict.fromkeys([place // width for place in places]))
        parts = [self._register(buffer, unit) for unit in units]
        if len(parts) == 1 and width == 1 and len(places) == 1:
            return parts[0]
        first = {unit: width * k for k, unit in enumerate(units)}
        lanes = tuple([first[place // width] + place % width for place in places])
        return self._shuffle(tuple(parts), lanes)

    def _write_registers(self, buffer: UOp, index: Index, value: UOp, test: UOp) -> bool:
        places = self._places(index)
        if max(value.dtype.lanes, test.dtype.lanes) > len(places):
            return False
        value = self.addresses.splat(value, len(places))
        if test.op is not Ops.CONST:
            value = self._chosen(test, value, self._read_registers(buffer, index))
        width = self.scope.storage[buffer].width
        lanes_of: dict[int, dict[int, int]] = {}
        for lane, place in enumerate(places):
            lanes_of.setdefault(place // width, {})[place % width] = lane
        for unit, lanes in lanes_of.items():
            self._write_register(buffer, unit, value, lanes)
        return True

    def _write_register(self, buffer: UOp, unit: int, value: UOp, lanes: dict[int, int]) -> None:
        """Lane k of the register becomes lane lanes[k] of `value`; others stay."""
        width = self.scope.storage[buffer].width
        if len(lanes) == width:
            new = self._shuffle((value,), tuple([lanes[k] for k in range(width)]))
        else:
            old = self._register(buffer, unit)
            taken = [width + lanes[k] if k in lanes else k for k in range(width)]
            new = self._shuffle((old, value), tuple(taken))
        self._store(buffer, (self.scope.buffers[buffer], const(unit, dtypes.int64), new))

    def write_all(self, buffer: UOp, value: UOp) -> None:
        """Put one value in every register of a buffer."""
        storage = self.scope.storage[buffer]
        value = self.addresses.splat(value, storage.width)
        for unit in range(storage.size // storage.width):
            self._store(buffer, (self.scope.buffers[buffer], const(unit, dtypes.int64), value))

    def _places(self, index: Index) -> list[int]:
        """The element of each lane."""
        step = self.indices.step(index)
        lanes = self.scope.lanes
        if step == 0:
            return [index.const]
        if step is not None:
            return [index.const + step * k for k in range(lanes)]
        return [self.indices.at_lane(index, k).const for k in range(lanes)]

    def _register(self, buffer: UOp, unit: int) -> UOp:
        register = self.scope.buffers[buffer]
        src = (register, const(unit, dtypes.int64))
        block = self.blocks.block_of_load(buffer, src)
        tag = (self.scope.moments.get(buffer, 0), block.serial)
        return self.blocks.put_load(UOp(Ops.LOAD, register.dtype, src, None, tag), block)

    def _shuffle(self, parts: tuple[UOp, ...], lanes: tuple[int, ...]) -> UOp:
        if len(parts) == 1:
            return self.addresses.pick(parts[0], lanes)
        dtype = parts[0].dtype.scalar.vec(len(lanes))
        return self.blocks.put(UOp(Ops.SHUFFLE, dtype, parts, lanes))

    def _chosen(self, test: UOp, value: UOp, other: UOp) -> UOp:
        """`value` where `test` holds, else `other`."""
        if test.op is Ops.CONST:
            return value if test.arg else other
        lanes = max(test.dtype.lanes, value.dtype.lanes)
        src = [self.addresses.splat(node, lanes) for node in (test, value, other)]
        return self.blocks.put(alu(Ops.WHERE, *src))
