"""Index values become nodes: sums of products, shared between addresses and across loops.

Comes in: index values without expanded axes. Goes out: int64 nodes, placed; or vectors of numbers
where an index runs along lanes. The variable part of a sum is one node for all addresses that
differ by a constant, and is added up from the outermost loop inwards. Next: scope.py.

Legend: a digit is (base // d) % m. Division of numbers that may be negative is made one of
numbers that are not, by adding a multiple of the period first.
"""

from __future__ import annotations

from functools import cache

from tinycore.codegen.lower.blocks import Blocks
from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import atoms, rebuild
from tinycore.uop.index import Atom, Index, Terms, make, of_atom
from tinycore.uop.ops import Ops, UOp, alu, const

_UNSIGNED = {dtypes.int64: dtypes.uint64, dtypes.int32: dtypes.uint32}
_INT32 = 1 << 31


class Addresses:
    """Makes the nodes of index values.

    `axes` says what loop or computed number an atom is, `number` gives a constant of int64.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.axes: dict[Atom, UOp] = {}
        self.sums: dict[Terms, UOp] = {}
        self.number = cache(_number)
        self.atoms: dict[Atom, UOp] = {}
        self.running: dict[tuple[Atom, Atom], bool] = {}

    def value(self, index: Index) -> UOp:
        """The node of an index."""
        return self.sum(index.const, index.terms)

    def sum(self, constant: int, terms: Terms) -> UOp:
        """The node of constant + terms."""
        if not terms:
            return self.number(constant)
        total = self._sum(terms)
        if constant == 0:
            return total
        src = total, self.number(constant)
        return self.blocks.put(UOp(Ops.ADD, dtypes.int64, src))

    def at_least_zero(self, index: Index) -> UOp:
        """The truth of index >= 0; as a sum below a bound where the sum is subtracted."""
        terms = index.terms
        if terms[0][1] >= 0:
            bound = self.number(-1 - index.const)
            return self._alu(Ops.LT, bound, self._sum(terms))
        positive = tuple([(atom, -factor) for atom, factor in terms])
        bound = self.number(index.const + 1)
        return self._alu(Ops.LT, self._sum(positive), bound)

    def _alu(self, op: Ops, *src: UOp) -> UOp:
        return self.blocks.put(alu(op, *src))

    def _sum(self, terms: Terms) -> UOp:
        found = self.sums.get(terms)
        if found is not None and self.blocks.is_live(found):
            return found
        parts = []
        for atom, factor in terms:
            node = self._atom(atom)
            depth = self.blocks.depth(node)
            parts.append((depth, atom.order, node, factor))
        parts.sort(key=lambda part: part[:2])
        total: UOp | None = None
        for _, _, node, factor in parts:
            part = self._alu(Ops.MUL, node, self.number(factor))
            total = part if total is None else self._alu(Ops.ADD, total, part)
        assert total is not None, "address: a sum of no terms"
        self.sums[terms] = total
        return total

    def _atom(self, atom: Atom) -> UOp:
        if atom.kind == "axis":
            return self.axes[atom]
        if atom.kind == "variable":
            arg = atom.name, atom.lo, atom.hi
            return UOp(Ops.VARIABLE, dtypes.int64, (), arg)
        found = self.atoms.get(atom)
        if found is None or not self.blocks.is_live(found):
            found = self.atoms[atom] = self._derived(atom)
        return found

    def _derived(self, atom: Atom) -> UOp:
        if atom.factors:
            factors = [self._atom(factor) for factor in atom.factors]
            return self._product(factors)
        base = _base(atom)
        if atom.kind == "alias":
            return self.value(base)
        lifted = self.value(base + _lift(atom))
        return self._digit(lifted, atom)

    def _product(self, factors: list[UOp]) -> UOp:
        product = factors[0]
        for factor in factors[1:]:
            product = self._alu(Ops.MUL, product, factor)
        return product

    def _digit(self, base: UOp, atom: Atom) -> UOp:
        """The digit of `base`, which is the lifted base of `atom`."""
        number = self._divided(base, atom.divisor, atom.modulus)
        if atom.modulus or not _lift(atom):
            return number
        lifted = _lift(atom) // atom.divisor
        return self._alu(Ops.ADD, number, number.const_like(-lifted))

    def _divided(self, base: UOp, divisor: int, modulus: int) -> UOp:
        """(base // divisor) % modulus for a base of at least zero, as shifts where they do."""
        if _is_power(divisor) and _is_power(modulus):
            if divisor > 1:
                bits = divisor.bit_length() - 1
                base = self._alu(Ops.SHR, base, base.const_like(bits))
            mask = base.const_like(modulus - 1)
            return self._alu(Ops.AND, base, mask) if modulus else base
        signed = base.dtype.scalar
        base = self.blocks.narrow(base, _UNSIGNED[signed])
        if divisor > 1:
            base = self._alu(Ops.IDIV, base, base.const_like(divisor))
        if modulus:
            base = self._alu(Ops.MOD, base, base.const_like(modulus))
        return self.blocks.narrow(base, signed)

    # along lanes

    def vector(self, index: Index, lane: Atom, dtype: DType) -> UOp:
        """The numbers of an index for each value of `lane`, as a vector of `dtype`."""
        still: list[tuple[Atom, int]] = []
        moving: list[tuple[Atom, int]] = []
        for term in index.terms:
            kind = moving if self.runs(term[0], lane) else still
            kind.append(term)
        first = self.sum(index.const, tuple(still))
        total = self.blocks.splat(self.blocks.narrow(first, dtype), lane.hi + 1)
        for atom, factor in moving:
            part = self._lane_atom(atom, lane, dtype)
            part = self._alu(Ops.MUL, part, part.const_like(factor))
            total = self._alu(Ops.ADD, total, part)
        return total

    def _lane_atom(self, atom: Atom, lane: Atom, dtype: DType) -> UOp:
        if atom is lane:
            return self.blocks.steps(1, lane.hi + 1, dtype)
        if atom in self.axes:
            return self.blocks.narrow(self.axes[atom], dtype)
        if atom.factors:
            parts = [self.vector(of_atom(factor), lane, dtype) for factor in atom.factors]
            return self._product(parts)
        base = _base(atom)
        if atom.kind == "alias":
            return self.vector(base, lane, dtype)
        lifted = self.vector(base + _lift(atom), lane, dtype)
        return self._digit(lifted, atom)

    def runs(self, atom: Atom, lane: Atom) -> bool:
        """True if `atom` differs from lane to lane."""
        if atom is lane:
            return True
        number = self.axes.get(atom)
        if number is not None:
            return number.dtype.lanes > 1
        if atom.base is None and not atom.factors:
            return False
        key = (atom, lane)
        found = self.running.get(key)
        if found is None:
            inner = atoms(make(0, ((atom, 1),)))
            found = any(self.runs(part, lane) for part in inner)
            self.running[key] = found
        return found


def lane_dtype(index: Index) -> DType:
    """The narrowest type that all numbers on the way to `index` fit, for arithmetic in lanes."""
    work = [index]
    while work:
        value = work.pop()
        if _reach(value) >= _INT32:
            return dtypes.int64
        for atom, _ in value.terms:
            if atom.base is not None:
                work.append(atom.base + _lift(atom))
    return dtypes.int32


def _reach(index: Index) -> int:
    """The largest size of any partial sum of an index."""
    total = abs(index.const)
    for atom, factor in index.terms:
        largest = max(abs(atom.lo), abs(atom.hi))
        total += abs(factor) * largest
    return total


def _number(value: int) -> UOp:
    return const(value, dtypes.int64)


def _is_power(number: int) -> bool:
    return number & (number - 1) == 0


def _base(atom: Atom) -> Index:
    assert atom.base is not None, f"address: {atom} has no base"
    return atom.base


def alias_base(atom: Atom) -> Index | None:
    """What an alias stands for; None for other atoms."""
    if atom.kind != "alias":
        return None
    return rebuild(_base(atom), alias_base)


def _lift(atom: Atom) -> int:
    """The multiple of the period that makes a digit's base at least zero."""
    low = _base(atom).lo
    if atom.kind != "digit" or low >= 0:
        return 0
    period = atom.divisor * (atom.modulus or 1)
    return -(low // period) * period
