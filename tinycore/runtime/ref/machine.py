"""Evaluates expressions and addresses of a kernel; what both entries of REF share.

In: a kernel, arrays and variables. Out: values, and numbers of elements. How loops run and what
a store does is up to oracle.py (fast) and suspect.py (suspicious). Next file: control.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn

from tinycore.runtime.ref import number
from tinycore.runtime.ref.errors import RefError
from tinycore.runtime.ref.memory import Instance, Scope, conjunction
from tinycore.runtime.ref.number import Array
from tinycore.uop.affine import Mask, evaluate
from tinycore.uop.index import Atom, Index, axis, variable
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp
from tinycore.uop.printer import show_statement
from tinycore.uop.table import DEPENDENT, MONOIDS, TABLE
from tinycore.uop.tree import Access, BufferArg, Kernel
from tinycore.util import np, prod

Order = list[tuple[UOp, list[UOp]]]


class Machine(ABC):
    """One run of a kernel on arrays."""

    def __init__(self, kernel: Kernel, check_out_of_bounds: bool = False) -> None:
        self.kernel = kernel
        self.check_out_of_bounds = check_out_of_bounds
        self.scope = Scope()
        self.clock = 0
        self.orders: dict[UOp, Order] = {}

    @abstractmethod
    def write(self, instance: Instance, access: Access, values: Array, combine: str) -> None:
        """Store values, or combine them with what is there."""

    def fail(self, wrong: str, expected: str) -> NoReturn:
        """Raise RefError about the statement that runs."""
        statement = self.scope.statement
        place = f" in `{show_statement(statement)}`" if statement else ""
        raise RefError(f"ref: {self.kernel.name}: {wrong}{place}; expected {expected}.")

    # binding

    def bind(self, arrays: Sequence[Array], variables: Mapping[str, int]) -> None:
        """Give the parameters their arrays, which are changed in place, and variables values."""
        for node in self.kernel.variables:
            self._bind_variable(node, variables.get(node.arg[0]))
        params = self.kernel.params
        if len(arrays) != len(params):
            self.fail(f"{len(arrays)} arrays are given", f"{len(params)}")
        for node, array in zip(params, arrays, strict=True):
            self.scope.buffers[node] = self._parameter(node, array)

    def _bind_variable(self, node: UOp, value: int | None) -> None:
        name, lo, hi = node.arg
        if value is None or not lo <= value <= hi:
            self.fail(f"variable {name} is {value}", f"a number in {lo}..{hi}")
        self.scope.lets[node] = number.computed(node.dtype).type(value)
        for atom, _ in variable(name, lo, hi).terms:
            self.scope.axes[atom] = value

    def _parameter(self, node: UOp, array: Array) -> Instance:
        arg: BufferArg = node.arg
        shape = tuple(extent.hi for extent in arg.shape)
        dtype = number.storage(node.dtype)
        if array.dtype != dtype or array.shape not in (shape, (prod(shape),)):
            found = f"{arg.name} is given {array.dtype} of shape {array.shape}"
            self.fail(found, f"{dtype} of shape {shape}")
        if not array.flags.c_contiguous:
            self.fail(f"{arg.name} is given a strided array", "one whose elements are in order")
        return Instance(node, array.reshape(-1), self._extents(arg))

    def _extents(self, arg: BufferArg) -> tuple[Array, ...]:
        return tuple([self.index(extent) for extent in arg.shape])

    def declare(self, node: UOp) -> None:
        """A new instance of a buffer, for every iteration that runs at once."""
        arg: BufferArg = node.arg
        fill = number.poison(node.dtype)
        if arg.init:
            fill = number.encode(number.identity(arg.init, node.dtype), node.dtype)
        size = arg.slots * prod(extent.hi for extent in arg.shape)
        shape = self.scope.shape
        base = np().arange(prod(shape)).reshape(shape) * size
        data = np().full(base.size * size, fill, number.storage(node.dtype))
        self.clock += 1
        found = Instance(node, data, self._extents(arg), base, len(shape), self.clock)
        self.scope.buffers[node] = found

    def instance(self, node: UOp) -> Instance:
        """The buffer that `node` means here."""
        found = self.scope.buffers.get(node)
        if found is None:
            self.fail(f"{node.arg.name} does not exist here", "a declaration in a block around")
        return found

    # index values and masks

    def index(self, value: Index, valid: list[Array] | None = None) -> Array:
        """An index value; where its gathered places exist is added to `valid`."""
        if not value.terms:
            return value.const
        found: list[Array] = [] if valid is None else valid
        return evaluate(value, lambda atom: self._atom(atom, found))

    def _atom(self, atom: Atom, valid: list[Array]) -> Array:
        if atom.kind == "gather":
            return self._gathered(atom, valid)
        found = self.scope.axes.get(atom)
        if found is None:
            self.fail(f"axis {atom.name} has no value here", "a loop over it around")
        return found

    def _gathered(self, atom: Atom, valid: list[Array]) -> Array:
        """Negative numbers count from the end; what is still outside is no place."""
        assert isinstance(atom.node, UOp), "ref: a gathered index holds no node"
        extent = atom.hi + 1
        wanted = np().asarray(self.value(atom.node)).astype(np().int64)
        place = np().where(wanted < 0, wanted + extent, wanted)
        exists = (place >= 0) & (place < extent)
        if self.check_out_of_bounds and not exists.all():
            self.fail(f"index {wanted[~exists].flat[0]} is gathered", f"-{extent}..{extent - 1}")
        valid.append(exists)
        return np().where(exists, place, 0)

    def mask(self, mask: Mask) -> Array | None:
        """Where every value of `mask` is at least zero; None is everywhere."""
        found: Array | None = None
        for value in mask:
            valid: list[Array] = []
            found = conjunction(found, np().asarray(self.index(value, valid) >= 0))
            for exists in valid:
                found = conjunction(found, exists)
        return None if found is None or found.all() else found

    def cells(self, instance: Instance, access: Access) -> tuple[Array, Array | None]:
        """The numbers of the elements that `access` means, and where it touches memory at all.

        Where it does not, the number is that of some element.
        """
        valid: list[Array] = []
        places = [self.index(value, valid) for value in access.indices]
        mask = conjunction(self.mask(access.mask), self.scope.mask)
        for exists in valid:
            mask = conjunction(mask, exists)
        cell = 0
        for at, place in enumerate(places):
            inside = self._inside(instance, at, place, mask)
            cell = cell + inside * instance.strides[at]
        if instance.arg.swizzle:
            cell = self._swizzled(instance, cell)
        if access.sequence is not None:
            slot = self.index(access.sequence) % instance.arg.slots
            cell = cell + slot * instance.size
        return cell + instance.base, mask

    def _inside(self, instance: Instance, at: int, place: Array, mask: Array | None) -> Array:
        extent = instance.extents[at]
        outside = (place < 0) | (place >= extent)
        if mask is not None:
            outside = outside & mask
        if np().any(outside):
            bounds = f"indices of dimension {at} below {extent} where the mask is true"
            self.fail(f"{instance.arg.name} is indexed out of bounds", bounds)
        return place if mask is None else np().clip(place, 0, np().maximum(extent - 1, 0))

    def _swizzled(self, instance: Instance, cell: Array) -> Array:
        bits, base, shift = instance.arg.swizzle or (0, 0, 0)
        moved = cell ^ ((cell >> (base + shift) & (1 << bits) - 1) << base)
        if np().any(moved >= instance.size):
            self.fail(f"the swizzle of {instance.arg.name} leaves the slot", "whole periods of it")
        return moved

    # expressions

    def value(self, root: UOp) -> Array:
        """The value of an expression in every iteration that runs at once."""
        order = self.orders.get(root)
        if order is None:
            order = self.orders[root] = expression(root)
        memo: dict[UOp, Array] = {}
        for node, used_up in order:
            if node.op in ELEMENTWISE:
                memo[node] = _computed(node, [memo[source] for source in node.src])
            else:
                memo[node] = self._leaf(node)
            for source in used_up:
                del memo[source]
        return memo[root]

    def _leaf(self, node: UOp) -> Array:
        if node.op is Ops.LOAD:
            return self.load(node.src[0], node.arg)
        if node.op is Ops.CONST:
            return number.constant(node.arg, node.dtype)
        if node.op is Ops.INDEX:
            return number.convert(self.index(node.arg), node.dtype)
        if node.op is Ops.MASK:
            found = self.mask(node.arg)
            return np().True_ if found is None else found
        value = self.scope.lets.get(node)
        if value is None:
            self.fail(f"{node.arg} has no value here", "a statement before that computes it")
        return value

    def load(self, node: UOp, access: Access) -> Array:
        """The elements of a buffer as values, the fill where the mask is false."""
        instance = self.instance(node)
        cells, mask = self.cells(instance, access)
        values = self.fetch(instance, access, cells, mask)
        if mask is None:
            return values
        fill = 0 if access.fill is None else access.fill
        return np().where(mask, values, number.constant(fill, node.dtype))

    def fetch(self, instance: Instance, access: Access, cells: Array, mask: Array | None) -> Array:
        """The elements of these numbers as values; those where the mask is false do not count."""
        return number.decode(instance.data.take(cells), instance.node.dtype)

    def combined(self, instance: Instance, cells: Array, values: Array, combine: str) -> Array:
        """What the elements of these numbers become when values are combined with them."""
        reference = TABLE[MONOIDS[combine].op].reference
        assert reference is not None, f"ref: {combine} has no reference"
        return reference(
            np(), number.decode(instance.data.take(cells), instance.node.dtype), values
        )

    def each(self, values: Array, mask: Array | None) -> Array:
        """A value for every iteration that runs at once and is not masked, in one row."""
        shape = self.scope.shape
        whole = np().broadcast_to(values, shape)
        return whole.reshape(-1) if mask is None else whole[np().broadcast_to(mask, shape)]

    # stores

    def store(self, node: UOp) -> None:
        """Store values; a leading state that changes moves the states that depend on it."""
        arg = node.arg
        count = len(arg.places)
        values = [self.value(value) for value in node.src[count : 2 * count]]
        old = self._leading(node) if arg.rebase else []
        for target, place, value in zip(node.src, arg.places, values, strict=False):
            self.write(self.instance(target), place, value, arg.combine)
        if arg.rebase:
            new = self._leading(node)
            for dependent in node.src[2 * count :]:
                self._move(node, dependent, old, new)

    def _leading(self, node: UOp) -> list[Array]:
        places: tuple[Access, ...] = node.arg.places
        return [self.load(target, place) for target, place in zip(node.src, places, strict=False)]

    def _move(self, node: UOp, dependent: UOp, old: list[Array], new: list[Array]) -> None:
        """The dependent state at the leading state's place, all of its further dimensions."""
        lead: Access = node.arg.places[0]
        further = dependent.arg.shape[len(lead.indices) :]
        box = tuple((f"~{at}", extent) for at, extent in enumerate(further))
        whole = tuple(axis(name, extent) for name, extent in box)
        access = Access((*lead.indices, *whole), lead.mask)
        rho = DEPENDENT[node.arg.rebase].rho
        with self.boxed(box):
            moved = rho(np(), old, new, self.load(dependent, access))
            self.write(self.instance(dependent), access, moved, "")

    @contextmanager
    def boxed(self, box: Iterable[tuple[str, Index]]) -> Iterator[None]:
        """Inside, all iterations of the box axes run at once, the first axis outermost."""
        outer = self.scope
        self.scope = replace(outer, axes={**outer.axes})
        for name, extent in box:
            for atom, _ in axis(name, extent).terms:
                count = int(self.index(extent))
                self.scope.axes[atom] = self.scope.enter("par", count)
        yield
        self.scope = outer


def expression(root: UOp) -> Order:
    """The nodes of an expression, sources first, each with those that nobody uses after it.

    Loads and names are the leaves.
    """
    order: dict[UOp, None] = {}
    work = [root]
    while work:
        node = work[-1]
        sources = node.src if node.op in ELEMENTWISE else ()
        missing = [source for source in sources if source not in order]
        if missing:
            work += missing
            continue
        order[work.pop()] = None
    inner = [node for node in order if node.op in ELEMENTWISE]
    last = {source: node for node in inner for source in node.src}
    return [(node, [s for s in {*node.src} if last.get(s) is node]) for node in order]


def _computed(node: UOp, values: list[Array]) -> Array:
    if node.op is Ops.CAST:
        return number.convert(values[0], node.dtype)
    if node.op is Ops.BITCAST:
        return number.reinterpret(values[0], node.src[0].dtype, node.dtype)
    reference = TABLE[node.op].reference
    assert reference is not None, f"ref: {node.op} has no reference"
    return number.rounded(reference(np(), *values), node.dtype)
