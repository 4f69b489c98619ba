"""Shows that an index value is at least zero under masks, or finds where it is not.

Comes in: a value and the constraints that hold there. Goes out: a proof (by bounds, taking
constraints away from the value), or a counterexample found by trying points. What is neither
proven nor refuted is left to REF, which sees values. uop/spec.py words the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinycore.uop.affine import at_least_zero, atoms, evaluate
from tinycore.uop.index import Atom, Index
from tinycore.util import np, prod

POINTS = 1 << 14  # all points of a small space are tried, as many chosen ones of a large space
Point = dict[Atom, int]


def holds(value: Index, given: Sequence[Index]) -> bool:
    """True if `value` >= 0 follows from bounds, less a multiple of each constraint that helps."""
    goal = at_least_zero(value)
    for known in given:
        for factor in _factors(goal, known):
            rest = goal - known * factor
            if rest.lo > goal.lo:
                goal = rest
                break
    return goal.lo >= 0


def _factors(goal: Index, known: Index) -> list[int]:
    """By how much a constraint may be multiplied to cancel a term of the goal."""
    coefficients = dict(known.terms)
    pairs = [(factor, coefficients.get(atom, 0)) for atom, factor in goal.terms]
    return sorted({a // b for a, b in pairs if b and a % b == 0 and a // b > 0}, reverse=True)


def counterexample(value: Index, given: Sequence[Index]) -> Point | None:
    """A point where every constraint holds and `value` < 0, if trying points finds one."""
    near, free = _connected(value, given)
    if never(given):
        return None
    points = _points(sorted(free, key=lambda atom: (atom.name, atom.order)))
    wrong = evaluate(value, points.__getitem__) < 0
    for known in near:
        wrong = wrong & (evaluate(known, points.__getitem__) >= 0)
    found = np().flatnonzero(wrong)
    if found.size == 0:
        return None
    return {atom: int(column[found[0]]) for atom, column in points.items()}


def never(given: Sequence[Index]) -> bool:
    """True if a constraint is a number below zero: what it stands around does not run."""
    return any(not known.terms and known.const < 0 for known in given)


def _connected(value: Index, given: Sequence[Index]) -> tuple[list[Index], set[Atom]]:
    """The constraints that share atoms with `value`, directly or through others."""
    free = set(atoms(value))
    near: list[Index] = []
    rest = [known for known in given if known.terms]
    while True:
        more = [known for known in rest if atoms(known) & free]
        if not more:
            return near, free
        near += more
        rest = [known for known in rest if known not in more]
        free = free.union(*[atoms(known) for known in more])


def _points(free: Sequence[Atom]) -> dict[Atom, Any]:
    sizes = [atom.hi - atom.lo + 1 for atom in free]
    if not free:
        return {}
    if prod(sizes) <= POINTS:
        grid = np().indices(sizes).reshape(len(sizes), -1)
        return {atom: row + atom.lo for atom, row in zip(free, grid, strict=True)}
    random = np().random.default_rng(0)
    return {atom: _chosen(atom, random) for atom in free}


def _chosen(atom: Atom, random: Any) -> Any:
    """Numbers between the bounds, each bound a quarter of the time."""
    inner = random.integers(atom.lo, atom.hi, POINTS, endpoint=True)
    which = random.integers(0, 4, POINTS)
    return np().where(which == 0, atom.lo, np().where(which == 1, atom.hi, inner))
