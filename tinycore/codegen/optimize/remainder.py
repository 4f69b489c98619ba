"""PEEL and OVERLAP: two ways to keep the mask of a remainder out of the main loop.

Comes in: a kernel and an axis. Goes out: the kernel with a second copy of the loop's body for its
last iteration, every axis, buffer and LET of which has a prime so that it can be addressed alone.
Bounds then fold the masks of the first copy, or shrink the extents of the second (IR.md 3.7).
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycore.codegen.optimize.edit import (
    Env,
    Illegal,
    Statements,
    atom_of,
    changed,
    constraint,
    declared,
    edit_loops,
    find,
    followed,
    fresh,
    loops_in,
    loops_of,
    names_declared,
    names_in,
    read,
)
from tinycore.dtype import dtypes
from tinycore.uop.affine import Mask, unalias
from tinycore.uop.index import Atom, Index, alias, axis, make, of_atom
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import under, uses
from tinycore.uop.tree import Kernel, Rebuild, axis_of, loop, rebuild

_PLAIN = frozenset({Ops.LOOP, Ops.STORE, Ops.LET, Ops.BUFFER, Ops.IF})


def peel(kernel: Kernel, name: str) -> Kernel:
    """PEEL(axis): the last iteration of a loop stands alone, after the others.

    Legal on an axis of constant extent above one that has no place or is a grid: there both
    copies stay in the one loop, under conditions that all of a block agree on.
    """
    for found in loops_of(kernel, name):
        arg = found.arg
        if arg.map not in ("", "grid") or not arg.extent.is_const or arg.extent.const < 2:
            raise Illegal(f"PEEL: axis {name} is mapped or has no constant extent above one")
    prime = _Prime(kernel, name)
    return edit_loops(kernel, name, lambda node: _peeled(node, prime))


def _peeled(node: UOp, prime: _Prime) -> Iterable[UOp]:
    last = node.arg.extent.const - 1
    atom = atom_of(node)
    assert atom is not None, "peel: an axis that runs once"
    copy = shrunk(prime.copy(node.src, {atom: make(last)}))
    if node.arg.map == "grid":
        copied = _if(of_atom(atom) - last, copy)
        return [node.replace(src=(_main_if(node, last), copied))]
    env = followed(node.src, {atom: axis(node.arg.axis, last)})
    shorter = rebuild(node.src, {}, env)
    return (loop(node.arg.kind, node.arg.axis, last, shorter), *copy)


def _main_if(node: UOp, last: int) -> UOp:
    value = axis_of(node)
    narrow = alias(value, 0, last - 1)
    folded = rebuild(node.src, {}, {value.terms[0][0]: narrow})
    return _if(last - 1 - value, _Unaliased({}, {}).body(folded))


def _if(condition: Index, body: Statements) -> UOp:
    return UOp(Ops.IF, dtypes.void, body, constraint(condition))


class _Unaliased(Rebuild):
    """Takes the bounds that an IF proves out of indices again: they have done their work."""

    def index(self, value: Index) -> Index:
        return unalias(super().index(value))


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
    prime = _Prime(kernel, name)
    return edit_loops(kernel, name, lambda node: _overlapped(node, factor, prime))


def _check_repeatable(node: UOp) -> None:
    own = declared(node.src)
    for statement in find(node.src, Ops.STORE, Ops.MMA):
        plain = statement.op is Ops.STORE and not statement.arg.combine
        if not plain and changed([statement]) - own:
            raise Illegal(f"OVERLAP: {node.arg.axis} holds a combining store")
    if (changed(node.src) - own) & read(node.src):
        raise Illegal(f"OVERLAP: {node.arg.axis} reads what it writes")


def _overlapped(node: UOp, factor: int, prime: _Prime) -> Iterable[UOp]:
    name, extent = node.arg.axis, node.arg.extent.const
    whole, rest = divmod(extent, factor)
    atom = atom_of(node)
    outer, inner = axis(f"{name}.0", whole), axis(f"{name}.1", factor)
    env = {} if atom is None else {atom: outer * factor + inner}
    body = rebuild(node.src, {}, followed(node.src, env))
    tiles = loop("par", f"{name}.0", whole, [loop("par", f"{name}.1", factor, body)])
    if not rest:
        return [tiles]
    copied = prime.axis(f"{name}.1")
    last = axis(copied, factor)
    env = {} if atom is None else {atom: last + (extent - factor)}
    return [tiles, loop("par", copied, factor, prime.copy(node.src, env))]


class _Prime:
    """Gives copies new names: as many primes as make every name of a kernel new.

    All copies of one action share their axes; a value or buffer that another copy has in its
    block gets a prime more.
    """

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.taken = names_in(kernel)
        self.marks = "'"
        copied = names_declared(loops_of(kernel, name))
        while any(old + self.marks in self.taken for old in (*copied, f"{name}.1")):
            self.marks += "'"

    def axis(self, name: str) -> str:
        """The name of an axis in every copy."""
        return name + self.marks

    def copy(self, body: Statements, env: dict[Atom, Index]) -> Statements:
        """`body` under `env`, with new names for every axis, buffer and LET declared in it."""
        return _Primed(self, body, env).body(body)


class _Primed(Rebuild):
    def __init__(self, prime: _Prime, body: Statements, env: Env) -> None:
        names = {**env}
        super().__init__({}, names)
        self.prime = prime
        self.own = find(body, Ops.LET, Ops.BUFFER)
        for statement in under(body):
            for name, extent in _axes_of(statement):
                for atom, _ in axis(name, extent).terms:
                    names[atom] = axis(prime.axis(name), self.index(extent))

    def _rebuild(self, node: UOp) -> UOp:
        new = super()._rebuild(node)
        arg, prime = new.arg, self.prime
        if node.op is Ops.LOOP:
            return new.replace(arg=arg._replace(axis=prime.axis(arg.axis)))
        if node.op is Ops.COPY:
            box = tuple([(prime.axis(name), extent) for name, extent in arg.box])
            return new.replace(arg=arg._replace(box=box))
        if node not in self.own:
            return new
        if node.op is Ops.LET:
            return new.replace(arg=fresh(prime.axis(arg), prime.taken))
        name = fresh(prime.axis(arg.name), prime.taken)
        return new.replace(arg=arg._replace(name=name))


def _axes_of(statement: UOp) -> Iterable[tuple[str, Index]]:
    if statement.op is Ops.COPY:
        box: tuple[tuple[str, Index], ...] = statement.arg.box
        return box
    if statement.op is not Ops.LOOP:
        return []
    return [(statement.arg.axis, statement.arg.extent)]


# Extents that a mask shrinks


def shrunk(body: Statements) -> Statements:
    """The body with each axis cut to the iterations that any store lets through.

    All loops of an axis are cut at once, with the dimension of the tiles they share.
    """
    for name in dict.fromkeys([found.arg.axis for found in loops_in(body)]):
        body = _cut(body, name)
    return body


def _cut(body: Statements, name: str) -> Statements:
    loops = [found for found in loops_in(body) if found.arg.axis == name]
    atom = atom_of(loops[0])
    if any(found.arg.kind == "ser" or atom_of(found) is not atom for found in loops):
        return body
    masks = None if atom is None else masks_of(body, atom)
    if not masks or atom is None:
        return body
    extent = max([_limit(mask, atom) for mask in masks])
    if not 0 < extent <= atom.hi:
        return body
    tiles = _private(body, atom)
    nodes = {tile: _shorter(tile, at, extent) for tile, at in tiles.items()}
    env = followed(body, {atom: axis(name, extent)})
    return _Cut(nodes, env, name, extent).body(body)


class _Cut(Rebuild):
    def __init__(self, nodes: dict[UOp, UOp], env: Env, name: str, extent: int) -> None:
        super().__init__(nodes, env)
        self.name = name
        self.extent = make(extent)

    def _rebuild(self, node: UOp) -> UOp:
        new = super()._rebuild(node)
        if node.op is not Ops.LOOP or node.arg.axis != self.name:
            return new
        return new.replace(arg=new.arg._replace(extent=self.extent))


def _shorter(tile: UOp, at: int, extent: int) -> UOp:
    shape = list(tile.arg.shape)
    shape[at] = make(extent)
    return tile.replace(arg=tile.arg._replace(shape=tuple(shape)))


def masks_of(body: Statements, atom: Atom) -> list[Mask] | None:
    """The masks of all stores by which iterations of an axis of `body` reach anything else.

    None if they reach it by more than stores. Tiles that have a dimension for the axis and are
    touched at its own place alone do not count: each iteration has its own part of them.
    """
    loops = [found for found in loops_in(body) if atom_of(found) is atom]
    own = declared(loops) | _private(body, atom).keys()
    masks: list[Mask] = []
    for statement in under(loops):
        if statement.op not in _PLAIN:
            return None
        if statement.op is Ops.STORE:
            pairs = zip(statement.arg.places, statement.src, strict=False)
            masks += [place.mask for place, target in pairs if target not in own]
    return masks


def _private(body: Statements, atom: Atom) -> dict[UOp, int]:
    """The buffers of `body` with a dimension for the axis, touched at its own place alone."""
    own = declared(body)
    value = of_atom(atom)
    common: dict[UOp, set[int]] = {}
    for use in [use for statement in under(body) for use in uses(statement)]:
        if use.buffer in own:
            same = {k for k, index in enumerate(use.access.indices) if index is value}
            common[use.buffer] = common.get(use.buffer, same) & same
    return {tile: min(places) for tile, places in common.items() if places}


def _limit(mask: Mask, atom: Atom) -> int:
    """The number of iterations that a mask `c - atom >= 0` allows."""
    limits = [value.const + 1 for value in mask if value.terms == ((atom, -1),)]
    return min(limits, default=atom.hi + 1)
