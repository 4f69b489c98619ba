"""Makes stores plain: a COPY becomes loops, a sum of products of bytes DOT, a combining store a
load, an op and a store.

In: a tree after its actions; for `combine`, one that reduces in no lanes. Out: one without COPY,
WAIT and FREE; then one without combine and rebase. Next file: decompose.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tinycore.codegen.lower.joins import is_along, is_sum
from tinycore.codegen.lower.mapped import Storage, flat, lanes, plan
from tinycore.codegen.lower.threads import group_size
from tinycore.codegen.optimize.analysis import extent_of, factors_of_bytes, references
from tinycore.codegen.optimize.edit import edit, is_inside, placed, refit, renewed
from tinycore.codegen.optimize.split import tiled
from tinycore.dtype import dtypes
from tinycore.runtime.contract import Caps, Unsupported
from tinycore.uop import Nodes, Ops, UOp
from tinycore.uop.index import as_index, axis
from tinycore.uop.lowered import fused
from tinycore.uop.tree import (
    DEPENDENT,
    MONOIDS,
    Access,
    Kernel,
    StoreArg,
    buffer,
    dependents,
    let,
    load,
    loop,
    mask_value,
    store,
    values,
)

MAX_UNROLLED = 4
LANES = 4  # of an operand of DOT


def copies(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with its tile assignments as loops. Raises: Unsupported for roles."""
    team = group_size(kernel)

    def change(statement: UOp) -> Nodes:
        if statement.op is Ops.BLOCK and statement.kind != "seq":
            raise Unsupported("lower: roles have no lowering for this target; expected one block")
        if statement.is_copy:
            return _loops(statement, caps.vector_bytes, team)
        return () if statement.op in (Ops.WAIT, Ops.FREE) else (statement,)

    return kernel._replace(body=edit(kernel.body, change))


def _loops(copy: UOp, vector_bytes: int, team: int) -> Nodes:
    loops = [loop("par", name, extent, ()) for name, extent in copy.arg.box]
    *reads, stored = references([copy])
    down = [node for node in loops if stored.stride(node) == 1]
    right = [node for one in reads[:1] for node in loops if one.stride(node) == 1]
    loops.sort(key=lambda node: (node in right, node in down))
    assignment = refit(copy, box=(), engine="").replace(op=Ops.STORE)
    if loops and team > 1 and copy.arg.engine == "thread":
        return (_by_threads(loops, assignment, team, vector_bytes),)
    lanes = vector_bytes // copy.source.dtype.itemsize
    const = [one for one in loops[-2:] if one.extent.is_const]
    ends = [one for one in const if one.extent.const >= lanes > 1]
    if len(down) * len(right) != 1 or [*down, *right] != ends:
        return nest(loops, assignment, vector_bytes)
    found = _turned(assignment, lanes, *ends)
    for outer in reversed(loops[:-2]):
        found = (outer.over(found),)
    return found


def _turned(made: UOp, lanes: int, down: UOp, right: UOp) -> Nodes:
    """A copy that stores along one loop and reads along another: squares of registers, read by rows
    and stored by columns, and what is left of both."""
    squares, *last = _along_lanes(down.around(right.around(made)), lanes)
    row = refit(squares.source, map="reg")
    columns, *others = _along_lanes(row.source, lanes)
    column = columns.source
    made = column.source
    square = buffer(f"{made.source.name}.turned", made.source.dtype, (lanes, lanes), "reg")
    place = Access((row.index, column.index))
    read = row.around(column.around(store(square, place, made.src[1])))
    turned = made.around(made.source, load(square, place))
    stored = refit(column, map="reg").around(refit(row, map="vec").around(turned))
    found = [refit(columns, map="").around(square, read, stored)]
    found += [row.around(one) for one in others]
    rest = [refit(one, map="").over(_along_lanes(one.source, lanes)) for one in last]
    return (refit(squares, map="").around(*found), *rest)


