"""Index values and masks become nodes: numbers put in, sums shared between addresses.

Comes in: index values of the tree, and what its axes are at this point. Goes out: int64 nodes,
placed; or vectors of numbers where an index runs along lanes. The variable part of a sum is one
node for all addresses that differ by a constant, and is added up from the outermost loop inwards.
Next: values.py.

Legend: a digit is (base // d) % m, of a base whose normal form is at least zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

from tinycore.codegen.lower.blocks import Blocks
from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import atoms, rebuild, substitute
from tinycore.uop.index import Atom, Index, Terms, make, of_atom
from tinycore.uop.ops import Ops, UOp, alu, const

TRUE = const(True, dtypes.bool)
FALSE = const(False, dtypes.bool)
_UNSIGNED = {dtypes.int64: dtypes.uint64, dtypes.int32: dtypes.uint32}
_INT32 = 1 << 31


class Form(NamedTuple):
    """An index value, aliases written out where that shows what is linear, and what it depends on
    in order of creation: axes and gathered atoms; `is_linear` in all of them."""

    value: Index
    parts: tuple[Atom, ...]
    gathers: tuple[Atom, ...]
    is_linear: bool


class Indices:
    """Index values at one point of a program; `evaluate` gives gathered numbers.

    `now` is what holds there: of an axis the number if its loop is copied, else the node that
    counts it; of a buffer the moment it last changed; of a LET its node. `lane` is the axis of the
    vector loop around, and `lanes` how many values have: 1 outside of one.
    """

    def __init__(self, blocks: Blocks, evaluate: Callable[[UOp], UOp]) -> None:
        self.blocks = blocks
        self.evaluate = evaluate
        self.now: dict[Atom | UOp, Any] = {}
        self.lane: Atom | None = None
        self.lanes = 1
        self.form = cache(_form)
        self.number = cache(_number)
        self.sums: dict[Terms, UOp] = {}
        self.numbers: dict[UOp, Atom] = {}

    # numbers put in

    def bind(self, index: Index) -> Index:
        """The index with the numbers of copied axes and of gathered values put in."""
        form = self.form(index)
        if not form.is_linear:
            env = {atom: self._number_of(atom) for atom in form.parts}
            return substitute(form.value, env)
        constant, kept = form.value.const, []
        for term in form.value.terms:
            number = self.now.get(term[0])
            if isinstance(number, Index):
                constant += term[1] * number.const
            else:
                kept.append(term)
        return make(constant, tuple(kept))

    def by_lane(self, index: Index) -> list[Index]:
        """A bound index in each lane alone."""
        step = self.step(index)
        if step is not None:
            terms = self.first(index).terms
            return [make(index.const + step * lane, terms) for lane in range(self.lanes)]
        moving = [atom for atom in atoms(index) if self.runs(atom)]
        found = []
        for lane in range(self.lanes):
            env = {atom: self._in_lane(atom, lane) for atom in moving}
            found.append(substitute(index, env))
        return found

    def _in_lane(self, atom: Atom, lane: int) -> Index:
        if atom is self.lane:
            return make(lane)
        number = self.blocks.one(self._counted(atom), lane)
        return of_atom(self._as_atom(number, atom.hi))

    def step(self, index: Index) -> int | None:
        """How far a bound index moves from lane to lane; None if not by equal steps."""
        found = 0
        for atom, factor in index.terms if self.lanes > 1 else ():
            if atom is self.lane:
                found = factor
            elif self.runs(atom):
                return None
        return found

    def first(self, index: Index) -> Index:
        """A bound index in lane 0, if it moves by equal steps."""
        terms = [term for term in index.terms if term[0] is not self.lane]
        return make(index.const, tuple(terms))

    def runs(self, atom: Atom) -> bool:
        """True if an atom of a bound index differs from lane to lane."""
        if self.lanes == 1 or atom.kind == "variable":
            return False
        node = self.now.get(atom)
        if isinstance(node, UOp):
            return node.dtype.lanes > 1
        return any(self.runs(part) for part in atoms(of_atom(atom)))

    def _number_of(self, atom: Atom) -> Index:
        if atom.kind == "gather":
            return of_atom(self._gathered(atom))
        number = self.now.get(atom)
        return number if isinstance(number, Index) else of_atom(atom)

    def _gathered(self, atom: Atom) -> Atom:
        """The number that a gathered atom is here, negatives counted from the end."""
        apply = self.blocks.apply
        number = self.blocks.narrow(self.evaluate(atom.node), dtypes.int64)
        from_end = apply(Ops.ADD, number, number.const_like(atom.hi + 1))
        negative = apply(Ops.LT, number, number.const_like(0))
        return self._as_atom(apply(Ops.WHERE, negative, from_end, number), atom.hi)

    def _as_atom(self, number: UOp, most: int) -> Atom:
        found = self.numbers.get(number)
        if found is None:
            found = self.numbers[number] = Atom("axis", 0, most, "gathered")
            self.now[found] = number
        return found

    # conditions

    def holds(self, mask: Iterable[Index], parts: Iterable[UOp] = ()) -> UOp:
        """The truth of a conjunction of bound index values that are at least zero, and of nodes."""
        nodes = [*parts]
        for index in mask:
            if index.hi < 0:
                return FALSE
            if index.lo < 0:
                nodes.append(self._at_least_zero(index))
        if not nodes:
            return TRUE
        # Single truths before those of lanes, outer before inner.
        nodes.sort(key=lambda node: (node.dtype.lanes, self.blocks.depth(node)))
        total = TRUE
        for node in nodes:
            total = self.blocks.apply(Ops.AND, total, node)
        return total

    def inside(self, index: Index) -> list[UOp]:
        """The truths that what an index value gathers lies in its extent."""
        found = []
        for atom in self.form(index).gathers:
            number = self._counted(self._gathered(atom))
            whole = self.blocks.narrow(number, dtypes.uint64)
            most = whole.const_like(atom.hi + 1)
            found.append(self.blocks.apply(Ops.LT, whole, most))
        return found

    def _at_least_zero(self, index: Index) -> UOp:
        """The truth of index >= 0; as a sum below a bound where the sum is subtracted."""
        apply, step = self.blocks.apply, self.step(index)
        if step is None:
            numbers = self.value(index)
            return apply(Ops.LT, numbers.const_like(-1), numbers)
        if step:
            bound = -1 - self.first(index)
            dtype = _lane_dtype(bound)
            limit = self.blocks.narrow(self.same(bound), dtype)
            numbers = self.blocks.put(self.blocks.steps(step, self.lanes, dtype))
            return apply(Ops.LT, limit, numbers)
        if index.terms[0][1] >= 0:
            below = self.number(-1 - index.const)
            return apply(Ops.LT, below, self._sum(index.terms))
        above = self.number(index.const + 1)
        negative = -index
        return apply(Ops.LT, self._sum(negative.terms), above)

    # nodes

    def value(self, index: Index, dtype: DType | None = None) -> UOp:
        """The node of a bound index: a number in int64 or, where it differs from lane to lane,
        a vector of `dtype`, which is the narrowest that does."""
        if self.lanes == 1:
            return self.same(index)
        moving = [term for term in index.terms if self.runs(term[0])]
        if not moving:
            return self.same(index)
        dtype = dtype or _lane_dtype(index)
        still = [term for term in index.terms if term not in moving]
        first = self.same(make(index.const, tuple(still)))
        first = self.blocks.narrow(first, dtype)
        total = self.blocks.splat(first, self.lanes)
        for atom, factor in moving:
            part = self._atom(atom, dtype)
            part = self.blocks.apply(Ops.MUL, part, part.const_like(factor))
            total = self.blocks.apply(Ops.ADD, total, part)
        return total

    def same(self, index: Index) -> UOp:
        """The node of a bound index that is the same in all lanes."""
        if not index.terms:
            return self.number(index.const)
        total = self._sum(index.terms)
        if not index.const:
            return total
        constant = self.number(index.const)
        return self.blocks.put(alu(Ops.ADD, total, constant))

    def _sum(self, terms: Terms) -> UOp:
        """The variable part of a sum, outer parts first."""
        total = self.sums.get(terms)
        if total is not None and self.blocks.is_live(total):
            return total
        parts = [(self._atom(atom, dtypes.int64), factor) for atom, factor in terms]
        parts.sort(key=lambda part: self.blocks.depth(part[0]))
        total = self.number(0)
        for node, factor in parts:
            part = self.blocks.apply(Ops.MUL, node, self.number(factor))
            total = self.blocks.apply(Ops.ADD, total, part)
        self.sums[terms] = total
        return total

    def _atom(self, atom: Atom, dtype: DType) -> UOp:
        """The node of an atom; `dtype` is int64 unless it differs from lane to lane."""
        if atom.factors:
            product = const(1, dtype)
            for factor in atom.factors:
                part = self.blocks.narrow(self.value(of_atom(factor), dtype), dtype)
                product = self.blocks.apply(Ops.MUL, product, part)
            return product
        if atom.base is None:
            return self.blocks.narrow(self._counted(atom), dtype)
        base = self.value(atom.base, dtype)
        return base if atom.kind == "alias" else self._digit(base, atom)

    def _counted(self, atom: Atom) -> UOp:
        if atom.kind == "variable":
            arg = (atom.name, atom.lo, atom.hi)
            return UOp(Ops.VARIABLE, dtypes.int64, (), arg)
        node = self.now[atom]
        assert isinstance(node, UOp), f"lower: {atom} has a number, {node}"
        return self.blocks.put(node)

    def _digit(self, base: UOp, atom: Atom) -> UOp:
        """A digit of `base`, which is at least zero; by shifts where they do."""
        assert atom.base is not None and atom.base.lo >= 0, f"lower: {atom} of a negative number"
        if _is_power(atom.divisor) and _is_power(atom.modulus):
            shift = base.const_like(atom.divisor.bit_length() - 1)
            digit = self.blocks.apply(Ops.SHR, base, shift) if shift.arg else base
            mask = digit.const_like(atom.modulus - 1)
            return self.blocks.apply(Ops.AND, digit, mask) if atom.modulus else digit
        signed = base.dtype.scalar
        digit = self.blocks.narrow(base, _UNSIGNED[signed])
        if atom.divisor > 1:
            digit = self.blocks.apply(Ops.IDIV, digit, digit.const_like(atom.divisor))
        if atom.modulus:
            digit = self.blocks.apply(Ops.MOD, digit, digit.const_like(atom.modulus))
        return self.blocks.narrow(digit, signed)


def _form(index: Index) -> Form:
    plain = rebuild(index, _alias_base)
    parts = [atom for atom in atoms(plain) if atom.kind != "variable"]
    parts.sort(key=lambda atom: atom.order)
    is_linear = all(atom.kind in ("axis", "variable") for atom, _ in plain.terms)
    gathers = [atom for atom in parts if atom.kind == "gather"]
    return Form(plain, tuple(parts), tuple(gathers), is_linear)


def _alias_base(atom: Atom) -> Index | None:
    """What an alias stands for; None for other atoms."""
    if atom.kind != "alias" or atom.base is None:
        return None
    return rebuild(atom.base, _alias_base)


def _number(value: int) -> UOp:
    return const(value, dtypes.int64)


def _is_power(number: int) -> bool:
    return number & (number - 1) == 0


def _lane_dtype(index: Index) -> DType:
    """The narrowest type that all numbers on the way to `index` fit, for arithmetic in lanes."""
    work = [index]
    while work:
        value = work.pop()
        reach = abs(value.const)
        for atom, factor in value.terms:
            reach += abs(factor) * max(abs(atom.lo), abs(atom.hi))
            if atom.base is not None:
                work.append(atom.base)
        if reach >= _INT32:
            return dtypes.int64
    return dtypes.int32
