"""BEAM=0 for targets whose threads run in groups: what a group does, and what each of its threads.

In: a kernel and the caps of a target. Out: action texts: square tiles staged in group memory for
contractions, a group for each row of a long reduction, else a thread for each element. Source:
studies of GPU kernels at the machine's limit. Next file: search.py.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tinycore.codegen.optimize.actions import Actions
from tinycore.codegen.optimize.analysis import (
    chain_of,
    extent_of,
    factors_of_bytes,
    imageable,
    iterations,
    names_of,
    references,
)
from tinycore.codegen.optimize.choice import Choice, contiguous_axis
from tinycore.codegen.optimize.contraction import Contraction
from tinycore.codegen.optimize.edit import direct, find, loops_in, place_of, read
from tinycore.runtime.contract import Caps
from tinycore.uop import Nodes, Ops, UOp
from tinycore.uop.tree import GLOBAL, Kernel
from tinycore.util import ceildiv, dedup

TEAM = 256  # threads a group that share nothing
LEAST, MOST = 64, 512  # threads for a row
HELD = 64  # elements of a row that a thread keeps
SHARES = 8  # groups a unit, if sums are shared
ROUNDS = 8  # steps of a thread along a row
ROWS = 32, 64  # of a tile that is turned
IMAGES = 8  # that every device can write in one kernel; source: OpenCL 1.2, table 4.3
WORD = 4  # bytes of an operand of DOT
DEPTH = 16  # multiplications of a tile between two copies


class Square(NamedTuple):
    """A tile of a group, the part of a thread, and the share of the full rate that it reaches."""

    rows: int
    columns: int
    own_rows: int
    own_columns: int
    rate: float

    def fits(self, caps: Caps, size_bytes: int) -> bool:
        """True if a group has its threads, and they hold their parts and what they multiply."""
        threads = self.rows // self.own_rows * (self.columns // self.own_columns)
        held = self.own_rows * self.own_columns + self.own_rows + self.own_columns
        staged = (self.rows + self.columns + 8) * DEPTH  # padded
        is_held = held * size_bytes <= caps.registers * caps.vector_bytes
        is_staged = staged * size_bytes <= caps.group_bytes
        return threads <= caps.max_group_threads and is_held and is_staged


SQUARES = (
    Square(128, 128, 8, 8, 1.0),
    Square(128, 64, 8, 4, 0.8),
    Square(64, 128, 4, 8, 0.8),
    Square(64, 64, 4, 4, 0.6),
    Square(32, 128, 4, 4, 0.5),
    Square(32, 32, 2, 4, 0.3),
)
"""Source: an H200, matrices of 4096 x 4096, docs/performance/opencl.md."""


def teams(kernel: Kernel, caps: Caps) -> tuple[Kernel, Actions]:
    """The kernel after the chosen actions, and their texts."""
    choice = _Teams(kernel, caps)
    choice.fuse_contiguous()
    body = choice.kernel.body
    if len(direct(body, Ops.LOOP)) < len(body):
        choice.whole(body)
    else:
        for position in range(len(body)):
            choice.root(position)
    if caps.image_reads:
        choice.take(*[f"PLACE({name}, image)" for name in imageable(kernel, caps)[:IMAGES]])
    return choice.kernel, choice.taken


class _Teams(Choice):
    """Choices for one kernel."""

    def root(self, position: int) -> None:
        """Share a root statement among groups and threads."""
        self.unmask(position)
        statement = self.kernel.body[position]
        if self._tile(self.operands(statement), position):
            return
        chain, body = chain_of((statement,))
        if self._share(chain, body):
            whole = next(one for one in self.kernel.body[position:] if place_of(one) == "grid")
            chain, body = chain_of((whole,))
        if self._is_row(chain, body):
            self.row(chain, body)
        elif chain:
            self._elements(chain)

    def whole(self, body: Nodes) -> None:
        """Share statements of which no loop around may become a grid."""
        self._share((), body)
        self.row((), self.kernel.body)

    def _share(self, chain: Nodes, body: Nodes) -> bool:
        """Leave parts of a long sum to several groups, if else there were too few."""
        [nest, *others] = _nests(body) or [()]
        if others or not nest:
            return False
        name, extent = nest[0].name, extent_of(nest[0])
        groups, each = iterations(chain), MOST * self.lanes
        if not self._is_row(chain, body):
            groups, each = ceildiv(groups, TEAM), LEAST
        steps, wanted = iterations(nest) // each, SHARES * self.caps.units // groups
        shares = min(extent, max(min(steps // 2, wanted // 4), steps // 16))
        if shares < 2 or wanted < 2:
            return False
        split = f"SPLIT({name}, {ceildiv(extent, shares)})"
        orders = [f"REORDER({outer.name}, {name}.0)" for outer in reversed(chain)]
        return self.take_all(split, f"RFACTOR({name}.0)", *orders, f"MAP({name}.0, grid)")

    # a thread for each element

    def _elements(self, chain: Nodes) -> None:
        best = contiguous_axis(chain)
        inner = names_of(loops_in(chain[-1].src))
        free = [loop for loop in chain if not loop.map]
        if not inner and self._turned(tuple(free)):
            return
        names, count = names_of(free), iterations(free)
        if best:
            names = self.order(names, [best.name])
        whole = self.fused(names)
        many = count >= self.lanes * self.caps.units * LEAST
        if best and many and best.extent.is_const and extent_of(best) % self.lanes == 0:
            self.sink(whole, *inner)
            whole, count = f"{whole}.0", count // self.lanes
        team = self._most()
        while team > LEAST and ceildiv(count, team) < self.caps.units:
            team //= 2
        self.take(f"SPLIT({whole}, {team})", f"MAP({whole}.1, thread)", f"MAP({whole}.0, grid)")

    def _most(self) -> int:
        """Threads of a group that share nothing."""
        return min(TEAM, self.caps.max_group_threads)

    def _turned(self, chain: Nodes) -> bool:
        """Turn in group memory what is read along another axis than it is stored along."""
        (high, wide), (names, ends) = ROWS, turned(chain, chain[-1].src)
        is_large = ends and extent_of(ends[0]) >= high and extent_of(ends[1]) >= wide
        if not is_large or "group" not in self.caps.tile_spaces:
            return False
        before = self.kernel, self.taken
        others = names_of(loop for loop in chain if loop not in ends)
        i, j = names_of(ends)
        self.order(names_of(chain), [*others, i, j])
        self.take(f"SPLIT({i}, {high})", f"SPLIT({j}, {wide})", f"REORDER({i}.1, {j}.0)")
        tile = high * (wide + 4) * self.caps.vector_bytes // self.lanes
        room = names[: self.caps.group_bytes // tile]
        staged = [f"STAGE({name}, {j}.0, group, [{i}.1][{j}.1])" for name in room]
        if not self.take(*staged, f"SPLIT({j}.1, {self.lanes})", f"FUSE({i}.1, {j}.1.0)"):
            self.kernel, self.taken = before
            return False
        whole = f"{i}.1_{j}.1.0"
        self.take(f"SPLIT({whole}, {self._most()})", f"MAP({j}.1.1, vec)")
        self.take(f"MAP({whole}.1, thread)", f"MAP({whole}.0, unroll)")
        self.place("grid", *others, f"{i}.0", f"{j}.0")
        return True

    # a group for each row

    def _is_row(self, chain: Nodes, body: Nodes) -> bool:
        nests = _nests(body)
        longest = max(map(iterations, nests), default=0)
        if not all(nests) or longest < LEAST:
            return False
        near = [contiguous_axis((*chain, *nest)) for nest in nests]
        if any(axis in nest for axis, nest in zip(near, nests, strict=True)):
            return True
        if any(axis in chain for axis in near):
            return False
        return longest >= 4 * LEAST and iterations(chain) < self.caps.units * LEAST

    def row(self, chain: Nodes, body: Nodes) -> None:
        """A group for each iteration of the chain, whose threads share the loops inside."""
        for nest in _nests(body):
            self.fused(names_of(nest))
        names = names_of(chain)
        self.place("grid", *names)
        loops = self._along(names)
        longest = max(map(extent_of, loops), default=1)
        most = min(MOST, self.caps.max_group_threads)
        team = min(LEAST, most)
        while 2 * team <= most and longest > team * self.lanes * ROUNDS:
            team *= 2
        staged = bool(chain) and self._hold(names[-1], loops, HELD * team // longest)
        for loop in self._along(names):
            self._across(loop, team, staged)

    def _along(self, outer: Sequence[str]) -> list[UOp]:
        """The outermost loops inside those of some names, one of each axis."""
        found: dict[str, UOp] = {}
        work = direct(self.kernel.body, Ops.LOOP)
        for one in work:
            if one.map == "grid" or one.name in outer:
                work += direct(one.src, Ops.LOOP)
            else:
                found.setdefault(one.name, one)
        return [*found.values()]

    def _hold(self, at: str, loops: Sequence[UOp], most: int) -> bool:
        """Keep rows in registers that several loops read, if no more than `most`; True if any."""
        seen = Counter(buffer for loop in loops for buffer in read([loop]))
        again = [one for one, count in seen.items() if count > 1 and one.space == GLOBAL]
        names = sorted(names_of(again)) if len(again) <= most else []
        kept = [self.take(f"STAGE({name}, {at}, reg, box)") for name in names]
        return any(kept)

    def _across(self, loop: UOp, team: int, staged: bool) -> None:
        name, extent = loop.name, extent_of(loop)
        if not loop.extent.is_const or loop.kind == "ser" or extent < 2:
            return
        whole = extent % self.lanes == 0 and extent >= self.lanes * self.caps.lanes
        lanes = self.lanes if whole else 1
        self.take(f"SPLIT({name}, {min(team * lanes, extent)})")
        loops = direct(loop.src, Ops.LOOP)
        if loop.kind == "red" and not self.take_all(
            f"RFACTOR({name}.1)", fits=lambda kernel: not loops or self._holds(kernel)
        ):
            for inner in loops:
                self._across(inner, team, staged)
            return
        for part, place in (f"{name}.1", "vec"), (f"{name}.1.j", "unroll"):
            if lanes > 1 and self.take(f"SPLIT({part}, {lanes})"):
                self.take(f"MAP({part}.1, {place})")
                part = f"{part}.0"
            self.take(f"MAP({part}, thread)")
        if staged and ceildiv(extent, team * lanes) <= HELD:
            self.take(f"MAP({name}.0, unroll)")

    def _holds(self, kernel: Kernel) -> bool:
        """True if what threads sum fits the memory of a group, where they may have to meet."""
        states = [one for one in find(kernel.body, Ops.BUFFER) if one.init]
        held = sum(one.size * one.dtype.itemsize for one in states)
        return held <= self.caps.group_bytes

    # a tile for each group

    def _tile(self, operands: Contraction | None, position: int) -> bool:
        """Tile a contraction whose operands go to group memory; True if it is one."""
        if not operands:
            return False
        groups = _groups(operands)
        square = _square(operands, groups)
        if not square:
            return False
        both, rows, columns = map(names_of, groups)
        self.order(names_of(operands.par), [*both, *rows, *columns])
        row, column = self.fused(rows), self.fused(columns)
        depth = self.fused(names_of(operands.red))
        wide = square.columns // max(square.own_columns // self.lanes, 1)
        self.take(f"SPLIT({row}, {square.rows})", f"SPLIT({row}.1, {square.own_rows})")
        self.take(f"SPLIT({column}, {square.columns})", f"SPLIT({column}.1, {wide})")
        word = self._word(operands)
        self.take(f"SPLIT({column}.1.1, {1 if word else self.lanes})", f"SPLIT({depth}, {DEPTH})")
        self.unmask(position)
        step = f"{depth}.1"
        if word and self.take(f"SPLIT({step}, {word})", f"MAP({step}.1, vec)"):
            step = f"{depth}.1.0"
        tiles = [*both, f"{row}.0", f"{column}.0"]
        threads = [f"{row}.1.0", f"{column}.1.1.0"]
        mine = [f"{row}.1.1", f"{column}.1.0", f"{column}.1.1.1"]
        self.arrange([*tiles, *threads, *mine])
        self.below(step, *reversed(mine))
        self.below(f"{depth}.0", *reversed(threads))
        self.place("grid", *tiles)
        self.place("thread", *threads)
        self.place("reg" if word else "vec", mine.pop())
        self.place("reg", *reversed(mine))
        layouts = (f"{row}.1.0 {row}.1.1", f"{column}.1.0 {column}.1.1.0 {column}.1.1.1")
        near = "group" in self.caps.tile_spaces and not word  # a tile of bytes would hold int32
        for one in operands.moving if near else ():
            layout = layouts[any(map(one.moves, groups[2]))]
            self.take(f"STAGE({one.buffer.name}, {depth}.0, group, [{step}][{layout}])")
        self.place("unroll", step)
        return True

    def _word(self, operands: Contraction) -> int:
        """The neighbours along the depth that one DOT multiplies, or 0."""
        depth = operands.red[-1]
        are_near = all(one.stride(depth) == 1 for one in operands.loads)
        are_bytes = all(map(factors_of_bytes, find([depth], Ops.STORE)))
        fits = extent_of(depth) % DEPTH == 0 and Ops.DOT.name in self.caps.ops
        return WORD if are_near and are_bytes and fits else 0


def _nests(body: Nodes) -> list[Nodes]:
    """From each loop, those of one kind and constant extents that are all of its body; or none."""
    found = [chain_of((one,), one.kind) for one in direct(body, Ops.LOOP)]
    return [() if loops_in(inside) or not _are_const(nest) else nest for nest, inside in found]


def _are_const(loops: Nodes) -> bool:
    return all(one.extent.is_const for one in loops)


def turned(path: Nodes, body: Nodes) -> tuple[list[str], list[UOp]]:
    """The buffers that have neighbours along one loop of a path where what is stored has them along
    another, and these two loops; nothing if there are no two."""
    found = references(body, path)
    near = [(one, loop) for one in found for loop in path if one.stride(loop) == 1]
    rows = {loop for one, loop in near if one.is_store}
    along = [one for one, loop in near if loop in rows or not any(map(one.moves, rows))]
    across = {one.buffer.name: loop for one, loop in near if one not in along}
    ends = dedup([*across.values(), *rows])
    return [*across], ends if across and len(ends) == 2 else []


Groups = tuple[list[UOp], list[UOp], list[UOp]]


def _groups(operands: Contraction) -> Groups:
    """The par loops that move both operands, only the first, only the second (the columns)."""
    moved = {loop: [one.moves(loop) for one in operands.moving] for loop in operands.par}
    own = [moves for moves in moved.values() if len({*moves}) == 2]
    if not own:
        return [], [], []
    other = [not moves for moves in own[-1]]
    rows = [loop for loop, moves in moved.items() if moves == other]
    columns = [loop for loop, moves in moved.items() if moves == own[-1]]
    return [loop for loop in moved if loop not in (*rows, *columns)], rows, columns


def _square(operands: Contraction, groups: Groups) -> Square | None:
    caps, (batch, m, n) = operands.caps, map(iterations, groups)
    is_small = min(m, n) < 16 or iterations(operands.red) < LEAST // 8
    if is_small or not _are_const(operands.par + operands.red):
        return None

    def seconds(square: Square) -> float:
        tiles = ceildiv(m, square.rows) * ceildiv(n, square.columns) * batch
        return ceildiv(tiles, caps.units) * square.rows * square.columns / square.rate

    size_bytes = max(one.buffer.dtype.itemsize for one in operands.loads)
    fitting = [one for one in SQUARES if one.fits(caps, size_bytes)]
    return min(fitting, key=seconds, default=None)
