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
from tinycore.errors import SpecError
from tinycore.runtime.ref import number
from tinycore.runtime.ref.memory import Instance, Watch
from tinycore.runtime.ref.number import Array, np
from tinycore.runtime.ref.order import Path, at_once, changed, consumers
from tinycore.uop.affine import Mask, evaluate
from tinycore.uop.index import Atom, Index, axis
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp, toposort
from tinycore.uop.printer import show_statement
from tinycore.uop.table import TABLE
from tinycore.uop.tree import Access, BlockArg, Kernel

Order = list[tuple[UOp, set[UOp]]]


class RefError(SpecError):
    """A kernel did what no device may do: a race, a stale slot, a place outside its buffer."""


class Touch(NamedTuple):
    """The elements that an access means, by number, and where it touches memory at all."""

    instance: Instance
    sequence: Index | None
    cells: Array
    mask: Array


class Frame:
    """One thread of control inside some loops.

    `names` gives axes, LETs, variables and buffers; `shape` and `kinds` are those of the loops that
    run at once, `mask` is where the IFs around are true. `watches` are the
    loops around with the numbers of their iterations, `path` and `lane` say who runs (no lane: a
    team as a whole; `engine`: a copy or MMA), `own` holds the kinds of loops around mapped `own`.
    The kernel, its facts, `threads` (a watch over each team, at None over the teams) and `random`,
    which orders what has no order, are one for all frames.
    """

    shape: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()
    mask: Array = np.True_
    watches: tuple[tuple[Watch, Array], ...] = ()
    path: Path = ()
    lane: Array = None
    engine: bool = False
    own: tuple[str, ...] = ()
    statement: UOp | None = None

    def __init__(self, kernel: Kernel, random: Random | None = None) -> None:
        self.kernel = kernel
        self.random = random
        self.at_once = at_once(kernel)
        self.changed = changed(kernel)
        self.consumers = set(consumers(kernel.body))
        self.names: dict[Atom | UOp, Any] = {}
        self.threads: dict[Path | None, Watch] = defaultdict(lambda: Watch(BlockArg("threads")))
        self.orders: dict[UOp, Order] = {}

    def at(self, place: Index, start: Array, count: int = 1, kind: str = "") -> Self:
        """A frame for `count` iterations of a loop from `start`, all at once.

        What is named there is not known here.
        """
        inner = copy(self)
        numbers = start
        if count != 1:
            numbers = start + np.arange(count).reshape((count,) + (1,) * len(self.shape))
            inner.shape = (count, *self.shape)
            inner.kinds = (kind, *self.kinds)
        inner.names = {**self.names, **{atom: numbers for atom, _ in place.terms}}
        return inner

    def boxed(self, box: Iterable[tuple[str, Index]], kind: str = "", engine: bool = False) -> Self:
        """A frame in which all of a box runs at once, its first axis outermost."""
        inner = copy(self)
        inner.engine = engine
        for name, extent in box:
            inner = inner.at(axis(name, extent), 0, int(self.index(extent)), kind)
        return inner

    def fail(self, wrong: str, expected: str) -> NoReturn:
        """Raise RefError about the statement that runs."""
        place = f" in `{show_statement(self.statement)}`" if self.statement else ""
        raise RefError(f"ref: {self.kernel.name}: {wrong}{place}; expected {expected}.")

    def known(self, key: Atom | UOp, name: object) -> Any:
        """What a name means here."""
        found = self.names.get(key)
        if found is None:
            self.fail(f"{name} has no value here", "a statement around or before that gives one")
        return found

    # index values, masks and places

    def index(self, value: Index, valid: list[Array] | None = None) -> Array:
        """An index value; where its gathered places exist is added to `valid`."""
        found = [] if valid is None else valid
        return evaluate(value, lambda atom: self._atom(atom, found))

    def _atom(self, atom: Atom, valid: list[Array]) -> Array:
        """Negative gathered numbers count from the end; what is still outside is no place."""
        if atom.kind != "gather":
            return self.known(atom, atom.name)
        node: Any = atom.node
        extent = atom.hi + 1
        wanted = np.asarray(self.value(node)).astype(np.int64)
        place = wanted + extent * (wanted < 0)
        exists = (place >= 0) & (place < extent)
        if CHECK_OOB.value and not exists.all():
            self.fail(f"index {wanted[~exists].flat[0]} is gathered", f"-{extent}..{extent - 1}")
        valid.append(exists)
        return place * exists

    def where(self, mask: Mask, valid: list[Array]) -> Array:
        """Where `mask` and all of `valid` hold; numpy's True is everywhere."""
        for value in mask:
            valid.append(self.index(value, valid) >= 0)
        whole = reduce(and_, valid, np.True_)
        return np.True_ if whole.all() else whole

    def touch(self, buffer: UOp, access: Access) -> Touch:
        """The elements that `access` means; where the mask is false, any number."""
        instance: Instance = self.known(buffer, buffer.arg.name)
        valid = [self.mask]
        places = [self.index(value, valid) for value in access.indices]
        mask = self.where(access.mask, valid)
        cell = instance.base
        for place, extent, stride in zip(places, instance.extents, instance.strides, strict=True):
            if np.any(((place < 0) | (place >= extent)) & mask):
                bounds = f"indices below {extent} where the mask is true"
                self.fail(f"{instance.name} is indexed out of bounds", bounds)
            cell = cell + place * stride
        if access.sequence is not None:
            cell = cell + self.index(access.sequence) % len(instance.slots) * instance.size
        return Touch(instance, access.sequence, cell, mask)

    # expressions

    def value(self, root: UOp) -> Array:
        """The value of an expression in every iteration that runs at once."""
        order = self.orders.get(root)
        if order is None:
            order = self.orders[root] = _order(root)
        memo: dict[UOp, Array] = {}
        for node, used_up in order:
            memo[node] = self._node(node, memo)
            for source in used_up:
                del memo[source]
        return memo[root]

    def _node(self, node: UOp, memo: dict[UOp, Array]) -> Array:
        if node.op is Ops.LOAD:
            return self.load(node.src[0], node.arg)
        if node.op is Ops.CONST:
            return number.constant(node.arg, node.dtype)
        if node.op is Ops.INDEX:
            return number.convert(self.index(node.arg), node.dtype)
        if node.op is Ops.MASK:
            return self.where(node.arg, [])
        if node.op not in ELEMENTWISE:
            return self.known(node, node.arg)
        values = [memo[source] for source in node.src]
        if node.op is Ops.BITCAST:
            stored = number.encode(values[0], node.src[0].dtype)
            return number.decode(stored.view(number.storage(node.dtype)), node.dtype)
        reference = TABLE[node.op].reference
        found = reference(np, *values) if reference else values[0]  # a CAST has none
        return number.convert(found, node.dtype)

    def load(self, buffer: UOp, access: Access) -> Array:
        """The elements of a buffer as values, the fill where the mask is false."""
        touch = self.touch(buffer, access)
        self.check(touch, "load")
        values = number.decode(touch.instance.data.take(touch.cells, mode="clip"), buffer.dtype)
        if touch.mask is np.True_:
            return values
        fill = 0 if access.fill is None else access.fill
        return np.where(touch.mask, values, number.constant(fill, buffer.dtype))

    def check(self, touch: Touch, how: str, values: Array = 0) -> None:
        """Before elements are loaded or stored; a machine that trusts nobody refuses here."""


def _order(root: UOp) -> Order:
    """The nodes of an expression, sources first, each with those that nobody uses after it.

    Loads and names are the leaves.
    """
    needed = {root}
    order: Order = []
    for node in reversed(toposort([root])):
        if node in needed:
            used_up = set(node.src) - needed if node.op in ELEMENTWISE else set()
            needed |= used_up
            order.append((node, used_up))
    return order[::-1]


def rows(mask: Array, *arrays: Array) -> list[Array]:
    """Arrays that belong together, each as one row, where the mask is true."""
    *whole, where = np.broadcast_arrays(*arrays, mask)
    if mask is np.True_:
        return [one.ravel() for one in whole]
    return [one[where] for one in whole]
