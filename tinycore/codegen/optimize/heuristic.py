"""BEAM=0: the actions a kernel gets without a search, decided from strides and capabilities.

In: a kernel and the caps of a target. Out: action texts: register tiles for contractions, vectors
along the axis contiguous in most accesses, a grid of the outer par loops. Next file: search.py.
"""

from tinycore.codegen.optimize.actions import Actions
from tinycore.codegen.optimize.analysis import (
    Reference,
    chain_of,
    extent_of,
    iterations,
    leaf_loops,
    names_of,
    references,
)
from tinycore.codegen.optimize.choice import Choice, contiguous_axis
from tinycore.codegen.optimize.contraction import Contraction, Tile
from tinycore.codegen.optimize.edit import loops_in
from tinycore.codegen.optimize.teams import teams
from tinycore.runtime.contract import Caps
from tinycore.uop import Ops, UOp
from tinycore.uop.tree import Kernel
from tinycore.util import ceildiv


def heuristic(kernel: Kernel, caps: Caps) -> tuple[Kernel, Actions]:
    """The kernel after the chosen actions, and their texts."""
    if caps.max_group_threads > 1:
        return teams(kernel, caps)
    choice = _Vectors(kernel, caps)
    choice.fuse_contiguous()
    for position in range(len(choice.kernel.body)):
        if not choice.contraction(position):
            choice.vectorize(position)
    choice.grid()
    return choice.kernel, choice.taken


class _Vectors(Choice):
    """Choices for a target of wide vectors."""

    # contractions

    def contraction(self, position: int) -> bool:
        """Tile a root statement that is a contraction, with zeros for the masks of its sums."""
        self.unmask(position)
        operands = self.operands(self.kernel.body[position])
        tile = operands and operands.best_tile()
        if not operands or not tile:
            return False
        if tile.loops[0].kind == "red":
            self._tile_by_partial_sums(operands, tile)
        else:
            _RowTile(self, operands, tile).make()
        return True

    def _tile_by_partial_sums(self, operands: Contraction, tile: Tile) -> None:
        vector, *sides = names_of(tile.loops)
        inside = operands.red[operands.red.index(tile.loops[0]) + 1 :]
        orders = [f"REORDER({vector}, {loop.name})" for loop in inside]
        self.take(*orders, f"SPLIT({vector}, {self.lanes})")
        self.take(f"RFACTOR({vector}.1)", f"MAP({vector}.1.j, vec)")
        cut = [*zip(sides, tile.counts[1:], strict=True)][::-1]
        sunk = [name for name, count in cut if count > 1 and self.take(f"SPLIT({name}, {count})")]
        below = inside[-1].name if inside else f"{vector}.0"
        self.take(f"MAP({vector}.1, vec)")
        for name in sunk:
            self.take(f"REORDER({name}.1, {below})", f"MAP({name}.1, reg)")

    # everything else

    def vectorize(self, position: int) -> None:
        """Give every innermost loop of a root statement lanes along its best axis."""
        root = self.kernel.body[position]
        chosen = [(path[-1], contiguous_axis(path)) for path in leaf_loops([root])]
        done: set[str] = set()
        for leaf, loop in sorted(chosen, key=lambda pair: pair[0] is not pair[1]):
            # one axis of lanes for a nest: leaves with their own leave the outer axes alone
            if loop is None or loop.name in done or (done and loop is not leaf):
                continue
            done.add(loop.name)
            if loop is not leaf:
                self._sink_vector(loop.name, position)
            elif loop.kind == "red":
                self._vector_of_partial_sums(loop)
            else:
                self._vector_of(loop, is_root=leaf is root)

    def _vector_of(self, loop: UOp, is_root: bool) -> None:
        name, extent = loop.name, extent_of(loop)
        whole = loop.extent.is_const and extent % self.lanes == 0
        ragged = not whole and not is_root and extent > self.lanes
        if not ragged or not self.take(f"OVERLAP({name}, {self.lanes})"):
            self.take(f"SPLIT({name}, {self.lanes})")
        self.take(f"MAP({name}.1, vec)", f"MAP({name}.1', vec)")

    def _vector_of_partial_sums(self, loop: UOp) -> None:
        name, extent = loop.name, extent_of(loop)
        if extent < self.lanes or not loop.extent.is_const:
            return
        several = next(n for n in (4, 2, 1) if extent >= 2 * n * self.lanes or n == 1)
        width = several * self.lanes
        self.take(f"SPLIT({name}, {width})")
        if not self.take(f"RFACTOR({name}.1)"):
            return
        if extent % width:
            self.take(f"PEEL({name}.0)")
        for part, place in ((".1", "reg"), (".1.j", "unroll"), (".1'", "reg")):
            split = f"SPLIT({name}{part}, {self.lanes})"
            self.take(split, f"MAP({name}{part}.1, vec)", f"MAP({name}{part}.0, {place})")

    def _sink_vector(self, name: str, position: int) -> None:
        if self.take(f"SPLIT({name}, {self.lanes})"):
            names = names_of(loops_in(self.kernel.body[position : position + 1]))
            for below in names[names.index(f"{name}.1") + 1 :]:
                self.take(f"REORDER({name}.1, {below})")
            self.take(f"MAP({name}.1, vec)")

    # the grid

    def grid(self) -> None:
        """Run the outer par loops side by side; several root loops become several launches."""
        if any(statement.op is not Ops.LOOP for statement in self.kernel.body):
            return
        for statement in self.kernel.body:
            for loop in chain_of((statement,))[0]:
                if loop.map or not self.take(f"MAP({loop.name}, grid)"):
                    break


