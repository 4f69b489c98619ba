"""Reads and writes of elements, in registers and in memory, one or a vector at a time.

Comes in: a buffer, a site, a test. Goes out: LOAD, STORE and SHUFFLE nodes, placed. What no
vector access can do (unequal steps) is refused, and values.py goes lane by lane.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinycore.codegen.lower.indices import TRUE, Indices, Place, Site
from tinycore.codegen.lower.scope import Scope
from tinycore.dtype import dtypes
from tinycore.uop.ops import Ops, UOp, const
from tinycore.util import dedup


class Elements:
    """The elements of the buffers of a scope."""

    def __init__(self, scope: Scope, indices: Indices) -> None:
        self.scope = scope
        self.indices = indices
        self.blocks = scope.blocks

    def read(self, node: UOp, site: Site, test: UOp) -> UOp | None:
        """What a LOAD finds at its site, or its fill where `test` is false; None if no vector
        access can tell."""
        place = self.indices.place(site.place)
        if site.width:
            value = self._read_registers(node.src[0], site.width, place)
            return self._chosen(test, value, _fill(node))
        lanes = 1 if place.step == 0 else self.scope.lanes
        if place.step not in (0, 1) or test.dtype.lanes > lanes:
            return None
        return self._read_memory(node, place, test, lanes)

    def write(self, buffer: UOp, site: Site, value: UOp, test: UOp) -> bool:
        """Put `value` at a site where `test` holds; False if no vector access can."""
        place = self.indices.place(site.place)
        lanes = 1 if place.step == 0 else self.scope.lanes
        if max(test.dtype.lanes, value.dtype.lanes) > lanes:
            return False
        value = self.blocks.splat(value, lanes)
        if site.width:
            self._write_registers(buffer, site.width, place, value, test)
        elif place.step in (0, 1):
            self._write_memory(buffer, place, value, test)
        else:
            return False
        return True

    # memory

    def _read_memory(self, node: UOp, place: Place, test: UOp, lanes: int) -> UOp:
        buffer = node.src[0]
        offset = self.scope.addresses.sum(place.constant, place.terms)
        src = [self.scope.buffers[buffer], offset]
        if test is not TRUE:
            src.append(self.blocks.splat(test, lanes))
            src.append(self.blocks.splat(_fill(node), lanes))
        dtype = node.dtype if lanes == 1 else node.dtype.vec(lanes)
        moment = self.scope.moment(buffer)
        return self.blocks.put_load(buffer, dtype, src, moment)

    def _write_memory(self, buffer: UOp, place: Place, value: UOp, test: UOp) -> None:
        offset = self.scope.addresses.sum(place.constant, place.terms)
        src = [self.scope.buffers[buffer], offset, value]
        if test is not TRUE:
            src.append(self.blocks.splat(test, value.dtype.lanes))
        self._store(buffer, tuple(src))

    def _store(self, buffer: UOp, src: tuple[UOp, ...]) -> None:
        moment = self.scope.changed(buffer)
        self.blocks.append(UOp(Ops.STORE, dtypes.void, src, None, moment))

    # registers

    def _read_registers(self, buffer: UOp, width: int, place: Place) -> UOp:
        elements = self._elements(place)
        units = dedup([element // width for element in elements])
        parts = [self._register(buffer, unit) for unit in units]
        lanes = []
        for element in elements:
            part = units.index(element // width)
            lane = element % width
            lanes.append(width * part + lane)
        return self.blocks.merge(parts, tuple(lanes))

    def _write_registers(
        self, buffer: UOp, width: int, place: Place, value: UOp, test: UOp
    ) -> None:
        if test is not TRUE:
            old = self._read_registers(buffer, width, place)
            value = self._chosen(test, value, old)
        lanes_of: dict[int, dict[int, int]] = {}
        for lane, element in enumerate(self._elements(place)):
            unit = element // width
            taken = lanes_of.setdefault(unit, {})
            within = element % width
            taken[within] = lane
        for unit, taken in lanes_of.items():
            new = self._patched(buffer, unit, value, taken)
            self._write_unit(buffer, unit, new)

    def _patched(self, buffer: UOp, unit: int, value: UOp, taken: dict[int, int]) -> UOp:
        """A register with lane k replaced by lane taken[k] of `value`; others stay."""
        width = self.scope.storage[buffer].width
        if len(taken) == width:
            lanes = [taken[k] for k in range(width)]
            return self.blocks.pick(value, tuple(lanes))
        old = self._register(buffer, unit)
        lanes = [width + taken[k] if k in taken else k for k in range(width)]
        return self.blocks.merge((old, value), tuple(lanes))

    def write_all(self, buffer: UOp, value: UOp) -> None:
        """Put one value in every register of a buffer."""
        storage = self.scope.storage[buffer]
        value = self.blocks.splat(value, storage.width)
        for unit in range(storage.size // storage.width):
            self._write_unit(buffer, unit, value)

    def _elements(self, place: Place) -> Sequence[int]:
        """The element of each lane."""
        if place.step == 0:
            return (place.constant,)
        lanes = self.scope.lanes
        if place.step is None:
            return [self.indices.at_lane(place.uneven, k) for k in range(lanes)]
        first = place.constant
        end = first + place.step * lanes
        return range(first, end, place.step)

    def _register(self, buffer: UOp, unit: int) -> UOp:
        register = self.scope.buffers[buffer]
        src = register, self.scope.addresses.number(unit)
        moment = self.scope.moment(buffer)
        return self.blocks.put_load(buffer, register.dtype, src, moment)

    def _write_unit(self, buffer: UOp, unit: int, value: UOp) -> None:
        number = self.scope.addresses.number(unit)
        register = self.scope.buffers[buffer]
        self._store(buffer, (register, number, value))

    def _chosen(self, test: UOp, value: UOp, other: UOp) -> UOp:
        """`value` where `test` holds, else `other`."""
        if test is TRUE:
            return value
        return self.blocks.apply(Ops.WHERE, test, value, other)


def _fill(node: UOp) -> UOp:
    """What a LOAD gives where it does not read."""
    return const(node.arg.fill or 0, node.dtype)
