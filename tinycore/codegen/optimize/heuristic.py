"""BEAM=0: the actions a kernel gets without a search, decided from strides and capabilities.

In: a kernel and the caps of a target. Out: action texts: register tiles for contractions, vectors
along the axis contiguous in most accesses, a grid of the outer par loops. Next file: search.py.
"""

from collections.abc import Iterable, Mapping

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
from tinycore.uop import UOp
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
        self.take(f"MAP({vector}.1, vec)")
        for name in sunk:
            self.take(f"REORDER({name}.1, {vector}.0)", f"MAP({name}.1, reg)")

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
                names = names_of(loops_in(self.kernel.body[position : position + 1]))
                self.sink(loop.name, *names[names.index(loop.name) + 1 :])
            elif loop.kind == "red":
                self._vector_of_partial_sums(loop)
            else:
                self._vector_of(loop, is_root=leaf is root)

    def _vector_of(self, loop: UOp, is_root: bool) -> None:
        name, is_whole = loop.name, extent_of(loop) % self.lanes == 0
        if is_root or is_whole or not self.take(f"OVERLAP({name}, {self.lanes})"):
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

    # the grid

    def grid(self) -> None:
        """Run the outer par loops side by side; several root loops become several launches."""
        if any(not statement.is_loop for statement in self.kernel.body):
            return
        for statement in self.kernel.body:
            for loop in chain_of((statement,))[0]:
                if not self.take(f"MAP({loop.name}, grid)"):
                    break


class _RowTile:
    """The actions that make a tile of rows; `names` are the axes of loops as far as uncut."""

    def __init__(self, choice: Choice, operands: Contraction, tile: Tile) -> None:
        self.choice = choice
        self.take = choice.take
        self.operands = operands
        self.tile = tile
        self.rows = (*tile.counts, 1)[1]
        self.others = [loop for loop in operands.par if loop not in tile.loops]
        self.names = {loop: loop.name for loop in operands.par + operands.red}

    def make(self) -> None:
        tile, names, lanes = self.tile, self.names, self.choice.lanes
        vector, *rows = tile.loops
        block = self._cut(*tile.block) if tile.block else ""
        depth = {names[loop]: loop for loop in self.operands.red if loop in names}
        panels = self._panels(tile.packed) if tile.packed else []
        column, part = self._cut(vector, lanes * tile.counts[0]), self._cut(vector, lanes)
        row = [self._cut(one, self.rows) for one in rows]
        parts = [names.get(vector, ""), part, *[names[one] for one in rows if one in names]]
        outer = [*[names[loop] for loop in self.others], column, *row]
        last = self._streamed(depth)
        if block:
            self.take(*[f"REORDER({name}, {block})" for name in (*parts, *reversed(outer))])
        self.take(*[f"REORDER({name}, {last})" for name in parts])
        if block:
            self._update(outer[-1], parts)
        self.take(f"MAP({parts[0]}, vec)", *[f"MAP({name}, reg)" for name in parts[1:]])
        self.choice.arrange([*panels, *outer])
        if tile.packed:
            moved = [name for name, loop in depth.items() if tile.packed.moves(loop)]
            layout = _layout(column, *moved, f"{part} {parts[0]}")
            self.take(f"STAGE({tile.packed.buffer.name}, {block or panels[-1]}, packed, {layout})")
        if extent_of(tile.loops[-1]) % self.rows:
            self.take(f"PEEL({outer[-1]})")
        self._box(depth)

    def _cut(self, loop: UOp, count: int) -> str:
        """The axis over tiles of a loop, or of all its iterations if those are its tiles."""
        name = self.names.pop(loop, "")
        if count == 1 or not self.take(f"SPLIT({name}, {count})"):
            return name
        self.names[loop] = f"{name}.1"
        return f"{name}.0"

    # reduction loops

    def _update(self, at: str, parts: list[str]) -> None:
        total = self.operands.red[-1].src[-1].source.name
        update = f"UPDATE({total}, {at}, {_layout(*reversed(parts))})"
        self.take(update, f"FILL({total}.reg)", f"MAP({parts[0]}', vec)")

    def _streamed(self, depth: Mapping[str, UOp]) -> str:
        """Order the reduction loops; the innermost, which is returned, moves splats least."""
        splats = [one for one in self.operands.loads if not one.moves(self.tile.loops[0])]
        moves: dict[str, int] = {}
        for name, loop in depth.items():
            moves[name] = -max([abs(one.stride(loop) or 0) for one in splats], default=0)
        return self.choice.order([*moves], sorted(moves, key=moves.__getitem__))[-1]

    # panels

    def _panels(self, packed: Reference) -> list[str]:
        """Cut a packed panel that fits the cache and feeds all units: its shares' axis, its own."""
        vector, *rows = self.tile.loops
        extent, units = extent_of(vector), self.choice.caps.units
        least = self.choice.lanes * self.tile.counts[0]
        block, depth = self.tile.block or (None, 1)
        depth *= iterations([loop for loop in self.operands.red if loop is not block])
        most = min(self.operands.near // (4 * depth), extent // (2 * units), 4 * least)
        width = max(most // least, 1) * least
        panel = self._cut(vector, width)
        few, shares = (units, units) if block else (2 * units, 4 * units)
        may = [*self.others, *rows] if block else self.others
        still = [loop for loop in may if not packed.moves(loop)]
        if ceildiv(extent, width) >= few or not still:
            return [panel]
        loop = max(still, key=extent_of)
        step = self.rows if loop in rows else 1
        chunk = ceildiv(extent_of(loop), shares * step) * step
        name = self.names[loop]
        self.take(f"SPLIT({name}, {chunk})")
        self.names[loop] = f"{name}.1"
        return [f"{name}.0", panel]

    def _box(self, reds: Iterable[str]) -> None:
        """Copy to a tile, at the first loop it fits in, what is masked or computed alone."""
        for one in references(self.choice.kernel.body):
            axes = names_of(one.loops)
            inner = [axes.index(name) for name in reds if name in axes]
            if not inner or not (one.access.mask or one.is_computed()):
                continue
            for depth, name in enumerate(axes[: min(inner)]):
                size_bytes = one.box(depth) * one.buffer.dtype.itemsize
                if size_bytes <= self.operands.near // 2:
                    self.take(f"STAGE({one.buffer.name}, {name}, packed, box)")
                    break


def _layout(*dims: str) -> str:
    return f"[{']['.join(dims)}]"
