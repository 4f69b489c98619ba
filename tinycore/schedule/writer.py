"""Statements written in order, with every value computed at the loop of its deepest axis.

Comes in: loops around STOREs of expressions. Goes out: statements. A scalar op that is read twice
or would be repeated becomes a LET; a reduction becomes a buffer and a loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

from tinycore.dtype import dtypes
from tinycore.schedule.expression import Dependence, Indices, Rewrite, parts
from tinycore.schedule.nodes import home_of
from tinycore.uop.index import Atom, Index, Shape, as_index, atoms, axis, upper_shape
from tinycore.uop.ops import ELEMENTWISE, Nodes, Ops, UOp, postorder
from tinycore.uop.tree import Access, BufferArg, Kernel, buffer, let, load, loop, mapped, store

_HEIGHT = 64  # nested ops in a statement: others recurse into it
_COSTLY = ELEMENTWISE - {Ops.NEG}  # a sign costs nothing: a sum becomes a difference


class Nest(NamedTuple):
    """Loops around others and STOREs, after the registers that they fill."""

    kind: str
    axes: Indices
    extents: Shape
    body: Sequence[Part]
    states: Sequence[UOp] = ()


Part = Nest | Nodes  # a nest, or STOREs that happen after all their values are computed


class Scope(NamedTuple):
    """The inside of some loops: how often it reads each value, what changes in it, and the
    statements and values written there."""

    uses: Mapping[UOp, int]
    changing: frozenset[object]
    statements: list[UOp]
    placed: list[UOp]


class Writer(Rewrite):
    """Writes one kernel: a copy of expressions under the names of the kernel.

    `homes` holds the buffers of nodes that are not stored in their own.
    """

    def __init__(self, homes: Mapping[UOp, UOp]) -> None:
        self.names: dict[Atom, Index] = {}
        super().__init__(env=self.names, look=self._look)
        self.homes = homes
        self.params: dict[UOp, UOp] = {}
        self.scopes = [Scope({}, frozenset(), [], [])]
        self.height: dict[UOp, int] = {}
        self.depends = Dependence()
        self.numbers = count()
        self.variables: set[tuple[object, ...]] = set()

    def kernel(self, name: str) -> Kernel:
        """What was written, as a kernel."""
        params = tuple(self.params.values())
        named = [UOp(Ops.VARIABLE, dtypes.int32, (), arg) for arg in sorted(self.variables)]
        return Kernel(name, params, tuple(named), tuple(self.scopes[0].statements))

    # Loops and statements

    def write(self, part: Part) -> None:
        """Write statements at the end of the innermost loop."""
        if isinstance(part, Nest):
            self._append(*self._loops(part))
            return
        place = self.node if len(part) == 1 else self.name
        placed = [place(one.src[1]) for one in part]
        for one, value in zip(part, placed, strict=True):
            src = (self.param(one.source), value, *one.src[2:])
            self._append(one.replace(src=src, arg=mapped(one.arg, self.index)))

    def _loops(self, nest: Nest) -> Nodes:
        self._append(*nest.states)
        uses = count_uses([one.src[1] for one in _stores(nest)])
        scope = Scope(uses, atoms(*nest.axes).union(nest.states), [], [])
        headers = []
        for index, extent in zip(nest.axes, nest.extents, strict=True):
            name = f"i{next(self.numbers)}"
            headers.append(loop(nest.kind, name, self.index(as_index(extent)), ()))
            self.names.update(dict.fromkeys(atoms(index), axis(name, extent)))
        self.scopes.append(scope)
        for part in nest.body:
            self.write(part)
        self.scopes.pop()
        for node in scope.placed:
            del self.memo[node]
        self.indices.clear()
        body = tuple(scope.statements)
        for header in reversed(headers):
            body = (header.over(body),)
        return body

    def _append(self, *statements: UOp) -> None:
        self.scopes[-1].statements.extend(statements)

    # Names of the kernel

    def param(self, node: UOp) -> UOp:
        """The parameter that holds a graph node; a register stands for itself."""
        if isinstance(node.arg, BufferArg):
            return node
        home = home_of(node)
        home = self.homes.get(home, home)
        if home not in self.params:
            shape = upper_shape(home.shape)
            self.params[home] = buffer(f"b{len(self.params)}", home.dtype, shape)
        return self.params[home]

    def index(self, value: Index) -> Index:
        """An index under the names of the kernel, after what it gathers by."""
        named = super().index(value)
        for atom in atoms(named):
            if atom.kind == "variable":
                self.variables.add((atom.name, atom.lo, atom.hi))
        return named

    def _look(self, node: UOp) -> UOp:
        return load(self.param(node.source), node.arg) if node.is_load else node

    # Values

    def node(self, root: UOp) -> UOp:
        """A value for use in the innermost loop; what is shared or repeated gets a name."""
        order = postorder([root], _outside_reductions, self.memo)
        level = {node: self._level(node) for node in order}
        repeated = {root} if self._level(root) < len(self.scopes) - 1 else set()
        for node in order:
            for part in _outside_reductions(node):
                if self._level(part) < level[node]:
                    repeated.add(part.source if part.op is Ops.NEG else part)
        for node in order:
            if node not in self.memo:
                self._place(node, level[node], node in repeated)
        return self.memo[root]

    def name(self, value: UOp) -> UOp:
        """A value computed before the statements that follow."""
        placed = self.node(value)
        if placed.op in (Ops.CONST, Ops.LET) or _reads_register(placed):
            return placed
        return self._named(placed, -1)

    def _named(self, value: UOp, level: int) -> UOp:
        named = let(f"v{next(self.numbers)}", value)
        self.scopes[level].statements.append(named)
        return named

    def _level(self, node: UOp) -> int:
        """The depth of the innermost loop that a value depends on; the group's loops are at 1."""
        needs = self.depends[node]
        depth = len(self.scopes) - 1
        while depth > 1 and needs.isdisjoint(self.scopes[depth].changing):
            depth -= 1
        return depth

    def _place(self, node: UOp, level: int, is_repeated: bool) -> None:
        height = 0
        if node.is_reduce:
            placed = self._written(node, level)
        else:
            placed = self._rebuild(node)
            height = 1 + max([self.height[part] for part in parts(node)], default=0)
            is_op = node.op in _COSTLY
            is_costly = is_op or (node.is_load and not _reads_register(placed))
            is_shared = self.scopes[level].uses.get(node, 1) > 1
            if is_costly and (is_shared or (is_op and (is_repeated or height > _HEIGHT))):
                placed = self._named(placed, level)
                height = 0
        self.height[node] = height
        self.memo[node] = placed
        self.scopes[level].placed.append(node)

    def _written(self, node: UOp, level: int) -> UOp:
        deeper = self.scopes[level + 1 :]
        del self.scopes[level + 1 :]
        axes, extents, combine, mask = node.arg
        state = buffer(f"s{next(self.numbers)}", node.dtype, (), "reg", init=combine)
        one = store(state, Access((), mask), node.source, combine)
        self.write(Nest("red", axes, extents, [(one,)], (state,)))
        self.scopes += deeper
        return load(state, Access(()))


def _stores(part: Part) -> Nodes:
    if isinstance(part, Nest):
        return tuple(one for inner in part.body for one in _stores(inner))
    return part


def _reads_register(value: UOp) -> bool:
    return bool(value.is_load and value.source.space == "reg")


def _outside_reductions(node: UOp) -> Sequence[UOp]:
    return () if node.is_reduce else parts(node)


def count_uses(values: Sequence[UOp]) -> Counter[UOp]:
    """How many expressions and statements read each node; a sign stands for its readers."""
    uses = Counter(values)
    for node in reversed(postorder(values, parts)):
        for part in parts(node):
            uses[part] += uses[node] if node.op is Ops.NEG else 1
    return uses
