"""Makes stores plain: a COPY becomes loops, a combining store a load, an op and a store.

In: a tree after its actions; for `combine`, one that reduces in no lanes. Out: one without COPY,
WAIT and FREE; then one without combine and rebase. Next file: decompose.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tinycore.codegen.lower.mapped import lanes
from tinycore.codegen.lower.storage import Storage, in_memory, plan
from tinycore.codegen.optimize.edit import Nodes, Statements, edit, placed, refit
from tinycore.dtype import dtypes
from tinycore.runtime.contract import Caps
from tinycore.runtime.errors import Unsupported
from tinycore.uop.index import Index, as_index, axis, of_atom
from tinycore.uop.lowered import fused
from tinycore.uop.ops import DEPENDENT, MONOIDS, Ops, UOp, toposort
from tinycore.uop.tree import (
    Access,
    Kernel,
    LoopArg,
    StoreArg,
    axis_of,
    let,
    load,
    loop,
    mask_value,
    store,
)

MAX_UNROLLED = 4


def copies(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with its tile assignments as loops. Raises: Unsupported for MMA and roles."""

    def change(statement: UOp) -> Nodes:
        if statement.op is Ops.MMA:
            raise Unsupported("lower: MMA has no lowering for this target; expected loops")
        if statement.op is Ops.BLOCK and statement.arg.kind != "seq":
            raise Unsupported("lower: roles have no lowering for this target; expected one block")
        if statement.op is Ops.COPY:
            return _loops(statement, caps)
        return [] if statement.op in (Ops.WAIT, Ops.FREE) else [statement]

    return kernel._replace(body=edit(kernel.body, change))


def _loops(copy: UOp, caps: Caps) -> Statements:
    contiguous = _contiguous(copy.src[1])
    loops = [LoopArg(name, extent, "par") for name, extent in copy.arg.box]
    loops.sort(key=lambda arg: axis(arg.axis, arg.extent) in contiguous)
    assignment = refit(copy, box=(), engine="").replace(op=Ops.STORE)
    return nest(loops, assignment, caps.vector_bytes)


def _contiguous(value: UOp) -> list[Index]:
    for node in toposort([value]):
        if node.op is Ops.LOAD:
            offset = in_memory(node.source.arg).offset(node.arg)
            return [of_atom(atom) for atom, step in offset.terms if step == 1]
    return []


def combine(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with plain stores alone.

    Where a leading state moves, its dependent buffers move by the rule's `moved` (uop/ops.py),
    whole in the dimensions that it does not have.
    """
    return kernel._replace(body=edit(kernel.body, Combiner(kernel, caps).plain))


@dataclass
class Combiner:
    """One kernel on its way to plain stores; `count` numbers those that combine."""

    kernel: Kernel
    caps: Caps
    count: int = 0

    @cached_property
    def storage(self) -> dict[UOp, Storage]:
        """Where buffers will live: what moves runs along their registers."""
        return plan(lanes(self.kernel, self.caps))

    def plain(self, statement: UOp) -> list[UOp]:
        """A store as stores that combine with nothing, after what a rebase moves."""
        if statement.op is not Ops.STORE or not statement.arg.combine:
            return [statement]
        arg = statement.arg
        count = len(arg.places)
        self.count += 1
        old, new, stores = [], [], []
        for k, place in enumerate(arg.places):
            target = statement.src[k]
            before = load(target, _needed(target, place))
            if arg.rebase:
                before = let(f"old{self.count}.{k}", before)
            after = fused(before.alu(MONOIDS[arg.combine].op, statement.src[count + k]))
            if arg.rebase:
                after = mask_value(place.mask).where(after, before)
                after = let(f"new{self.count}.{k}", after)
            old.append(before)
            new.append(after)
            stores.append(store(target, place, after))
        moved: list[UOp] = []
        for dependent in statement.src[2 * count :]:
            moved += self._moved(dependent, arg, tuple(old), tuple(new))
        return [*old, *new, *moved, *stores] if arg.rebase else stores

    def _moved(self, dependent: UOp, arg: StoreArg, old: Statements, new: Statements) -> Statements:
        lead = arg.places[0].indices
        storage = self.storage[dependent]
        loops = [
            LoopArg(f"move{self.count}.{k}", extent, "par", storage.run_of(k))
            for k, extent in enumerate(dependent.arg.shape)
        ][len(lead) :]
        place = _needed(dependent, arg.places[0])
        place = place._replace(indices=lead + place_in(loops))
        value = fused(DEPENDENT[arg.rebase].moved(old, new, load(dependent, place)))
        vector_bytes = 0 if storage.width else self.caps.vector_bytes
        return nest(loops, store(dependent, place, value), vector_bytes)


def _needed(target: UOp, place: Access) -> Access:
    for index, extent in zip(place.indices, target.arg.shape, strict=False):
        if index.lo < 0 or index.hi >= extent.lo:
            return place
    return place._replace(mask=(), fill=None)


def place_in(loops: Sequence[LoopArg]) -> tuple[Index, ...]:
    """Where the iterations of some loops are."""
    return tuple(axis(arg.axis, arg.extent) for arg in loops)


def nest(loops: Sequence[LoopArg], statement: UOp, vector_bytes: int) -> Statements:
    """A store in loops, of which the last runs along vectors of this size, if there are any."""
    found: Statements = (statement,)
    lanes = vector_bytes // statement.src[0].dtype.itemsize
    for arg in reversed(loops):
        found = _along_lanes(UOp(Ops.LOOP, dtypes.void, found, arg), lanes)
        lanes = 0
    return found


def _along_lanes(node: UOp, lanes: int) -> Statements:
    name, extent = node.arg.axis, node.arg.extent
    if lanes < 2 or extent.terms:
        return (node,)

    def vector(part: str, size: int, first: Index) -> UOp:
        body = placed(node.src, {axis_of(node): first + axis(part, size)})
        return loop("par", part, size, body, "vec")

    found = []
    whole, rest = divmod(extent.const, lanes)
    if whole:
        inner = vector(f"{name}.1", lanes, axis(f"{name}.0", whole) * lanes)
        place = "unroll" if whole <= MAX_UNROLLED else ""
        found.append(loop("par", f"{name}.0", whole, [inner], place))
    if rest:
        found.append(vector(f"{name}'", rest, as_index(whole * lanes)))
    return tuple(found)
