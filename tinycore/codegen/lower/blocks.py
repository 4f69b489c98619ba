"""Places nodes in blocks: each stands in the outermost one that knows all it is made of.

Comes in: nodes with their sources already placed. Goes out: the linear list of the program.
Code that does not change inside a loop so leaves it without a pass of its own. Loads leave a
loop only if nothing in it stores to their buffer, and never leave a scope that may not run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tinycore.dtype import DType, dtypes
from tinycore.uop.lowered import PLACELESS
from tinycore.uop.ops import Ops, UOp, alu, const

Order = tuple[int, ...]


@dataclass(eq=False, slots=True)
class Block:
    """A scope of the program: the whole of it, a loop or an IF.

    `stored` are the buffers written inside; loads stay in a `firm` block, which may never run.
    """

    head: UOp | None
    depth: int
    serial: int
    stored: frozenset[UOp]
    firm: bool
    open: bool = True
    body: list[UOp | Block] = field(default_factory=list)


class Blocks:
    """The open blocks, outermost first, and where each node stands.

    Vectors are made here: splats, picks, joins and steps, placed like any node.
    """

    def __init__(self) -> None:
        self.stack = [Block(None, 0, 0, frozenset(), False)]
        self.home: dict[UOp, Block] = {}
        self.serial = 0
        self.constants: dict[tuple[UOp, int], UOp] = {}

    @property
    def inner(self) -> Block:
        """The block that statements go to now."""
        return self.stack[-1]

    def number(self) -> int:
        """A number never given before: it tags nodes that stand for a moment."""
        self.serial += 1
        return self.serial

    def put(self, node: UOp) -> UOp:
        """`node`, placed as far out as its sources allow."""
        if node not in self.home and node.op not in PLACELESS:
            block = self.deepest(node.src)
            block.body.append(node)
            self.home[node] = block
        return node

    def put_load(self, buffer: UOp, dtype: DType, src: Sequence[UOp], moment: int) -> UOp:
        """A load from what stands for `buffer`, placed where it gives what it gives here."""
        block = self._block_of_load(buffer, src)
        node = UOp(Ops.LOAD, dtype, tuple(src), None, (moment, block.serial))
        if node not in self.home:
            block.body.append(node)
            self.home[node] = block
        return node

    def deepest(self, nodes: Sequence[UOp]) -> Block:
        """The innermost block that any of the nodes stands in."""
        home = self.home
        found = self.stack[0]
        for node in nodes:
            block = home.get(node)
            if block is not None and block.depth > found.depth:
                found = block
        return found

    def _block_of_load(self, buffer: UOp, sources: Sequence[UOp]) -> Block:
        outermost = self.deepest(sources)
        depth = len(self.stack) - 1
        while depth > outermost.depth:
            block = self.stack[depth]
            if block.firm or buffer in block.stored:
                return block
            depth -= 1
        return outermost

    def depth(self, node: UOp) -> int:
        """How many scopes are around a node; 0 for constants and parameters."""
        block = self.home.get(node)
        return 0 if block is None else block.depth

    def is_live(self, node: UOp) -> bool:
        """True if `node` may be used here: no block around it has been closed."""
        block = self.home.get(node)
        return block is None or block.open

    def append(self, node: UOp) -> UOp:
        """A statement, placed here."""
        self.inner.body.append(node)
        self.home[node] = self.inner
        return node

    def open(self, head: UOp, stored: frozenset[UOp], firm: bool) -> None:
        """Begin the scope of a LOOP or an IF; the head belongs to it."""
        block = Block(head, len(self.stack), self.number(), stored, firm)
        self.home[head] = block
        self.stack.append(block)

    def close(self) -> None:
        """End the innermost scope and stand it in the one around."""
        block = self.stack.pop()
        block.open = False
        self.inner.body.append(block)

    def listed(self) -> tuple[UOp, ...]:
        """The program, heads and ENDs included."""
        return tuple(_flat(self.stack[0]))

    # vectors

    def apply(self, op: Ops, *src: UOp) -> UOp:
        """A scalar op, on single values or, lane by lane, on vectors."""
        lanes = max([node.dtype.lanes for node in src])
        if lanes > 1:
            src = tuple([self.splat(node, lanes) for node in src])
        return self.put(alu(op, *src))

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
        return self.put(UOp(Ops.CAST, dtype, (node,)))

    def _shuffle(self, dtype: DType, src: tuple[UOp, ...], lanes: Order) -> UOp:
        return self.put(UOp(Ops.SHUFFLE, dtype, src, lanes))


def _flat(block: Block) -> Iterator[UOp]:
    for entry in block.body:
        if isinstance(entry, UOp):
            yield entry
            continue
        assert entry.head is not None, "blocks: a scope without a head"
        yield entry.head
        yield from _flat(entry)
        yield UOp(Ops.END, dtypes.void, (entry.head,))
