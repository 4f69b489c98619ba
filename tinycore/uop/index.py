"""Index arithmetic as a value: constant + sum of integer coefficient x atom, interned and bounded.

Comes in: axes, variables and integers. Goes out: addresses and masks in one normal form, for other
axes, or as numbers. Next file: tree.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import count, product
from math import gcd, prod
from operator import attrgetter, mul
from typing import Any, TypeVar

V = TypeVar("V")


@dataclass(eq=False, repr=False, slots=True)
class Atom:
    """A bounded unknown of an index.

    Kinds: "axis" of a loop, "variable" bound at launch, "gather" of the integer that `node` loads,
    negatives counted from the end; and of `parts`: "product", "digit" (part // divisor) % modulus
    (no % if modulus is 0), "alias" of a part whose bounds a mask tightens.
    """

    kind: str
    lo: int
    hi: int
    name: str = ""
    node: Any = None
    parts: Indices = ()
    divisor: int = 1
    modulus: int = 0
    order: int = field(default_factory=count().__next__, init=False)

    def __lt__(self, other: Atom) -> bool:
        return self.order < other.order

    def __repr__(self) -> str:
        return self.name or f"<{self.kind} {self.order}>"


Terms = tuple[tuple[Atom, int], ...]
Indices = tuple["Index", ...]
Mask = Indices  # a conjunction: each is at least zero
Leaf = Callable[[Atom], "Index | None"]
Memo = dict["Index", "Index"]


class Index:
    """An integer as a function of atoms, with inclusive bounds `lo` and `hi`."""

    __slots__ = ("const", "hi", "lo", "terms")

    def __init__(self, const: int, terms: Terms) -> None:
        TABLES.created += 1
        self.const = const
        self.terms = terms
        lo = hi = const
        for atom, factor in terms:
            lo += factor * (atom.lo if factor > 0 else atom.hi)
            hi += factor * (atom.hi if factor > 0 else atom.lo)
        self.lo = lo
        self.hi = hi

    def __add__(self, other: Dim) -> Index:
        other = as_index(other)
        const = self.const + other.const
        if not self.terms or not other.terms:
            return make(const, self.terms or other.terms)
        factors = dict(self.terms)
        add(factors, other.terms)
        return collect(const, factors)

    def __mul__(self, other: Dim) -> Index:
        if isinstance(other, int):
            scaled = tuple([(atom, factor * other) for atom, factor in self.terms if other])
            return make(self.const * other, scaled)
        total = self * other.const + make(0, other.terms) * self.const
        for x, x_factor in self.terms:
            for y, y_factor in other.terms:
                total += _product(x, y) * (x_factor * y_factor)
        return total

    def __neg__(self) -> Index:
        return self * -1

    def __sub__(self, other: Dim) -> Index:
        return self + -other

    def __rsub__(self, other: int) -> Index:
        return -self + other

    def __floordiv__(self, divisor: int) -> Index:
        return digit(self, divisor, 0)

    def __mod__(self, modulus: int) -> Index:
        return digit(self, 1, modulus)

    __radd__ = __add__
    __rmul__ = __mul__

    def __repr__(self) -> str:
        terms = [f"{c}*{atom}" for atom, c in self.terms]
        return f"Index({' + '.join([*terms, str(self.const)])})"

    def substitute(self, env: Mapping[Atom, Index]) -> Index:
        """This with the atoms of `env` replaced and digits above them simplified again."""
        return self.replaced(env.get, {})

    def unalias(self) -> Index:
        """This with what a mask proved simplified into it, the mask being kept apart."""
        return self.replaced(lambda atom: None, TABLES.plain)

    def replaced(self, leaf: Leaf, memo: Memo) -> Index:
        """This with each atom, wherever it stands, as `leaf` gives it; None keeps it, but an alias
        ends.

        Calls with one `leaf` may share a `memo`.
        """
        if self not in memo:
            memo[self] = rebuild(self, lambda atom: leaf(atom) or _of_new_parts(atom, leaf, memo))
        return memo[self]

    def evaluate(self, read: Callable[[Atom], Any]) -> Any:
        """The number or array that this is if `read` gives its axes, variables and gathers."""
        total: Any = self.const
        for atom, factor in self.terms:
            if atom.parts:
                parts = [part.evaluate(read) for part in atom.parts]
                number = reduce(mul, parts) // atom.divisor
                number = number % atom.modulus if atom.modulus else number
            else:
                number = read(atom)
            total = total + factor * number
        return total

    @property
    def is_const(self) -> bool:
        """True if it has no atoms."""
        return not self.terms


Dim = int | Index
Shape = tuple[Dim, ...]


class Table(dict[Any, V]):
    """Values by their fields; a missing one is made."""

    def __init__(self, make: Callable[..., V]) -> None:
        self.make = make

    def __missing__(self, key: tuple[Any, ...]) -> V:
        made = self[key] = self.make(*key)
        return made


class Tables:
    """The intern tables."""

    def __init__(self) -> None:
        self.created = 0
        self.values = Table(Index)
        self.named = Table(Atom)
        self.gathers = Table(Atom)
        self.composed = Table(Atom)
        self.digits = Table(_digit)
        self.plain = dict[Any, Index]()
        self.atoms = Table(_atoms)

    def clear(self) -> None:
        """Forgets all values but those of variables, which live tensors have in their shapes.

        Values still held stay valid but are no longer shared; loops find their axes again.
        """
        kept = {
            key: value
            for key, value in self.values.items()
            if {atom.kind for atom, _ in value.terms} == {"variable"}
        }
        for name, table in vars(self).items():
            if name not in ("created", "named"):
                table.clear()
        self.values.update(kept)


def make(const: int, terms: Terms = ()) -> Index:
    """The interned value of sorted, non-zero terms."""
    return TABLES.values[const, terms]


def as_index(value: Dim) -> Index:
    """An integer as an index value."""
    return make(value) if isinstance(value, int) else value


def simplest(value: Dim) -> Dim:
    """An integer if nothing is symbolic."""
    return value if isinstance(value, int) or value.terms else value.const


def size(shape: Iterable[Dim]) -> int:
    """The number of elements at the upper bounds of symbolic extents."""
    return prod(map(upper, shape))


def upper(extent: Dim) -> int:
    """The largest value of an extent."""
    return extent if isinstance(extent, int) else extent.hi


def upper_shape(shape: Shape) -> tuple[int, ...]:
    """A shape at its upper bounds: how buffers are laid out."""
    return tuple(map(upper, shape))


def of_atom(atom: Atom) -> Index:
    """The index that is this atom alone."""
    if atom.lo >= atom.hi:
        return make(atom.lo)
    return make(0, ((atom, 1),))


def axis(name: str, extent: Dim) -> Index:
    """The value of loop axis `name`."""
    return of_atom(TABLES.named["axis", 0, as_index(extent).hi - 1, name])


def axes_over(name: str, shape: Iterable[Dim]) -> Indices:
    """The axes name0, name1, ... of a shape."""
    return tuple([axis(f"{name}{k}", extent) for k, extent in enumerate(shape)])


def variable(name: str, lo: int, hi: int) -> Index:
    """A number bound at launch, `hi` included."""
    return of_atom(TABLES.named["variable", lo, hi, name])


def gather(node: object, extent: int) -> Index:
    """The place in 0 .. extent - 1 that `node` computes; what is outside masks its access."""
    return make(0, ((TABLES.gathers["gather", 0, extent - 1, "", node], 1),))


def alias(value: Index, lo: int, hi: int) -> Index:
    """`value` under a mask that proves lo <= value <= hi, until `unalias`."""
    lo, hi = max(lo, value.lo), min(hi, value.hi)
    if (lo, hi) == (value.lo, value.hi):
        return value
    return of_atom(TABLES.composed["alias", lo, hi, "", None, (value,)])


def _product(x: Atom, y: Atom) -> Index:
    parts = tuple(map(of_atom, sorted((x, y))))
    corners = [p * q for p in (x.lo, x.hi) for q in (y.lo, y.hi)]
    return of_atom(TABLES.composed["product", min(corners), max(corners), "", None, parts])


def add(factors: dict[Atom, int], terms: Terms, times: int = 1) -> None:
    """Add `terms`, so many times, to a coefficient table."""
    for atom, factor in terms:
        factors[atom] = factors.get(atom, 0) + factor * times


def collect(const: int, factors: dict[Atom, int]) -> Index:
    """The value of a coefficient table, with digits of one base joined."""
    terms = [term for term in factors.items() if term[1]]
    for (low, factor), (high, more) in product([one for one in terms if one[0].modulus], terms):
        # k * (x//d % m) is continued by k * m * (x//(d * m) % n)
        upper = (low.parts, low.divisor * low.modulus, factor * low.modulus)
        if (high.parts, high.divisor, more) == upper:
            del factors[low], factors[high]
            whole = digit(low.parts[0], low.divisor, low.modulus * high.modulus)
            add(factors, whole.terms, factor)
            return collect(const + factor * whole.const, factors)
    return make(const, tuple(sorted(terms)))


def rebuild(value: Index, leaf: Leaf) -> Index:
    """`value` with each atom replaced by what `leaf` gives; None keeps it."""
    found = {atom: leaf(atom) for atom, _ in value.terms}
    if not any(found.values()):
        return value
    const = value.const
    factors: dict[Atom, int] = {}
    for atom, factor in value.terms:
        new = found[atom] or make(0, ((atom, 1),))
        const += factor * new.const
        add(factors, new.terms, factor)
    return collect(const, factors)


def _of_new_parts(atom: Atom, leaf: Leaf, memo: Memo) -> Index | None:
    parts = tuple([part.replaced(leaf, memo) for part in atom.parts])
    if parts == atom.parts and atom.kind != "alias":
        return None
    return digit(reduce(mul, parts), atom.divisor, atom.modulus)


def atoms(*values: Index) -> frozenset[Atom]:
    """The axes, variables and gathers that `values` depend on."""
    return TABLES.atoms[values]


def _atoms(*values: Index) -> frozenset[Atom]:
    found: set[Atom] = set()
    for atom in [atom for value in values for atom, _ in value.terms]:
        found |= atoms(*atom.parts) or {atom}
    return frozenset(found)


# Digits. A period P is what a digit does not see: divisor * modulus, or only divisor, whose
# multiples go into the quotient. Each rule is an identity of floor division.


def digit(value: Index, divisor: int, modulus: int) -> Index:
    """(value // divisor) % modulus, rounding down; modulus 0 leaves the % out."""
    if value.lo >= 0 and value.hi < divisor * modulus:
        modulus = 0
    if divisor == 1 and modulus == 0:
        return value
    return TABLES.digits[value, divisor, modulus]


def _digit(value: Index, divisor: int, modulus: int) -> Index:
    """(P*q + r) // d % m = r // d % m, and (d*q + r) // d = q + r // d."""
    lo, hi = value.lo // divisor, value.hi // divisor
    if lo == hi:
        return make(lo % modulus if modulus else lo)
    whole, rest = divided(value, divisor * (modulus or 1))
    if rest is not value:
        low = digit(rest, divisor, modulus)
        return low if modulus else whole + low
    found = _in_groups(value, divisor, modulus) or _digit_of_digit(value, divisor, modulus)
    if found:
        return found
    if modulus:
        lo, hi = 0, modulus - 1
    return of_atom(Atom("digit", lo, hi, parts=(value,), divisor=divisor, modulus=modulus))


def divided(value: Index, period: int) -> tuple[Index, Index]:
    """(q, r) with value = P*q + r and r.lo in [0, P); coefficients keep their signs in r."""
    rest = {atom: c % period if c > 0 else -(-c % period) for atom, c in value.terms}
    quotient = {atom: (c - rest[atom]) // period for atom, c in value.terms}
    remainder = collect(value.const, rest)
    begin = remainder.lo // period
    return collect(begin, quotient), remainder - begin * period


def _in_groups(value: Index, divisor: int, modulus: int) -> Index | None:
    """value = g*q + r with r in one block of g never carries into q: where g divides d, r is not
    seen; where d divides g and g divides P, q and r each give a part."""
    factors = [c for _, c in value.terms]
    period = divisor * modulus
    groups = {gcd(c, n) for c in factors for n in (divisor, period)}
    for group in sorted(groups - {1}, reverse=True):
        quotient, rest = divided(value, group)
        if rest.hi >= group:
            continue
        if divisor % group == 0:
            return digit(quotient, divisor // group, modulus)
        if group % divisor == 0:
            times = group // divisor
            return quotient % (modulus // times) * times + rest // divisor
    return None


def _digit_of_digit(value: Index, divisor: int, modulus: int) -> Index | None:
    """(x//a + c) // d = (x + a*c) // (a*d), and (x//a % (d*n)) // d = x // (a*d) % n."""
    (atom, factor), *others = value.terms
    if others or factor != 1 or atom.kind != "digit" or (atom.modulus and value.const):
        return None
    left = atom.modulus // divisor
    if atom.modulus % divisor or (modulus and left % modulus):
        return None
    inner = atom.parts[0] + value.const * atom.divisor
    return digit(inner, atom.divisor * divisor, modulus or left)


# Masks


def at_least_zero(value: Index) -> Index:
    """The normal form of value >= 0: 0 if it always holds, -1 if it never does.

    Terms too small to matter are dropped: 4*i + j >= 0 with 0 <= j < 4 is i >= 0.
    """
    if value.lo >= 0:
        return make(0)
    if value.hi < 0:
        return NEVER[0]
    factors = [abs(c) for _, c in value.terms]
    for group in sorted({gcd(*factors), *factors} - {1}, reverse=True):
        quotient, rest = divided(value, group)
        if rest.hi < group:
            return at_least_zero(quotient)
    return value


def mask_of(constraints: Iterable[Index]) -> Mask:
    """The conjunction of constraints in normal form, without those that others imply."""
    return _conjunction([*map(at_least_zero, constraints)])


def both(first: Mask, second: Mask) -> Mask:
    """The conjunction of two masks."""
    if not first or not second:
        return first or second
    return _conjunction([*first, *second])


def _conjunction(values: list[Index]) -> Mask:
    values.sort(key=attrgetter("const"), reverse=True)
    if NEVER[0] in values:
        return NEVER
    least = {value.terms: value for value in values}  # the last of equal terms
    least.pop((), None)  # always true
    return tuple([least[terms] for terms in sorted(least)])


TABLES = Tables()
NEVER: Mask = (make(-1),)
"""The mask that lets nothing through."""
