"""What is done with index values: substitution, bounds under masks, evaluation.

Comes in: values of index.py. Goes out: values, masks or numbers. Next file: tree.py.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from math import gcd
from operator import attrgetter, mul
from typing import Any

from tinycore.uop.index import TABLES, Atom, Index, digit, divided, make, rebuild

Mask = tuple[Index, ...]  # a conjunction: each is at least zero
NEVER: Mask = (make(-1),)  # the mask that lets nothing through


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


Leaf = Callable[[Atom], Index | None]
Memo = dict[Index, Index]


def substitute(value: Index, env: Mapping[Atom, Index]) -> Index:
    """`value` with the atoms of `env` replaced and digits above them simplified again."""
    return replaced(value, env.get, {})


def unalias(value: Index) -> Index:
    """`value` with what a mask proved simplified into it, the mask being kept apart."""
    return replaced(value, lambda atom: None, TABLES.plain)


def replaced(value: Index, leaf: Leaf, memo: Memo) -> Index:
    """`value` with each atom, wherever it stands, as `leaf` gives it; None keeps it, but an alias
    ends.

    Calls with one `leaf` may share a `memo`.
    """
    if value not in memo:
        memo[value] = rebuild(value, lambda atom: leaf(atom) or _of_new_parts(atom, leaf, memo))
    return memo[value]


def _of_new_parts(atom: Atom, leaf: Leaf, memo: Memo) -> Index | None:
    parts = tuple([replaced(part, leaf, memo) for part in atom.parts])
    if parts == atom.parts and atom.kind != "alias":
        return None
    return digit(reduce(mul, parts), atom.divisor, atom.modulus)


def atoms(*values: Index) -> frozenset[Atom]:
    """The axes, variables and gathers that `values` depend on."""
    known = TABLES.atoms.get(values)
    if known is not None:
        return known
    found: set[Atom] = set()
    for atom in [atom for value in values for atom, _ in value.terms]:
        found |= atoms(*atom.parts) or {atom}
    return TABLES.atoms.setdefault(values, frozenset(found))


def evaluate(value: Index, read: Callable[[Atom], Any]) -> Any:
    """The number or array that `value` is if `read` gives its axes, variables and gathers."""
    total: Any = value.const
    for atom, factor in value.terms:
        if atom.parts:
            parts = [evaluate(part, read) for part in atom.parts]
            number = reduce(mul, parts) // atom.divisor
            number = number % atom.modulus if atom.modulus else number
        else:
            number = read(atom)
        total = total + factor * number
    return total


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