class _RowTile:
    """The actions that make a tile of rows; names are those after each SPLIT."""

    def __init__(self, choice: Choice, operands: Contraction, tile: Tile) -> None:
        self.choice = choice
        self.take = choice.take
        self.operands = operands
        self.tile = tile
        self.vectors, self.rows, *_ = (*tile.counts, 1)
        self.vector, self.row, *_ = (*names_of(tile.loops), "")
        self.panel = self.vector
        self.others = [loop.name for loop in operands.par if loop not in tile.loops]
        self.depth = names_of(operands.red)

    def make(self) -> None:
        packed = self.tile.packed
        block = self._block()
        shares = self._packed_panel(packed) if packed else []
        parts = self._parts()
        row = f"{self.row}.0" if len(parts) > 2 else self.row
        outer = [*self.others, f"{self.panel}.0", row]
        last = self._streamed()
        if block:
            self.take(*[f"REORDER({name}, {block})" for name in (*parts, *reversed(outer))])
        self.take(*[f"REORDER({name}, {last})" for name in parts])
        if block:
            self._update(row or f"{self.panel}.0", parts)
        self.take(f"MAP({parts[0]}, vec)", *[f"MAP({name}, reg)" for name in parts[1:]])
        wanted = [*shares, f"{self.vector}.0", *outer]
        self.choice.arrange(wanted)
        if packed:
            self._pack(packed, block or f"{self.vector}.0")
        if extent_of(self.tile.loops[-1]) % self.rows:
            self.take(f"PEEL({row})")
        self._box()

    def _parts(self) -> list[str]:
        lanes, panel = self.choice.lanes, self.panel
        self.take(f"SPLIT({panel}, {lanes * self.vectors})", f"SPLIT({panel}.1, {lanes})")
        parts = [f"{panel}.1.1", f"{panel}.1.0"]
        if self.rows > 1 and self.take(f"SPLIT({self.row}, {self.rows})"):
            parts.append(f"{self.row}.1")
        return parts

    # reduction loops

    def _block(self) -> str:
        """The reduction that runs outside the tiles, if all of it would leave the cache."""
        if self.tile.block is None:
            return ""
        name, count = self.tile.block[0].name, self.tile.block[1]
        if count == 1 or not self.take(f"SPLIT({name}, {count})"):
            self.depth.remove(name)
            return name
        self.depth[self.depth.index(name)] = f"{name}.1"
        return f"{name}.0"

    def _update(self, at: str, parts: list[str]) -> None:
        total = self.operands.red[-1].src[-1].source.name
        update = f"UPDATE({total}, {at}, {_layout(*reversed(parts))})"
        self.take(update, f"FILL({total}.reg)", f"MAP({parts[0]}', vec)")

    def _streamed(self) -> str:
        """Order the reduction loops; the innermost, which is returned, moves splats least."""
        splats = [one for one in self.operands.loads if not one.moves(self.tile.loops[0])]
        moves: dict[str, int] = {}
        for loop in self.operands.red:
            steps = max([abs(one.stride(loop) or 0) for one in splats], default=0)
            moves |= {loop.name: -steps, f"{loop.name}.1": -steps}
        return self.choice.order(self.depth, sorted(self.depth, key=moves.__getitem__))[-1]

    # panels

    def _packed_panel(self, packed: Reference) -> list[str]:
        """Cut a packed panel that fits the cache and feeds all units; the axes that share it."""
        extent, units = extent_of(self.tile.loops[0]), self.choice.caps.units
        least = self.choice.lanes * self.vectors
        block, depth = self.tile.block or (None, 1)
        depth *= iterations([loop for loop in self.operands.red if loop is not block])
        most = min(self.operands.near // (4 * depth), extent // (2 * units), 4 * least)
        width = max(most // least, 1) * least
        self.take(f"SPLIT({self.vector}, {width})")
        self.panel = f"{self.vector}.1"
        few, shares = (units, units) if block else (2 * units, 4 * units)
        return self._shared(packed, shares) if ceildiv(extent, width) < few else []

    def _shared(self, packed: Reference, shares: int) -> list[str]:
        may = [loop for loop in self.operands.par if loop.name in self.others]
        if self.tile.block is not None:
            may += self.tile.loops[1:]
        still = [loop for loop in may if not packed.moves(loop)]
        if not still:
            return []
        loop = max(still, key=extent_of)
        step = self.rows if loop in self.tile.loops else 1
        chunk = ceildiv(extent_of(loop), shares * step) * step
        self.take(f"SPLIT({loop.name}, {chunk})")
        inner = {loop.name: f"{loop.name}.1"}
        self.row = inner.get(self.row, self.row)
        self.others = [inner.get(other, other) for other in self.others]
        return [f"{loop.name}.0"]

    def _pack(self, packed: Reference, at: str) -> None:
        still = names_of(loop for loop in self.operands.red if not packed.moves(loop))
        depth = [name for name in self.depth if name not in still]
        panel = self.panel
        layout = _layout(f"{panel}.0", *depth, f"{panel}.1.0 {panel}.1.1")
        self.take(f"STAGE({packed.buffer.name}, {at}, packed, {layout})")

    def _box(self) -> None:
        """Copy to a tile, at the first loop it fits in, what is masked or computed alone."""
        for one in references(self.choice.kernel.body):
            axes = names_of(one.loops)
            inner = [axes.index(name) for name in self.depth if name in axes]
            if one.is_store or not inner or not (one.access.mask or one.is_computed()):
                continue
            for depth, name in enumerate(axes[: min(inner)]):
                size_bytes = one.box(depth) * one.buffer.dtype.itemsize
                if size_bytes <= self.operands.near // 2:
                    self.take(f"STAGE({one.buffer.name}, {name}, packed, box)")
                    break


def _layout(*dims: str) -> str:
    return f"[{']['.join(dims)}]"
