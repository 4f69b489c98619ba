"""Reads and writes of elements, in registers and in memory, one or a vector at a time.

Comes in: a buffer, a bound index, a test. Goes out: LOAD, STORE and SHUFFLE nodes, placed. What
no vector access can do (unequal steps) is refused, and values.py goes lane by lane.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinycore.codegen.lower.indices import TRUE, Indices, Place, Site
from tinycore.codegen.lower.scope import Scope
from tinycore.dtype import dtypes
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

    def read(self, node: UOp, site: Site, test: UOp) -> UOp | None:
        """What a LOAD finds at its site, or its fill where `test` is false; None if no vector
        access can tell."""
        place = self.indices.place(site.place)
        if site.width:
            value = self._read_registers(node.src[0], site.width, place)
            return value if test is TRUE else self._chosen(test, value, _fill(node))
        lanes = 1 if place.step == 0 else self.scope.lanes
        if place.step not in (-1, 0, 1) or test.dtype.lanes > lanes:
            return None
        if place.step == -1:
            return self._read_backward(node, place, test)
        return self._read_memory(node, place, test, lanes)

    def write(self, buffer: UOp, site: Site, value: UOp, test: UOp) -> bool:
        """Put `value` at a site where `test` holds; False if no vector access can."""
        place = self.indices.place(site.place)
        if site.width:
            return self._write_registers(buffer, site.width, place, value, test)
        lanes = 1 if place.step == 0 else self.scope.lanes
        if place.step not in (-1, 0, 1) or max(test.dtype.lanes, value.dtype.lanes) > lanes:
            return False
        value = self.addresses.splat(value, lanes)
        if place.step == -1:
            order = tuple(range(lanes))[::-1]
            place = place._replace(constant=place.constant - (lanes - 1))
            value = self.addresses.pick(value, order)
            test = self.addresses.pick(test, order) if test.dtype.lanes > 1 else test
        self._write_memory(buffer, place, value, test)
        return True

    # memory

    def _read_memory(self, node: UOp, place: Place, test: UOp, lanes: int) -> UOp:
        buffer = node.src[0]
        dtype = node.dtype if lanes == 1 else node.dtype.vec(lanes)
        src = [self.scope.buffers[buffer], self.addresses.sum(place.constant, place.terms)]
        if test is not TRUE:
            src.append(self.addresses.splat(test, lanes))
            src.append(self.addresses.splat(_fill(node), lanes))
        return self.blocks.put_load(buffer, dtype, src, self.scope.moments.get(buffer, 0))

    def _read_backward(self, node: UOp, place: Place, test: UOp) -> UOp:
        lanes = self.scope.lanes
        order = tuple(range(lanes))[::-1]
        test = self.addresses.pick(test, order) if test.dtype.lanes > 1 else test
        place = place._replace(constant=place.constant - (lanes - 1))
        forward = self._read_memory(node, place, test, lanes)
        return self.addresses.pick(forward, order)

    def _write_memory(self, buffer: UOp, place: Place, value: UOp, test: UOp) -> None:
        offset = self.addresses.sum(place.constant, place.terms)
        src = [self.scope.buffers[buffer], offset, value]
        if test is not TRUE:
            src.append(self.addresses.splat(test, value.dtype.lanes))
        self._store(buffer, tuple(src))

    def _store(self, buffer: UOp, src: tuple[UOp, ...]) -> None:
        moment = self.scope.changed(buffer)
        self.blocks.append(UOp(Ops.STORE, dtypes.void, src, None, moment))

    # registers

    def _read_registers(self, buffer: UOp, width: int, place: Place) -> UOp:
        if self._is_unit(place, width):
            return self._register(buffer, place.constant // width)
        places = self._places(place)
        units = list(dict.fromkeys([place // width for place in places]))
        parts = [self._register(buffer, unit) for unit in units]
        if _is_column(places, width):
            return self._columns(tuple(parts))[places[0] % width]
        first = {unit: width * k for k, unit in enumerate(units)}
        lanes = [first[place // width] + place % width for place in places]
        return self._shuffle(tuple(parts), tuple(lanes))

    def _write_registers(
        self, buffer: UOp, width: int, place: Place, value: UOp, test: UOp
    ) -> bool:
        lanes = 1 if place.step == 0 else self.scope.lanes
        if max(value.dtype.lanes, test.dtype.lanes) > lanes:
            return False
        value = self.addresses.splat(value, lanes)
        if test is not TRUE:
            value = self._chosen(test, value, self._read_registers(buffer, width, place))
        if self._is_unit(place, width):
            self._store(buffer, (*self._unit(buffer, place.constant // width), value))
            return True
        lanes_of: dict[int, dict[int, int]] = {}
        for lane, element in enumerate(self._places(place)):
            lanes_of.setdefault(element // width, {})[element % width] = lane
        for unit, taken in lanes_of.items():
            new = self._merged(buffer, unit, value, taken)
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

    def _is_unit(self, place: Place, width: int) -> bool:
        """True if a place is one register, lane by lane."""
        if place.step == 0:
            return width == 1
        return place.step == 1 and self.scope.lanes == width and place.constant % width == 0

    def _places(self, place: Place) -> Sequence[int]:
        """The element of each lane."""
        if place.step == 0:
            return (place.constant,)
        lanes = self.scope.lanes
        if place.step is None:
            return [self.indices.at_lane(place.uneven, k) for k in range(lanes)]
        return range(place.constant, place.constant + place.step * lanes, place.step)

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
            found = self.units[key] = (register, self.addresses.number(unit))
        return found

    def _shuffle(self, parts: tuple[UOp, ...], lanes: tuple[int, ...]) -> UOp:
        if len(parts) == 1:
            return self.addresses.pick(parts[0], lanes)
        dtype = parts[0].dtype.scalar.vec(len(lanes))
        return self.blocks.put(UOp(Ops.SHUFFLE, dtype, parts, lanes))

    def _chosen(self, test: UOp, value: UOp, other: UOp) -> UOp:
        """`value` where `test` holds, else `other`."""
        lanes = max(test.dtype.lanes, value.dtype.lanes)
        src = [self.addresses.splat(node, lanes) for node in (test, value, other)]
        return self.blocks.put(alu(Ops.WHERE, *src))


def _fill(node: UOp) -> UOp:
    """What a LOAD gives where it does not read."""
    return const(node.arg.fill or 0, node.dtype)


def _is_column(places: Sequence[int], width: int) -> bool:
    """True if the places are one lane of as many registers as each has lanes."""
    if len(places) != width or width & (width - 1) or width == 1:
        return False
    return places == range(places[0], places[0] + width * width, width)
