"""Places each node in the outermost block that knows all its sources.

In: nodes whose sources are placed. Out: the linear list of the program. Next file: indices.py.
"""

from collections.abc import Sequence, Set
from functools import cache
from itertools import count
from operator import attrgetter
from typing import NamedTuple

from tinycore.dtype import DType, dtypes
from tinycore.uop.lowered import PLACELESS
from tinycore.uop.ops import Nodes, Ops, UOp, alu, const


class Block(NamedTuple):
    """A scope of the program: the whole of it, a loop or an IF.

    `stored` are the buffers written inside; loads stay in a `firm` block, which may never run.
    """

    head: UOp | None
    depth: int
    stored: Set[UOp]
    firm: bool
    body: list[UOp]


_DEPTH = attrgetter("depth")


class Blocks:
    """The open blocks, outermost first, and where each node stands.

    `moment` is a new number for the tag of a node that holds only from now on.
    """

    def __init__(self) -> None:
        self.stack = [Block(None, 0, frozenset(), False, [])]
        self.home: dict[UOp, Block] = {}
        self.moment = count(1).__next__
        self.steps = cache(_steps)

    def put(self, node: UOp) -> UOp:
        """`node`, placed as far out as its sources allow."""
        if node in self.home or node.op in PLACELESS:
            return node
        return self._stand(node, self.deepest(node.src))

    def put_load(self, buffer: UOp, moment: int, dtype: DType, src: Nodes, whole: bool) -> UOp:
        """A load, as far out as it crosses no firm block and no store to `buffer`."""
        outermost = self.deepest(src)
        block = self.stack[-1]
        while block.depth > outermost.depth and not block.firm and buffer not in block.stored:
            block = self.stack[block.depth - 1]
        node = UOp(Ops.LOAD, dtype, src, whole, (moment, block.head))
        if node in self.home:
            return node
        return self._stand(node, block)

    def append(self, node: UOp) -> UOp:
        """A statement, placed here."""
        return self._stand(node, self.stack[-1])

    def _stand(self, node: UOp, block: Block) -> UOp:
        block.body.append(node)
        self.home[node] = block
        return node

    def block(self, node: UOp) -> Block:
        """Where a node stands: the outermost block for constants and parameters."""
        return self.home.get(node, self.stack[0])

    def deepest(self, nodes: Sequence[UOp]) -> Block:
        """The innermost block that any of the nodes stands in."""
        return max(map(self.block, nodes), key=_DEPTH, default=self.stack[0])

    def open(self, head: UOp, stored: Set[UOp], firm: bool) -> None:
        """Begin the scope of a LOOP or an IF; the head belongs to it."""
        block = Block(head, len(self.stack), stored, firm, [])
        self.home[head] = block
        self.stack.append(block)

    def close(self) -> None:
        """End the innermost scope and append it to the one around."""
        block = self.stack.pop()
        assert block.head is not None, "blocks: the outermost one is never closed"
        end = UOp(Ops.END, dtypes.void, (block.head,))
        around = self.stack[-1].body
        around.extend([block.head, *block.body, end])

    # vectors

    def apply(self, op: Ops, *src: UOp, tag: str | None = None) -> UOp:
        """A scalar op, on single values or lane by lane."""
        lanes = max([node.lanes for node in src])
        node = alu(op, *[self.splat(node, lanes) for node in src])
        if tag and node.op is op:
            node = node.replace(tag=tag)
        return self.put(node)

    def splat(self, node: UOp, lanes: int) -> UOp:
        """`node` in every lane."""
        if node.lanes == lanes:
            return node
        return self.merge((node,), (0,) * lanes)

    def one(self, node: UOp, lane: int) -> UOp:
        """One lane of `node`."""
        return self.merge((node,), (lane % node.lanes,))

    def merge(self, parts: Sequence[UOp], lanes: tuple[int, ...]) -> UOp:
        """A vector of some lanes of the parts, numbered one part after another."""
        first, *others = parts
        dtype = first.dtype.scalar.vec(len(lanes))
        if first.is_const and not others:
            return const(first.arg, dtype)
        if lanes == tuple(range(first.lanes)) and not others:
            return first
        return self.put(UOp(Ops.SHUFFLE, dtype, tuple(parts), lanes))

    def narrow(self, node: UOp, dtype: DType) -> UOp:
        """Integers as `dtype`, the type of one lane, which they fit."""
        return self.put(node.cast(dtype.vec(node.lanes)))


def _steps(step: int, lanes: int, dtype: DType) -> UOp:
    places = range(lanes)
    numbers = [const(step * lane, dtype) for lane in places]
    return UOp(Ops.SHUFFLE, dtype.vec(lanes), tuple(numbers), tuple(places))
