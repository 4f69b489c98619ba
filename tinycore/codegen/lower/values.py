"""Evaluates the expressions of a kernel at the numbers that expanded axes have, making nodes.

Comes in: a value of the tree. Goes out: a placed node, a vector where the value runs along lanes.
A value is remembered by the axes and states it depends on, so that it costs one node for each of
its own coordinates, however many statements read it. expand.py runs the statements.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinycore.codegen.lower.elements import Elements
from tinycore.codegen.lower.indices import FALSE, Indices, Site
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
        self.sites: dict[tuple[UOp, Access], Site] = {}

    def evaluate(self, value: UOp) -> UOp:
        """The node of `value` here and now."""
        if value.op is Ops.CONST:
            return value
        if value.op is Ops.LET:
            return self._read_let(value)
        key = self._key(value)
        found = self._remembered(key)
        if found is None:
            done: dict[UOp, UOp] = {}
            for node in self.scope.study.order(value)[:-1]:
                done[node] = self._node(node, done)
            found = self.memo[key] = self._made(value, done)
        return found

    def set_let(self, let: UOp) -> None:
        """Evaluate a LET where it stands."""
        self.lets[self._let_key(let)] = self.evaluate(let.src[0])
        self.scope.changed(let)

    def load(self, node: UOp) -> UOp:
        """What a LOAD reads."""
        site = self._site(node.src[0], node.arg)
        found: UOp | None = None
        if not site.gathers or not self.indices.is_scattered(site.gathers):
            test = self.indices.test(site.mask, site.gathers)
            fill = const(node.arg.fill or 0, node.dtype)
            if test is FALSE:
                return fill
            found = self.elements.read(node.src[0], self.indices.bind(site.place), test, fill)
        return self._lane_by_lane(node) if found is None else found

    def store(self, buffer: UOp, place: Access, value: UOp) -> None:
        """Put a node at a place of the tree."""
        site = self._site(buffer, place)
        if not site.gathers or not self.indices.is_scattered(site.gathers):
            test = self.indices.test(site.mask, site.gathers)
            if test is FALSE:
                return
            if self.elements.write(buffer, self.indices.bind(site.place), value, test):
                return
        for number in range(self.scope.lanes):
            part = self.addresses.pick(value, (number,)) if value.dtype.lanes > 1 else value
            with self.scope.in_lane(number):
                self.store(buffer, place, part)

    def _lane_by_lane(self, node: UOp) -> UOp:
        parts = []
        for number in range(self.scope.lanes):
            with self.scope.in_lane(number):
                parts.append(self.load(node))
        return self.addresses.join(tuple(parts))

    def _site(self, buffer: UOp, access: Access) -> Site:
        key = (buffer, access)
        found = self.sites.get(key)
        if found is None:
            found = self.sites[key] = self.indices.site(buffer, access)
        return found

    # remembering

    def _key(self, node: UOp) -> Key:
        axes, states = self.scope.study.of(node)
        scope = self.scope
        return (node, *map(scope.env.get, axes), *map(scope.moments.get, states))

    def _let_key(self, let: UOp) -> Key:
        return (let, *map(self.scope.env.get, self.scope.study.of(let).axes))

    def _remembered(self, key: Key) -> UOp | None:
        found = self.memo.get(key)
        return found if found is not None and self.blocks.is_live(found) else None

    def _node(self, node: UOp, done: Mapping[UOp, UOp]) -> UOp:
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
        # A single lane reads what was computed for all.
        assert self.scope.lane is not None, f"lower: {let!r} is used where it has no value"
        number = self.scope.env[self.scope.lane]
        with self.scope.in_lane(LANE):
            whole = self.lets[self._let_key(let)]
        return self.addresses.pick(whole, (number,))

    def _made(self, node: UOp, done: Mapping[UOp, UOp]) -> UOp:
        if node.op is Ops.LOAD:
            return self.load(node)
        if node.op is Ops.INDEX:
            return self.indices.value(node.arg, node.dtype)
        if node.op is Ops.MASK:
            return self.indices.test(self.indices.forms_of(node.arg))
        if node.op is Ops.VARIABLE:
            number = UOp(Ops.VARIABLE, dtypes.int64, (), node.arg)
            return self.addresses.narrow(number, node.dtype)
        src = [done.get(source, source) for source in node.src]
        lanes = max([source.dtype.lanes for source in src])
        if lanes > 1:
            src = [self.addresses.splat(source, lanes) for source in src]
        if node.op in CASTS:
            return self.blocks.put(UOp(node.op, node.dtype.vec(lanes), (src[0],)))
        return self.blocks.put(alu(node.op, *src))
