"""Evaluates the expressions of a kernel at the numbers that expanded axes have, making nodes.

Comes in: a value of the tree. Goes out: a placed node, a vector where the value runs along lanes.
A value is remembered by the axes and states it depends on, so that it costs one node for each of
its own coordinates, however many statements read it. expand.py runs the statements.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinycore.codegen.lower.elements import Elements
from tinycore.codegen.lower.indices import Indices
from tinycore.codegen.lower.scope import LANE, Scope
from tinycore.dtype import dtypes
from tinycore.uop.ops import CASTS, Ops, UOp, alu, const
from tinycore.uop.tree import Access

Key = tuple[object, ...]


class Values:
    """Expressions to nodes, in a scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.blocks = scope.blocks
        self.addresses = scope.addresses
        self.indices = Indices(scope, self.evaluate)
        self.elements = Elements(scope, self.indices)
        self.memo: dict[Key, UOp] = {}
        self.lets: dict[Key, UOp] = {}

    def evaluate(self, value: UOp) -> UOp:
        """The node of `value` here and now."""
        if value.op is Ops.CONST:
            return value
        if value.op is not Ops.LET:
            found = self._remembered(self._key(value))
            if found is not None:
                return found
        done: dict[UOp, UOp] = {}
        for node in self.scope.study.order(value):
            done[node] = self._node(node, done)
        return done[value]

    def set_let(self, let: UOp) -> None:
        """Evaluate a LET where it stands."""
        self.lets[self._let_key(let)] = self.evaluate(let.src[0])
        self.scope.changed(let)

    def load(self, node: UOp) -> UOp:
        """What a LOAD reads."""
        buffer, access = node.src[0], node.arg
        found: UOp | None = None
        if not self.indices.is_scattered(access):
            test = self.indices.mask(access.mask, access.indices)
            fill = const(access.fill or 0, node.dtype)
            if test.op is Ops.CONST and not test.arg:
                return fill
            index = self.indices.offset(buffer, access)
            found = self.elements.read(buffer, index, test, fill)
        return self._lane_by_lane(node) if found is None else found

    def store(self, buffer: UOp, place: Access, value: UOp) -> None:
        """Put a node at a place of the tree."""
        if not self.indices.is_scattered(place):
            test = self.indices.mask(place.mask, place.indices)
            if test.op is Ops.CONST and not test.arg:
                return
            index = self.indices.offset(buffer, place)
            if self.elements.write(buffer, index, value, test):
                return
        lane = self.scope.lane
        assert lane is not None, f"lower: no way to store at {place}"
        for number in range(lane.hi + 1):
            part = self.addresses.pick(value, (number,)) if value.dtype.lanes > 1 else value
            with self.scope.at(lane, number):
                self.store(buffer, place, part)

    def _lane_by_lane(self, node: UOp) -> UOp:
        lane = self.scope.lane
        assert lane is not None, f"lower: no way to load {node!r}"
        parts = []
        for number in range(lane.hi + 1):
            with self.scope.at(lane, number):
                parts.append(self.load(node))
        return self.addresses.join(tuple(parts))

    # remembering

    def _key(self, node: UOp) -> Key:
        axes, states = self.scope.study.of(node)
        env, moments = self.scope.env, self.scope.moments
        return (node, *[env.get(a) for a in axes], *[moments.get(s) for s in states])

    def _let_key(self, let: UOp) -> Key:
        env = self.scope.env
        return (let, *[env.get(axis) for axis in self.scope.study.of(let).axes])

    def _remembered(self, key: Key) -> UOp | None:
        found = self.memo.get(key)
        return found if found is not None and self.blocks.is_live(found) else None

    def _node(self, node: UOp, done: Mapping[UOp, UOp]) -> UOp:
        if node.op is Ops.CONST:
            return node
        if node.op is Ops.LET:
            return self._read_let(node)
        key = self._key(node)
        found = self._remembered(key)
        if found is None:
            found = self.memo[key] = self._made(node, done)
        return found

    def _read_let(self, let: UOp) -> UOp:
        found = self.lets.get(self._let_key(let))
        if found is not None:
            return found
        lane = self.scope.lane
        assert lane is not None, f"lower: {let!r} is used where it has no value"
        number = self.scope.env[lane]
        with self.scope.at(lane, LANE):
            whole = self.lets[self._let_key(let)]
        return self.addresses.pick(whole, (number,))

    def _made(self, node: UOp, done: Mapping[UOp, UOp]) -> UOp:
        if node.op is Ops.LOAD:
            return self.load(node)
        if node.op is Ops.INDEX:
            return self.indices.value(node.arg, node.dtype)
        if node.op is Ops.MASK:
            return self.indices.mask(node.arg)
        if node.op is Ops.VARIABLE:
            number = UOp(Ops.VARIABLE, dtypes.int64, (), node.arg)
            return self.addresses.narrow(number, node.dtype)
        src = [done[source] for source in node.src]
        lanes = max([source.dtype.lanes for source in src])
        if lanes > 1:
            src = [self.addresses.splat(source, lanes) for source in src]
        if node.op in CASTS:
            return self.blocks.put(UOp(node.op, node.dtype.vec(lanes), (src[0],)))
        return self.blocks.put(alu(node.op, *src))
