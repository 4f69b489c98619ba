"""Chooses the register tile of a contraction: which axis becomes lanes, which rows, what is packed.

In: the loops and loads of a reduction. Out: the `Tile` that wastes fewest lanes and loads. Source:
studies of CPU kernels at the machine's limit; a tile of R rows and V vectors needs R*V + V + 1
registers.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, permutations, product
from math import prod
from typing import NamedTuple

from tinycore.codegen.optimize.analysis import Reference, extent_of, iterations
from tinycore.runtime.contract import Caps
from tinycore.uop import Nodes, UOp
from tinycore.util import ceildiv, dedup, round_up

ROWS = (12, 10, 8, 7, 6, 5, 4, 3, 2, 1)
_SQUARES = tuple(product((4, 3, 2, 1), repeat=2))
_DEPTH = 256  # multiplications for which reading and writing a tile is little
_CACHE_BYTES = 1 << 18  # of the second-level cache, where nobody knows
_SHORT = 16  # steps that are unrolled
COPYING_PAYS = 16  # uses of an element from which that costs less than a mask
_MASKED = 16.0  # multiplications that copying an element takes
_SCATTER = 64.0  # multiplications that storing an element alone takes
Block = tuple[UOp, int]
Counts = tuple[int, ...]
_PACKING_PAYS = 48  # uses of a packed tile from which copying it is cheaper than strides


class Tile(NamedTuple):
    """`counts` iterations of each of `loops` at once, and as many lanes of the first.

    `packed` is to be staged. `block` is a reduction loop that runs outside the tiles, and how many
    of its iterations make one of their depths. Units: `cost` in vector multiplications for each
    element's, at best 1 / lanes.
    """

    loops: Nodes
    counts: Counts
    cost: float
    packed: Reference | None
    block: Block | None


class Contraction(NamedTuple):
    """The loads of a reduction under its par and red loops, and the accesses after it."""

    par: Nodes
    red: Nodes
    loads: list[Reference]
    after: list[Reference]
    lanes: int
    caps: Caps

    @property
    def near(self) -> int:
        """Bytes that a tile may take to stay near: half of the second-level cache."""
        return (*self.caps.cache_bytes, _CACHE_BYTES, _CACHE_BYTES)[1] // 2

    @property
    def is_short(self) -> bool:
        """True if the reduction is unrolled in its tile."""
        return iterations(self.red) <= _SHORT

    @property
    def moving(self) -> list[Reference]:
        """The loads that move in a sum."""
        return [one for one in self.loads if any(map(one.moves, self.red))]

    def tiles(self) -> Iterable[Tile]:
        """None if no axis can become lanes, or if none of four or more leaves one load in place
        while it moves another."""
        long = [loop for loop in self.par if extent_of(loop) >= 4]
        if not any(len({one.moves(loop) for one in self.moving}) == 2 for loop in long):
            return ()
        return chain(*map(self._par_tiles, self.par), *map(self._red_tiles, self.red))

    def _par_tiles(self, vector: UOp) -> Iterator[Tile]:
        """Lanes along a par axis; rows of an axis that leaves the vectors in place."""
        vectors_of = [one for one in self.loads if one.moves(vector)]
        strided = [one for one in vectors_of if one.stride(vector) != 1]
        packed = None
        if strided or (len(vectors_of) == 1 and extent_of(vector) >= 64):
            [found, *_] = strided or vectors_of
            packed = found if found.uses(self.par) >= _PACKING_PAYS else None
        if not vectors_of or strided not in ([], [packed]):
            return
        rows = [row for row in self.par if not any(one.moves(row) for one in vectors_of)]
        room = self.caps.registers - 1
        if not rows and self.is_short:  # the elements of neighbours are the same
            slides = [row for row in self.par for one in self.loads if self._window(one, row) > 1]
            rows = dedup(row for row in slides if row is not vector)
            room //= 3  # the others hold what a window is read of
        sides: list[Nodes] = [(vector, row) for row in rows]
        for loops in sides or [(vector,)]:
            reuse = iterations(loops[1:])
            for vectors in (2, 1, 4, 3):
                if (vectors - 1) * self.lanes >= extent_of(vector):
                    continue
                most = min(room // vectors - 1, reuse)
                sizes = [(vectors, rows)[: len(loops)] for rows in ROWS if rows <= most]
                yield from self._tiles(loops, sizes, packed)

    def _window(self, one: Reference, row: UOp) -> int:
        """Steps in which neighbours along a loop read the same."""
        return iterations([loop for loop in self.red if one.stride(loop) == one.stride(row) != 0])

    def _red_tiles(self, vector: UOp) -> Iterator[Tile]:
        """Lanes along a reduction axis: partial sums of vectors."""
        if any(one.stride(vector) != 1 for one in self.loads):
            return
        sizes = [(1, m, n) for m, n in _SQUARES if m * n + m + n <= self.caps.registers]
        for row, column in permutations(self.par, 2):
            yield from self._tiles((vector, row, column), sizes)

    def _tiles(
        self, loops: Nodes, sizes: Sequence[Counts], packed: Reference | None = None
    ) -> Iterator[Tile]:
        """A tile of each of these sizes, all of as many vectors.

        A core starts as many loads as multiplications a cycle; fewer than 8 accumulators of a long
        reduction wait for each other's sums.
        """
        if not sizes:
            return
        block = packed and self._block(packed, 4 * self.lanes * sizes[0][0])
        outside = self._outside(loops, packed, block)
        for counts in sizes:
            work = prod(counts)
            loads = sum(self._loads(one, loops, counts) for one in self.loads)
            waits = 0.0 if self.is_short else 8 / work
            pace = max(1.0, waits, loads / work) + 0.1 * loads / work
            cut = zip(map(extent_of, loops), (counts[0] * self.lanes, *counts[1:]), strict=True)
            waste = prod(round_up(extent, tile) / extent for extent, tile in cut)
            yield Tile(loops, counts, waste * pace + outside, packed, block)

    def _loads(self, one: Reference, loops: Nodes, counts: Counts) -> float:
        """Loads of a tile at each step; those of a window are shared among its steps."""
        found = float(counts[0]) if one.moves(loops[0]) else 1.0
        for loop, count in zip(loops[1:], counts[1:], strict=True):
            window = self._window(one, loop) if self.is_short else 1
            found *= (count + window - 1) / window if one.moves(loop) else 1
        return found

    def _block(self, packed: Reference, row_bytes: int) -> Block | None:
        """The outermost reduction loop, and how much of it a panel in the cache holds."""
        outer = self.red[0]
        depth = iterations(filter(packed.moves, self.red))
        if depth * row_bytes <= self.near or not packed.moves(outer):
            return None
        extent = extent_of(outer)
        wanted = max(1, ceildiv(_DEPTH, depth // extent))
        count = next((n for n in range(wanted, 2 * wanted) if extent % n == 0), wanted)
        return (outer, count) if count < extent else None

    def _outside(self, loops: Nodes, packed: Reference | None, block: Block | None) -> float:
        """The cost around its inner loop: scattered stores, packing, far rows."""
        vector, *rows = loops
        if vector.kind == "red":
            return 0.05 + self._copying(loops)
        scatter = _SCATTER / iterations(self.red)
        if not block:
            scatter = max(scatter, 0.1)
        cost = self._copying(loops)
        cost += scatter * sum(one.stride(vector) not in (0, 1) for one in self.after)
        if packed:
            cost += (3.0 if packed.stride(vector) != 1 else 2.0) / packed.uses(self.par)
        far = max([r.stride(row) or 0 for row in rows for r in self.loads], default=0)
        if far > 1:
            cost += 0.02 if far > 64 else 0.01
        return cost

    def _copying(self, loops: Nodes) -> float:
        """The cost of copying what is masked, once for all neighbours that read it."""
        cost = 0.0
        for one in self.loads:
            uses = one.uses(self.par)
            if one.access.mask and uses >= COPYING_PAYS:
                cost += _MASKED / (uses * max(self._window(one, loop) for loop in loops))
        return cost
