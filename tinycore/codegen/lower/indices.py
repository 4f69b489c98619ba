"""Index values and masks at one point of a kernel: numbers put in, lanes found, tests made.

Comes in: index values of the tree. Goes out: index values that hold only what the program itself
counts (serial loops, variables, gathered numbers, the lane), and tests as nodes.
Next: elements.py reads and writes there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tinycore.codegen.lower.address import lane_dtype
from tinycore.codegen.lower.scope import LANE, Scope
from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import Mask, atoms, substitute
from tinycore.uop.index import Atom, Index, as_index, make, of_atom
from tinycore.uop.ops import Ops, UOp, alu, const
from tinycore.uop.tree import Access


class Indices:
    """Index values, bound to the numbers of a scope; `evaluate` gives gathered numbers."""

    def __init__(self, scope: Scope, evaluate: Callable[[UOp], UOp]) -> None:
        self.scope = scope
        self.evaluate = evaluate
        self.offsets: dict[tuple[UOp, Access], Index] = {}
        self.computed: dict[UOp, Atom] = {}
        self.gathers: dict[Index, tuple[Atom, ...]] = {}

    def bind(self, index: Index) -> Index:
        """`index` with the numbers of expanded axes and of gathered values put in."""
        scope = self.scope
        axes, _ = scope.study.of_index(index)
        numbers: dict[Atom, Index] = {}
        for axis in axes:
            number = scope.env.get(axis)
            if number is not None and number != LANE:
                numbers[axis] = make(number)
        for atom in self._gathers(index):
            numbers[atom] = of_atom(self._gathered(atom))
        if not numbers:
            return index
        if all(atom.base is None and not atom.factors for atom, _ in index.terms):
            return _shifted(index, numbers)
        return substitute(index, numbers)

    def offset(self, buffer: UOp, access: Access) -> Index:
        """Where an access lies, in elements."""
        key = (buffer, access)
        found = self.offsets.get(key)
        if found is None:
            found = self.scope.storage[buffer].offset(access, buffer.arg.slots)
            found = self.offsets[key] = self.scope.addresses.open_aliases(found)
        return self.bind(found)

    def step(self, index: Index) -> int | None:
        """How far a bound index moves from lane to lane; None if not by equal steps."""
        scope = self.scope
        lane = scope.lane
        if lane is None or scope.lanes == 1:
            return 0
        found = 0
        for atom, factor in index.terms:
            if atom is lane:
                found = factor
            elif scope.addresses.runs(atom, lane):
                return None
        return found

    def at_lane(self, index: Index, number: int) -> Index:
        """A bound index in one lane."""
        lane = self.scope.lane
        return index if lane is None else substitute(index, {lane: make(number)})

    def value(self, index: Index, dtype: DType) -> UOp:
        """An index of the tree as a number, or as one a lane."""
        scope = self.scope
        bound = scope.addresses.open_aliases(self.bind(index))
        if self.step(bound) == 0 or scope.lane is None:
            return scope.addresses.narrow(scope.addresses.value(bound), dtype)
        numbers = scope.addresses.vector(bound, scope.lane, lane_dtype(bound))
        return scope.addresses.narrow(numbers, dtype.vec(scope.lanes))

    def mask(self, mask: Mask, indices: tuple[Index, ...] = ()) -> UOp:
        """The truth of a conjunction, and that what `indices` gather is in bounds."""
        blocks, addresses = self.scope.blocks, self.scope.addresses
        parts = [self._inside(atom) for index in indices for atom in self._gathers(index)]
        for constraint in mask:
            bound = addresses.open_aliases(self.bind(constraint))
            if bound.hi < 0:
                return const(False, dtypes.bool)
            if bound.lo < 0:
                parts.append(self._test(bound))
        parts.sort(key=self._by_depth)
        total = const(True, dtypes.bool)
        for part in parts:
            total = addresses.splat(total, part.dtype.lanes)
            total = blocks.put(alu(Ops.AND, total, part))
        return total

    def is_scattered(self, access: Access) -> bool:
        """True if lanes gather numbers of their own, so that each has an address of its own."""
        lane = self.scope.lane
        if lane is None or self.scope.lanes == 1:
            return False
        study = self.scope.study
        found = [atom for index in access.indices for atom in self._gathers(index)]
        return any(lane in study.of_index(of_atom(atom)).axes for atom in found)

    def _by_depth(self, node: UOp) -> tuple[int, int]:
        """Single truths before those of lanes, outer before inner."""
        block = self.scope.blocks.home.get(node)
        return node.dtype.lanes, 0 if block is None else block.depth

    def _test(self, index: Index) -> UOp:
        """The truth of index >= 0 for a bound index."""
        addresses, put = self.scope.addresses, self.scope.blocks.put
        step, lane = self.step(index), self.scope.lane
        if step == 0 or lane is None:
            return addresses.at_least_zero(index)
        if step is None:
            numbers = addresses.vector(index, lane, lane_dtype(index))
            return put(alu(Ops.LT, numbers.const_like(-1), numbers))
        bound = as_index(-1) - (index - of_atom(lane) * step)
        dtype = lane_dtype(bound)
        limit = addresses.narrow(addresses.value(bound), dtype)
        steps = addresses.steps(0, step, lane.hi + 1, dtype)
        return put(alu(Ops.LT, addresses.splat(limit, lane.hi + 1), steps))

    # gathered numbers

    def _gathers(self, index: Index) -> tuple[Atom, ...]:
        found = self.gathers.get(index)
        if found is None:
            inner = atoms(index) if index.terms else ()
            gathers = [atom for atom in inner if atom.kind == "gather"]
            gathers.sort(key=lambda atom: atom.order)
            found = self.gathers[index] = tuple(gathers)
        return found

    def _gathered(self, atom: Atom) -> Atom:
        """The number that a gathered atom is here, negatives counted from the end, as an atom."""
        assert isinstance(atom.node, UOp), f"lower: {atom} gathers no node"
        scope = self.scope
        put = scope.blocks.put
        value = self.evaluate(atom.node)
        number = scope.addresses.narrow(value, dtypes.int64.vec(value.dtype.lanes))
        from_end = put(alu(Ops.ADD, number, number.const_like(atom.hi + 1)))
        negative = put(alu(Ops.LT, number, number.const_like(0)))
        number = put(alu(Ops.WHERE, negative, from_end, number))
        found = self.computed.get(number)
        if found is None:
            found = self.computed[number] = Atom("axis", 0, atom.hi, "gathered")
            scope.addresses.axes[found] = number
        return found

    def _inside(self, atom: Atom) -> UOp:
        """The truth that a gathered number lies in its extent."""
        number = self.scope.addresses.axes[self._gathered(atom)]
        put = self.scope.blocks.put
        whole = put(UOp(Ops.CAST, dtypes.uint64.vec(number.dtype.lanes), (number,)))
        return put(alu(Ops.LT, whole, whole.const_like(atom.hi + 1)))


def _shifted(index: Index, numbers: Mapping[Atom, Index]) -> Index:
    """A sum of plain atoms with some replaced; those of one term each stay sorted."""
    constant = index.const
    kept = []
    moved: list[Index] = []
    for atom, factor in index.terms:
        number = numbers.get(atom)
        if number is None:
            kept.append((atom, factor))
        elif number.terms:
            moved.append(number * factor)
        else:
            constant += factor * number.const
    total = make(constant, tuple(kept))
    for value in moved:
        total = total + value
    return total
