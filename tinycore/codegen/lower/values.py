"""Evaluates the expressions of a kernel at the numbers that expanded axes have, making nodes.

Comes in: a value of the tree. Goes out: a placed node, a vector where the value runs along lanes.
A value that does not depend on all copied loops around is remembered by the axes and states it
depends on, so that copies share it. expand.py runs the statements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tinycore.codegen.lower.elements import Elements
from tinycore.codegen.lower.indices import FALSE, Indices, Site
from tinycore.codegen.lower.scope import LANE, Scope
from tinycore.dtype import dtypes
from tinycore.uop.index import Atom
from tinycore.uop.ops import CASTS, Ops, UOp, alu, const

Key = tuple[object, ...]


class Values:
    """Expressions to nodes, in a scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.blocks = scope.blocks
        self.indices = Indices(scope, self.evaluate)
        self.elements = Elements(scope, self.indices)
        self.memo: dict[Key, UOp] = {}
        self.steps: dict[tuple[UOp, frozenset[Atom]], list[tuple[UOp, bool]]] = {}
        self.lets: dict[Key, UOp] = {}
        self.let_axes: dict[UOp, tuple[Atom, ...]] = {}
        self.sites: dict[UOp, Site] = {}

    def evaluate(self, value: UOp) -> UOp:
        """The node of `value` here and now."""
        if value.op is Ops.CONST:
            return value
        done: dict[UOp, UOp] = {}
        steps = self._steps(value)
        self.scope.visits += len(steps)
        for node, is_shared in steps:
            done[node] = self._shared(node, done) if is_shared else self._made(node, done)
        return done[value]

    def _steps(self, value: UOp) -> list[tuple[UOp, bool]]:
        """The nodes of a value in order, and if copies of the loops around may share each."""
        copied = self.scope.copied
        key = (value, copied)
        found = self.steps.get(key)
        if found is None:
            found = self.steps[key] = []
            for node in self.scope.study.order(value):
                alone = not copied or copied.issubset(self.scope.study.of(node).axes)
                found.append((node, not alone and node.op is not Ops.LET))
        return found

    def set_let(self, let: UOp) -> None:
        """Evaluate a LET where it stands; a value for each number of the axes around it."""
        value = self.evaluate(let.src[0])
        self.let_axes[let] = tuple(self.scope.env)
        self.lets[self._let_key(let)] = value
        self.scope.changed(let)

    def load(self, node: UOp) -> UOp:
        """What a LOAD reads."""
        site = self.sites.get(node)
        if site is None:
            site = self.sites[node] = self.indices.site(node.src[0], node.arg)
        test = self.indices.test(site)
        if test is FALSE:
            return const(node.arg.fill or 0, node.dtype)
        found: UOp | None = None
        if test is not None:
            found = self.elements.read(node, site, test)
        return self._lane_by_lane(node) if found is None else found

    def store_value(self, statement: UOp) -> None:
        """Run a STORE, which combines with nothing any more."""
        self.store(statement, self.evaluate(statement.src[1]))

    def store(self, statement: UOp, value: UOp) -> None:
        """Put a node where a STORE of one value says."""
        buffer = statement.src[0]
        site = self.sites.get(statement)
        if site is None:
            place = statement.arg.places[0]
            site = self.sites[statement] = self.indices.site(buffer, place)
        test = self.indices.test(site)
        if test is FALSE:
            return
        if test is not None and self.elements.write(buffer, site, value, test):
            return
        for number in range(self.scope.lanes):
            part = self.blocks.one(value, number)
            with self.scope.in_lane(number):
                self.store(statement, part)

    def _lane_by_lane(self, node: UOp) -> UOp:
        parts = []
        for number in range(self.scope.lanes):
            with self.scope.in_lane(number):
                parts.append(self.load(node))
        return self.blocks.join(parts)

    # remembering

    def _key(self, node: UOp) -> Key:
        axes, states = self.scope.study.of(node)
        scope = self.scope
        return (node, *map(scope.env.get, axes), *map(scope.moments.get, states))

    def _let_key(self, let: UOp) -> Key:
        return (let, *map(self.scope.env.get, self.let_axes[let]))

    def _shared(self, node: UOp, done: Mapping[UOp, UOp]) -> UOp:
        key = self._key(node)
        found = self.memo.get(key)
        if found is None or not self.blocks.is_live(found):
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
        return self.blocks.one(whole, number)

    def _made(self, node: UOp, done: Mapping[UOp, UOp]) -> UOp:
        read = _LEAVES.get(node.op)
        if read is not None:
            return read(self, node)
        src = []
        lanes, is_known = 1, False
        for old in node.src:
            new = done.get(old, old)
            lanes = max(lanes, new.dtype.lanes)
            is_known = is_known or (new.op is Ops.CONST and old is not new)
            src.append(new)
        dtype = node.dtype
        if lanes > 1:
            src = [self.blocks.splat(source, lanes) for source in src]
            dtype = dtype.vec(lanes)
        if is_known and node.op not in CASTS:
            return self.blocks.put(alu(node.op, *src))
        return self.blocks.put(UOp(node.op, dtype, tuple(src)))

    def _variable(self, node: UOp) -> UOp:
        number = UOp(Ops.VARIABLE, dtypes.int64, (), node.arg)
        return self.blocks.narrow(number, node.dtype)


_LEAVES: dict[Ops, Callable[[Values, UOp], UOp]] = {
    Ops.LOAD: Values.load,
    Ops.LET: Values._read_let,
    Ops.INDEX: lambda values, node: values.indices.value(node.arg, node.dtype),
    Ops.MASK: lambda values, node: values.indices.holds(node.arg),
    Ops.VARIABLE: Values._variable,
}
