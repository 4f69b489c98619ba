"""The oracle: runs kernels as they are scheduled, fast, and shares no code with codegen.

In: a kernel before any action, arrays. Out: the arrays changed. A loop runs all at once, in blocks
that fit a cache, if its iterations do not depend on each other; else one iteration after another.
Kernels with tiles, roles or lanes go to suspect.py.
"""

from __future__ import annotations

from tinycore.dtype import DType
from tinycore.runtime.ref import number
from tinycore.runtime.ref.control import Control
from tinycore.runtime.ref.memory import Instance
from tinycore.runtime.ref.number import Array
from tinycore.runtime.ref.order import order_free
from tinycore.uop.ops import UOp
from tinycore.uop.tree import Access
from tinycore.util import np

UFUNCS = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"}


class Oracle(Control):
    """Runs a scheduled kernel on numpy axes."""

    def merges(self, loop: UOp) -> bool:
        """True also for a red loop whose iterations numpy can combine."""
        return super().merges(loop) or (loop.arg.kind == "red" and order_free(loop))

    def write(self, instance: Instance, access: Access, values: Array, combine: str) -> None:
        """Store values at once; those that meet in one place are combined first."""
        cells, mask = self.cells(instance, access)
        dtype = instance.node.dtype
        values = number.convert(values, dtype)
        same = self._same_cell(instance, np().shape(cells)) if combine else {}
        if "par" in same.values():
            self.fail("iterations of a parallel loop meet", "a loop of kind red")
        if combine and len(same) < self._reductions(instance):
            self._scatter(instance, cells, mask, values, combine)
            return
        if same:
            values, mask = self._reduced(values, mask, tuple(same), dtype, combine)
        if combine:
            values = self.combined(instance, cells, values, combine)
        cells, stored = np().broadcast_arrays(cells, number.encode(values, dtype))
        if mask is not None:
            cells, stored, mask = np().broadcast_arrays(cells, stored, mask)
            cells, stored = cells[mask], stored[mask]
        instance.data[cells] = stored

    def _same_cell(self, instance: Instance, shape: tuple[int, ...]) -> dict[int, str]:
        """Loops inside the buffer's block whose iterations share an element: numpy axis, kind."""
        dims = self.scope.dims
        lengths = (1,) * (len(dims) - len(shape)) + shape
        inner = range(len(dims) - instance.depth)
        return {at: dims[-1 - at].kind for at in inner if lengths[at] == 1}

    def _reductions(self, instance: Instance) -> int:
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
        whole = np().broadcast_to(values, shape)
        ufunc = getattr(np(), UFUNCS[combine])
        return ufunc.reduce(whole, axis=axes, dtype=whole.dtype, keepdims=True), mask

    def _scatter(
        self, instance: Instance, cells: Array, mask: Array | None, values: Array, combine: str
    ) -> None:
        """Combine one value after another: places may repeat."""
        flat, rest = self.each(cells, mask), self.each(values, mask)
        getattr(np(), UFUNCS[combine]).at(instance.data, flat, rest)
