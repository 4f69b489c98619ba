"""Index arithmetic as a value: constant + sum of integer coefficient x atom, interned and bounded.

What comes in are loop axes, variables and integers; what goes out are addresses and masks in one
normal form, so that equal indices are one object. No patterns and no fixpoint: every function is
linear in the number of terms. uop/affine.py holds what is done with values: substitution, masks,
evaluation, text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd
from typing import Any


@dataclass(eq=False, repr=False, slots=True)
class Atom:
    """A bounded unknown of an index: what is multiplied by a coefficient.

    Kinds: "axis" (a loop), "variable" (bound at launch), "digit" ((base // divisor) % modulus,
    modulus 0 meaning none), "alias" (base under a mask that proves tighter bounds), "product" (of
    two atoms or more), "gather" (the integer loaded by `node`, negatives counted from `extent`).
    """

    kind: str
    lo: int
    hi: int
    name: str = ""
    node: Any = None
    base: Index | None = None
    divisor: int = 1
    modulus: int = 0
    factors: tuple[Atom, ...] = ()
    order: int = field(default_factory=lambda: TABLES.next_order(), init=False)

    def __repr__(self) -> str:
        return self.name or f"<{self.kind} {self.order}>"


Terms = tuple[tuple[Atom, int], ...]


class Index:
    """An integer as a function of atoms; `lo` and `hi` are its inclusive bounds."""

    __slots__ = ("const", "hi", "lo", "terms")

    def __init__(self, const: int, terms: Terms) -> None:
        self.const = const
        self.terms = terms
        lo = hi = const
        for atom, factor in terms:
            lo += factor * (atom.lo if factor > 0 else atom.hi)
            hi += factor * (atom.hi if factor > 0 else atom.lo)
        self.lo = lo
        self.hi = hi

    def __add__(self, other: Index | int) -> Index:
        other = as_index(other)
        const = self.const + other.const
        if not self.terms or not other.terms:
            return make(const, self.terms or other.terms)
        factors = dict(self.terms)
        for atom, factor in other.terms:
            factors[atom] = factors.get(atom, 0) + factor
        return collect(const, factors)

    def __mul__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            scaled = [(atom, factor * other) for atom, factor in self.terms] if other else []
            return make(self.const * other, tuple(scaled))
        total = self * other.const + make(0, other.terms) * self.const
        for x, x_factor in self.terms:
            for y, y_factor in other.terms:
                total += _product(x, y) * (x_factor * y_factor)
        return total

    def __neg__(self) -> Index:
        return self * -1

    def __sub__(self, other: Index | int) -> Index:
        return self + -other

    def __rsub__(self, other: int) -> Index:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __repr__(self) -> str:
        terms = [f"{c}*{atom}" for atom, c in self.terms]
        return "Index(" + " + ".join([*terms, str(self.const)]) + ")"

    @property
    def is_const(self) -> bool:
        """True if no atom is in it."""
        return not self.terms


class Tables:
    """The intern tables, one for each kind of value; `clear` drops them between compilations."""

    def __init__(self) -> None:
        self.order = 0
        self.created = 0
        self.values: dict[tuple[int, Terms], Index] = {}
        self.named: dict[tuple[str, str, int, int], Atom] = {}
        self.digits: dict[tuple[Index, int, int], Index] = {}
        self.aliases: dict[tuple[Index, int, int], Atom] = {}
        self.products: dict[tuple[Atom, ...], Atom] = {}
        self.gathers: dict[tuple[object, int], Atom] = {}
        self.plain: dict[Index, Index] = {}
        self.atoms: dict[Index, frozenset[Atom]] = {}

    def next_order(self) -> int:
        """A fresh number: atoms sort by creation inside a value."""
        self.order += 1
        return self.order

    def clear(self) -> None:
        """Forgets every value but those of variables, which live tensors have in their shapes.

        Values still held stay valid but are no longer shared.
        """
        values = {key: v for key, v in self.values.items() if _only_variables(v)}
        named = {key: atom for key, atom in self.named.items() if atom.kind == "variable"}
        for table in vars(self).values():
            if isinstance(table, dict):
                table.clear()
        self.values.update(values)
        self.named.update(named)


def _only_variables(value: Index) -> bool:
    return {atom.kind for atom, _ in value.terms} == {"variable"}


TABLES: Tables = Tables()


def make(const: int, terms: Terms = ()) -> Index:
    """The interned value of these sorted, non-zero terms."""
    key = (const, terms)
    found = TABLES.values.get(key)
    if found is None:
        TABLES.created += 1
        found = TABLES.values[key] = Index(const, terms)
    return found


def as_index(value: Index | int) -> Index:
    """An integer as an index value; an index value as it is."""
    return value if isinstance(value, Index) else make(value)


def simplest(value: Index | int) -> Index | int:
    """A plain integer where nothing symbolic is left, else the value."""
    return value.const if isinstance(value, Index) and not value.terms else value


def of_atom(atom: Atom) -> Index:
    """The index that is this atom alone."""
    return make(atom.lo) if atom.lo == atom.hi else make(0, ((atom, 1),))


def _named(kind: str, name: str, lo: int, hi: int) -> Index:
    if lo >= hi:
        return make(lo)
    key = (kind, name, lo, hi)
    atom = TABLES.named.get(key)
    if atom is None:
        atom = TABLES.named[key] = Atom(kind, lo, hi, name)
    return make(0, ((atom, 1),))


def axis(name: str, extent: Index | int) -> Index:
    """The value of loop axis `name`, which runs 0 .. extent - 1."""
    return _named("axis", name, 0, as_index(extent).hi - 1)


def variable(name: str, lo: int, hi: int) -> Index:
    """A number bound at launch, between lo and hi inclusive."""
    return _named("variable", name, lo, hi)


def gather(node: object, extent: int) -> Index:
    """The integer that `node` computes, as a place in 0 .. extent - 1.

    A negative number counts from the end; what is still outside masks its access.
    """
    key = (node, extent)
    atom = TABLES.gathers.get(key)
    if atom is None:
        atom = TABLES.gathers[key] = Atom("gather", 0, extent - 1, node=node)
    return make(0, ((atom, 1),))


def alias(value: Index, lo: int, hi: int) -> Index:
    """`value` under a mask that proves lo <= value <= hi, with those bounds until `unalias`."""
    lo, hi = max(lo, value.lo), min(hi, value.hi)
    if lo >= hi:
        return make(lo)
    if (lo, hi) == (value.lo, value.hi):
        return value
    key = (value, lo, hi)
    atom = TABLES.aliases.get(key)
    if atom is None:
        atom = TABLES.aliases[key] = Atom("alias", lo, hi, base=value)
    return make(0, ((atom, 1),))


def _product(x: Atom, y: Atom) -> Index:
    factors = tuple(sorted((x.factors or (x,)) + (y.factors or (y,)), key=lambda a: a.order))
    atom = TABLES.products.get(factors)
    if atom is None:
        corners = [p * q for p in (x.lo, x.hi) for q in (y.lo, y.hi)]
        atom = Atom("product", min(corners), max(corners), factors=factors)
        TABLES.products[factors] = atom
    return of_atom(atom)


def collect(const: int, factors: dict[Atom, int]) -> Index:
    """The value of a coefficient table, digits of one base put together again."""
    work = [atom for atom in factors if atom.modulus] if len(factors) > 1 else []
    while work:
        atom = work.pop()
        factor = factors.get(atom, 0)
        upper = _next_digit(atom, factor, factors) if factor else None
        if upper is None:
            continue
        del factors[atom], factors[upper]
        whole = digit(_base(atom), atom.divisor, atom.modulus * upper.modulus)
        const += factor * whole.const
        for part, times in whole.terms:
            factors[part] = factors.get(part, 0) + times * factor
            work.append(part)
    terms = [term for term in factors.items() if term[1]]
    terms.sort(key=_by_order)
    return make(const, tuple(terms))


def _by_order(term: tuple[Atom, int]) -> int:
    return term[0].order


def _base(atom: Atom) -> Index:
    assert atom.base is not None, f"index: {atom} has no base"
    return atom.base


def _next_digit(atom: Atom, factor: int, factors: dict[Atom, int]) -> Atom | None:
    """The atom that continues k*(x//d % m) as k*m*(x//(d*m) % n), if it is there."""
    for other, times in factors.items():
        if other.base is not atom.base or other.kind != "digit" or other is atom:
            continue
        if other.divisor == atom.divisor * atom.modulus and times == factor * atom.modulus:
            return other
    return None


# Digits. A period P is what a digit does not see: divisor * modulus, or without a modulus divisor,
# whose multiples go straight into the quotient. Each rule is an identity of floor division.


def digit(value: Index, divisor: int, modulus: int) -> Index:
    """(value // divisor) % modulus, rounding down; modulus 0 leaves the remainder out."""
    if modulus == 1:
        return make(0)
    if divisor == 1 and (modulus == 0 or (value.lo >= 0 and value.hi < modulus)):
        return value
    key = (value, divisor, modulus)
    found = TABLES.digits.get(key)
    if found is None:
        found = TABLES.digits[key] = _digit(value, divisor, modulus)
    return found


def _digit(value: Index, divisor: int, modulus: int) -> Index:
    lo, hi = value.lo // divisor, value.hi // divisor
    if lo == hi:
        return make(lo % modulus if modulus else lo)
    for rule in (_within_a_period, _in_groups, _digit_of_digit):
        found = rule(value, divisor, modulus)
        if found is not None:
            return found
    if modulus:
        lo, hi = 0, min(modulus - 1, hi) if lo >= 0 else modulus - 1
    return of_atom(Atom("digit", lo, hi, base=value, divisor=divisor, modulus=modulus))


def _within_a_period(value: Index, divisor: int, modulus: int) -> Index | None:
    """(P*q + r) // d % m = r // d % m, and (d*q + r) // d = q + r // d; r.lo is in [0, P)."""
    period = divisor * (modulus or 1)
    plain = _drop_inner_moduli(value, period) if modulus else value
    whole, rest = _divided(plain, period, balance=True)
    if rest.hi >= period:
        whole, rest = _divided(plain, period, balance=False)
        if rest is value:
            return None
    low = digit(rest, divisor, modulus if rest.hi >= period else 0)
    return low if modulus else whole + low


def _divided(value: Index, period: int, balance: bool) -> tuple[Index, Index]:
    """(q, r) with value = P*q + r and r.lo in [0, P); the coefficients of r keep their signs, or
    are balanced around zero."""
    quotient: dict[Atom, int] = {}
    rest: dict[Atom, int] = {}
    for atom, factor in value.terms:
        left = abs(factor) % period * (1 if factor > 0 else -1)
        if balance:
            left = (factor + period // 2) % period - period // 2
        rest[atom] = left
        quotient[atom] = (factor - left) // period
    remainder = collect(value.const, rest)
    shift = remainder.lo // period
    return collect(shift, quotient), remainder - shift * period


def _drop_inner_moduli(value: Index, period: int) -> Index:
    """c * ((x // d) % m) is c * (x // d) modulo P when P divides c * m."""
    total = make(value.const)
    for atom, factor in value.terms:
        part = of_atom(atom)
        if atom.kind == "digit" and atom.modulus and factor * atom.modulus % period == 0:
            part = digit(_base(atom), atom.divisor, 0)
        total += part * factor
    return total


def split_multiples(value: Index, group: int) -> tuple[Index, Index]:
    """(q, r) with value = group * q + r, q holding the terms that group divides exactly."""
    exact = tuple([(atom, c // group) for atom, c in value.terms if c % group == 0])
    rest = tuple([(atom, c) for atom, c in value.terms if c % group])
    return make(value.const // group, exact), make(value.const % group, rest)


def _in_groups(value: Index, divisor: int, modulus: int) -> Index | None:
    """value = g*q + r with r in one block of g never carries into q: where g divides d, r is not
    seen; where d divides g and g divides P, q and r have a part of the digit each."""
    factors = [c for _, c in value.terms]
    period = divisor * modulus
    groups = {gcd(divisor, *factors), *[gcd(c, n) for c in factors for n in (divisor, period)]}
    for group in sorted(groups, reverse=True):
        quotient, rest = split_multiples(value, group)
        block = rest.lo // group
        if group == 1 or block != rest.hi // group:
            continue
        if divisor % group == 0:
            return digit(quotient + block, divisor // group, modulus)
        if modulus and group % divisor == 0:
            times = group // divisor
            high = digit(quotient + block, 1, modulus // times)
            return high * times + digit(rest - block * group, divisor, 0)
    return None


def _digit_of_digit(value: Index, divisor: int, modulus: int) -> Index | None:
    """(x//a) // d = x // (a*d), and (x//a % (d*n)) // d = x // (a*d) % n."""
    if len(value.terms) != 1 or value.terms[0][1] != 1 or value.terms[0][0].kind != "digit":
        return None
    atom = value.terms[0][0]
    if atom.modulus == 0:
        inner = _base(atom) + value.const * atom.divisor
        return digit(inner, atom.divisor * divisor, modulus)
    if value.const or atom.modulus % divisor:
        return None
    left = atom.modulus // divisor
    if modulus and left % modulus and modulus % left:
        return None
    return digit(_base(atom), atom.divisor * divisor, min(left, modulus) if modulus else left)
