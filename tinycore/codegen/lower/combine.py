"""Makes combining stores plain: load, combine, store, and move what depends on the state.

Comes in: a tree whose red loops no lanes run along any more (reduce.py). Goes out: one without
combine and rebase. Where a leading state moves, its dependent buffers move with it by the rule's
`moved` (uop/monoids.py), whole in the dimensions that the leading state does not have.
"""

from __future__ import annotations

from tinycore.codegen.lower.facts import Modes
from tinycore.codegen.lower.loops import nest, place_in
from tinycore.codegen.lower.registers import Storage, plan
from tinycore.codegen.optimize.edit import Statements, edit
from tinycore.runtime.caps import Caps
from tinycore.uop.lowered import fused
from tinycore.uop.monoids import DEPENDENT, MONOIDS, States
from tinycore.uop.ops import Ops, UOp, alu
from tinycore.uop.tree import Access, Kernel, LoopArg, StoreArg, let, load, mask_value, store


def combine(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with plain stores alone."""
    combiner = Combiner(kernel, caps)
    return kernel._replace(body=edit(kernel.body, combiner.plain))


class Combiner:
    """One kernel on its way to plain stores."""

    def __init__(self, kernel: Kernel, caps: Caps) -> None:
        self.kernel = kernel
        self.vector_bytes = caps.vector_bytes
        self.count = 0
        self.storage: dict[UOp, Storage] = {}

    def plain(self, statement: UOp) -> list[UOp]:
        """A store as stores that combine with nothing.

        Before a rebase, both states of the leaders are LETs and what depends on them moves.
        """
        if statement.op is not Ops.STORE or not statement.arg.combine:
            return [statement]
        arg: StoreArg = statement.arg
        count = len(arg.places)
        self.count += 1
        old, new, stores = [], [], []
        for k, place in enumerate(arg.places):
            target = statement.src[k]
            before = load(target, _needed(target, place))
            if arg.rebase:
                before = let(f"old{self.count}.{k}", before)
            after = fused(alu(MONOIDS[arg.combine].op, before, statement.src[count + k]))
            if arg.rebase:
                after = alu(Ops.WHERE, mask_value(place.mask), after, before)
                after = let(f"new{self.count}.{k}", after)
            old.append(before)
            new.append(after)
            stores.append(store(target, place, after))
        moved: list[UOp] = []
        for dependent in statement.src[2 * count :]:
            moved += self._moved(dependent, arg, tuple(old), tuple(new))
        return [*old, *new, *moved, *stores] if arg.rebase else stores

    def _moved(self, dependent: UOp, arg: StoreArg, old: States, new: States) -> Statements:
        """The statements that move all of a dependent buffer with its leading state."""
        lead = arg.places[0].indices
        if not self.storage:
            self.storage = plan(Modes(), self.kernel.body)
        storage = self.storage[dependent]
        loops = []
        first = len(lead)
        for k, extent in enumerate(dependent.arg.shape[first:], first):
            name = f"move{self.count}.{k}"
            loops.append(LoopArg(name, extent, "par", storage.run_of(k)))
        place = _needed(dependent, arg.places[0])
        place = place._replace(indices=lead + place_in(loops))
        value = fused(DEPENDENT[arg.rebase].moved(old, new, load(dependent, place)))
        lanes = 1 if storage.width else self.vector_bytes // dependent.dtype.itemsize
        return nest(loops, [store(dependent, place, value)], lanes)


def _needed(target: UOp, place: Access) -> Access:
    """A place without its mask, if it is in bounds without it."""
    for index, extent in zip(place.indices, target.arg.shape, strict=False):
        if index.lo < 0 or index.hi >= extent.lo:
            return place
    return place._replace(mask=(), fill=None)
