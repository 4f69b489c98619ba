"""What a thread of control sees, and the values and elements that expressions mean there.

In: expressions, index values and places in buffers. Out: arrays, and numbers of elements.
Loops that run all at once are axes of numpy: a value at depth n has at most n axes, the innermost
loop first, so that values of outer loops broadcast into inner ones. Next file: machine.py.
"""

from collections import defaultdict
from collections.abc import Iterable
from copy import copy
from functools import reduce
from operator import and_
from random import Random
from typing import Any, NamedTuple, NoReturn, Self

from tinycore.config import CHECK_OOB
from tinycore.dtype import COMPUTE
from tinycore.errors import SpecError
from tinycore.runtime.ref import number
from tinycore.runtime.ref.memory import (
    ABSENT,
    PRESENT,
    READ,
    UNWRITTEN,
    Instance,
    Slot,
    Watch,
    differ,
    others,
)
from tinycore.runtime.ref.number import Array, np
from tinycore.runtime.ref.order import Path, consumers, is_at_once
from tinycore.uop.affine import Mask, atoms, evaluate
from tinycore.uop.index import Atom, Index, axis
from tinycore.uop.ops import Ops, UOp, postorder
from tinycore.uop.printer import show
from tinycore.uop.sites import under
from tinycore.uop.tree import GLOBAL, Access, Kernel, operands

COMBINE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


class RefError(SpecError):
    """A kernel did what no device may do: a race, a stale slot, a place outside its buffer."""


class Place(NamedTuple):
    """The elements that an access means, by number, and where it touches memory at all."""

    instance: Instance
    sequence: Index | None
    cells: Array
    mask: Array


