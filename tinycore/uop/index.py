"""Index arithmetic as a value: constant + sum of integer coefficient x atom, interned and bounded.

What comes in are loop axes, variables and integers; what goes out are addresses and masks in one
normal form, so that equal indices are one object. No patterns and no fixpoint: every function is
linear in the number of terms. In the digit rules M stands for divisor * modulus. uop/affine.py
holds what is done with values: substitution, masks, evaluation, text.
"""

from __future__ import annotations

from math import gcd


class Atom:
    """A bounded unknown of an index: what is multiplied by a coefficient.

    Kinds: "axis" (a loop), "variable" (bound at launch), "digit" ((base // divisor) % modulus,
    modulus 0 meaning none), "alias" (base under a mask that proves tighter bounds), "product" (of
    two atoms or more), "gather" (the integer loaded by `node`, negatives counted from `extent`).
    """

    __slots__ = (
        "base",
        "divisor",
        "factors",
        "hi",
        "kind",
        "lo",
        "modulus",
        "name",
        "node",
        "order",
    )  # fmt: skip

    def __init__(self, kind: str, lo: int, hi: int, name: str = "", node: object = None) -> None:
        self.kind = kind
        self.order = next_order()
        self.lo = lo
        self.hi = hi
        self.name = name
        self.base: Index | None = None
        self.divisor = 1
        self.modulus = 0
        self.factors: tuple[Atom, ...] = ()
        self.node = node

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
        return add(self, as_index(other))

    def __sub__(self, other: Index | int) -> Index:
        return add(self, scale(as_index(other), -1))

    def __rsub__(self, other: int) -> Index:
        return add(as_index(other), scale(self, -1))

    def __mul__(self, other: Index | int) -> Index:
        return scale(self, other) if isinstance(other, int) else multiply(self, other)

    def __neg__(self) -> Index:
        return scale(self, -1)

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
        self.digits: dict[tuple[Index, int, int], Atom] = {}
        self.aliases: dict[tuple[Index, int, int], Atom] = {}
        self.products: dict[tuple[Atom, ...], Atom] = {}
        self.gathers: dict[tuple[object, int], Atom] = {}
        self.quotients: dict[tuple[Index, int, int], Index] = {}
        self.plain: dict[Index, Index] = {}
        self.atoms: dict[Index, frozenset[Atom]] = {}

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


TABLES = Tables()


def next_order() -> int:
    """A fresh number: atoms sort by creation inside a value."""
    TABLES.order += 1
    return TABLES.order


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
        atom = TABLES.aliases[key] = Atom("alias", lo, hi)
        atom.base = value
    return make(0, ((atom, 1),))


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


def add(a: Index, b: Index) -> Index:
    """a + b."""
    if not b.terms:
        return a if b.const == 0 else make(a.const + b.const, a.terms)
    if not a.terms:
        return b if a.const == 0 else make(a.const + b.const, b.terms)
    factors = dict(a.terms)
    for atom, factor in b.terms:
        factors[atom] = factors.get(atom, 0) + factor
    return collect(a.const + b.const, factors)


def scale(a: Index, factor: int) -> Index:
    """a * factor."""
    if factor == 1:
        return a
    if factor == 0:
        return make(0)
    return make(a.const * factor, tuple([(atom, c * factor) for atom, c in a.terms]))


def multiply(a: Index, b: Index) -> Index:
    """a * b; a product of two unknowns becomes an atom of its own."""
    if not a.terms or not b.terms:
        return scale(b, a.const) if not a.terms else scale(a, b.const)
    total = add(scale(make(0, a.terms), b.const), scale(make(0, b.terms), a.const))
    total = add(total, make(a.const * b.const))
    for x, x_factor in a.terms:
        for y, y_factor in b.terms:
            total = add(total, scale(_product(x, y), x_factor * y_factor))
    return total


def _product(x: Atom, y: Atom) -> Index:
    factors = tuple(sorted((x.factors or (x,)) + (y.factors or (y,)), key=lambda a: a.order))
    atom = TABLES.products.get(factors)
    if atom is None:
        corners = [p * q for p in (x.lo, x.hi) for q in (y.lo, y.hi)]
        atom = TABLES.products[factors] = Atom("product", min(corners), max(corners))
        atom.factors = factors
    return of_atom(atom)


def digit(value: Index, divisor: int, modulus: int) -> Index:
    """(value // divisor) % modulus, rounding down; modulus 0 leaves the remainder out."""
    if modulus == 1:
        return make(0)
    if divisor == 1 and (modulus == 0 or (value.lo >= 0 and value.hi < modulus)):
        return value
    key = (value, divisor, modulus)
    found = TABLES.quotients.get(key)
    if found is None:
        found = TABLES.quotients[key] = _digit(value, divisor, modulus)
    return found


def _digit(value: Index, divisor: int, modulus: int) -> Index:
    for rule in DIGIT_RULES:
        found = rule(value, divisor, modulus)
        if found is not None:
            return found
    key = (value, divisor, modulus)
    atom = TABLES.digits.get(key)
    if atom is None:
        lo, hi = value.lo // divisor, value.hi // divisor
        if modulus:
            lo, hi = 0, min(modulus - 1, hi) if lo >= 0 else modulus - 1
        atom = TABLES.digits[key] = Atom("digit", lo, hi)
        atom.base, atom.divisor, atom.modulus = value, divisor, modulus
    return of_atom(atom)


