"""BEAM=0: the actions a kernel gets without a search, decided from strides and capabilities.

In: a kernel and the caps of a target. Out: action texts: register tiles for contractions, vectors
along the axis contiguous in most accesses, a grid of the outer par loops. Next file: search.py.
"""

from collections.abc import Sequence

from tinycore.codegen.optimize.actions import Actions
from tinycore.codegen.optimize.analysis import (
    chain_of,
    extent_of,
    iterations,
    names_of,
)
from tinycore.codegen.optimize.choice import Choice, contiguous_axis
from tinycore.codegen.optimize.contraction import Contraction, Tile
from tinycore.codegen.optimize.edit import direct, loops_in
from tinycore.codegen.optimize.rows import RowTile, make_rows, row_tiles
from tinycore.codegen.optimize.teams import teams, turned
from tinycore.runtime.contract import Caps
from tinycore.uop import Nodes, Ops, UOp
from tinycore.uop.tree import Kernel, walk
from tinycore.util import ceildiv

_SHARE = 1 << 14  # steps of a sum that pay for a task of their own
_STREAMS = 8  # rows read at once, which keep more of memory busy than one


def heuristic(kernel: Kernel, caps: Caps) -> tuple[Kernel, Actions]:
    """The kernel after the chosen actions, and their texts."""
    if caps.max_group_threads > 1:
        return teams(kernel, caps)
    choice = _Vectors(kernel, caps)
    choice.fuse_contiguous()
    choice.feed()
    for position in range(len(choice.kernel.body)):
        if not (choice.contraction(position) or choice.rows(position) or choice.turn(position)):
            choice.vectorize(position)
    choice.grid()
    return choice.kernel, choice.taken


