"""Vectors made of other values: splats, picks, joins, choices and steps.

Comes in: placed nodes. Goes out: SHUFFLE and WHERE nodes, placed. All files that make vectors
make them here. Next: address.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinycore.codegen.lower.blocks import Blocks
from tinycore.dtype import DType
from tinycore.uop.ops import Ops, UOp, alu, const

Order = tuple[int, ...]


class Lanes:
    """Makes vectors in the blocks of one program."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.constants: dict[tuple[UOp, int], UOp] = {}

    def apply(self, op: Ops, *src: UOp) -> UOp:
        """A scalar op, on single values or, lane by lane, on vectors."""
        lanes = max([node.dtype.lanes for node in src])
        if lanes > 1:
            src = tuple([self.splat(node, lanes) for node in src])
        return self.blocks.put(alu(op, *src))

    def splat(self, node: UOp, lanes: int) -> UOp:
        """`node` in every lane."""
        if node.dtype.lanes == lanes:
            return node
        dtype = node.dtype.vec(lanes)
        if node.op is not Ops.CONST:
            return self._shuffle(dtype, (node,), (0,) * lanes)
        found = self.constants.get((node, lanes))
        if found is None:
            found = self.constants[node, lanes] = const(node.arg, dtype)
        return found

    def pick(self, node: UOp, lanes: Order) -> UOp:
        """Some lanes of `node`, in the order given."""
        dtype = node.dtype.scalar.vec(len(lanes))
        if node.op is Ops.CONST:
            return const(node.arg, dtype)
        whole = tuple(range(node.dtype.lanes))
        return node if lanes == whole else self._shuffle(dtype, (node,), lanes)

    def one(self, node: UOp, lane: int) -> UOp:
        """One lane of `node`; a single value is the same in all."""
        return self.pick(node, (lane,)) if node.dtype.lanes > 1 else node

    def backward(self, node: UOp) -> UOp:
        """The lanes of `node`, last one first."""
        lanes = range(node.dtype.lanes)
        return self.pick(node, tuple(reversed(lanes)))

    def merge(self, parts: Sequence[UOp], lanes: Order) -> UOp:
        """Lanes of several values, numbered one after another."""
        if len(parts) == 1:
            return self.pick(parts[0], lanes)
        dtype = parts[0].dtype.scalar.vec(len(lanes))
        return self._shuffle(dtype, tuple(parts), lanes)

    def join(self, parts: Sequence[UOp]) -> UOp:
        """The lanes of all parts, one after another."""
        total = sum([part.dtype.lanes for part in parts])
        return self.merge(parts, tuple(range(total)))

    def steps(self, step: int, lanes: int, dtype: DType) -> UOp:
        """The vector 0, step, 2*step ..."""
        numbers = [const(step * lane, dtype) for lane in range(lanes)]
        return self.join(numbers)

    def narrow(self, node: UOp, dtype: DType) -> UOp:
        """Integers in another type, which they fit; `dtype` is that of one lane."""
        dtype = dtype.vec(node.dtype.lanes)
        if node.dtype is dtype:
            return node
        if node.op is Ops.CONST:
            return const(node.arg, dtype)
        return self.blocks.put(UOp(Ops.CAST, dtype, (node,)))

    def transposed(self, rows: Sequence[UOp]) -> list[UOp]:
        """The columns of as many vectors as each has lanes: log2 rounds of pair shuffles.

        In the round of step s, rows i and i + s exchange their off-diagonal blocks of s lanes.
        """
        now = list(rows)
        size = len(now)
        step = 1
        while step < size:
            low, high = _exchanged(size, step)
            for row in range(size):
                if row & step:
                    continue
                pair = now[row], now[row + step]
                now[row] = self.merge(pair, low)
                now[row + step] = self.merge(pair, high)
            step *= 2
        return now

    def _shuffle(self, dtype: DType, src: tuple[UOp, ...], lanes: Order) -> UOp:
        return self.blocks.put(UOp(Ops.SHUFFLE, dtype, src, lanes))


def _exchanged(size: int, step: int) -> tuple[Order, Order]:
    """For a pair of rows, which lanes make the first and the second row of a round."""
    low, high = [], []
    for lane in range(size):
        second = lane & step != 0
        low.append(size + lane - step if second else lane)
        high.append(size + lane if second else lane + step)
    return tuple(low), tuple(high)
