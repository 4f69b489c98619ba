"""The oracle: runs kernels as they are scheduled, fast, and shares no code with codegen.

In: a kernel before any action, arrays. Out: the arrays changed. A loop runs all at once, in blocks
that fit a cache, if its iterations do not depend on each other; else one iteration after another.
Kernels with tiles, roles or lanes go to checked.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tinycore.dtype import DType
from tinycore.runtime.ref import number
from tinycore.runtime.ref.machine import Machine
from tinycore.runtime.ref.memory import Instance, conjunction
from tinycore.runtime.ref.number import Array
from tinycore.runtime.ref.order import bounds, order_free
from tinycore.uop.affine import atoms
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.table import MONOIDS, TABLE
from tinycore.uop.tree import Access, Kernel, axis_of
from tinycore.util import np, prod

BLOCK = 1 << 18  # values computed at once: 1 MiB of float32
UFUNCS = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"}


class Oracle(Machine):
    """Runs a scheduled kernel on numpy axes."""

    def __init__(self, kernel: Kernel, check_out_of_bounds: bool = False) -> None:
        super().__init__(kernel, check_out_of_bounds)
        self.in_order = bounds(kernel)
        self.at_once: dict[UOp, bool] = {}

    def run(self, statements: Iterable[UOp]) -> None:
        """Run statements in order."""
        for statement in statements:
            self.scope.statement = statement
            _RUN[statement.op](self, statement)

    def let(self, statement: UOp) -> None:
        """Name a value."""
        self.scope.lets[statement] = self.value(statement.src[0])

    def branch(self, statement: UOp) -> None:
        """Run the body of an IF where its mask is true."""
        mask = self.mask(statement.arg)
        outer = self.scope.mask
        self.scope.mask = conjunction(outer, mask)
        if mask is None or mask.any():
            self.run(statement.src)
        self.scope.mask = outer

    def loop(self, statement: UOp) -> None:
        """Run a loop in blocks of iterations, or one after another."""
        count = int(self.index(statement.arg.extent, []))
        block = max(1, BLOCK // prod(self.scope.shape))
        if block == 1 or not self._runs_at_once(statement):
            block = 1
        for start in range(0, count, block):
            self._iterations(statement, start, min(block, count - start))

    def _runs_at_once(self, loop: UOp) -> bool:
        found = self.at_once.get(loop)
        if found is None:
            kind = loop.arg.kind
            found = kind == "par" or (kind == "red" and order_free(loop))
            found = found and not self.in_order & atoms(axis_of(loop))
            self.at_once[loop] = found
        return found

    def _iterations(self, loop: UOp, start: int, count: int) -> None:
        dims = self.scope.dims
        place: Array = start
        if count > 1:
            place = start + self.scope.enter(loop.arg.kind, count)
        for atom, _ in axis_of(loop).terms:
            self.scope.axes[atom] = place
        self.run(loop.src)
        self.scope.dims = dims

    # stores

    def write(self, instance: Instance, access: Access, values: Array, combine: str) -> None:
        """Store values at once; those that meet in one place are combined first."""
        cells, mask = self.cells(instance, access)
        values = number.convert(values, instance.node.dtype)
        if combine:
            self._combine(instance, cells, mask, values, combine)
        else:
            self._assign(instance, cells, mask, values)

    def _assign(self, instance: Instance, cells: Array, mask: Array | None, values: Array) -> None:
        stored = number.encode(values, instance.node.dtype)
        cells, stored = np().broadcast_arrays(cells, stored)
        if mask is not None:
            cells, stored, mask = np().broadcast_arrays(cells, stored, mask)
            cells, stored = cells[mask], stored[mask]
        instance.data[cells] = stored

    def _combine(
        self, instance: Instance, cells: Array, mask: Array | None, values: Array, combine: str
    ) -> None:
        same = self._same_cell(instance, np().shape(cells))
        if "par" in same.values():
            self.fail("iterations of a parallel loop meet", "a loop of kind red")
        if len(same) < self._red_dims(instance):
            self._scatter(instance, cells, mask, values, combine)
            return
        if same:
            values, mask = self._reduced(values, mask, tuple(same), instance.node.dtype, combine)
        old = number.decode(instance.data.take(cells), instance.node.dtype)
        reference = TABLE[MONOIDS[combine].op].reference
        assert reference is not None, f"ref: {combine} has no reference"
        self._assign(instance, cells, mask, reference(np(), old, values))

    def _same_cell(self, instance: Instance, shape: tuple[int, ...]) -> dict[int, str]:
        """Loops inside the buffer's block whose iterations share an element: numpy axis, kind."""
        dims = self.scope.dims
        lengths = (1,) * (len(dims) - len(shape)) + shape
        inner = range(len(dims) - instance.depth)
        return {at: dims[-1 - at].kind for at in inner if lengths[at] == 1}

    def _red_dims(self, instance: Instance) -> int:
        return [dim.kind for dim in self.scope.dims[instance.depth :]].count("red")

    def _reduced(
        self,
        values: Array,
        mask: Array | None,
        axes: tuple[int, ...],
        dtype: DType,
        combine: str,
    ) -> tuple[Array, Array | None]:
        """Values combined over numpy axes, and where any of them took part."""
        shape = self.scope.shape
        if mask is not None:
            values = np().where(mask, values, number.identity(combine, dtype))
            mask = np().broadcast_to(mask, shape).any(axis=axes, keepdims=True)
        values = np().broadcast_to(values, shape)
        ufunc = getattr(np(), UFUNCS[combine])
        return ufunc.reduce(values, axis=axes, dtype=values.dtype, keepdims=True), mask

    def _scatter(
        self, instance: Instance, cells: Array, mask: Array | None, values: Array, combine: str
    ) -> None:
        """Combine one value after another: places may repeat."""
        shape = self.scope.shape
        where = np().broadcast_to(True if mask is None else mask, shape)
        cells = np().broadcast_to(cells, shape)[where]
        values = np().broadcast_to(values, shape)[where]
        getattr(np(), UFUNCS[combine]).at(instance.data, cells, values)


_RUN: dict[Ops, Callable[[Oracle, UOp], object]] = {
    Ops.LET: Oracle.let,
    Ops.STORE: Oracle.store,
    Ops.BUFFER: Oracle.declare,
    Ops.IF: Oracle.branch,
    Ops.LOOP: Oracle.loop,
}
