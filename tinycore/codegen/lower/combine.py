"""Makes combining stores plain: load, combine, store, and move what depends on the state.

Comes in: a tree whose red loops no lanes run along any more (reduce.py). Goes out: one without
combine and rebase. Where a leading state moves, its dependent buffers move with it by the rule's
`moved` (uop/table.py), whole in the dimensions that the leading state does not have.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycore.codegen.lower.facts import Study
from tinycore.codegen.lower.registers import Storage, plan
from tinycore.codegen.lower.vectors import along_lanes, nested
from tinycore.runtime.caps import Caps
from tinycore.uop.index import Index, axis
from tinycore.uop.ops import Ops, UOp, alu
from tinycore.uop.table import DEPENDENT, MONOIDS
from tinycore.uop.tree import Access, Kernel, StoreArg, let, load, mask_value, store


def combine(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with plain stores alone."""
    return kernel._replace(body=Combiner(kernel, caps).body(kernel.body))


class Combiner:
    """One kernel on its way to plain stores."""

    def __init__(self, kernel: Kernel, caps: Caps) -> None:
        self.kernel = kernel
        self.vector_bytes = caps.vector_bytes
        self.count = 0
        self.storage: dict[UOp, Storage] | None = None

    def body(self, statements: Iterable[UOp]) -> tuple[UOp, ...]:
        """Statements with their stores made plain."""
        found: list[UOp] = []
        for statement in statements:
            if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
                found.append(statement.replace(src=self.body(statement.src)))
            elif statement.op is Ops.STORE and statement.arg.combine:
                found += self._plain(statement)
            else:
                found.append(statement)
        return tuple(found)

    def _plain(self, statement: UOp) -> list[UOp]:
        arg: StoreArg = statement.arg
        count = len(arg.places)
        targets, values = statement.src[:count], statement.src[count : 2 * count]
        dependents = statement.src[2 * count :]
        op = MONOIDS[arg.combine].op
        if not dependents:
            pairs = zip(targets, arg.places, values, strict=True)
            return [store(t, place, alu(op, _read(t, place), v)) for t, place, v in pairs]
        self.count += 1
        old, new = [], []
        for k, (target, place, value) in enumerate(zip(targets, arg.places, values, strict=True)):
            before = let(f"old{self.count}.{k}", _read(target, place))
            after = alu(op, before, value)
            test = mask_value(place.mask)
            old.append(before)
            new.append(let(f"new{self.count}.{k}", alu(Ops.WHERE, test, after, before)))
        found = [*old, *new]
        for dependent in dependents:
            found += self._moved(dependent, arg, tuple(old), tuple(new))
        for target, place, value in zip(targets, arg.places, new, strict=True):
            found.append(store(target, place, value))
        return found

    def _moved(
        self, dependent: UOp, arg: StoreArg, old: tuple[UOp, ...], new: tuple[UOp, ...]
    ) -> list[UOp]:
        """The statements that move all of a dependent buffer with its leading state."""
        lead = arg.places[0].indices
        mask = _needed(dependent, arg.places[0]).mask
        rule = DEPENDENT[arg.rebase]

        def at(rest: tuple[Index, ...]) -> list[UOp]:
            place = Access((*lead, *rest), mask)
            return [store(dependent, place, rule.moved(old, new, load(dependent, place)))]

        extents = dependent.arg.shape[len(lead) :]
        if not extents:
            return at(())
        names = [f"move{self.count}.{k}" for k in range(len(extents))]
        outer = [axis(name, extent) for name, extent in zip(names, extents, strict=True)]
        storage = self._storage_of(dependent)
        if storage.width:
            maps = [
                "vec" if storage.strides[len(lead) + k] == 1 else "reg" for k in range(len(names))
            ]
            if storage.width == 1:
                maps = ["reg"] * len(names)
            return nested(zip(names, extents, maps, strict=True), at(tuple(outer)))
        lanes = self.vector_bytes // dependent.dtype.itemsize
        inner = along_lanes(names[-1], extents[-1], lanes, lambda index: at((*outer[:-1], index)))
        return nested([(n, e, "") for n, e in zip(names[:-1], extents[:-1], strict=True)], inner)

    def _storage_of(self, buffer: UOp) -> Storage:
        if self.storage is None:
            self.storage = plan(Study(self.kernel.body), self.kernel.body)
        return self.storage[buffer]


def _read(target: UOp, place: Access) -> UOp:
    """What is at a place now."""
    return load(target, _needed(target, place))


def _needed(target: UOp, place: Access) -> Access:
    """A place without its mask, if it is in bounds without it."""
    pairs = zip(place.indices, target.arg.shape, strict=False)
    inside = [index.lo >= 0 and index.hi < extent.lo for index, extent in pairs]
    return place._replace(mask=(), fill=None) if all(inside) else place
