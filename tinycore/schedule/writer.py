"""Statements written in order, with every value computed at the loop of its deepest axis.

Comes in: expressions, and loops opened and closed around them. Goes out: the statements of a
kernel. A scalar op with two readers, or one that an inner loop would repeat, becomes a LET where
its last axis is opened (masks count); a reduction inside an expression becomes a buffer and a loop
there. emit.py says which loops and stores a kernel has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tinycore.schedule.expression import Dependence, in_order, indices_of, parts, plain_axis
from tinycore.uop.affine import NEVER, Mask, at_least_zero, atoms, mask_of, substitute, unalias
from tinycore.uop.index import Atom, Index, as_index, axis
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp
from tinycore.uop.shape import Dim, shape_of, upper_shape
from tinycore.uop.tree import (
    GLOBAL,
    Access,
    BufferArg,
    buffer,
    index_value,
    let,
    load,
    loop,
    mask_value,
    store,
)

_GROUP = 1  # the depth of the loops of the group: nothing is computed outside them
_HEIGHT = 64  # scalar ops nested in one statement: programs that recurse into it are safe


@dataclass(slots=True, eq=False)
class Scope:
    """The inside of some nested loops: their headers, what is written, and the named values."""

    loops: list[tuple[str, str, Index]]
    atoms: list[Atom]
    statements: list[UOp] = field(default_factory=list)
    named: list[UOp] = field(default_factory=list)


class Writer:
    """Writes one kernel. `uses` counts the readers of each expression; `places` holds the buffer
    in which a node is stored, where that is not its own."""

    def __init__(self, uses: Mapping[UOp, int], places: Mapping[UOp, UOp]) -> None:
        self.uses = uses
        self.places = places
        self.params: dict[UOp, UOp] = {}
        self.scopes = [Scope([], [])]
        self.depth: dict[Atom, int] = {}
        self.env: dict[Atom, Index] = {}
        self.moved: dict[Index, Index] = {}
        self.known: dict[UOp, tuple[UOp, int]] = {}
        self.running: dict[UOp, int] = {}
        self.depends = Dependence()
        self.names = {"i": 0, "v": 0, "s": 0}
        self.variables: dict[str, Atom] = {}

    def _fresh(self, letter: str) -> str:
        number = self.names[letter]
        self.names[letter] = number + 1
        return f"{letter}{number}"

    # loops and statements

    def open(self, kind: str, axes: Sequence[Index], extents: Sequence[Dim]) -> None:
        """Start nested loops; what is written until `close` is inside them."""
        scope = Scope([], [])
        for index, extent in zip(axes, extents, strict=True):
            name = self._fresh("i")
            scope.loops.append((kind, name, as_index(extent)))
            self._note(as_index(extent))
            for atom, _ in index.terms:
                self._enter(atom, axis(name, extent), scope)
        self.scopes.append(scope)

    def _enter(self, atom: Atom, index: Index, scope: Scope) -> None:
        if atom in self.env:
            self.moved.clear()
        self.env[atom] = index
        self.depth[atom] = len(self.scopes)
        scope.atoms.append(atom)

    def close(self) -> None:
        """End the loops of the last `open` and write them where they began."""
        scope = self.scopes.pop()
        for node in scope.named:
            del self.known[node]
        for atom in scope.atoms:
            del self.depth[atom]
        depth = len(self.scopes)
        self.running = {state: level for state, level in self.running.items() if level < depth}
        body = tuple(scope.statements)
        for kind, name, extent in reversed(scope.loops):
            body = (loop(kind, name, extent, body),)
        self.scopes[-1].statements += body

    def _note(self, index: Index) -> None:
        for atom in atoms(index) if index.terms else ():
            if atom.kind == "variable":
                self.variables[atom.name] = atom

    def run(self, states: Iterable[UOp]) -> None:
        """From here to the end of the innermost loop, these states change at every step."""
        for state in states:
            self.running[state] = len(self.scopes) - 1

    def write(self, statement: UOp) -> None:
        """Write a statement at the end of the innermost loop."""
        self.scopes[-1].statements.append(statement)

    def param(self, node: UOp) -> UOp:
        """The parameter that holds the value of a graph node."""
        home = self.places.get(node, node)
        found = self.params.get(home)
        if found is None:
            shape = upper_shape(shape_of(home))
            found = buffer(f"b{len(self.params)}", home.dtype, shape)
            self.params[home] = found
        return found

    def access(self, indices: Iterable[Index], mask: Mask = ()) -> Access:
        """A place under the names of the kernel, for a STORE; its expressions are placed first."""
        indices = tuple(indices)
        gathers = [atom.node for index in indices for atom in atoms(index)]
        nodes = [node for node in gathers if isinstance(node, UOp)]
        placed = self._place_all(nodes)
        return Access(tuple([self._index(i, placed) for i in indices]), self._mask(mask, placed))

    # values

    def place(self, value: UOp) -> UOp:
        """`value` for use in the innermost loop; what is shared or repeated gets a name."""
        return self._get(value, self._place_all([value]))

    def name(self, value: UOp) -> UOp:
        """`value` computed here, before any statement that follows."""
        placed = self.place(value)
        in_register = placed.op is Ops.LOAD and placed.src[0].arg.space != GLOBAL
        if in_register or placed.op in (Ops.CONST, Ops.LET):
            return placed
        named = let(self._fresh("v"), placed)
        self.write(named)
        return named

    def _place_all(self, roots: Sequence[UOp]) -> dict[UOp, UOp]:
        """The expressions under `roots`, rewritten for this place."""
        order = in_order(roots, self.known, _outside_reductions)
        levels = {node: self._level(node) for node in order}
        for node in order:
            for part in _outside_reductions(node):
                levels[node] = max(levels[node], self._level_of(part, levels))
        repeated = self._repeated(order, roots, levels)
        placed: dict[UOp, UOp] = {}
        heights: dict[UOp, int] = {}
        for node in order:
            if node in self.known:
                continue  # named meanwhile, inside a reduction
            if node.op is Ops.REDUCE:
                self._write_reduction(node, levels[node])
                continue
            placed[node] = self._copy(node, placed)
            below = [heights.get(part, 0) for part in parts(node)]
            heights[node] = 1 + max(below, default=0)
            if self._gets_name(node, repeated, heights[node]):
                heights[node] = 0
                self._name(node, placed[node], levels[node])
        return placed

    def _level(self, node: UOp) -> int:
        """The depth of the innermost open loop that the arg of a node depends on."""
        if node.op is Ops.REDUCE:
            depths = [self.depth.get(atom, _GROUP) for atom in self.depends(node)]
            return max(depths, default=_GROUP)
        level = _GROUP
        for index in indices_of(node):
            for atom in atoms(index) if index.terms else ():
                level = max(level, self.depth.get(atom, _GROUP))
        if node.op is Ops.LOAD:
            level = max(level, self.running.get(node.src[0], _GROUP))
        return level

    def _level_of(self, part: UOp, levels: Mapping[UOp, int]) -> int:
        found = levels.get(part)
        return self.known[part][1] if found is None else found

    def _repeated(
        self, order: Sequence[UOp], roots: Sequence[UOp], levels: Mapping[UOp, int]
    ) -> set[UOp]:
        """What an inner loop would compute again at every step."""
        here = len(self.scopes) - 1
        found = {root for root in roots if levels.get(root, here) < here}
        for node in order:
            for part in _outside_reductions(node):
                if self._level_of(part, levels) < levels[node]:
                    found.add(part.src[0] if part.op is Ops.NEG else part)
        return found

    def _gets_name(self, node: UOp, repeated: set[UOp], height: int) -> bool:
        if node.op is Ops.NEG:
            return False  # it costs nothing: a sum becomes a difference
        if node.op in ELEMENTWISE:
            return self.uses[node] > 1 or node in repeated or height > _HEIGHT
        is_global = node.op is Ops.LOAD and not isinstance(node.src[0].arg, BufferArg)
        return is_global and self.uses[node] > 1

    def _name(self, node: UOp, value: UOp, level: int) -> None:
        named = let(self._fresh("v"), value)
        self.scopes[level].statements.append(named)
        self._know(node, named, level)

    def _know(self, node: UOp, value: UOp, level: int) -> None:
        self.known[node] = (value, level)
        self.scopes[level].named.append(node)

    def _get(self, node: UOp, placed: Mapping[UOp, UOp]) -> UOp:
        found = self.known.get(node)
        return placed[node] if found is None else found[0]

    def _copy(self, node: UOp, placed: Mapping[UOp, UOp]) -> UOp:
        """A node under the names of the kernel, over its parts as they are placed."""
        if node.op is Ops.LOAD:
            return self._load(node, placed)
        if node.op is Ops.INDEX:
            return index_value(self._index(node.arg, placed), node.dtype)
        if node.op is Ops.MASK:
            return mask_value(self._mask(node.arg, placed))
        src = tuple([self._get(source, placed) for source in node.src])
        return node if src == node.src else UOp(node.op, node.dtype, src, node.arg)

    def _load(self, node: UOp, placed: Mapping[UOp, UOp]) -> UOp:
        source = node.src[0]
        if not isinstance(source.arg, BufferArg):
            source = self.param(source)
        at: Access = node.arg
        indices = tuple([self._index(index, placed) for index in at.indices])
        return load(source, Access(indices, self._mask(at.mask, placed), None, at.fill))

    def _index(self, value: Index, placed: Mapping[UOp, UOp]) -> Index:
        """An index under the names of the kernel."""
        found = self.moved.get(value)
        if found is not None:
            return found
        atom = plain_axis(value)
        if atom is not None:
            return self.env[atom]
        plain = unalias(value)
        gathers = any(atom.kind == "gather" for atom in atoms(plain))
        if gathers:
            found = substitute(plain, self.env, lambda node: self._placed(node, placed))
        else:
            found = self.moved[value] = substitute(plain, self.env, memo=self.moved)
        self._note(found)
        return found

    def _placed(self, node: object, placed: Mapping[UOp, UOp]) -> UOp:
        assert isinstance(node, UOp), "writer: a gather without its expression"
        return self._get(node, placed)

    def _mask(self, mask: Mask, placed: Mapping[UOp, UOp]) -> Mask:
        if not mask:
            return mask
        found = mask_of([at_least_zero(self._index(value, placed)) for value in mask])
        return NEVER if found is None else found

    def _write_reduction(self, node: UOp, level: int) -> None:
        """Write a reduction in the loop of its deepest axis; its value is then a register."""
        deeper = self.scopes[level + 1 :]
        del self.scopes[level + 1 :]
        arg = node.arg
        state = buffer(self._fresh("s"), node.dtype, (), "reg", init=arg.combine)
        self.write(state)
        outer, running = self.uses, self.running
        self.uses = self._uses_inside(node)
        self.open("red", arg.axes, arg.extents)
        value = self.place(node.src[0])
        self.write(store(state, self.access((), arg.mask), value, arg.combine))
        self.close()
        self.uses, self.running = outer, running
        self._know(node, load(state, Access(())), level)
        self.scopes += deeper

    def _uses_inside(self, node: UOp) -> Mapping[UOp, int]:
        """Uses while a reduction is written: what depends on its axes is used by it alone."""
        bound = {atom for index in node.arg.axes for atom in atoms(index)}
        inside = count_uses(node.src)
        own = {one: n for one, n in inside.items() if not bound.isdisjoint(self.depends(one))}
        return {**self.uses, **own}


def _outside_reductions(node: UOp) -> Sequence[UOp]:
    return () if node.op is Ops.REDUCE else parts(node)


def count_uses(values: Sequence[UOp]) -> dict[UOp, int]:
    """How many expressions and statements read each node; a sign stands for its readers."""
    order = in_order(values)
    uses = dict.fromkeys(order, 0)
    for value in values:
        uses[value] += 1
    for node in reversed(order):
        for part in parts(node):
            uses[part] += uses[node] if node.op is Ops.NEG else 1
    return uses
