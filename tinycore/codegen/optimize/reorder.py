"""REORDER: a loop moves to just inside another, distributed over what stands beside it.

Comes in: a kernel, the axis that moves and the axis it goes below. Goes out: the kernel with each
buffer that the moved loop shared between its parts one dimension larger. Register tiles are made
this way: the par axes of a tile sink below the reduction, and the accumulator becomes a tile
(IR.md 5). place.py cuts a group in two launches by the same distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from tinycore.codegen.optimize.edit import (
    Illegal,
    Readdressed,
    Statements,
    atom_of,
    changed,
    direct,
    edit_loops,
    find,
    loops_in,
    loops_of,
    nested,
    read,
    tied,
    touched,
)
from tinycore.uop.affine import atoms
from tinycore.uop.index import Index
from tinycore.uop.ops import UNARY, Ops, UOp, toposort
from tinycore.uop.sites import evaluated, under
from tinycore.uop.spec_loops import TILES
from tinycore.uop.tree import Access, Kernel, axis_of, buffer, let, load, rebuild, store

Nodes = Mapping[UOp, UOp]
Enter = Callable[[UOp], UOp]
_FREE_ORDER = frozenset({"par", "red"})
_COSTLY = UNARY - {Ops.NEG, Ops.TRUNC, Ops.FIN} | {Ops.IDIV, Ops.MOD}


def reorder(kernel: Kernel, moved: str, below: str) -> Kernel:
    """REORDER(a, b): loop a, which holds loop b, goes just inside b.

    Legal for a perfect pair of par and red loops, and for a par loop around anything: its
    iterations are independent. Refused where an extent, a shape or an IF between depends on a.
    """
    holders = [node for node in loops_of(kernel, moved) if _inside(node, below)]
    if not holders:
        raise Illegal(f"REORDER: no loop {below} inside {moved}")
    return nested(edit_loops(kernel, moved, lambda node: _moved(node, below)), "REORDER")


def _inside(node: UOp, below: str) -> list[UOp]:
    return [loop for loop in loops_in(node.src) if loop.arg.axis == below]


def _moved(node: UOp, below: str) -> Iterable[UOp]:
    inner = _inside(node, below)
    if not inner:
        return [node]
    if any(atom_of(node) in atoms(found.arg.extent) for found in inner):
        raise Illegal(f"REORDER: the extent of {below} depends on {node.arg.axis}")
    kinds = {node.arg.kind, inner[0].arg.kind}
    if node.src == (inner[0],) and kinds <= _FREE_ORDER:
        below_it = node.replace(src=inner[0].src)
        return [inner[0].replace(src=(below_it,))]
    if node.arg.kind != "par":
        raise Illegal(f"REORDER: {node.arg.axis} is no par loop and {below} not its whole body")
    return Distribution(node).below(below)


class Piece(NamedTuple):
    """Statements that the loop will run over, or one that it was pushed into."""

    body: Statements
    wrapped: bool


class Distribution:
    """A par loop over several statements becomes several loops.

    Buffers and values that one piece writes and another reads are held outside, with one more
    dimension; the rest stays where it is used.
    """

    def __init__(self, node: UOp, space: str = "reg") -> None:
        if find(node.src, *TILES, Ops.BLOCK):
            raise Illegal("REORDER: copies or tiles are in the body; reorder before STAGE")
        self.node = node
        self.space = space
        self.atom = atom_of(node)
        self.held: dict[UOp, UOp] = {}

    def below(self, axis: str) -> Statements:
        """What stands in the loop's place once it is inside every loop of `axis`."""
        return self._widened(self._pushed(self.node.src, axis))

    def after(self, count: int) -> Statements:
        """One loop over the first `count` statements, one over the others."""
        first, rest = self.node.src[:count], self.node.src[count:]
        pieces = [Piece(_without_buffers(part), True) for part in (first, rest)]
        return self._widened(self._joined(self.node.src, pieces))

    def _widened(self, statements: Statements) -> Statements:
        return widening(self.held, axis_of(self.node)).body(statements)

    def _pushed(self, body: Statements, axis: str) -> Statements:
        pieces: list[Piece] = []
        run: list[UOp] = []
        for statement in _without_buffers(body):
            if any(loop.arg.axis == axis for loop in loops_in([statement])):
                pieces.append(Piece(tuple(run), True))
                pieces.append(Piece((statement,), False))
                run = []
            else:
                run.append(statement)
        pieces.append(Piece(tuple(run), True))
        return self._joined(body, pieces, lambda statement: self._entered(statement, axis))

    def _entered(self, statement: UOp, axis: str) -> UOp:
        if statement.op is Ops.LOOP and statement.arg.axis == axis:
            wrapped = self.node.replace(src=statement.src)
            return statement.replace(src=(wrapped,))
        bounds = statement.arg if statement.op is Ops.IF else (statement.arg.extent,)
        if any(self.atom in atoms(value) for value in bounds):
            raise Illegal(f"REORDER: what is around {axis} depends on {self.node.arg.axis}")
        return statement.replace(src=self._pushed(statement.src, axis))

    def _joined(
        self, body: Statements, pieces: list[Piece], enter: Enter | None = None
    ) -> Statements:
        """The pieces in order, after the buffers that several of them share."""
        pieces, made = crossing_values(pieces, self.space)
        buffers = direct((*made, *body), Ops.BUFFER)
        users = {one: _users(one, pieces) for one in buffers}
        wide = {one for one in buffers if _is_shared(users[one], pieces)}
        for group in tied(self.node.src):
            wide |= group if group & wide else set()
        shared = [one for one in buffers if one in wide]
        out: list[UOp] = list(shared)
        for number, piece in enumerate(pieces):
            own = [one for one in buffers if users[one] == [number] and one not in wide]
            if not piece.wrapped:
                assert enter is not None, "distribution: a statement to enter, and no way to"
                out += map(enter, piece.body)
            elif piece.body:
                out.append(self.node.replace(src=(*own, *piece.body)))
        self.held.update({one: self._wide(one) for one in shared})
        return tuple(out)

    def _wide(self, node: UOp) -> UOp:
        if any(self.atom in atoms(extent) for extent in node.arg.shape):
            raise Illegal(f"REORDER: the shape of {node.arg.name} depends on {self.node.arg.axis}")
        return widened(node, self.node.arg.extent)


