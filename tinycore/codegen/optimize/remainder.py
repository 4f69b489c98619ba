"""PEEL and OVERLAP: two ways to keep the mask of a remainder out of the main loop.

Comes in: a kernel and an axis. Goes out: the kernel with a second copy of the loop's body for its
last iteration, every axis, buffer and LET of which has a prime so that it can be addressed alone.
Bounds then fold the masks of the first copy, or shrink the extents of the second (IR.md 3.7).
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycore.codegen.optimize.edit import (
    Illegal,
    Statements,
    atom_of,
    declared,
    edit_loops,
    loops_of,
)
from tinycore.codegen.optimize.reorder import targets
from tinycore.uop.affine import substitute
from tinycore.uop.index import Atom, Index, as_index, axis, make
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.tree import Kernel, Rebuild, loop, values, walk


def peel(kernel: Kernel, name: str) -> Kernel:
    """PEEL(axis): the last iteration of a loop stands alone, after the others.

    Legal on every unmapped axis of constant extent; a grid axis would need two launches.
    """
    for found in loops_of(kernel, name):
        if found.arg.map or not found.arg.extent.is_const:
            raise Illegal(f"PEEL: axis {name} is mapped or has no constant extent")
    return edit_loops(kernel, name, _peeled)


def _peeled(node: UOp) -> Iterable[UOp]:
    last = node.arg.extent.const - 1
    atom = atom_of(node)
    if atom is None:
        return node.src
    shorter = Rebuild({}, {atom: axis(node.arg.axis, last)}).body(node.src)
    main = loop(node.arg.kind, node.arg.axis, last, shorter)
    return (main, *shrunk(primed(node.src, {atom: make(last)})))


def overlap(kernel: Kernel, name: str, factor: int) -> Kernel:
    """OVERLAP(axis, n): the axis in whole tiles of n, and a last tile shifted back to end with it.

    Legal on a par axis of constant extent >= n whose body stores without combining and reads
    nothing it writes: some elements are computed twice, alike.
    """
    for found in loops_of(kernel, name):
        arg = found.arg
        if arg.kind != "par" or arg.map or not arg.extent.is_const or arg.extent.const < factor:
            raise Illegal(f"OVERLAP: axis {name} is not a free par axis of at least {factor}")
        _check_repeatable(found)
    return edit_loops(kernel, name, lambda node: _overlapped(node, factor))


def _check_repeatable(node: UOp) -> None:
    own = declared(node.src)
    written: set[UOp] = set()
    read: set[UOp] = set()
    for statement, _ in walk(node.src):
        read |= {n.src[0] for n in toposort(values(statement)) if n.op is Ops.LOAD}
        if statement.op is Ops.STORE:
            outside = set(targets(statement)) - own
            if outside and statement.arg.combine:
                raise Illegal(f"OVERLAP: {node.arg.axis} holds a combining store")
            written |= outside
    if written & read:
        raise Illegal(f"OVERLAP: {node.arg.axis} reads what it writes")


def _overlapped(node: UOp, factor: int) -> Iterable[UOp]:
    name, extent = node.arg.axis, node.arg.extent.const
    whole, rest = divmod(extent, factor)
    atom = atom_of(node)
    outer, inner = axis(f"{name}.0", whole), axis(f"{name}.1", factor)
    env = {} if atom is None else {atom: outer * factor + inner}
    body = Rebuild({}, env).body(node.src)
    tiles = loop("par", f"{name}.0", whole, [loop("par", f"{name}.1", factor, body)])
    if not rest:
        return [tiles]
    last = axis(f"{name}.1'", factor)
    env = {} if atom is None else {atom: last + (extent - factor)}
    return [tiles, loop("par", f"{name}.1'", factor, primed(node.src, env))]


def primed(body: Statements, env: dict[Atom, Index]) -> Statements:
    """A copy of `body` under `env`, with a prime on every axis, buffer and LET declared in it."""
    names: dict[Atom, Index] = dict(env)
    nodes: dict[UOp, UOp] = {}
    for statement, _ in walk(body):
        if statement.op is Ops.LOOP:
            atom = atom_of(statement)
            extent = substitute(statement.arg.extent, names)
            if atom is not None:
                names[atom] = axis(statement.arg.axis + "'", extent)
        elif statement.op is Ops.COPY:
            for name, extent in statement.arg.box:
                for atom, _ in axis(name, extent).terms:
                    names[atom] = axis(name + "'", extent)
        elif statement.op is Ops.BUFFER:
            nodes[statement] = statement.replace(
                arg=statement.arg._replace(name=statement.arg.name + "'")
            )
    lets = {s for s, _ in walk(body) if s.op is Ops.LET}
    return _Primed(nodes, names, lets).body(body)


class _Primed(Rebuild):
    def __init__(self, nodes: dict[UOp, UOp], env: dict[Atom, Index], lets: set[UOp]) -> None:
        super().__init__(nodes, env)
        self.lets = lets

    def _rebuild(self, node: UOp) -> UOp:
        new = super()._rebuild(node)
        if node.op is Ops.LOOP:
            return new.replace(arg=new.arg._replace(axis=new.arg.axis + "'"))
        if node.op is Ops.COPY:
            box = tuple([(name + "'", extent) for name, extent in new.arg.box])
            return new.replace(arg=new.arg._replace(box=box))
        if node in self.lets:
            return new.replace(arg=new.arg + "'")
        return new


def shrunk(body: Statements) -> Statements:
    """The body with each loop cut to the iterations that any of its stores lets through."""
    out = []
    for statement in body:
        if statement.op is Ops.LOOP:
            statement = _cut(statement.replace(src=shrunk(statement.src)))
        out.append(statement)
    return tuple(out)


def _cut(node: UOp) -> UOp:
    atom = atom_of(node)
    if atom is None or node.arg.kind == "ser":
        return node
    own = declared(node.src)
    limits = [
        _limit(place.mask, atom)
        for statement, _ in walk(node.src)
        if statement.op is Ops.STORE
        for place, target in zip(statement.arg.places, statement.src, strict=False)
        if target not in own
    ]
    if not limits or None in limits:
        return node
    extent = max(limit for limit in limits if limit is not None)
    if as_index(extent) is node.arg.extent:
        return node
    body = Rebuild({}, {atom: axis(node.arg.axis, extent)}).body(node.src)
    return loop(node.arg.kind, node.arg.axis, extent, body, node.arg.map)


def _limit(mask: tuple[Index, ...], atom: Atom) -> int | None:
    """The number of iterations that a mask `c - atom >= 0` allows, if there is such a one."""
    for value in mask:
        if value.terms == ((atom, -1),):
            return value.const + 1
    return None