def _by_threads(loops: Sequence[UOp], assignment: UOp, team: int, vector_bytes: int) -> UOp:
    """A loop in which each thread copies some neighbours, as often as it takes."""
    shared = [refit(one, map="thread") for one in loops]
    [whole] = flat(nest(shared, assignment, 0), "thread")
    lanes = max(vector_bytes // assignment.source.dtype.itemsize, 1)
    turns = tiled(tiled(whole, 1 if extent_of(loops[-1]) % lanes else lanes), team)
    thread = turns.source
    rounds = refit(turns, map="reg").around(refit(thread.source, map="vec"))
    return refit(thread, map="thread").around(rounds)


def dots(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with DOT for sums along lanes, where the target names it."""
    if Ops.DOT.name not in caps.ops:
        return kernel
    return kernel._replace(body=edit(kernel.body, _dotted))


def _dotted(node: UOp) -> Nodes:
    is_short = is_along(node, "vec") and node.extent is as_index(LANES)
    if not is_short or not is_sum(node.src, (node,)):
        return (node,)
    made = node.source
    narrow = factors_of_bytes(made)
    if not narrow or made.place.mask:
        return (node,)
    product = UOp(Ops.DOT, dtypes.int32, narrow)
    total = made.around(made.source, product)
    return (refit(node, kind="par").around(total),)


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
        if not statement.is_store or not statement.combine:
            return [statement]
        arg = statement.arg
        self.count += 1
        old, new, stores = [], [], []
        parts = zip(statement.src, arg.places, values(statement), strict=False)
        for k, (target, place, value) in enumerate(parts):
            before = load(target, _needed(target, place))
            if arg.rebase:
                before = let(f"old{self.count}.{k}", before)
            after = fused(before.alu(MONOIDS[arg.combine].op, value))
            if arg.rebase:
                after = mask_value(place.mask).where(after, before)
                after = let(f"new{self.count}.{k}", after)
            old.append(before)
            new.append(after)
            stores.append(store(target, place, after))
        states = arg, tuple(old), tuple(new)
        moved = [part for one in dependents(statement) for part in self._moved(one, *states)]
        return [*old, *new, *moved, *stores] if arg.rebase else stores

    def _moved(self, dependent: UOp, arg: StoreArg, old: Nodes, new: Nodes) -> Nodes:
        storage, place = self.storage[dependent], _needed(dependent, arg.places[0])
        loops = loops_along(dependent, f"move{self.count}", storage)[len(place.indices) :]
        place = place._replace(indices=(*place.indices, *[one.index for one in loops]))
        value = fused(DEPENDENT[arg.rebase].moved(old, new, load(dependent, place)))
        vector_bytes = 0 if storage.width else self.caps.vector_bytes
        return nest(loops, store(dependent, place, value), vector_bytes)


def _needed(target: UOp, place: Access) -> Access:
    return place._replace(mask=(), fill=0) if is_inside(target, place) else place


def loops_along(buffer: UOp, name: str, storage: Storage) -> list[UOp]:
    """Empty loops over the dimensions of a buffer, as they should run where it lives."""
    return [
        loop("par", f"{name}.{k}", extent, (), storage.run_of(k))
        for k, extent in enumerate(buffer.shape)
    ]


def nest(loops: Sequence[UOp], statement: UOp, vector_bytes: int) -> Nodes:
    """A store in loops, of which the last runs along vectors of this size, if there are any."""
    found: Nodes = (statement,)
    lanes = vector_bytes // statement.source.dtype.itemsize
    for outer in reversed(loops):
        found = _along_lanes(outer.over(found), lanes)
        lanes = 0
    return found


def _along_lanes(node: UOp, lanes: int) -> Nodes:
    name, extent = node.name, node.extent
    if lanes < 2 or extent.terms:
        return (node,)
    rest = extent.const % lanes
    whole, found = extent.const - rest, []
    if whole:
        tiles = tiled(renewed(node, extent=as_index(whole)), lanes)
        place = "unroll" if whole <= MAX_UNROLLED * lanes else ""
        found.append(refit(tiles, map=place).around(refit(tiles.source, map="vec")))
    if rest:
        last = placed(node.src, {node.index: axis(f"{name}'", rest) + whole})
        found.append(loop("par", f"{name}'", rest, last, "vec"))
    return tuple(found)
