"""The register tile of a contraction: which axis becomes lanes, which becomes rows, what is packed.

Comes in: the loops and loads of a reduction whose operands are used again and again (a matmul, a
convolution, their gradients). Goes out: a `Tile`, chosen by counting what each multiplication
costs: lanes that do nothing, and loads that feed it; and the actions that make a tile of rows.
Where a packed panel of the whole depth would not stay in the cache, the outer reduction runs
outside the tiles, which add to an accumulator in memory (UPDATE). Source of the costs: studies of
CPU kernels at the machine's limit; a tile of R rows and V vectors needs R*V + V + 1 registers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

from tinycore.codegen.optimize.actions import Choice
from tinycore.codegen.optimize.analysis import Reference, extent_of, par_chain, references
from tinycore.runtime.contract import Caps
from tinycore.uop import UOp

ROWS = (12, 10, 8, 7, 6, 5, 4, 3, 2, 1)
_DEPTH = 256  # multiplications for which reading a tile and writing it back is little
_SCATTER = 64.0  # multiplications that storing an element elsewhere than its neighbour takes
Block = tuple[UOp, int]
_PACKING_PAYS = 48  # uses of a packed tile from which copying it is cheaper than strides


class Tile(NamedTuple):
    """`lanes` of axis `vector` times `vectors`, `rows` of axis `row`; `packed` is to be staged.

    `block` is a reduction loop that runs outside the tiles, and how many of its iterations make
    one of their depths. `cost` is in vector multiplications an
    element-wise multiplication takes, at best 1 / lanes.
    """

    vector: UOp
    vectors: int
    row: UOp | None
    rows: int
    column: UOp | None
    columns: int
    packed: Reference | None
    block: Block | None
    cost: float


class Operands(NamedTuple):
    """The loads of a contraction under its par and reduction loops, and the accesses after it."""

    par: tuple[UOp, ...]
    red: tuple[UOp, ...]
    loads: tuple[Reference, ...]
    after: tuple[Reference, ...]


def is_contraction(operands: Operands) -> bool:
    """True if some par axis of four or more leaves one load in place while it moves another."""
    moving = [r for r in operands.loads if any(r.stride(loop) != 0 for loop in operands.red)]
    for loop in operands.par:
        strides = [reference.stride(loop) for reference in moving]
        if extent_of(loop) >= 4 and 0 in strides and any(s != 0 for s in strides):
            return True
    return False


def near_cache(caps: Caps) -> int:
    """Bytes that a tile may take to stay near: half of the second-level cache."""
    return (caps.cache_bytes[1] if len(caps.cache_bytes) > 1 else 1 << 18) // 2


def best_tile(operands: Operands, lanes: int, caps: Caps) -> Tile | None:
    """The cheapest tile, or None if no axis can become lanes."""
    tiles: list[Tile] = []
    for loop in operands.par:
        tiles += _par_tiles(operands, loop, lanes, caps)
    for loop in operands.red:
        tiles += _red_tiles(operands, loop, lanes, caps.registers)
    return min(tiles, key=lambda tile: tile.cost, default=None)


def _par_tiles(operands: Operands, vector: UOp, lanes: int, caps: Caps) -> Iterable[Tile]:
    """Lanes along a par axis: operands that move with it are vectors, the others are splatted."""
    strides = [reference.stride(vector) for reference in operands.loads]
    vectors_of = [r for r, s in zip(operands.loads, strides, strict=True) if s != 0]
    strided = [r for r, s in zip(operands.loads, strides, strict=True) if s not in (0, 1)]
    if not vectors_of or len(strided) > 1:
        return
    others = [loop for loop in operands.par if loop is not vector]
    rows: list[UOp | None] = [loop for loop in others if _all_still(vectors_of, loop)]
    for row in rows or [None]:
        packed = _to_pack(operands, strided, vectors_of, vector)
        if strided and packed is None:
            continue
        yield from _sized(operands, vector, row, packed, lanes, caps)


def _all_still(loads: Sequence[Reference], loop: UOp) -> bool:
    return all(reference.stride(loop) == 0 for reference in loads)


def _to_pack(
    operands: Operands, strided: list[Reference], vectors_of: list[Reference], vector: UOp
) -> Reference | None:
    """The operand to copy to a contiguous tile first, if enough iterations then use the tile."""
    if not strided and (len(vectors_of) > 1 or extent_of(vector) < 64):
        return None
    found = strided[0] if strided else vectors_of[0]
    return found if _uses(operands, vector, found) >= _PACKING_PAYS else None


def _sized(
    operands: Operands,
    vector: UOp,
    row: UOp | None,
    packed: Reference | None,
    lanes: int,
    caps: Caps,
) -> Iterable[Tile]:
    extent, reuse = extent_of(vector), 1 if row is None else extent_of(row)
    splats = sum(1 for reference in operands.loads if reference.stride(vector) == 0)
    for vectors in (2, 1, 4, 3):
        if vectors > 1 and (vectors - 1) * lanes >= extent:
            continue
        panel_bytes = 4 * lanes * vectors
        block = None if packed is None else _block(operands, packed, panel_bytes, near_cache(caps))
        outside = _outside(operands, vector, row, packed, block)
        for rows in ROWS:
            if rows * vectors + vectors + 1 > caps.registers or rows > reuse:
                continue
            work = rows * vectors
            waste = _waste(extent, lanes * vectors) * _waste(reuse, rows)
            loads = vectors * (len(operands.loads) - splats) + rows * splats
            cost = waste * _pace(work, loads) + outside
            yield Tile(vector, vectors, row, rows, None, 1, packed, block, cost)


def _pace(work: int, loads: int) -> float:
    """Cycles for each multiplication of a tile, against the one it takes at best.

    A core starts as many loads as multiplications a cycle; fewer than 8 accumulators wait for
    each other's sums.
    """
    return max(1.0, 8 / work, loads / work) + 0.1 * loads / work


def _block(operands: Operands, packed: Reference, row_bytes: int, cache: int) -> Block | None:
    """The outermost reduction loop and how much of it a packed panel may hold, where the panel of
    all of it would not stay in the cache."""
    depths = [extent_of(loop) for loop in operands.red if packed.stride(loop) != 0]
    outer = operands.red[0]
    if prod(depths) * row_bytes <= cache or packed.stride(outer) == 0:
        return None
    inner = prod(depths) // extent_of(outer)
    wanted = max(1, -(-_DEPTH // inner))
    fitting = [n for n in range(wanted, 2 * wanted) if extent_of(outer) % n == 0]
    count = (fitting or [wanted])[0]
    return (outer, count) if count < extent_of(outer) else None


def _outside(
    operands: Operands,
    vector: UOp,
    row: UOp | None,
    packed: Reference | None,
    block: Block | None,
) -> float:
    """What a tile costs around its inner loop, as a share of it: lanes scattered to be stored, a
    packed operand's copies for each use, rows that lie far apart."""
    scattered = [r for r in operands.after if r.stride(vector) not in (0, 1)]
    scatter = _SCATTER / prod([extent_of(loop) for loop in operands.red])
    cost = len(scattered) * (scatter if block else max(scatter, 0.1))
    if packed is not None:
        cost += (8.0 if packed.stride(vector) != 1 else 2.0) / _uses(operands, vector, packed)
    strides = [0] if row is None else [reference.stride(row) or 0 for reference in operands.loads]
    return cost + (0.02 if max(strides) > 64 else 0.01 if max(strides) > 1 else 0.0)


