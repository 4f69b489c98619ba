"""Lowered programs written by hand, node by node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tinycore.dtype import DType, dtypes
from tinycore.uop.index import Index, as_index
from tinycore.uop.lowered import Lowered
from tinycore.uop.ops import Ops, UOp, alu, const
from tinycore.uop.tree import LoopArg, buffer

I64 = dtypes.int64


class Code:
    """A program that grows by a node at each call; a node is placed where it is made."""

    def __init__(self) -> None:
        self.uops: list[UOp] = []

    def put(self, node: UOp) -> UOp:
        if node.op not in (Ops.CONST, Ops.VARIABLE) and node not in self.uops:
            self.uops.append(node)
        return node

    def alu(self, op: Ops, *src: UOp, tag: str | None = None) -> UOp:
        node = alu(op, *src)
        return self.put(node.replace(tag=tag) if tag else node)

    def cast(self, node: UOp, dtype: DType, op: Ops = Ops.CAST) -> UOp:
        return self.put(UOp(op, dtype.vec(node.dtype.lanes), (node,)))

    def shuffle(self, lanes: Iterable[int], *src: UOp) -> UOp:
        order = tuple(lanes)
        return self.put(UOp(Ops.SHUFFLE, src[0].dtype.scalar.vec(len(order)), src, order))

    def buffer(self, dtype: DType, count: int, space: str) -> UOp:
        return self.put(buffer(f"b{len(self.uops)}", dtype, [count], space))

    def load(
        self, source: UOp, offset: UOp | int, *masked: UOp, lanes: int = 1, whole: bool = False
    ) -> UOp:
        """Some neighbours; `whole` if the offset is a multiple of their number."""
        dtype = source.dtype if source.arg.space == "reg" else source.dtype.vec(lanes)
        src = (source, index(offset), *masked)
        return self.put(UOp(Ops.LOAD, dtype, src, whole, len(self.uops)))

    def store(
        self, target: UOp, offset: UOp | int, value: UOp, *mask: UOp, whole: bool = False
    ) -> None:
        """The same way back."""
        src = (target, index(offset), value, *mask)
        self.put(UOp(Ops.STORE, dtypes.void, src, whole, len(self.uops)))

    def barrier(self) -> None:
        self.put(UOp(Ops.BARRIER, dtypes.void, (), None, len(self.uops)))

    @contextmanager
    def loop(self, extent: UOp | int, place: str = "", bound: Index | int = 0) -> Iterator[UOp]:
        arg = LoopArg(f"i{len(self.uops)}", as_index(bound or index(extent).arg), "par", place)
        with self._scope(UOp(Ops.LOOP, I64, (index(extent),), arg, len(self.uops))) as head:
            yield head

    @contextmanager
    def when(self, test: UOp) -> Iterator[UOp]:
        with self._scope(UOp(Ops.IF, dtypes.void, (test,), None, len(self.uops))) as head:
            yield head

    @contextmanager
    def _scope(self, head: UOp) -> Iterator[UOp]:
        yield self.put(head)
        self.put(UOp(Ops.END, dtypes.void, (head,)))

    def program(self, params: Sequence[UOp], **more: Any) -> Lowered:
        fields = {"variables": (), "grid": (), "group": (), "scratch_bytes": 0, **more}
        return Lowered("test", tuple(params), uops=tuple(self.uops), **fields)


def index(value: UOp | int) -> UOp:
    return const(value, I64) if isinstance(value, int) else value
