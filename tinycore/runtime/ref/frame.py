"""What a thread of control sees, and the values and elements that expressions mean there.

In: expressions, index values and places in buffers. Out: arrays. Loops that run all at once are
axes of numpy, the innermost first, so that outer values broadcast into inner loops. Next file:
machine.py.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from copy import copy
from random import Random
from typing import Any, NamedTuple, NoReturn, Self

from tinycore.config import CHECK_OOB
from tinycore.dtype import COMPUTE
from tinycore.errors import SpecError
from tinycore.runtime.ref.memory import READ, Array, Instance, Path, Slot, Watch, differ, np, others
from tinycore.uop.index import Atom, Index, Mask, atoms, axis
from tinycore.uop.ops import Ops, UOp, postorder
from tinycore.uop.printer import show
from tinycore.uop.sites import under, uses
from tinycore.uop.tree import GLOBAL, Access, BlockArg, Kernel, LoopArg, operands
from tinycore.util import prod

SCHEDULED = (Ops.LOOP, Ops.IF, Ops.BUFFER, Ops.LET, Ops.STORE)
ENGINES = (Ops.COPY, Ops.MMA)
COMBINE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


Watches = tuple[tuple[Watch, Array], ...]  # what must not meet, and who runs


class RefError(SpecError):
    """A kernel did what no device may do: a race, a stale slot, a place outside its buffer."""


class Place(NamedTuple):
    """The elements that an access means, by number, and where it touches memory at all."""

    instance: Instance
    sequence: Index | None
    cells: Array
    mask: Array

    def rows(self, *arrays: Array) -> list[Array]:
        """The cells and arrays that belong to them, as rows, where the mask is true."""
        *whole, where = np.broadcast_arrays(self.cells, *arrays, self.mask)
        if self.mask is np.True_:
            return [one.ravel() for one in whole]
        return [one[where] for one in whole]

    def values(self) -> Array:
        """What they hold; where the mask is false, anything."""
        found = self.instance.data.take(self.cells, mode="clip")
        return self.instance.node.dtype.decode(found)


class Frame:
    """One thread of control inside some loops.

    `shape` is that of the loops that run at once, `mask` is where the IFs around are true.
    `watches` are the loops around with the numbers of their iterations; `path` and `lane` say who
    runs (no lane: a team as a whole). `random` orders what has no order; without it the kernel is
    trusted. `threads` watches over each team, and at None over all.
    """

    shape: tuple[int, ...] = ()
    mask: Array = np.True_
    watches: Watches = ()
    path: Path = ()
    lane: Array = None
    statement: Any = None

    def __init__(self, kernel: Kernel, random: Random, checked: bool) -> None:
        statements = under(kernel.body)
        copied = [s.source for s in statements if s.is_copy]
        self.kernel = kernel
        self.names: dict[Atom | UOp, Any] = {}
        self.filled = {buffer for buffer in copied if buffer.space != GLOBAL}
        own = [s for s in statements if s.op not in SCHEDULED or getattr(s.arg, "own", None)]
        self.random = random if checked or kernel.spmd or own else None
        self.at_once = {s for s in statements if s.is_loop and is_at_once(s)}
        self.threads: dict[Path | None, Watch] = defaultdict(lambda: Watch("threads"))

    def at(self, place: Index, start: Array, count: int = 1) -> Self:
        """A frame for `count` iterations of a loop from `start`, all at once."""
        inner = copy(self)
        numbers = start
        if count != 1:
            numbers = start + np.arange(count).reshape(-1, *[1] * len(self.shape))
            inner.shape = (count, *self.shape)
        inner.names = self.names | {atom: numbers for atom, _ in place.terms}
        return inner

    def boxed(self, box: Iterable[tuple[str, Index]]) -> Self:
        """A frame in which all of a box runs at once, its first axis outermost."""
        inner = self
        for name, extent in box:
            inner = inner.at(axis(name, extent), 0, int(self.index(extent)))
        return inner

    def shuffled(self, items: Sequence[Any]) -> Sequence[Any]:
        """What has no order, in a random one."""
        return self.random.sample(items, len(items)) if self.random else items

    def fail(self, wrong: str, expected: str) -> NoReturn:
        """Raise RefError about the statement that runs."""
        place = f" in `{show(self.statement)}`" if self.statement else ""
        raise RefError(f"ref: {self.kernel.name}: {wrong}{place}; expected {expected}.")

    def known(self, key: Atom | UOp) -> Any:
        """What a name means here."""
        if key not in self.names:
            wrong = f"{key.name} has no value here"
            self.fail(wrong, "a statement around or before that gives one")
        return self.names[key]

    # index values, masks and places

    def index(self, value: Index) -> Array:
        """An index value; a gathered number counts from the end if it is negative."""
        return value.evaluate(self._atom)

    def _atom(self, atom: Atom) -> Array:
        if atom.kind == "gather":
            return self._gathered(atom) % (atom.hi + 1)
        return self.known(atom)

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
        whole = prod(found, start=self.mask)
        return np.True_ if whole.all() else whole

    def place(self, buffer: UOp, access: Access) -> Place:
        """The elements that `access` means; where the mask is false, any number."""
        instance: Instance = self.known(buffer)
        mask = self.where(access.mask, access.indices)
        cells: Array = 0
        if access.sequence:
            cells = self.index(access.sequence) % len(instance.slots)
        for value, (extent, bound) in zip(access.indices, instance.dimensions, strict=True):
            index = self.index(value)
            if np.any(((index < 0) | (index >= extent)) & mask):
                bounds = f"indices below {extent} where the mask is true"
                self.fail(f"{buffer.name} is indexed out of bounds", bounds)
            cells = cells * bound + index
        return Place(instance, access.sequence, instance.base + cells, mask)

    # expressions

    def value(self, root: UOp) -> Array:
        """The value of an expression in every iteration that runs at once."""
        memo: dict[UOp, Array] = {}
        for node in postorder([root], operands):
            memo[node] = self._node(node, [memo[source] for source in operands(node)])
        return memo[root]

    def _node(self, node: UOp, sources: list[Array]) -> Array:
        dtype, arg = node.dtype, node.arg
        match node.op:
            case Ops.LOAD:
                return self.load(node.source, arg)
            case Ops.CONST:
                return dtype.constant(arg)
            case Ops.INDEX:
                return dtype.convert(self.index(arg))
            case Ops.MASK:
                return self.where(arg)
            case Ops.CAST:
                return dtype.convert(sources[0])
            case Ops.BITCAST:
                stored = node.source.dtype.encode(sources[0])
                return dtype.decode(stored.view(dtype.storage))
        reference = node.op.row.reference
        if not reference:
            return self.known(node)
        return dtype.convert(reference(np, *sources))

    # elements

    def load(self, buffer: UOp, access: Access) -> Array:
        """The elements of a buffer as values, the fill where the mask is false."""
        place = self.place(buffer, access)
        self.check(place, "load")
        fill = buffer.dtype.constant(access.fill)
        return np.where(place.mask, place.values(), fill)

    def put(self, place: Place, values: Array, how: str) -> None:
        """Replace elements, or combine them; plain stores that meet must be of equal values."""
        data, dtype, combine = place.instance.data, place.instance.node.dtype, COMBINE.get(how)
        if combine and dtype in COMPUTE:  # each step rounds: one at a time
            values, combine = combine(place.values(), values), None
        stored = dtype.encode(values)
        self.check(place, how, stored)
        if combine:
            combine.at(data, *place.rows(np.broadcast_to(stored, self.shape)))
            return
        cells, stored = place.rows(stored)
        data[cells] = stored
        if differ(data[cells], stored).any():
            self.fail(f"two at once meet in {place.instance.node.name}", "places of their own")

    # what may be touched

    def slots(self, buffer: UOp, sequence: Index | None) -> list[tuple[Slot, int | None]]:
        """The slots that a place names, with their sequence numbers if it gives them."""
        slots = self.names[buffer].slots
        if not sequence:
            return [(slots[0], None)]
        numbers = np.unique(self.index(sequence)).tolist()
        return [(slots[one % len(slots)], one) for one in numbers]

    def check(self, place: Place, how: str, stored: Array = 0) -> None:
        """Refuse to touch what is not there, what a copy moves, and what another touched.

        `how` is "load", "copy", "" for another plain store, or how a state changes.
        """
        if not self.random:
            return
        instance, reads, plain = place.instance, how == "load", how in ("", "copy")
        node = instance.node
        for slot, sequence in self.slots(node, place.sequence) if how != "copy" else ():
            fine = reads or slot.state != READ
            if node in self.filled:
                fine = reads and slot.visible(sequence, self.path)
            if not fine:
                wrong = f"{how or 'store'} of {slot.told(sequence)}"
                self.fail(wrong, "a wait before; copies fill slots alone")
        watches = self._watches(instance)
        cells, new, *agents = place.rows(stored, *[who for _, who in watches])
        lack = instance.touch(cells, reads)
        if lack:
            self.fail(f"{node.name} is touched, {lack}", "a store or a wait before")
        for (watch, _), who in zip(watches, agents, strict=True):
            read, written = watch[instance]
            # what the iterations of a red loop combine they may read
            changes = not (reads or (watch.kind == "red" and not plain))
            met = others(written, cells, who) & differ(instance.data[cells], new)
            # what an engine does among threads is ordered by WAIT and FREE
            if not (self.statement.op in ENGINES and watch.name == "threads"):
                for least, number in zip(written if changes else read, (who, -who), strict=True):
                    np.minimum.at(least, cells, number)
            if not plain:
                met = others(written, cells, who)
            if changes:
                met |= others(read, cells, who)
            if met.any():
                wrong = f"two {watch.name} meet in {node.name}"
                self.fail(wrong, "a barrier between, or buffers of their own")

    def _watches(self, instance: Instance) -> Watches:
        node = instance.node
        if node in self.filled:
            return ()
        found = self.watches[instance.watches :]
        if self.kernel.spmd and node.space == "group":
            # Teams are told apart by a hash of who they are.
            lane = 0 if self.lane is None else self.lane + 1
            found += ((self.threads[None], hash(self.path)), (self.threads[self.path], lane))
        return found

    # fragments: `own L(t) = F(dims)` says that lane t holds an element iff L(t) = F

    def lane_of(self, statement: UOp) -> Array | None:
        """The lane that runs a store of each element: the one around, or the first that may.

        Inside a loop mapped `own` the lanes that hold the target may, or if none does those that
        hold all it reads. Unless a reduction crosses lanes, they hold both.
        """
        touched = uses(statement) if self.random else ()
        owned = [use for use in touched if use.buffer.arg.own]
        owned.sort(key=lambda use: use.how == "load")  # targets first
        if not owned:
            return self.lane
        lanes_of = atoms(*[use.buffer.arg.own.lane for use in owned])
        count = 1 + max(lane.hi for lane in lanes_of)
        lanes = np.arange(count).reshape(-1, *[1] * len(self.shape))
        loops = [watch.kind for watch, _ in self.watches if watch.map == "own"]
        if "red" in loops:
            owned = owned[:1]
        held = [self.holds(lanes, use.buffer, use.access) for use in owned]
        running = whole = prod(held)
        if not loops:
            running = lanes == self.lane
        elif owned[0].how != "load":
            running = held[0]
        if not ((running <= whole).all() and running.any(axis=0).all()):
            names = ", ".join(use.buffer.name for use in owned)
            self.fail(f"a lane touches a register that it does not own, of {names}", "its own lane")
        return np.argmax(running, axis=0)

    def holds(self, lanes: Array, buffer: UOp, access: Access) -> Array:
        """For each lane, in front, whether it holds the element or may not touch it."""
        own = buffer.arg.own
        indices = dict(zip(buffer.arg.names, access.indices, strict=True))
        element = own.element.evaluate(lambda atom: self.index(indices[atom.name]))
        held = own.lane.evaluate(lambda atom: lanes) == element
        return held | ~self.where(access.mask, access.indices)


# what is known before a kernel runs


def agents(statement: UOp) -> list[tuple[str, int]]:
    """Name and number of each that runs a role, or the loop of a team; none for others."""
    match statement.arg:
        case LoopArg(name, extent, map="warpgroup" | "warp") | BlockArg("role", name, _, extent):
            return [(name, at) for at in range(extent.hi)]
    return []


def is_at_once(loop: UOp) -> bool:
    """True if the iterations of a loop may run at once, as an axis of numpy.

    Nothing in a par loop is done by a team. A red loop only combines, and neither rounds after each
    step nor moves a state.
    """
    for statement in under([loop]):
        fine = statement.op in (*SCHEDULED, Ops.BLOCK) and not agents(statement)
        if loop.kind == "red":
            fine = statement.op in (Ops.LOOP, Ops.LET)
            if statement.is_store and statement.source.dtype not in COMPUTE:
                fine = bool(statement.combine and not statement.arg.rebase)
        if not fine:
            return False
    return loop.kind in ("par", "red")
