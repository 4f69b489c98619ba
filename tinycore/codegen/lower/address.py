"""Index values become nodes: sums of products, shared between addresses and across loops.

Comes in: index values without expanded axes. Goes out: int64 nodes, placed; or vectors of numbers
where an index runs along lanes. The variable part of a sum is one node for all addresses that
differ by a constant, and is added up from the outermost loop inwards.

Legend: a digit is (base // d) % m. Division of numbers that may be negative is made one of
numbers that are not, by adding a multiple of the period first.
"""

from __future__ import annotations

from collections.abc import Callable

from tinycore.codegen.lower.blocks import Blocks
from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import atoms, rebuild
from tinycore.uop.index import Atom, Index, Terms, as_index, make
from tinycore.uop.ops import Ops, UOp, alu, const

_UNSIGNED = {dtypes.int64: dtypes.uint64, dtypes.int32: dtypes.uint32}
_INT32 = 1 << 31


class Addresses:
    """Makes the nodes of index values; `axes` says what loop or computed number an atom is."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.axes: dict[Atom, UOp] = {}
        self.sums: dict[Terms, UOp] = {}
        self.numbers: dict[int, UOp] = {}
        self.atoms: dict[Atom, UOp] = {}
        self.plain: dict[Index, Index] = {}
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
        return self.blocks.put(UOp(Ops.ADD, dtypes.int64, (total, self.number(constant))))

    def number(self, value: int) -> UOp:
        """A constant of int64."""
        found = self.numbers.get(value)
        if found is None:
            found = self.numbers[value] = const(value, dtypes.int64)
        return found

    def at_least_zero(self, index: Index) -> UOp:
        """The truth of index >= 0; as a sum below a bound where the sum is subtracted."""
        if index.terms[0][1] < 0:
            positive = tuple([(atom, -factor) for atom, factor in index.terms])
            return self._alu(Ops.LT, self._sum(positive), const(index.const + 1, dtypes.int64))
        bound = const(-1 - index.const, dtypes.int64)
        return self._alu(Ops.LT, bound, self._sum(index.terms))

    def open_aliases(self, index: Index) -> Index:
        """`index` with the outer aliases written out, so that what is linear shows as such."""
        found = self.plain.get(index)
        if found is None:
            found = self.plain[index] = rebuild(index, _alias_base)
        return found

    def _alu(self, op: Ops, *src: UOp) -> UOp:
        node = alu(op, *src)
        return node if node.op is Ops.CONST else self.blocks.put(node)

    def _sum(self, terms: Terms) -> UOp:
        found = self.sums.get(terms)
        if found is not None and self.blocks.is_live(found):
            return found
        home = self.blocks.home
        parts = []
        for atom, factor in terms:
            node = self._atom(atom)
            depth = home[node].depth if node in home else 0
            parts.append((depth, atom.order, node, factor))
        parts.sort(key=_outer_first)
        total: UOp | None = None
        for _, _, node, factor in parts:
            part = self._alu(Ops.MUL, node, const(factor, dtypes.int64))
            total = part if total is None else self._alu(Ops.ADD, total, part)
        assert total is not None, "address: a sum of no terms"
        self.sums[terms] = total
        return total

    def _atom(self, atom: Atom) -> UOp:
        if atom.kind == "axis":
            return self.axes[atom]
        if atom.kind == "variable":
            return UOp(Ops.VARIABLE, dtypes.int64, (), (atom.name, atom.lo, atom.hi))
        found = self.atoms.get(atom)
        if found is None or not self.blocks.is_live(found):
            found = self.atoms[atom] = self._derived(atom)
        return found

    def _derived(self, atom: Atom) -> UOp:
        if atom.factors:
            product = self._atom(atom.factors[0])
            for factor in atom.factors[1:]:
                product = self._alu(Ops.MUL, product, self._atom(factor))
            return product
        assert atom.base is not None, f"address: {atom} has no base"
        if atom.kind == "alias":
            return self.value(atom.base)
        return self._digit(self.value(_lifted(atom)), atom)

    def _digit(self, base: UOp, atom: Atom) -> UOp:
        """The digit of `base`, which is the lifted base of `atom`."""
        number = _divided(base, atom.divisor, atom.modulus, self.blocks.put)
        lifted = as_index(_lift(atom) // atom.divisor if not atom.modulus else 0)
        if lifted.const:
            number = self._alu(Ops.ADD, number, const(-lifted.const, number.dtype))
        return number

    # along lanes

    def vector(self, index: Index, lane: Atom, dtype: DType) -> UOp:
        """The numbers of an index for each value of `lane`, as a vector of `dtype`."""
        lanes = lane.hi + 1
        still = tuple([term for term in index.terms if not self.runs(term[0], lane)])
        total = self.splat(self.narrow(self.value(make(index.const, still)), dtype), lanes)
        for atom, factor in index.terms:
            if self.runs(atom, lane):
                part = self._lane_atom(atom, lane, dtype)
                scaled = self._alu(Ops.MUL, part, const(factor, part.dtype))
                total = self._alu(Ops.ADD, total, scaled)
        return total

    def _lane_atom(self, atom: Atom, lane: Atom, dtype: DType) -> UOp:
        if atom is lane:
            return self.steps(0, 1, lane.hi + 1, dtype)
        if atom in self.axes:
            return self.narrow(self.axes[atom], dtype.vec(lane.hi + 1))
        if atom.factors:
            product = const(1, dtype.vec(lane.hi + 1))
            for factor in atom.factors:
                number = self.vector(make(0, ((factor, 1),)), lane, dtype)
                product = self._alu(Ops.MUL, product, number)
            return product
        assert atom.base is not None, f"address: {atom} has no base"
        if atom.kind == "alias":
            return self.vector(atom.base, lane, dtype)
        return self._digit(self.vector(_lifted(atom), lane, dtype), atom)

    def steps(self, first: int, step: int, lanes: int, dtype: DType) -> UOp:
        """The vector first, first + step, first + 2*step ..."""
        numbers = [const(first + step * k, dtype) for k in range(lanes)]
        return self.join(tuple(numbers))

    def join(self, parts: tuple[UOp, ...]) -> UOp:
        """The lanes of all parts, one after another."""
        lanes = tuple(range(sum([part.dtype.lanes for part in parts])))
        dtype = parts[0].dtype.scalar.vec(len(lanes))
        return self.blocks.put(UOp(Ops.SHUFFLE, dtype, parts, lanes))

    def splat(self, node: UOp, lanes: int) -> UOp:
        """`node` in every lane."""
        if node.dtype.lanes == lanes:
            return node
        dtype = node.dtype.vec(lanes)
        if node.op is Ops.CONST:
            return const(node.arg, dtype)
        return self.blocks.put(UOp(Ops.SHUFFLE, dtype, (node,), (0,) * lanes))

    def pick(self, node: UOp, lanes: tuple[int, ...]) -> UOp:
        """Some lanes of `node`, in the order given."""
        if node.op is Ops.CONST:
            return const(node.arg, node.dtype.vec(len(lanes)))
        if lanes == tuple(range(node.dtype.lanes)):
            return node
        return self.blocks.put(UOp(Ops.SHUFFLE, node.dtype.scalar.vec(len(lanes)), (node,), lanes))

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
            found = self.running[key] = any(self.runs(part, lane) for part in inner)
        return found

    def narrow(self, node: UOp, dtype: DType) -> UOp:
        """`node` in another integer type, which its numbers fit."""
        if node.dtype is dtype:
            return node
        if node.op is Ops.CONST:
            return const(node.arg, dtype)
        return self.blocks.put(UOp(Ops.CAST, dtype, (node,)))


def lane_dtype(index: Index) -> DType:
    """The narrowest type that all numbers on the way to `index` fit, for arithmetic in lanes."""
    work = [index]
    while work:
        value = work.pop()
        reach = abs(value.const) + sum([abs(c) * max(abs(a.lo), abs(a.hi)) for a, c in value.terms])
        if reach >= _INT32:
            return dtypes.int64
        for atom, _ in value.terms:
            if atom.base is not None:
                work.append(atom.base + _lift(atom) if atom.kind == "digit" else atom.base)
    return dtypes.int32


def _outer_first(part: tuple[int, int, UOp, int]) -> tuple[int, int]:
    return part[0], part[1]


def _alias_base(atom: Atom) -> Index | None:
    if atom.kind != "alias":
        return None
    assert atom.base is not None, f"address: {atom} has no base"
    return rebuild(atom.base, _alias_base)


def _lift(atom: Atom) -> int:
    """The multiple of the period that makes a digit's base at least zero."""
    assert atom.base is not None, f"address: {atom} has no base"
    period = atom.divisor * (atom.modulus or 1)
    return -(atom.base.lo // period) * period if atom.base.lo < 0 else 0


def _lifted(atom: Atom) -> Index:
    assert atom.base is not None, f"address: {atom} has no base"
    return atom.base + _lift(atom)


def _divided(base: UOp, divisor: int, modulus: int, put: Callable[[UOp], UOp]) -> UOp:
    """(base // divisor) % modulus for a base of at least zero, as shifts where they do."""
    dtype = base.dtype
    if divisor & (divisor - 1) == 0 and modulus & (modulus - 1) == 0:
        if divisor > 1:
            base = put(alu(Ops.SHR, base, const(divisor.bit_length() - 1, dtype)))
        return put(alu(Ops.AND, base, const(modulus - 1, dtype))) if modulus else base
    unsigned = _UNSIGNED[dtype.scalar].vec(dtype.lanes)
    base = put(UOp(Ops.CAST, unsigned, (base,)))
    if divisor > 1:
        base = put(UOp(Ops.IDIV, unsigned, (base, const(divisor, unsigned))))
    if modulus:
        base = put(UOp(Ops.MOD, unsigned, (base, const(modulus, unsigned))))
    return put(UOp(Ops.CAST, dtype, (base,)))