class Frame:
    """One thread of control inside some loops.

    `names` gives axes, LETs, variables and buffers; `shape` is that of the loops that run at once,
    `mask` is where the IFs around are true. `watches` are the loops around with the numbers of
    their iterations, `path` and `lane` say who runs (no lane: a team as a whole; `engine`: a copy
    or MMA). `random` orders what has no order; without it the kernel is trusted.

    The kernel, its facts and `threads` (a watch over each team, at None over the teams) are one for
    all frames: buffers that are `stored` to, those that copies have `filled`, loops that run at
    once, and the `consumers` of slots.
    """

    shape: tuple[int, ...] = ()
    mask: Array = np.True_
    watches: tuple[tuple[Watch, Array], ...] = ()
    path: Path = ()
    lane: Array = None
    engine: bool = False
    statement: UOp | None = None

    def __init__(self, kernel: Kernel, random: Random | None = None) -> None:
        statements = under(kernel.body)
        copies = [s.src[0] for s in statements if s.op is Ops.COPY]
        self.kernel = kernel
        self.random = random
        self.names: dict[Atom | UOp, Any] = {}
        self.stored = {node for s in statements for node in s.src if node.op is Ops.BUFFER}
        self.filled = {buffer for buffer in copies if buffer.arg.space != GLOBAL}
        self.has_lanes = any(s.op is Ops.BUFFER and s.arg.own for s in statements)
        self.at_once = {s for s in statements if s.op is Ops.LOOP and is_at_once(s)}
        self.consumers = set(consumers(kernel.body))
        self.threads: dict[Path | None, Watch] = defaultdict(lambda: Watch("threads"))

    def at(self, place: Index, start: Array, count: int = 1) -> Self:
        """A frame for `count` iterations of a loop from `start`, all at once.

        What is named there is not known here.
        """
        inner = copy(self)
        numbers = start
        if count != 1:
            numbers = start + np.arange(count).reshape((count,) + (1,) * len(self.shape))
            inner.shape = (count, *self.shape)
        inner.names = {**self.names, **{atom: numbers for atom, _ in place.terms}}
        return inner

    def boxed(self, box: Iterable[tuple[str, Index]]) -> Self:
        """A frame in which all of a box runs at once, its first axis outermost."""
        inner = self
        for name, extent in box:
            inner = inner.at(axis(name, extent), 0, int(self.index(extent)))
        return inner

    def fail(self, wrong: str, expected: str) -> NoReturn:
        """Raise RefError about the statement that runs."""
        place = f" in `{show(self.statement)}`" if self.statement else ""
        raise RefError(f"ref: {self.kernel.name}: {wrong}{place}; expected {expected}.")

    def known(self, key: Atom | UOp, name: object) -> Any:
        """What a name means here."""
        found = self.names.get(key)
        if found is None:
            self.fail(f"{name} has no value here", "a statement around or before that gives one")
        return found

    # index values, masks and places

    def index(self, value: Index) -> Array:
        """An index value; a gathered number counts from the end if it is negative."""
        return evaluate(value, self._atom)

    def _atom(self, atom: Atom) -> Array:
        if atom.kind == "gather":
            return self._gathered(atom) % (atom.hi + 1)
        return self.known(atom, atom.name)

    def _gathered(self, atom: Atom) -> Array:
        return self.value(atom.node).astype(np.int64)

    def where(self, mask: Mask, places: Iterable[Index] = ()) -> Array:
        """Where `mask` is true and all gathered places exist; numpy's True is everywhere."""
        found = [self.index(value) >= 0 for value in mask]
        for atom in atoms(*mask, *places):
            if atom.kind == "gather":
                wanted, extent = self._gathered(atom), atom.hi + 1
                exists = (wanted >= -extent) & (wanted < extent)
                if CHECK_OOB.value and not exists.all():
                    outside = wanted[~exists].flat[0]
                    self.fail(f"index {outside} is gathered", f"-{extent}..{extent - 1}")
                found.append(exists)
        whole = reduce(and_, found, self.mask)
        return np.True_ if whole.all() else whole

    def place(self, buffer: UOp, access: Access) -> Place:
        """The elements that `access` means; where the mask is false, any number."""
        instance: Instance = self.names[buffer]
        mask = self.where(access.mask, access.indices)
        cells = instance.base
        for value, (extent, stride) in zip(access.indices, instance.dimensions, strict=True):
            index = self.index(value)
            if np.any(((index < 0) | (index >= extent)) & mask):
                bounds = f"indices below {extent} where the mask is true"
                self.fail(f"{instance.name} is indexed out of bounds", bounds)
            cells = cells + index * stride
        if access.sequence is not None:
            cells = cells + self.index(access.sequence) % len(instance.slots) * instance.size
        return Place(instance, access.sequence, cells, mask)

    # expressions

    def value(self, root: UOp) -> Array:
        """The value of an expression in every iteration that runs at once."""
        memo: dict[UOp, Array] = {}
        for node in postorder([root], operands):
            memo[node] = self._node(node, [memo[source] for source in operands(node)])
        return memo[root]

    def _node(self, node: UOp, sources: list[Array]) -> Array:
        dtype = node.dtype
        if node.op is Ops.LOAD:
            return self.load(node.src[0], node.arg)
        if node.op is Ops.CONST:
            return number.constant(node.arg, dtype)
        if node.op is Ops.INDEX:
            return number.convert(self.index(node.arg), dtype)
        if node.op is Ops.MASK:
            return self.where(node.arg)
        if node.op is Ops.CAST:
            return number.convert(sources[0], dtype)
        if node.op is Ops.BITCAST:
            stored = number.encode(sources[0], node.src[0].dtype)
            return number.decode(stored.view(number.storage(dtype)), dtype)
        reference = node.op.row.reference
        if reference is None:
            return self.known(node, node.arg)
        return number.convert(reference(np, *sources), dtype)

    # elements

    def load(self, buffer: UOp, access: Access) -> Array:
        """The elements of a buffer as values, the fill where the mask is false."""
        place = self.place(buffer, access)
        self.check(place, "load")
        found = number.decode(place.instance.data.take(place.cells, mode="clip"), buffer.dtype)
        return np.where(place.mask, found, number.constant(access.fill or 0, buffer.dtype))

    def write(self, buffer: UOp, access: Access, values: Array, how: str) -> None:
        """Store values; `how` is "" for plain ones, else how they come from what was there."""
        place, combine = self.place(buffer, access), COMBINE.get(how)
        if combine is None:
            self.put(place, values, how)
        elif buffer.dtype in COMPUTE:  # each step rounds, so that none runs at once with another
            self.put(place, combine(self.load(buffer, access), values), how)
        else:
            self.check(place, how)
            cells = np.broadcast_to(place.cells, self.shape)
            runs = np.broadcast_to(place.mask, self.shape)
            for watch, who in self.watches[place.instance.watches :]:
                one_place = watch.kind == "par" and np.ndim(who) and cells.strides[-who.ndim] == 0
                if one_place and np.count_nonzero(runs, axis=-who.ndim).max(initial=0) > 1:
                    self.fail("iterations of a parallel loop meet", "a loop of kind red")
            cells, values = rows(place.mask, cells, number.convert(values, buffer.dtype))
            combine.at(place.instance.data, cells, values)

    def put(self, place: Place, values: Array, how: str) -> None:
        """Replace elements; those that meet may store equal values alone."""
        instance = place.instance
        stored = number.encode(values, instance.node.dtype)
        self.check(place, how, stored)
        cells, stored = rows(place.mask, place.cells, stored)
        instance.data[cells] = stored
        if differ(instance.data[cells], stored).any():
            self.fail(f"two at once meet in {instance.name}", "places of their own")

    # what may be touched

    def slots(self, buffer: UOp, sequence: Index | None) -> list[tuple[Slot, int | None]]:
        """The slots that a place names, with their sequence numbers if it gives them."""
        slots = self.names[buffer].slots
        if sequence is None:
            return [(slots[0], None)]
        return [(slots[one % len(slots)], one) for one in np.unique(self.index(sequence)).tolist()]

    def check(self, place: Place, how: str, stored: Array = 0) -> None:
        """Refuse to touch what is not there, what a copy moves, and what another touched.

        `how` is "load", "copy", "" for another plain store, or how a state changes.
        """
        if self.random is None:
            return
        instance, reads, plain = place.instance, how == "load", how in ("", "copy")
        slots = self.slots(instance.node, place.sequence) if how != "copy" else []
        for slot, sequence in slots:
            fine = reads or slot.state != READ
            if instance.node in self.filled:
                fine = reads and slot.visible(sequence, self.path)
            if not fine:
                wrong = f"{how or 'store'} of {slot.told(sequence)}"
                self.fail(wrong, "a wait before; copies fill slots alone")
        watches = self._watches(instance)
        agents = [who for _, who in watches]
        cells, new, *agents = rows(place.mask, place.cells, stored, *agents)
        state = instance.states[cells].max(initial=PRESENT)
        if state > (PRESENT if reads else UNWRITTEN):
            self.fail(f"{instance.name} is touched, {ABSENT[state]}", "a store or a wait before")
        if not reads:
            instance.states[cells] = PRESENT
        for (watch, _), who in zip(watches, agents, strict=True):
            read, written = watch[instance]
            # what the iterations of a red loop combine they may read
            changes = not (reads or (watch.kind == "red" and not plain))
            met = others(written, cells, who)
            if plain:
                met &= differ(instance.data[cells], new)
            # what an engine does among threads is ordered by WAIT and FREE
            if not (self.engine and watch.name == "threads"):
                least, greatest = written if changes else read
                np.minimum.at(least, cells, who)
                np.maximum.at(greatest, cells, who)
            if changes:
                met |= others(read, cells, who)
            if changes and not plain:
                met |= others(written, cells, who)
            if met.any():
                wrong = f"two {watch.name} meet in {instance.name}"
                self.fail(wrong, "a barrier between, or buffers of their own")

    def _watches(self, instance: Instance) -> list[tuple[Watch, Array]]:
        """What must not meet in a buffer, with the number of who touches it now."""
        node = instance.node
        if node in self.filled or node not in self.stored:
            return []
        found = list(self.watches[instance.watches :])
        if self.kernel.spmd and node.arg.space == "group":
            team, lane = self.threads[self.path], 0 if self.lane is None else self.lane + 1
            found.append((self.threads[None], list(self.threads).index(self.path)))
            found.append((team, lane))
        return found


def rows(mask: Array, *arrays: Array) -> list[Array]:
    """Arrays that belong together, each as one row, where the mask is true."""
    *whole, where = np.broadcast_arrays(*arrays, mask)
    if mask is np.True_:
        return [one.ravel() for one in whole]
    return [one[where] for one in whole]
