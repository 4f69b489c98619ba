"""What a Tensor is a view of: a cell that holds the current version of one stored array.

In: graph nodes. Out: cells; two `zeros(n)` are one node, two cells and two buffers. Next file:
realize.py.
"""

from collections.abc import Iterator
from itertools import count
from weakref import WeakKeyDictionary, WeakSet

from tinycore.runtime.buffer import Buffer
from tinycore.uop.graph import graph_buffer
from tinycore.uop.index import Shape
from tinycore.uop.ops import UOp, toposort

_data: WeakKeyDictionary[UOp, Buffer] = WeakKeyDictionary()


class Cells(WeakKeyDictionary["Cell", None]):
    """Cells while they live, as keys; one looks at those of a moment, whatever is added then."""

    def __iter__(self) -> Iterator["Cell"]:
        return filter(None, [reference() for reference in self.keyrefs()])


class Cell:
    """One array: `uop` is its current version, `stored` the BUFFER it was last realized in."""

    __slots__ = ("__weakref__", "device", "stored", "uop")

    def __init__(self, uop: UOp, device: str) -> None:
        self.uop = uop
        self.device = device
        self.stored: UOp | None = None
        PENDING[self] = None

    @property
    def is_realized(self) -> bool:
        """True if the current version is stored."""
        return self.stored is self.uop

    def write(self, uop: UOp) -> None:
        """Make `uop` the current version; what was read before keeps the old one."""
        self.uop = uop
        PENDING[self] = None

    def settle(self, stored: UOp) -> None:
        """Record that the current version now lies in `stored`."""
        self.uop = self.stored = stored
        PENDING.pop(self, None)


# Cells whose current version is not stored: a realization that overwrites a buffer in place first
# runs those of them that still read it (docs/ir.md, the graph, 4).
PENDING = Cells()

# Cells that every realization which reads them also moves on: the counters of random numbers.
STATES = Cells()

# Buffers that captures use: a cell that is stored in one stays there.
PINNED: WeakSet[Buffer] = WeakSet()

fresh_number = count().__next__
"""A number no other buffer or CONTIGUOUS of this process has."""

_read: WeakKeyDictionary[UOp, frozenset[Buffer]] = WeakKeyDictionary()


def stored_cell(buffer: Buffer, shape: tuple[int, ...]) -> Cell:
    """A cell over data that exists already."""
    node = new_node(buffer, shape)
    cell = Cell(node, buffer.device)
    cell.settle(node)
    return cell


def new_node(buffer: Buffer, shape: Shape) -> UOp:
    """A BUFFER node for `buffer`, which keeps the data alive."""
    node = graph_buffer(fresh_number(), shape, buffer.dtype, buffer.device)
    _data[node] = buffer
    return node


def buffer_of(node: UOp) -> Buffer:
    """The data behind a BUFFER node."""
    assert node.is_buffer, f"buffer_of: {node} is no BUFFER"
    return _data[node]


def buffers_read(node: UOp) -> frozenset[Buffer]:
    """The data that a graph is computed from."""
    if node not in _read:
        leaves = [inner for inner in toposort([node]) if inner.is_buffer]
        _read[node] = frozenset(map(buffer_of, leaves))
    return _read[node]
