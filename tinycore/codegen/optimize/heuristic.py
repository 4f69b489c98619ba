"""BEAM=0: the actions a kernel gets without a search, decided from strides and capabilities.

Comes in: a kernel and the caps of a target. Goes out: action texts, applied one by one; one that
turns out illegal is left out. Four cases: contractions get a register tile (contraction.py);
other loops become vectors along the axis that is contiguous in most accesses: a par axis directly,
a reduction axis by partial sums, an outer axis by sinking below the reductions. What is left of
the outer par loops becomes the grid. No shape is looked up in a table.
"""

from __future__ import annotations

from tinycore.codegen.optimize.actions import Choice
from tinycore.codegen.optimize.analysis import (
    Reference,
    extent_of,
    is_linear,
    leaf_loops,
    par_chain,
    references,
)
from tinycore.codegen.optimize.contraction import Operands, RowTile, Tile, best_tile, is_contraction
from tinycore.codegen.optimize.edit import loops_in
from tinycore.runtime.contract import Caps
from tinycore.uop import Ops, UOp
from tinycore.uop.tree import Kernel, walk


def heuristic(kernel: Kernel, caps: Caps) -> tuple[Kernel, list[str]]:
    """The kernel after the chosen actions, and their texts."""
    choice = _Choice(kernel, caps)
    choice.fuse_contiguous()
    for position in range(len(choice.kernel.body)):
        if not choice.contraction(position):
            choice.vectorize(position)
    choice.grid()
    return choice.kernel, choice.taken


class _Choice(Choice):
    """What is chosen for each kind of statement."""

    # fusing

    def fuse_contiguous(self) -> None:
        """Make one axis of neighbours that every access walks at one pace."""
        while any(self._fused(outer) for outer in loops_in(self.kernel.body)):
            pass

    def _fused(self, outer: UOp) -> bool:
        if len(outer.src) != 1 or outer.src[0].op is not Ops.LOOP:
            return False
        before = self.kernel
        if not is_linear(before.body):
            return False
        if not self.take("FUSE", outer.name, outer.src[0].name):
            return False
        if is_linear(self.kernel.body):
            return True
        self.kernel = before
        self.taken.pop()
        return False

    # contractions

    def contraction(self, position: int) -> bool:
        """Tile the root statement at `position` if it is a contraction."""
        self._fill_sums(self.kernel.body[position])
        operands = _operands(self.kernel.body[position])
        if operands is None or not is_contraction(operands):
            return False
        tile = best_tile(operands, self.lanes, self.caps)
        if tile is None:
            return False
        if tile.column is not None:
            self._tile_by_partial_sums(operands, tile)
        else:
            RowTile(self, operands, tile).make()
        return True

    def _fill_sums(self, root: UOp) -> None:
        """Exchange the masks of sums for zeros that their factors read."""
        for statement, _ in walk([root]):
            is_sum = statement.op is Ops.STORE and statement.arg.combine == "sum"
            if is_sum and statement.arg.places[0].mask:
                self.take("FILL", statement.src[0].name)

    def _tile_by_partial_sums(self, operands: Operands, tile: Tile) -> None:
        vector, last = tile.vector.name, operands.red[-1].name
        self._innermost(vector)
        self.take("SPLIT", vector, self.lanes)
        self.take("RFACTOR", f"{vector}.1")
        self.take("MAP", f"{vector}.1.j", "vec")
        sunk = []
        for loop, count in ((tile.column, tile.columns), (tile.row, tile.rows)):
            if loop is not None and count > 1 and self.take("SPLIT", loop.name, count):
                sunk.append(loop)
        below = f"{vector}.0" if last == vector else last
        self.take("MAP", f"{vector}.1", "vec")
        for loop in sunk:
            self.take("REORDER", f"{loop.name}.1", below)
            self.take("MAP", f"{loop.name}.1", "reg")

    def _innermost(self, name: str) -> None:
        """Move a loop inside the loops of its own kind that it perfectly holds."""
        moved = True
        while moved:
            moved = False
            for node in loops_in(self.kernel.body):
                inner = node.source if len(node.src) == 1 else node
                if node.name == name and inner.op is Ops.LOOP and inner is not node:
                    same = inner.arg.kind == node.arg.kind and not inner.arg.map
                    moved = same and self.take("REORDER", name, inner.name)
                    break

    # everything else

    def vectorize(self, position: int) -> None:
        """Give every innermost loop of a root statement lanes along its best axis."""
        if position >= len(self.kernel.body):
            return
        paths = leaf_loops([self.kernel.body[position]])
        chosen = [(path[-1], _contiguous_axis(path)) for path in paths]
        done: set[str] = set()
        for leaf, loop in sorted(chosen, key=lambda pair: pair[0] is not pair[1]):
            # one axis of lanes for a nest: leaves that have their own leave the outer axes alone
            if loop is None or loop.name in done or (done and loop is not leaf):
                continue
            done.add(loop.name)
            if loop is not leaf:
                self._sink_vector(loop, position)
            elif loop.arg.kind == "red":
                self._vector_of_partial_sums(loop)
            else:
                self._vector_of(loop, is_root=leaf is self.kernel.body[position])

    def _vector_of(self, loop: UOp, is_root: bool) -> None:
        name, extent = loop.name, extent_of(loop)
        if extent < 2:
            return
        whole = loop.arg.extent.is_const and extent % self.lanes == 0
        ragged = not whole and not is_root and extent > self.lanes
        if ragged and self.take("OVERLAP", name, self.lanes):
            self.take("MAP", f"{name}.1", "vec")
            self.take("MAP", f"{name}.1'", "vec")
            return
        self.take("SPLIT", name, self.lanes)
        self.take("MAP", f"{name}.1", "vec")

    def _vector_of_partial_sums(self, loop: UOp) -> None:
        name, extent = loop.name, extent_of(loop)
        if extent < self.lanes or not loop.arg.extent.is_const:
            return
        several = next(n for n in (4, 2, 1) if extent >= 2 * n * self.lanes or n == 1)
        width = several * self.lanes
        self.take("SPLIT", name, width)
        if not self.take("RFACTOR", f"{name}.1"):
            return
        if extent % width:
            self.take("PEEL", f"{name}.0")
        for part in (f"{name}.1", f"{name}.1.j", f"{name}.1'"):
            self.take("SPLIT", part, self.lanes)
            self.take("MAP", f"{part}.1", "vec")
            self.take("MAP", f"{part}.0", "unroll" if part.endswith("j") else "reg")

    def _sink_vector(self, loop: UOp, position: int) -> None:
        name = loop.name
        if extent_of(loop) < 2:
            return
        self.take("SPLIT", name, self.lanes)
        inner = [s for s, _ in walk([self.kernel.body[position]]) if s.op is Ops.LOOP]
        inside = False
        for node in inner:
            if inside and node.name != f"{name}.1":
                self.take("REORDER", f"{name}.1", node.name)
            inside = inside or node.name == f"{name}.1"
        self.take("MAP", f"{name}.1", "vec")

    # the grid

    def grid(self) -> None:
        """Run the outer par loops side by side; several root loops become several launches."""
        if any(statement.op is not Ops.LOOP for statement in self.kernel.body):
            return
        for statement in self.kernel.body:
            chain, _ = par_chain((statement,))
            for loop in chain:
                if loop.arg.map or not self.take("MAP", loop.name, "grid"):
                    break