def _without_buffers(body: Statements) -> Statements:
    return tuple([statement for statement in body if statement.op is not Ops.BUFFER])


def _is_shared(users: list[int], pieces: list[Piece]) -> bool:
    return len(users) > 1 or any(not pieces[user].wrapped for user in users)


def _users(node: UOp, pieces: list[Piece]) -> list[int]:
    """The pieces that read or write a buffer, or read a value."""
    return [k for k, piece in enumerate(pieces) if _uses(piece.body, node)]


def _uses(statements: Statements, node: UOp) -> bool:
    if node.op is Ops.BUFFER:
        return node in touched(statements)
    return any(node in evaluated(statement) for statement in under(statements))


def crossing_values(pieces: list[Piece], space: str) -> tuple[list[Piece], list[UOp]]:
    """Pieces in which no LET of another is read, and the buffers that hold such values now.

    A cheap value is written out again if memory it reads is not stored to after it.
    """
    made: list[UOp] = []
    expanded: dict[UOp, UOp] = {}
    crossing: dict[UOp, UOp] = {}
    instead: dict[UOp, UOp] = {}
    rows = [(number, one) for number, piece in enumerate(pieces) for one in piece.body]
    for at, (number, statement) in enumerate(rows):
        if statement.op is not Ops.LET:
            continue
        [value] = rebuild(statement.src, expanded)
        expanded[statement] = value
        if all(user == number for user in _users(statement, pieces)):
            continue
        if not _may_repeat(value, [one for _, one in rows[at + 1 :]]):
            kept = buffer(f"{statement.arg}.v", statement.dtype, (), space)
            made.append(kept)
            instead[statement] = store(kept, Access(()), statement.src[0])
            value = expanded[statement] = load(kept, Access(()))
        crossing[statement] = value
    gone = crossing.keys() - instead.keys()
    return [_replaced(piece, instead, crossing, gone) for piece in pieces], made


def _may_repeat(value: UOp, later: list[UOp]) -> bool:
    """True for a value that costs little and is the same when it is evaluated again."""
    if any(node.op in _COSTLY for node in toposort([value])):
        return False
    return read([let("", value)]).isdisjoint(changed(later))


def _replaced(piece: Piece, instead: Nodes, crossing: Nodes, gone: set[UOp]) -> Piece:
    kept = [instead.get(one, one) for one in piece.body if one not in gone]
    return piece._replace(body=rebuild(kept, crossing))


def widening(wide: Nodes, place: Index) -> Readdressed:
    """Sends accesses of some buffers to wider ones, at one more leading index."""

    def change(access: Access) -> Access:
        return access._replace(indices=(place, *access.indices))

    return Readdressed(wide, change)


def widened(buffer: UOp, extent: Index, suffix: str = "") -> UOp:
    """A buffer with one more leading dimension."""
    arg = buffer.arg
    new = arg._replace(name=arg.name + suffix, shape=(extent, *arg.shape))
    return buffer.replace(arg=new)