def _uses(operands: Operands, vector: UOp, packed: Reference) -> int:
    """How often each element of a packed operand is used."""
    others = [loop for loop in operands.par if loop is not vector]
    return prod([extent_of(loop) for loop in others if packed.stride(loop) == 0])


def _waste(extent: int, tile: int) -> float:
    """Iterations run for each iteration wanted, when `extent` is cut in tiles."""
    return -(-extent // tile) * tile / extent


def _red_tiles(operands: Operands, vector: UOp, lanes: int, registers: int) -> Iterable[Tile]:
    """Lanes along a reduction axis: partial sums, all operands read as vectors."""
    if any(reference.stride(vector) != 1 for reference in operands.loads):
        return
    waste = _waste(extent_of(vector), lanes)
    for row in operands.par:
        for column in operands.par:
            if row is column:
                continue
            for rows, columns in ((4, 4), (4, 3), (3, 4), (4, 2), (2, 4), (2, 2), (4, 1), (1, 4)):
                if rows * columns + rows + columns > registers:
                    continue
                work = rows * columns
                loads = sum(
                    _copies(r, row, rows) * _copies(r, column, columns) for r in operands.loads
                )
                edges = _waste(extent_of(row), rows) * _waste(extent_of(column), columns)
                cost = waste * edges * _pace(work, loads)
                yield Tile(vector, 1, row, rows, column, columns, None, None, cost + 0.05)


def _copies(reference: Reference, loop: UOp, count: int) -> int:
    return 1 if reference.stride(loop) == 0 else count


class RowTile:
    """One tile on its way: its names are those that its axes have after each SPLIT."""

    def __init__(self, choice: Choice, operands: Operands, tile: Tile) -> None:
        self.choice = choice
        self.take = choice.take
        self.operands = operands
        self.tile = tile
        self.vector: str = tile.vector.name
        self.panel = self.vector
        self.row: str = tile.row.name if tile.row else ""
        inside = (tile.vector, tile.row)
        self.others = [loop.name for loop in operands.par if loop not in inside]
        self.depth: list[str] = [loop.name for loop in operands.red]

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
        name = loop.name
        if count == 1 or not self.take("SPLIT", name, count):
            self.depth.remove(name)
            return name
        self.depth[self.depth.index(name)] = f"{name}.1"
        return f"{name}.0"

    def _update(self, at: str, parts: list[str]) -> None:
        store = self.operands.red[-1].src[-1]
        total = store.src[0].name
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
            reach |= {loop.name: moves, f"{loop.name}.1": moves}
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
        may = [loop for loop in self.operands.par if loop.name in self.others]
        if tile.block is not None and tile.row is not None:
            may.append(tile.row)
        still = [loop for loop in may if tile.packed.stride(loop) == 0]
        if not still:
            return []
        loop = max(still, key=extent_of)
        name = loop.name
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
            chain = [loop.name for loop in par_chain(self.choice.kernel.body)[0]]
            wrong = [(a, b) for a, b in pairwise(chain) if rank.get(a, -1) > rank.get(b, -1)]
            moved = bool(wrong) and self.take("REORDER", *wrong[0])

    def _pack(self, packed: Reference, at: str) -> None:
        still = [loop.name for loop in self.operands.red if packed.stride(loop) == 0]
        depth = [(name,) for name in self.depth if name not in still]
        panel = self.panel
        layout = ((f"{panel}.0",), *depth, (f"{panel}.1.0", f"{panel}.1.1"))
        self.take("STAGE", packed.buffer.name, at, "packed", layout)

    def _box(self) -> None:
        """Copy to a tile, at the first loop it fits in, what is read under masks or always used in
        some function of it: there it is masked and computed once, not for every use."""
        near = near_cache(self.choice.caps) // 2
        for reference in references(self.choice.kernel.body):
            axes = [loop.name for loop in reference.loops]
            inner = [axes.index(name) for name in self.depth if name in axes]
            if reference.is_store or not inner:
                continue
            if not reference.access.mask and not reference.is_computed():
                continue
            for depth, name in enumerate(axes[: min(inner)]):
                if reference.box(depth) * reference.buffer.dtype.itemsize <= near:
                    self.take("STAGE", reference.buffer.name, name, "packed", "box")
                    break
