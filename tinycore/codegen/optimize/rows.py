"""The actions that make a register tile of rows: SPLIT, REORDER and MAP, panels packed by STAGE.

Comes in: the `Tile` that contraction.py found for a reduction. Goes out: actions. Where a packed
panel of the whole depth would not stay in the cache, the outer reduction runs outside the tiles,
which add to an accumulator in memory (UPDATE).
"""

from __future__ import annotations

from itertools import pairwise

from tinycore.codegen.optimize.analysis import Reference, extent_of, par_chain, references
from tinycore.codegen.optimize.choice import Choice
from tinycore.codegen.optimize.contraction import Operands, Tile, near_cache


class RowTile:
    """One tile on its way: its names are those that its axes have after each SPLIT."""

    def __init__(self, choice: Choice, operands: Operands, tile: Tile) -> None:
        self.choice = choice
        self.take = choice.take
        self.operands = operands
        self.tile = tile
        self.vector: str = tile.vector.arg.axis
        self.panel = self.vector
        self.row: str = tile.row.arg.axis if tile.row else ""
        inside = (tile.vector, tile.row)
        self.others = [loop.arg.axis for loop in operands.par if loop not in inside]
        self.depth: list[str] = [loop.arg.axis for loop in operands.red]

    def make(self) -> None:
        """Take the actions."""
        tile, take = self.tile, self.take
        block = self._block()
        shares = self._packed_panel() if tile.packed is not None else []
        parts = self._parts()
        row = f"{self.row}.0" if len(parts) > 2 else self.row
        outer = [*self.others, f"{self.panel}.0", row]
        last = self._streamed()
        if block:
            for name in [*parts, *reversed(outer)]:
                take("REORDER", name, block)
        for name in parts:
            take("REORDER", name, last)
        if block:
            self._update(row or f"{self.panel}.0", parts)
        for name in parts:
            take("MAP", name, "vec" if name is parts[0] else "reg")
        self._order([*shares, f"{self.vector}.0", *outer])
        if tile.packed is not None:
            self._pack(tile.packed, block or f"{self.vector}.0")
        self._box()
        if tile.row and extent_of(tile.row) % tile.rows:
            take("PEEL", row)

    def _parts(self) -> list[str]:
        """Cut the axes of the tile: lanes, vectors, and rows if there are several."""
        lanes, panel = self.choice.lanes, self.panel
        self.take("SPLIT", panel, lanes * self.tile.vectors)
        self.take("SPLIT", f"{panel}.1", lanes)
        parts = [f"{panel}.1.1", f"{panel}.1.0"]
        if self.row and self.tile.rows > 1 and self.take("SPLIT", self.row, self.tile.rows):
            parts.append(f"{self.row}.1")
        return parts

    # reduction loops

    def _block(self) -> str:
        """The reduction axis that runs outside the tiles, or nothing."""
        if self.tile.block is None:
            return ""
        loop, count = self.tile.block
        name = str(loop.arg.axis)
        if count == 1 or not self.take("SPLIT", name, count):
            self.depth.remove(name)
            return name
        self.depth[self.depth.index(name)] = f"{name}.1"
        return f"{name}.0"

    def _update(self, at: str, parts: list[str]) -> None:
        store = self.operands.red[-1].src[-1]
        total = store.src[0].arg.name
        layout = tuple([(part,) for part in reversed(parts)])
        self.take("UPDATE", total, at, layout)
        self.take("FILL", f"{total}.reg")
        self.take("MAP", f"{parts[0]}'", "vec")

    def _streamed(self) -> str:
        """Order the reduction loops so that the innermost moves least through what is splatted.

        The name of the innermost axis.
        """
        splats = [r for r in self.operands.loads if r.stride(self.tile.vector) == 0]
        reach: dict[str, int] = {}
        for loop in self.operands.red:
            moves = max([abs(r.stride(loop) or 0) for r in splats], default=0)
            reach |= {loop.arg.axis: moves, f"{loop.arg.axis}.1": moves}
        order = list(self.depth)
        for _ in order:
            for at, (outer, inner) in enumerate(pairwise(list(order))):
                if reach[outer] < reach[inner] and self.take("REORDER", outer, inner):
                    order[at : at + 2] = inner, outer
                    break
        return order[-1]

    # panels

    def _packed_panel(self) -> list[str]:
        """Cut the panel that is packed at once; the axes outside it that share its work."""
        width = self._width()
        self.take("SPLIT", self.vector, width)
        self.panel = f"{self.vector}.1"
        panels = -(-extent_of(self.tile.vector) // width)
        units = self.choice.caps.units
        if self.tile.block is not None:
            return self._shared(units) if panels < units else []
        return self._shared(4 * units) if panels < 2 * units else []

    def _width(self) -> int:
        """Columns of a packed panel: half the second-level cache, and work for every unit."""
        caps, tile = self.choice.caps, self.tile
        width = self.choice.lanes * tile.vectors
        depth = tile.block[1] if tile.block else 1
        for loop in self.operands.red:
            if tile.block is None or loop is not tile.block[0]:
                depth *= extent_of(loop)
        most = max(near_cache(caps) // (4 * depth), width)
        fair = extent_of(tile.vector) // (2 * caps.units)
        return max(min(most, fair, 4 * width) // width, 1) * width

    def _shared(self, shares: int) -> list[str]:
        """The outer part of the longest axis that a panel does not move with, cut in shares."""
        tile = self.tile
        assert tile.packed is not None, "rows: nothing is packed"
        may = [loop for loop in self.operands.par if loop.arg.axis in self.others]
        if tile.block is not None and tile.row is not None:
            may.append(tile.row)
        still = [loop for loop in may if tile.packed.stride(loop) == 0]
        if not still:
            return []
        loop = max(still, key=extent_of)
        name = loop.arg.axis
        step = tile.rows if loop is tile.row else 1
        chunk = -(-extent_of(loop) // (shares * step)) * step
        self.take("SPLIT", name, chunk)
        if loop is tile.row:
            self.row = f"{name}.1"
        else:
            self.others[self.others.index(name)] = f"{name}.1"
        return [f"{name}.0"]

    def _order(self, wanted: list[str]) -> None:
        """Bring the par loops from the top into this order, as far as their nesting allows."""
        rank = {name: k for k, name in enumerate(wanted)}
        moved = True
        while moved:
            chain = [loop.arg.axis for loop in par_chain(self.choice.kernel.body)[0]]
            wrong = [(a, b) for a, b in pairwise(chain) if rank.get(a, -1) > rank.get(b, -1)]
            moved = bool(wrong) and self.take("REORDER", *wrong[0])

    def _pack(self, packed: Reference, at: str) -> None:
        still = [loop.arg.axis for loop in self.operands.red if packed.stride(loop) == 0]
        depth = [(name,) for name in self.depth if name not in still]
        panel = self.panel
        layout = ((f"{panel}.0",), *depth, (f"{panel}.1.0", f"{panel}.1.1"))
        self.take("STAGE", packed.buffer.arg.name, at, "packed", layout)

    def _box(self) -> None:
        """Copy to a tile, at the first loop it fits in, what is read under masks or always used in
        some function of it: there it is masked and computed once, not for every use."""
        near = near_cache(self.choice.caps) // 2
        for reference in references(self.choice.kernel.body):
            axes = [loop.arg.axis for loop in reference.loops]
            inner = [axes.index(name) for name in self.depth if name in axes]
            if reference.is_store or not inner:
                continue
            if not reference.access.mask and not reference.is_computed():
                continue
            for depth, name in enumerate(axes[: min(inner)]):
                if reference.box(depth) * reference.buffer.dtype.itemsize <= near:
                    self.take("STAGE", reference.buffer.arg.name, name, "packed", "box")
                    break
