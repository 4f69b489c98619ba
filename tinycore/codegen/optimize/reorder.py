"""REORDER: a loop moves to just inside another, distributed over what stands beside it.

Comes in: a kernel, the axis that moves and the axis it goes below. Goes out: the kernel with each
buffer the moved loop held one dimension larger. Register tiles are made this way: the par axes of
a tile sink below the reduction, and the accumulator becomes a tile (IR.md 5).
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycore.codegen.optimize.edit import Illegal, Statements, atom_of, edit_loops
from tinycore.uop.affine import atoms
from tinycore.uop.index import Index
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.tree import Access, Kernel, Rebuild, axis_of, walk

_TILES = frozenset({Ops.COPY, Ops.MMA, Ops.WAIT, Ops.FREE, Ops.BLOCK})


def reorder(kernel: Kernel, moved: str, below: str) -> Kernel:
    """REORDER(a, b): loop a, which holds loop b, goes just inside b.

    Legal for a perfect pair of par and red loops, and for a par loop around anything: its
    iterations are independent. Refused where b's extent or an IF between depends on a, or a value
    named outside would have to be read from memory changed since.
    """
    return edit_loops(kernel, moved, lambda node: _moved(node, below))


def _moved(node: UOp, below: str) -> Iterable[UOp]:
    inner = [s for s, _ in walk(node.src) if s.op is Ops.LOOP and s.arg.axis == below]
    if not inner:
        return [node]
    atom = atom_of(node)
    for found in inner:
        if atom in atoms(found.arg.extent):
            raise Illegal(f"REORDER: the extent of {below} depends on {node.arg.axis}")
    if node.src == (inner[0],) and {node.arg.kind, inner[0].arg.kind} <= {"par", "red"}:
        return [_swapped(node, inner[0])]
    if node.arg.kind != "par":
        raise Illegal(f"REORDER: {node.arg.axis} is no par loop and {below} not its whole body")
    return _Distribution(node, below).statements()


def _swapped(outer: UOp, inner: UOp) -> UOp:
    return inner.replace(src=(outer.replace(src=inner.src),))


class _Distribution:
    """A par loop pushed down to below every loop of one axis in its body."""

    def __init__(self, node: UOp, below: str) -> None:
        self.node = node
        self.below = below
        self.atom = atom_of(node)
        self.held: list[UOp] = []

    def statements(self) -> Statements:
        """What stands in the loop's place afterwards."""
        pushed = self._push(self.node.src)
        wide = {buffer: widened(buffer, self.node.arg.extent) for buffer in self.held}
        return Widening(wide, axis_of(self.node)).body(pushed)

    def _push(self, body: Iterable[UOp]) -> Statements:
        out: list[UOp] = []
        run: list[UOp] = []

        def flush() -> None:
            if run:
                out.append(self.node.replace(src=tuple(run)))
                run.clear()

        for statement in _without_lets(tuple(body)):
            if statement.op is Ops.BUFFER:
                self.held.append(statement)
                out.insert(0, statement)
            elif self._holds_target(statement):
                flush()
                out.append(self._entered(statement))
            else:
                run.append(statement)
        flush()
        return tuple(out)

    def _entered(self, statement: UOp) -> UOp:
        if statement.op is Ops.LOOP and statement.arg.axis == self.below:
            return statement.replace(src=(self.node.replace(src=statement.src),))
        if statement.op is Ops.IF and any(self.atom in atoms(value) for value in statement.arg):
            raise Illegal(f"REORDER: an IF around {self.below} depends on {self.node.arg.axis}")
        return statement.replace(src=self._push(statement.src))

    def _holds_target(self, statement: UOp) -> bool:
        inside = [s for s, _ in walk([statement]) if s.op is Ops.LOOP]
        return any(loop.arg.axis == self.below for loop in inside)


def _without_lets(body: Statements) -> Statements:
    """The body with the LETs of its own level written out where they are read.

    Raises: Illegal if a LET reads a buffer that the body stores to: it may have changed since.
    """
    lets = [s for s in body if s.op is Ops.LET]
    if any(s.op in _TILES for s, _ in walk(body)):
        raise Illegal("REORDER: copies or tiles are in the body; reorder before STAGE")
    if not lets:
        return body
    written = {b for s, _ in walk(body) if s.op is Ops.STORE for b in targets(s)}
    nodes: dict[UOp, UOp] = {}
    for let in lets:
        if any(node.op is Ops.LOAD and node.src[0] in written for node in toposort(let.src)):
            raise Illegal(f"REORDER: {let.arg} reads a buffer that is stored to beside it")
        nodes[let] = Rebuild(nodes, {}).node(let.src[0])
    rest = [s for s in body if s.op is not Ops.LET]
    return Rebuild(nodes, {}).body(rest)


def targets(store: UOp) -> tuple[UOp, ...]:
    """The buffers a STORE changes, those its rebase moves included."""
    count = len(store.arg.places)
    return store.src[:count] + store.src[2 * count :]


class Widening(Rebuild):
    """Sends accesses of some buffers to wider ones, at one more leading index."""

    def __init__(self, wide: dict[UOp, UOp], place: Index) -> None:
        super().__init__(wide, {})
        self.wide = wide
        self.place = place

    def _rebuild(self, node: UOp) -> UOp:
        if node.op is Ops.LOAD and node.src[0] in self.wide:
            node = node.replace(arg=self._prefixed(node.arg))
        elif node.op is Ops.STORE:
            pairs = zip(node.arg.places, node.src, strict=False)
            places = tuple([self._prefixed(p) if b in self.wide else p for p, b in pairs])
            node = node.replace(arg=node.arg._replace(places=places))
        return super()._rebuild(node)

    def _prefixed(self, access: Access) -> Access:
        return access._replace(indices=(self.place, *access.indices))


def widened(buffer: UOp, extent: Index, suffix: str = "") -> UOp:
    """A buffer with one more leading dimension."""
    arg = buffer.arg
    new = arg._replace(name=arg.name + suffix, shape=(extent, *arg.shape))
    return buffer.replace(arg=new)