class _Vectors(Choice):
    """Choices for a target of wide vectors."""

    def feed(self) -> None:
        """Leave parts of a long sum to all units, some streams each, if it has few elements."""
        chain, body = chain_of(self.kernel.body)
        shares = 4 * self.caps.units
        if iterations(chain) >= shares:
            return
        for loop in direct(body, Ops.LOOP):
            name, extent = loop.name, extent_of(loop)
            if loop.kind == "red" and extent >= shares * _SHARE:
                split = f"SPLIT({name}, {ceildiv(extent, shares * _STREAMS)})"
                orders = [f"REORDER({outer.name}, {name}.0)" for outer in reversed(chain)]
                streams = f"SPLIT({name}.0, {_STREAMS})", f"MAP({name}.0.0, grid)"
                self.take_all(split, f"RFACTOR({name}.0)", *orders, *streams)

    # contractions

    def contraction(self, position: int) -> bool:
        """Tile a root statement that is a contraction, with zeros for the masks of its sums."""
        operands = self.operands(self.kernel.body[position])
        tile = operands and min(operands.tiles(), key=lambda one: one.cost, default=None)
        if operands and tile and tile.loops[0].kind == "par":
            RowTile(self, operands, tile).make()
            return True
        self.unmask(position)
        if operands and tile:
            self._tile_by_partial_sums(operands, tile)
        return tile is not None

    def _tile_by_partial_sums(self, operands: Contraction, tile: Tile) -> None:
        vector, *sides = names_of(tile.loops)
        inside = operands.red[operands.red.index(tile.loops[0]) + 1 :]
        orders = [f"REORDER({vector}, {loop.name})" for loop in inside]
        self.take(*orders, f"SPLIT({vector}, {self.lanes})")
        self.take(f"RFACTOR({vector}.1)", f"MAP({vector}.1.j, vec)")
        cut = [*zip(sides, tile.counts[1:], strict=True)][::-1]
        sunk = [name for name, count in cut if count > 1 and self.take(f"SPLIT({name}, {count})")]
        self.take(f"MAP({vector}.1, vec)")
        for name in sunk:
            self.take(f"REORDER({name}.1, {vector}.0)", f"MAP({name}.1, reg)")

    def rows(self, position: int) -> bool:
        """Tile the contractions inside the rows of a root statement; False if it has none."""
        before = self.kernel, self.taken
        self._sums_apart(position)
        path, body = chain_of((self.kernel.body[position],))
        inside = direct(body, Ops.LOOP) if path else []
        found = [self.operands(one, path) for one in inside]
        nests = row_tiles(path, found)
        if not nests:
            self.kernel, self.taken = before
            return False
        self.vectorize(position, [operands.par[1] for operands, _ in nests])
        make_rows(self, path, nests)
        return True

    def _sums_apart(self, position: int) -> None:
        """Give sums of rows that a loop adds to loops of their own."""
        _, body = chain_of((self.kernel.body[position],))
        for one in direct(body, Ops.LOOP):
            inside = [inner.name for inner in direct(one.src, Ops.LOOP) if inner.kind == "par"]
            if one.kind == "red" and any(self.below(name, one.name) for name in inside):
                return self._sums_apart(position)

    # everything else

    def turn(self, position: int) -> bool:
        """Read squares by rows and store them by columns, if loads and stores have other
        neighbours."""
        path, body = chain_of((self.kernel.body[position],))
        names, ends = turned(path, body)
        if loops_in(body) or not ends or min(map(extent_of, ends)) < self.lanes:
            return False
        right, down = names_of(ends)
        order = [f"{right}.0", f"{down}.0", f"{right}.1", f"{down}.1"]
        self.take(*[f"SPLIT({name}, {self.lanes})" for name in (right, down)])
        self.arrange(order)
        for name in names:
            self.take(f"STAGE({name}, {down}.0, reg, [{down}.1][{right}.1])")
            self.take(f"MAP({name}.reg.0, reg)", f"MAP({name}.reg.1, vec)")
        self.take(f"MAP({right}.1, reg)", f"MAP({down}.1, vec)")
        for one in ends:
            if extent_of(one) % self.lanes:
                self.take(f"PEEL({one.name}.0)")
        return True

    def vectorize(self, position: int, but: Sequence[UOp] = ()) -> None:
        """Give every innermost loop of a root statement lanes along its best axis."""
        root = self.kernel.body[position]
        paths = [(*around, one) for one, around in walk([root]) if one.is_loop]
        leaves = [path for path in paths if not loops_in(path[-1].src) and not {*path} & {*but}]
        chosen = [(path, contiguous_axis(path)) for path in leaves]
        if all(loop in (None, path[-1]) for path, loop in chosen):
            chosen = [(path, loop or contiguous_axis(path, near=True)) for path, loop in chosen]
        done: set[str] = set()
        for path, loop in sorted(chosen, key=lambda pair: pair[0][-1] is not pair[1]):
            leaf = path[-1]
            # one axis of lanes for a nest: leaves with their own leave the outer axes alone
            if loop is None or loop.name in done or (done and loop is not leaf):
                continue
            done.add(loop.name)
            if loop is not leaf:
                names = names_of(loops_in([self.kernel.body[position]]))
                self.sink(loop.name, *names[names.index(loop.name) + 1 :])
            elif loop.kind == "red":
                self._vector_of_partial_sums(path)
            else:
                self._vector_of(loop, is_root=leaf is root)

    def _vector_of(self, loop: UOp, is_root: bool) -> None:
        name, is_whole = loop.name, extent_of(loop) % self.lanes == 0
        if is_root or is_whole or not self.take(f"OVERLAP({name}, {self.lanes})"):
            self.take(f"SPLIT({name}, {self.lanes})")
        self.take(f"MAP({name}.1, vec)", f"MAP({name}.1', vec)")

    def _vector_of_partial_sums(self, path: Nodes) -> None:
        loop, rows = path[-1], self._streams(path)
        name, extent = loop.name, extent_of(loop)
        if extent < self.lanes or not loop.extent.is_const:
            return
        counts = (2, 1) if rows else (4, 2, 1)
        several = next(n for n in counts if extent >= 2 * n * self.lanes or n == 1)
        width = several * self.lanes
        self.take(f"SPLIT({name}, {width})")
        if not self.take(f"RFACTOR({name}.1)"):
            return
        if extent % width:
            self.take(f"PEEL({name}.0)")
        for part, place in ((".1", "reg"), (".1.j", "unroll"), (".1'", "reg")):
            split = f"SPLIT({name}{part}, {self.lanes})"
            self.take(split, f"MAP({name}{part}.1, vec)", f"MAP({name}{part}.0, {place})")
        if rows:
            row = rows.name
            order = f"REORDER({row}.1, {name}.0)"
            self.take(f"SPLIT({row}, {_STREAMS})", order, f"MAP({row}.1, reg)")
            if extent_of(rows) % _STREAMS:
                self.take(f"PEEL({row}.0)")

    def _streams(self, path: Nodes) -> UOp | None:
        """The loop around a reduction alone of which several iterations run at once."""
        for row in path[-2:-1]:
            is_free = row.kind == "par" and not row.map
            is_alone = loops_in(row.src) == [path[-1]]
            if is_free and is_alone and extent_of(row) >= _STREAMS:
                return row
        return None

    # the grid

    def grid(self) -> None:
        """Run the outer par loops side by side; several root loops become several launches."""
        if any(not statement.is_loop for statement in self.kernel.body):
            return
        for statement in self.kernel.body:
            for loop in chain_of((statement,))[0]:
                if not self.take(f"MAP({loop.name}, grid)"):
                    break
