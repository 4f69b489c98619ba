"""Makes tile assignments loops: a COPY runs where it stands, so WAIT and FREE wait for nothing.

Comes in: a tree after its actions. Goes out: one without COPY, WAIT and FREE. For targets without
engines that copy on their own. The last axis of the box runs along lanes; where the source is
contiguous along another one, square blocks are read by rows and written by columns, through
registers. Next: vectors.py, then reduce.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tinycore.codegen.lower.registers import in_memory
from tinycore.codegen.lower.vectors import along_lanes, nested
from tinycore.runtime.caps import Caps
from tinycore.runtime.errors import Unsupported
from tinycore.uop.index import Atom, Index, as_index, axis
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.tree import Access, CopyArg, Kernel, StoreArg, buffer, load, loop, rebuild

Env = dict[Atom, Index]


def copies(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with its tile assignments as loops."""
    return kernel._replace(body=Copies(caps).body(kernel.body))


class Copies:
    """Writes the loops of the COPYs of one kernel."""

    def __init__(self, caps: Caps) -> None:
        self.vector_bytes = caps.vector_bytes
        self.count = 0

    def body(self, statements: Iterable[UOp]) -> tuple[UOp, ...]:
        """Statements with their COPYs made loops."""
        found: list[UOp] = []
        for statement in statements:
            _refuse(statement)
            if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
                found.append(statement.replace(src=self.body(statement.src)))
            elif statement.op is Ops.COPY:
                self.count += 1
                found += self._loops(statement)
            elif statement.op not in (Ops.WAIT, Ops.FREE):
                found.append(statement)
        return tuple(found)

    def _loops(self, copy: UOp) -> list[UOp]:
        arg: CopyArg = copy.arg
        if not arg.box:
            return [_assigned(copy, {})]
        lanes = self.vector_bytes // copy.src[0].dtype.itemsize
        along = _contiguous(copy)
        across = arg.box[-1]
        if along is None or min(along[1].lo, across[1].lo) < lanes:
            return self._by_lanes(copy, arg.box, {}, lanes)
        return self._by_blocks(copy, along, across, lanes)

    def _by_lanes(
        self, copy: UOp, box: tuple[tuple[str, Index], ...], env: Env, lanes: int
    ) -> list[UOp]:
        """Loops over `box`, the last axis along lanes; `env` places the other axes."""
        outer = [(f"copy{self.count}.{name}", extent, "") for name, extent in box[:-1]]
        new = [axis(name, extent) for name, extent, _ in outer]
        env = env | _placed(box[:-1], new)

        def at(index: Index) -> list[UOp]:
            return [_assigned(copy, env | _placed(box[-1:], [index]))]

        return nested(outer, along_lanes(f"copy{self.count}.{box[-1][0]}", box[-1][1], lanes, at))

    def _by_blocks(
        self, copy: UOp, along: tuple[str, Index], across: tuple[str, Index], lanes: int
    ) -> list[UOp]:
        """Square blocks, and what they leave of both axes by lanes."""
        rest = tuple([row for row in copy.arg.box if row not in (along, across)])
        outer = [(f"copy{self.count}.{name}", extent, "") for name, extent in rest]
        env = _placed(rest, [axis(name, extent) for name, extent, _ in outer])
        columns, rows = along[1].const // lanes, across[1].const // lanes
        whole = (columns * lanes, rows * lanes)
        ends = (along[1].const, across[1].const)
        body = [self._blocks(copy, along, across, env, lanes)]
        body += self._left(copy, (along, across), (whole[0], 0), ends, env)
        body += self._left(copy, (along, across), (0, whole[1]), (whole[0], ends[1]), env)
        return nested(outer, body)

    def _blocks(
        self, copy: UOp, along: tuple[str, Index], across: tuple[str, Index], env: Env, lanes: int
    ) -> UOp:
        """The loops over whole blocks; each passes through registers."""
        name = f"copy{self.count}"
        target = copy.src[0]
        tile = buffer(f"{name}.tile", target.dtype, (lanes, lanes), "reg")
        columns, rows = along[1].const // lanes, across[1].const // lanes
        first = axis(f"{name}.column", columns) * lanes, axis(f"{name}.row", rows) * lanes
        i, k = axis(f"{name}.i", lanes), axis(f"{name}.k", lanes)
        read = env | _placed((along, across), [first[0] + k, first[1] + i])
        write = env | _placed((along, across), [first[0] + i, first[1] + k])
        value = rebuild([copy.src[1]], {}, read)[0]
        into = StoreArg((Access((i, k)),))
        fill = UOp(Ops.STORE, copy.dtype, (tile, value), into)
        out = _assigned(copy.replace(src=(target, load(tile, Access((k, i))))), write)
        body = [tile]
        for statement in (fill, out):
            row = loop("par", f"{name}.k", lanes, [statement], "vec")
            body.append(loop("par", f"{name}.i", lanes, [row], "unroll"))
        inner = loop("par", f"{name}.column", columns, body)
        return loop("par", f"{name}.row", rows, [inner])

    def _left(
        self,
        copy: UOp,
        box: tuple[tuple[str, Index], ...],
        begin: tuple[int, int],
        end: tuple[int, int],
        env: Env,
    ) -> list[UOp]:
        """The part of two axes from `begin` to `end`, by lanes."""
        sizes = (end[0] - begin[0], end[1] - begin[1])
        if min(sizes) <= 0:
            return []
        self.count += 1
        lanes = self.vector_bytes // copy.src[0].dtype.itemsize
        names = [f"copy{self.count}.{name}" for name, _ in box]
        whole = axis(names[0], sizes[0]) + begin[0]

        def at(index: Index) -> list[UOp]:
            return [_assigned(copy, env | _placed(box, [whole, index + begin[1]]))]

        inner = along_lanes(names[1], as_index(sizes[1]), lanes, at)
        return nested([(names[0], as_index(sizes[0]), "")], inner)


def _refuse(statement: UOp) -> None:
    """Raises: Unsupported for what only groups of threads can do."""
    if statement.op is Ops.MMA:
        raise Unsupported("lower: MMA has no lowering for this target; expected loops")
    if statement.op is Ops.BLOCK and statement.arg.kind != "seq":
        raise Unsupported("lower: roles have no lowering for this target; expected one block")


def _placed(box: Iterable[tuple[str, Index]], new: Iterable[Index]) -> Env:
    """What box axes become; those of one element are no axes."""
    pairs = zip(box, new, strict=True)
    return {axis(*row).terms[0][0]: index for row, index in pairs if row[1].hi > 1}


def _assigned(copy: UOp, env: Mapping[Atom, Index]) -> UOp:
    """The STORE of one element of a tile: box axes replaced."""
    place: Access = copy.arg.place
    store = UOp(Ops.STORE, copy.dtype, copy.src, StoreArg((place,)))
    return rebuild([store], {}, env)[0]


def _contiguous(copy: UOp) -> tuple[str, Index] | None:
    """The axis of the box that the source runs along in memory, if it is not the last one."""
    box = [row for row in copy.arg.box if row[1].is_const and row[1].const > 1]
    if not box or box[-1] is not copy.arg.box[-1]:
        return None
    loads = [node for node in toposort([copy.src[1]]) if node.op is Ops.LOAD]
    for node in loads:
        offset = in_memory(node.src[0].arg).offset(node.arg)
        factors = dict(offset.terms)
        found = [row for row in box if factors.get(axis(*row).terms[0][0]) == 1]
        if found:
            return None if found[0] is box[-1] else found[0]
    return None
