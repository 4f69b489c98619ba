"""Makes combining stores plain: load, combine, store, and move what depends on the state.

Comes in: a tree whose red loops no lanes run along any more (reduce.py). Goes out: one without
combine and rebase. Where a leading state moves, its dependent buffers move with it by the rule's
`moved` (uop/table.py), whole in the dimensions that the leading state does not have.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycore.codegen.lower.facts import Study
from tinycore.codegen.lower.registers import Storage, plan
from tinycore.codegen.lower.vectors import Named, along_lanes, nested
from tinycore.runtime.caps import Caps
from tinycore.uop.index import Index, axis
from tinycore.uop.ops import Ops, UOp, alu
from tinycore.uop.table import DEPENDENT, MONOIDS, States
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
        self.storage: dict[UOp, Storage] = {}

    def body(self, statements: Iterable[UOp]) -> tuple[UOp, ...]:
        """Statements with their stores made plain."""
        found: list[UOp] = []
        for statement in statements:
            if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
                inner = self.body(statement.src)
                found.append(statement.replace(src=inner))
            elif statement.op is not Ops.STORE or not statement.arg.combine:
                found.append(statement)
            elif statement.arg.rebase:
                found += self._rebased(statement)
            else:
                found += _combined(statement)
        return tuple(found)

    def _rebased(self, statement: UOp) -> list[UOp]:
        """Both states of the leaders as LETs, their dependents moved, then the leaders stored."""
        arg: StoreArg = statement.arg
        count = len(arg.places)
        op = MONOIDS[arg.combine].op
        self.count += 1
        old, new = [], []
        for k, place in enumerate(arg.places):
            target, value = statement.src[k], statement.src[count + k]
            before = let(f"old{self.count}.{k}", _read(target, place))
            test = mask_value(place.mask)
            after = alu(Ops.WHERE, test, alu(op, before, value), before)
            old.append(before)
            new.append(let(f"new{self.count}.{k}", after))
        found = old + new
        for dependent in statement.src[2 * count :]:
            found += self._moved(dependent, arg, tuple(old), tuple(new))
        for k, place in enumerate(arg.places):
            found.append(store(statement.src[k], place, new[k]))
        return found

    def _moved(self, dependent: UOp, arg: StoreArg, old: States, new: States) -> list[UOp]:
        """The statements that move all of a dependent buffer with its leading state."""
        lead = arg.places[0].indices
        mask = _needed(dependent, arg.places[0]).mask
        rule = DEPENDENT[arg.rebase]

        def at(rest: tuple[Index, ...]) -> list[UOp]:
            place = Access((*lead, *rest), mask)
            value = rule.moved(old, new, load(dependent, place))
            return [store(dependent, place, value)]

        extents = dependent.arg.shape[len(lead) :]
        if not extents:
            return at(())
        storage = self._storage_of(dependent)
        loops: list[Named] = []
        for k, extent in enumerate(extents):
            run = storage.run_of(len(lead) + k)
            loops.append((f"move{self.count}.{k}", extent, run))
        whole = tuple([axis(name, extent) for name, extent, _ in loops])
        if storage.width:
            return nested(loops, at(whole))
        name, extent, _ = loops.pop()
        lanes = self.vector_bytes // dependent.dtype.itemsize
        inner = along_lanes(name, extent, lanes, lambda last: at((*whole[:-1], last)))
        return nested(loops, inner)

    def _storage_of(self, buffer: UOp) -> Storage:
        if not self.storage:
            study = Study(self.kernel.body)
            self.storage = plan(study, self.kernel.body)
        return self.storage[buffer]


def _combined(statement: UOp) -> list[UOp]:
    arg: StoreArg = statement.arg
    count = len(arg.places)
    op = MONOIDS[arg.combine].op
    found = []
    for k, place in enumerate(arg.places):
        target, value = statement.src[k], statement.src[count + k]
        value = alu(op, _read(target, place), value)
        found.append(store(target, place, value))
    return found


def _read(target: UOp, place: Access) -> UOp:
    """What is at a place now."""
    return load(target, _needed(target, place))


def _needed(target: UOp, place: Access) -> Access:
    """A place without its mask, if it is in bounds without it."""
    for index, extent in zip(place.indices, target.arg.shape, strict=False):
        if index.lo < 0 or index.hi >= extent.lo:
            return place
    return place._replace(mask=(), fill=None)