def _operands(root: UOp) -> Operands | None:
    """The loops and loads of a root statement that is one reduction under par loops."""
    chain, body = par_chain((root,))
    loops = [s for s in body if s.op is Ops.LOOP]
    if not chain or len(loops) != 1 or loops[0].arg.kind != "red":
        return None
    red = [loops[0]]
    while len(red[-1].src) == 1 and red[-1].src[0].op is Ops.LOOP:
        red.append(red[-1].src[0])
    if any(s.op is Ops.LOOP for s in red[-1].src) or any(loop.arg.kind != "red" for loop in red):
        return None
    loads = [r for r in references(loops, tuple(chain)) if not r.is_store]
    after = references([s for s in body if s is not loops[0]], tuple(chain))
    return Operands(tuple(chain), tuple(red), tuple(loads), tuple(after))


def _contiguous_axis(path: tuple[UOp, ...]) -> UOp | None:
    """The loop of a path along which most accesses of its innermost body are neighbours."""
    inner = references(path[-1].src, path)
    best, best_score = None, 0.0
    for loop in reversed(path):
        if loop.arg.map or (loop.arg.kind == "red" and loop is not path[-1]):
            continue
        score = sum(_neighbourhood(reference, loop) for reference in inner)
        if score > best_score and extent_of(loop) >= 4:
            best, best_score = loop, score
    return best


def _neighbourhood(reference: Reference, loop: UOp) -> float:
    return {0: 0.0, None: 0.0, 1: 1.0, 2: 0.25}.get(reference.stride(loop), -0.5)
