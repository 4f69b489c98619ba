"""BEAM=0: the actions a kernel gets without a search, decided from strides and capabilities.

In: a kernel and the caps of a target. Out: action texts: register tiles for contractions, vectors
along the axis contiguous in most accesses, a grid of the outer par loops. Next file: search.py.
"""

from collections.abc import Mapping
from itertools import pairwise
from math import prod

from tinycore.codegen.optimize.actions import applied
from tinycore.codegen.optimize.analysis import (
    Reference,
    extent_of,
    is_linear,
    leaf_loops,
    par_chain,
    references,
)
from tinycore.codegen.optimize.contraction import Contraction, Tile
from tinycore.codegen.optimize.edit import find, loops_in
from tinycore.runtime.contract import Caps
from tinycore.uop import Nodes, Ops, UOp
from tinycore.uop.tree import Kernel

_PACE = {0: 0.0, None: 0.0, 1: 1.0, 2: 0.25}  # how near neighbours of a stride are


def heuristic(kernel: Kernel, caps: Caps) -> tuple[Kernel, list[str]]:
    """The kernel after the chosen actions, and their texts."""
    choice = _Choice(kernel, caps)
    choice.fuse_contiguous()
    for position in range(len(choice.kernel.body)):
        if not choice.contraction(position):
            choice.vectorize(position)
    choice.grid()
    return choice.kernel, choice.taken


