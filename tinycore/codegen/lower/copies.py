"""Makes tile assignments loops: a COPY runs where it stands, so WAIT and FREE wait for nothing.

Comes in: a tree after its actions. Goes out: one without COPY, WAIT and FREE. For targets without
engines that copy on their own. The last axis of the box runs along lanes. Next: reduce.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycore.codegen.lower.vectors import along_lanes, nested
from tinycore.runtime.caps import Caps
from tinycore.uop.index import Atom, Index, axis
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Access, CopyArg, Kernel, StoreArg, rebuild


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
            if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
                found.append(statement.replace(src=self.body(statement.src)))
            elif statement.op is Ops.COPY:
                found += self._loops(statement)
            elif statement.op not in (Ops.WAIT, Ops.FREE):
                found.append(statement)
        return tuple(found)

    def _loops(self, copy: UOp) -> list[UOp]:
        arg: CopyArg = copy.arg
        self.count += 1
        target = copy.src[0]
        lanes = self.vector_bytes // target.dtype.itemsize
        outer = [(f"copy{self.count}.{name}", extent, "") for name, extent in arg.box[:-1]]
        env = {
            _atom(box): axis(new[0], new[1])
            for box, new in zip(arg.box, outer, strict=False)
            if box[1].hi > 1
        }
        name, extent = arg.box[-1]

        def at(index: Index) -> list[UOp]:
            here = env | ({_atom((name, extent)): index} if extent.hi > 1 else {})
            return [_assigned(copy, here)]

        return nested(outer, along_lanes(f"copy{self.count}.{name}", extent, lanes, at))


def _atom(box: tuple[str, Index]) -> Atom:
    return axis(*box).terms[0][0]


def _assigned(copy: UOp, env: dict[Atom, Index]) -> UOp:
    """The STORE of one element of a tile: box axes replaced."""
    place: Access = copy.arg.place
    store = UOp(Ops.STORE, copy.dtype, copy.src, StoreArg((place,)))
    return rebuild([store], {}, env)[0]