def split_multiples(value: Index, group: int) -> tuple[Index, Index]:
    """(q, r) with value = group * q + r, q holding the terms that group divides exactly."""
    exact = tuple([(atom, c // group) for atom, c in value.terms if c % group == 0])
    rest = tuple([(atom, c) for atom, c in value.terms if c % group])
    return make(value.const // group, exact), make(value.const % group, rest)


def one_block(value: Index, divisor: int, modulus: int) -> Index | None:
    """The quotient is constant over the bounds."""
    low = value.lo // divisor
    if low != value.hi // divisor:
        return None
    return make(low % modulus if modulus else low)


def one_period(value: Index, divisor: int, modulus: int) -> Index | None:
    """value stays in [k*M, (k+1)*M): the modulus only subtracts k*M."""
    period = divisor * modulus
    if not modulus or value.lo // period != value.hi // period:
        return None
    return digit(value + -(value.lo // period) * period, divisor, 0)


def hidden_by_modulus(value: Index, divisor: int, modulus: int) -> Index | None:
    """Multiples of M do not reach the digit; coefficients are kept below M, value.lo in [0, M)."""
    if not modulus:
        return None
    period = divisor * modulus
    plain = _drop_inner_moduli(value, period)
    balanced = _residues(plain, period, balance=True)
    if balanced.lo // period == balanced.hi // period:
        return one_period(balanced, divisor, modulus)
    small = _residues(plain, period, balance=False)
    return None if small is value else digit(small, divisor, modulus)


def _drop_inner_moduli(value: Index, period: int) -> Index:
    """c * ((x // d) % m) is c * (x // d) modulo M when M divides c * m."""
    total = make(value.const)
    for atom, factor in value.terms:
        part = make(0, ((atom, 1),))
        if atom.kind == "digit" and atom.modulus and factor * atom.modulus % period == 0:
            assert atom.base is not None
            part = digit(atom.base, atom.divisor, 0)
        total = add(total, scale(part, factor))
    return total


def _residues(value: Index, period: int, balance: bool) -> Index:
    """Coefficients modulo M, signs kept or balanced around zero, moved so that lo is in [0, M)."""
    factors = {}
    for atom, factor in value.terms:
        rest = abs(factor) % period * (1 if factor > 0 else -1)
        if balance:
            rest = (factor + period // 2) % period - period // 2
        factors[atom] = rest
    small = collect(value.const % period, factors)
    return small + -(small.lo // period) * period


def carries_nothing(value: Index, divisor: int, modulus: int) -> Index | None:
    """value = g*q + r with r in one block of g and g dividing divisor: r never carries into q."""
    common = gcd(divisor, *[c for _, c in value.terms])
    groups = {gcd(c, divisor) for _, c in value.terms} | {common}
    for group in sorted(groups, reverse=True):
        quotient, rest = split_multiples(value, group)
        if group > 1 and rest.lo // group == rest.hi // group:
            return digit(quotient + rest.lo // group, divisor // group, modulus)
    return None


def untouched_low_part(value: Index, divisor: int, modulus: int) -> Index | None:
    """(g*q + r) % m = g * (q % (m/g)) + r for r in one block of g, g dividing m."""
    if divisor != 1:
        return None
    for group in sorted({gcd(c, modulus) for _, c in value.terms}, reverse=True):
        quotient, rest = split_multiples(value, group)
        block = rest.lo // group
        if group > 1 and block == rest.hi // group:
            high = digit(quotient + block, 1, modulus // group)
            return add(scale(high, group), rest + -block * group)
    return None


def whole_multiples(value: Index, divisor: int, modulus: int) -> Index | None:
    """(d*q + r) // d = q + r // d; afterwards r.lo is in [0, d)."""
    if modulus or divisor == 1:
        return None
    quotient: dict[Atom, int] = {}
    rest: dict[Atom, int] = {}
    for atom, factor in value.terms:
        times = factor // divisor if factor >= divisor or factor % divisor == 0 else 0
        quotient[atom], rest[atom] = times, factor - times * divisor
    remainder = collect(value.const, rest)
    shift = remainder.lo // divisor
    whole = collect(shift, quotient)
    if not whole.terms and shift == 0:
        return None
    return add(whole, digit(remainder + -shift * divisor, divisor, 0))


def digit_of_digit(value: Index, divisor: int, modulus: int) -> Index | None:
    """(x//a) // d = x // (a*d), and (x//a % (d*n)) // d = x // (a*d) % n."""
    if len(value.terms) != 1 or value.terms[0][1] != 1 or value.terms[0][0].kind != "digit":
        return None
    atom = value.terms[0][0]
    assert atom.base is not None
    if atom.modulus == 0:
        inner = atom.base + value.const * atom.divisor
        return digit(inner, atom.divisor * divisor, modulus)
    if value.const or atom.modulus % divisor:
        return None
    left = atom.modulus // divisor
    if modulus and left % modulus and modulus % left:
        return None
    return digit(atom.base, atom.divisor * divisor, min(left, modulus) if modulus else left)


# Each rule is an identity of floor division with its proof in its docstring; the order is by cost.
DIGIT_RULES = (
    one_block,
    one_period,
    hidden_by_modulus,
    carries_nothing,
    untouched_low_part,
    whole_multiples,
    digit_of_digit,
)