class _Choice:
    """A kernel and the actions taken so far."""

    def __init__(self, kernel: Kernel, caps: Caps) -> None:
        widest = [param.dtype.itemsize for param in kernel.params if param.dtype.is_float]
        self.kernel = kernel
        self.caps = caps
        self.taken: list[str] = []
        self.lanes = max(caps.vector_bytes // max(widest, default=4), 1)

    def take(self, *texts: str) -> bool:
        """Apply each action that is legal; True if all are."""
        self.kernel, legal = applied(self.kernel, texts)
        self.taken += legal
        return legal == texts

    # fusing

    def fuse_contiguous(self) -> None:
        """Make one axis of neighbours that every access walks at one pace."""
        while any(self._fused(outer) for outer in loops_in(self.kernel.body)):
            pass

    def _fused(self, outer: UOp) -> bool:
        before, [inner, *others] = self.kernel, outer.src
        if others or inner.op is not Ops.LOOP or not is_linear(before.body):
            return False
        if not self.take(f"FUSE({outer.name}, {inner.name})"):
            return False
        if is_linear(self.kernel.body):
            return True
        self.kernel = before
        self.taken.pop()
        return False

    # contractions

    def contraction(self, position: int) -> bool:
        """Tile a root statement that is a contraction, with zeros for the masks of its sums."""
        for made in find(self.kernel.body[position : position + 1], Ops.STORE):
            if made.arg.combine == "sum" and made.arg.places[0].mask:
                self.take(f"FILL({made.source.name})")
        operands = self._operands(self.kernel.body[position])
        tile = operands and operands.best_tile()
        if not operands or not tile:
            return False
        if tile.loops[0].arg.kind == "red":
            self._tile_by_partial_sums(operands, tile)
        else:
            _RowTile(self, operands, tile).make()
        return True

    def _operands(self, root: UOp) -> Contraction | None:
        chain, body = par_chain((root,))
        reds = loops_in(body)
        nested = all(outer.src == (inner,) for outer, inner in pairwise(reds))
        if not chain or not nested or {one.arg.kind for one in reds} != {"red"}:
            return None
        around, after = tuple(chain), [one for one in body if one is not reds[0]]
        loads = [one for one in references(reds[:1], around) if not one.is_store]
        stored = references(after, around)
        return Contraction(around, tuple(reds), loads, stored, self.lanes, self.caps)

    def _tile_by_partial_sums(self, operands: Contraction, tile: Tile) -> None:
        vector, *sides = [loop.name for loop in tile.loops]
        inside = operands.red[operands.red.index(tile.loops[0]) + 1 :]
        self.take(*[f"REORDER({vector}, {loop.name})" for loop in inside])
        split = f"SPLIT({vector}, {self.lanes})"
        self.take(split, f"RFACTOR({vector}.1)", f"MAP({vector}.1.j, vec)")
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
        chosen = [(path[-1], _contiguous_axis(path)) for path in leaf_loops([root])]
        done: set[str] = set()
        for leaf, loop in sorted(chosen, key=lambda pair: pair[0] is not pair[1]):
            # one axis of lanes for a nest: leaves with their own leave the outer axes alone
            if loop is None or loop.name in done or (done and loop is not leaf):
                continue
            done.add(loop.name)
            if loop is not leaf:
                self._sink_vector(loop.name, position)
            elif loop.arg.kind == "red":
                self._vector_of_partial_sums(loop)
            else:
                self._vector_of(loop, is_root=leaf is self.kernel.body[position])

    def _vector_of(self, loop: UOp, is_root: bool) -> None:
        name, extent = loop.name, extent_of(loop)
        whole = loop.arg.extent.is_const and extent % self.lanes == 0
        ragged = not whole and not is_root and extent > self.lanes
        if not ragged or not self.take(f"OVERLAP({name}, {self.lanes})"):
            self.take(f"SPLIT({name}, {self.lanes})")
        self.take(f"MAP({name}.1, vec)", f"MAP({name}.1', vec)")

    def _vector_of_partial_sums(self, loop: UOp) -> None:
        name, extent = loop.name, extent_of(loop)
        if extent < self.lanes or not loop.arg.extent.is_const:
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
            names = [one.name for one in loops_in(self.kernel.body[position : position + 1])]
            for below in names[names.index(f"{name}.1") + 1 :]:
                self.take(f"REORDER({name}.1, {below})")
            self.take(f"MAP({name}.1, vec)")

    # the grid

    def grid(self) -> None:
        """Run the outer par loops side by side; several root loops become several launches."""
        if any(statement.op is not Ops.LOOP for statement in self.kernel.body):
            return
        for statement in self.kernel.body:
            for loop in par_chain((statement,))[0]:
                if loop.arg.map or not self.take(f"MAP({loop.name}, grid)"):
                    break


def _contiguous_axis(path: Nodes) -> UOp | None:
    inner = references(path[-1].src, path)
    best, best_score = None, 0.0
    for loop in reversed(path):
        if loop.arg.map or (loop.arg.kind == "red" and loop is not path[-1]):
            continue
        score = sum(_PACE.get(one.stride(loop), -0.5) for one in inner)
        if score > best_score and extent_of(loop) >= 4:
            best, best_score = loop, score
    return best


class _RowTile:
    """The actions that make a tile of rows; names are those after each SPLIT."""

    def __init__(self, choice: _Choice, operands: Contraction, tile: Tile) -> None:
        self.choice = choice
        self.take = choice.take
        self.operands = operands
        self.tile = tile
        self.vectors, self.rows, *_ = (*tile.counts, 1)
        self.vector, self.row, *_ = (*[loop.name for loop in tile.loops], "")
        self.panel = self.vector
        self.others = [loop.name for loop in operands.par if loop not in tile.loops]
        self.depth = [loop.name for loop in operands.red]

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
        chain = [loop.name for loop in par_chain(self.choice.kernel.body)[0]]
        self._order(chain, {name: k for k, name in enumerate(wanted)})
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

    def _order(self, names: list[str], rank: Mapping[str, int]) -> list[str]:
        """Bring nested loops, outermost first, in order of rank, as far as that is legal."""
        for k, (outer, inner) in enumerate(pairwise(names)):
            wrong = rank.get(outer, -1) > rank.get(inner, -1)
            if wrong and self.take(f"REORDER({outer}, {inner})"):
                return self._order([*names[:k], inner, outer, *names[k + 2 :]], rank)
        return names

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
        rank: dict[str, int] = {}
        for loop in self.operands.red:
            moves = max([abs(one.stride(loop) or 0) for one in splats], default=0)
            rank |= {loop.name: -moves, f"{loop.name}.1": -moves}
        return self._order(self.depth, rank)[-1]

    # panels

    def _packed_panel(self, packed: Reference) -> list[str]:
        """Cut a packed panel that fits the cache and feeds all units; the axes that share it."""
        extent, units = extent_of(self.tile.loops[0]), self.choice.caps.units
        least = self.choice.lanes * self.vectors
        block, depth = self.tile.block or (None, 1)
        depth *= prod(extent_of(loop) for loop in self.operands.red if loop is not block)
        most = min(self.operands.near // (4 * depth), extent // (2 * units), 4 * least)
        width = max(most // least, 1) * least
        self.take(f"SPLIT({self.vector}, {width})")
        self.panel = f"{self.vector}.1"
        few, shares = (units, units) if block else (2 * units, 4 * units)
        return self._shared(packed, shares) if -(-extent // width) < few else []

    def _shared(self, packed: Reference, shares: int) -> list[str]:
        may = [loop for loop in self.operands.par if loop.name in self.others]
        if self.tile.block is not None:
            may += self.tile.loops[1:]
        still = [loop for loop in may if not packed.moves(loop)]
        if not still:
            return []
        loop = max(still, key=extent_of)
        step = self.rows if loop in self.tile.loops else 1
        chunk = -(-extent_of(loop) // (shares * step)) * step
        self.take(f"SPLIT({loop.name}, {chunk})")
        inner = {loop.name: f"{loop.name}.1"}
        self.row = inner.get(self.row, self.row)
        self.others = [inner.get(other, other) for other in self.others]
        return [f"{loop.name}.0"]

    def _pack(self, packed: Reference, at: str) -> None:
        still = [loop.name for loop in self.operands.red if not packed.moves(loop)]
        depth = [name for name in self.depth if name not in still]
        panel = self.panel
        layout = _layout(f"{panel}.0", *depth, f"{panel}.1.0 {panel}.1.1")
        self.take(f"STAGE({packed.buffer.name}, {at}, packed, {layout})")

    def _box(self) -> None:
        """Copy to a tile, at the first loop it fits in, what is masked or computed alone."""
        for one in references(self.choice.kernel.body):
            axes = [loop.name for loop in one.loops]
            inner = [axes.index(name) for name in self.depth if name in axes]
            if one.is_store or not inner or not (one.access.mask or one.is_computed()):
                continue
            for depth, name in enumerate(axes[: min(inner)]):
                size_bytes = one.box(depth) * one.buffer.dtype.itemsize
                if size_bytes <= self.operands.near // 2:
                    self.take(f"STAGE({one.buffer.name}, {name}, packed, box)")
                    break


def _layout(*dims: str) -> str:
    return "".join([f"[{axes}]" for axes in dims])
