"""Register tiles of rows and vectors, for a contraction alone and for those inside rows.

In: a contraction and its tile. Out: actions taken. Next file: teams.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tinycore.codegen.optimize.analysis import (
    Reference,
    extent_of,
    iterations,
    names_of,
    references,
)
from tinycore.codegen.optimize.choice import Choice
from tinycore.codegen.optimize.contraction import COPYING_PAYS, Contraction, Tile
from tinycore.uop import Nodes, UOp
from tinycore.util import ceildiv

_RAGGED = 0.02  # cost of a copy of everything for the last rows


Nest = tuple[Contraction, Tile]


def row_tiles(path: Nodes, found: Iterable[Contraction | None]) -> list[Nest]:
    """The contractions that have tiles of rows of the innermost loop of a path, each with one of as
    many rows as the dearest wants."""
    tiles: list[tuple[Contraction, dict[int, Tile]]] = []
    for operands in filter(None, found):
        fit = [tile for tile in operands.tiles() if tile.loops[1:] == path[-1:]]
        fit.sort(key=lambda tile: -tile.cost)
        if fit:
            tiles.append((operands, {tile.counts[1]: tile for tile in fit}))
    if not tiles:
        return []
    _, dearest = max(tiles, key=lambda pair: iterations(pair[0].par + pair[0].red))
    every = extent_of(path[-1])
    costs = {count: tile.cost + _RAGGED * bool(every % count) for count, tile in dearest.items()}
    rows = min(costs, key=costs.__getitem__)
    return [(operands, by_rows[rows]) for operands, by_rows in tiles if rows in by_rows]


def make_rows(choice: Choice, path: Nodes, nests: Sequence[Nest]) -> None:
    """Cut the rows and make the tiles; the last first, since UPDATE renames what follows."""
    take, (*outer, row) = choice.take, path
    name, at = row.name, ""
    count, shares = nests[0][1].counts[1], 2 * choice.caps.units
    if iterations(outer) < shares:
        take(f"SPLIT({name}, {ceildiv(ceildiv(extent_of(row), shares), count) * count})")
        at, name = f"{name}.0", f"{name}.1"
    take(f"SPLIT({name}, {count})")
    take(*[f"REORDER({name}.1, {operands.par[1].name})" for operands, _ in nests])
    tiles = [RowTile(choice, *nest) for nest in reversed(nests)]
    for one in tiles:
        one.make_inside(f"{name}.1", at or one.outside(outer))
    if extent_of(row) % count:
        take(f"PEEL({name}.0)")
    for one in tiles:
        one.box()


class RowTile:
    """The actions that make a tile of rows; `names` are the axes of loops as far as uncut."""

    def __init__(self, choice: Choice, operands: Contraction, tile: Tile) -> None:
        self.choice = choice
        self.take = choice.take
        self.total = operands.red[-1].src[-1].source.name
        self.operands = operands
        self.tile = tile
        self.rows = (*tile.counts, 1)[1]
        self.others = [loop for loop in operands.par if loop not in tile.loops]
        self.names = {loop: loop.name for loop in operands.par + operands.red}

    @property
    def depth(self) -> dict[str, UOp]:
        """The reduction loops inside the tile, by their axes now."""
        return {self.names[loop]: loop for loop in self.operands.red if loop in self.names}

    def make(self) -> None:
        """Tile the rows of a contraction that stands alone."""
        tile, names = self.tile, self.names
        rows = tile.loops[1:]
        block = self._cut(*tile.block) if tile.block else ""
        panels = self._panels(tile.packed) if tile.packed else []
        column, parts = self._columns()
        row = [self._cut(one, self.rows) for one in rows]
        parts += [names[one] for one in rows if one in names]
        outer = [*[names[loop] for loop in self.others], column, *row]
        last = self._streamed()
        if block:
            self.choice.below(block, *parts, *reversed(outer))
        self.choice.below(last, *parts)
        # steps in which no element has a part are skipped; other masks of the sum need zeros
        self.take(*[f"MASK({name})" for name in self.depth], f"FILL({self.total})")
        if block:
            self._update(outer[-1], parts)
        self._map(*parts)
        if self.operands.is_short:
            self.choice.place("unroll", *self.depth)
        self.choice.arrange([*panels, *outer])
        self._stage(block or "".join(panels[-1:]), column, parts)
        if extent_of(tile.loops[-1]) % self.rows:
            self.take(f"PEEL({outer[-1]})")
        self.box()

    def make_inside(self, row: str, at: str) -> None:
        """Tile the rows of an axis in one of several statements; what is packed is copied at
        another."""
        column, parts = self._columns()
        parts.append(row)
        self.choice.below(self._streamed(), *parts)
        self._update(column, parts)
        self._map(*parts)
        self._stage(at, column, parts)

    def outside(self, loops: Sequence[UOp]) -> str:
        """The axis of the innermost loop that what is packed moves with."""
        packed = self.tile.packed
        moving = [loop for loop in loops if packed and packed.moves(loop)]
        return [*loops[:1], *moving][-1].name

    def _columns(self) -> tuple[str, list[str]]:
        """The axis over tiles of lanes, and those of the lanes and of vectors."""
        vector, lanes = self.tile.loops[0], self.choice.lanes
        column = self._cut(vector, lanes * self.tile.counts[0])
        part = self._cut(vector, lanes)
        return column, [self.names.get(vector, ""), part]

    def _map(self, vector: str, *parts: str) -> None:
        self.choice.place("vec", vector)
        self.choice.place("reg", *parts)

    def _stage(self, at: str, column: str, parts: Sequence[str]) -> None:
        packed = self.tile.packed
        if packed:
            moved = [name for name, loop in self.depth.items() if packed.moves(loop)]
            layout = _layout(column, *moved, f"{parts[1]} {parts[0]}")
            self.take(f"STAGE({packed.buffer.name}, {at}, packed, {layout})")

    def _cut(self, loop: UOp, count: int) -> str:
        """The axis over tiles of a loop, or of all its iterations if those are its tiles."""
        name = self.names.pop(loop, "")
        if count == 1 or not self.take(f"SPLIT({name}, {count})"):
            return name
        self.names[loop] = f"{name}.1"
        return f"{name}.0"

    # reduction loops

    def _update(self, at: str, parts: list[str]) -> None:
        update = f"UPDATE({self.total}, {at}, {_layout(*reversed(parts))})"
        self.take(update, f"FILL({self.total}.reg)", f"MAP({parts[0]}', vec)")

    def _streamed(self) -> str:
        """Order the reduction loops; the innermost, which is returned, moves splats least."""
        splats = [one for one in self.operands.loads if not one.moves(self.tile.loops[0])]
        moves: dict[str, int] = {}
        for name, loop in self.depth.items():
            strides = [abs(one.stride(loop) or 0) for one in splats]
            moves[name] = -max(strides, default=0)
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

    def box(self) -> None:
        """Copy to a tile, at the first loop it fits in, what is masked or computed alone."""
        reds = self.depth
        found = [one for one in references(self.choice.kernel.body) if one.loops]
        for one in sorted(found, key=lambda one: -one.box(0)):
            axes = names_of(one.loops)
            inner = [axes.index(name) for name in reds if name in axes]
            if not inner or one.uses(one.loops) < COPYING_PAYS:
                continue
            if not one.access.mask and not one.is_computed():
                continue
            for depth, name in enumerate(axes[: min(inner)]):
                size_bytes = one.box(depth) * one.buffer.dtype.itemsize
                if size_bytes <= self.operands.near // 2:
                    self.take(f"STAGE({one.buffer.name}, {name}, packed, box)")
                    break


def _layout(*dims: str) -> str:
    return f"[{']['.join(dims)}]"
