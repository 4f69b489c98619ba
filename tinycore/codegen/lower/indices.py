"""Index values and masks at one point of a kernel: numbers put in, lanes found, tests made.

Comes in: index values of the tree. Goes out: places and index values that hold only what the
program itself counts (serial loops, variables, gathered numbers, the lane), and tests as nodes.
Next: elements.py reads and writes there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from tinycore.codegen.lower.address import alias_base, lane_dtype
from tinycore.codegen.lower.scope import LANE, Scope
from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import Mask, atoms, rebuild, substitute
from tinycore.uop.index import Atom, Index, Terms, as_index, make, of_atom
from tinycore.uop.ops import Ops, UOp, alu, const
from tinycore.uop.tree import Access

ZERO = make(0)
TRUE = const(True, dtypes.bool)
FALSE = const(False, dtypes.bool)


class Form(NamedTuple):
    """An index value of the tree taken apart: terms that are expanded axes, the other terms, and
    the atoms gathered in it. `is_plain` says that nothing else in it depends on expanded axes."""

    whole: Index
    moving: Terms
    still: Terms
    gathers: tuple[Atom, ...]
    is_plain: bool
    merged: dict[Terms, Terms]


class Site(NamedTuple):
    """An access of the tree: its place, its mask, what its indices gather, and the lanes of the
    registers it is in, 0 in memory."""

    place: Form
    mask: tuple[Form, ...]
    gathers: tuple[Atom, ...]
    width: int


class Place(NamedTuple):
    """A bound place: constant + terms in lane 0, `step` more from lane to lane.

    Where lanes do not move by equal steps, `step` is None and `uneven` the index with its lane.
    """

    constant: int
    terms: Terms
    step: int | None
    uneven: Index = ZERO


class Indices:
    """Index values, bound to the numbers of a scope.

    `evaluate` gives gathered numbers, `form` prepares an index value.
    """

    def __init__(self, scope: Scope, evaluate: Callable[[UOp], UOp]) -> None:
        self.scope = scope
        self.evaluate = evaluate
        self.form = cache(self._form)
        self.computed: dict[UOp, Atom] = {}

    # preparing

    def site(self, buffer: UOp, access: Access) -> Site:
        """An access, prepared for every number its axes will have."""
        storage = self.scope.storage[buffer]
        offset = storage.offset(access, buffer.arg.slots)
        mask = [self.form(constraint) for constraint in access.mask]
        gathers: dict[Atom, None] = {}
        for index in access.indices:
            gathers.update(dict.fromkeys(_gathers(index)))
        return Site(self.form(offset), tuple(mask), tuple(gathers), storage.width)

    def _form(self, index: Index) -> Form:
        """An index value, prepared; outer aliases written out show what is linear."""
        index = rebuild(index, alias_base)
        expanded = self.scope.study.expanded
        moving, still = [], []
        is_plain = True
        for term in index.terms:
            atom = term[0]
            if atom in expanded:
                moving.append(term)
                continue
            still.append(term)
            if atom.base or atom.factors:
                inner = atoms(of_atom(atom))
                is_plain = is_plain and not expanded & inner
        gathers = _gathers(index)
        kept = tuple(still)
        return Form(index, tuple(moving), kept, gathers, is_plain and not gathers, {(): kept})

    # binding

    def bind(self, form: Form) -> Index:
        """The index with the numbers of expanded axes and of gathered values put in."""
        if not form.is_plain:
            return self._substituted(form)
        env = self.scope.env
        constant = form.whole.const
        kept: Terms = ()
        for term in form.moving:
            number = env.get(term[0], LANE)
            if number == LANE:
                kept += (term,)
            else:
                constant += term[1] * number
        return make(constant, _merged(form, kept))

    def place(self, form: Form) -> Place:
        """A place with the numbers of expanded axes and of gathered values put in."""
        bound = self.bind(form)
        step = self.step(bound)
        if step is None:
            return Place(0, (), None, bound)
        if not step:
            return Place(bound.const, bound.terms, 0)
        terms = [term for term in bound.terms if term[0] is not self.scope.lane]
        return Place(bound.const, tuple(terms), step)

    def _substituted(self, form: Form) -> Index:
        env = self.scope.env
        axes, _ = self.scope.study.of_index(form.whole)
        numbers = {axis: make(env[axis]) for axis in axes if env.get(axis, LANE) != LANE}
        for atom in form.gathers:
            numbers[atom] = of_atom(self._gathered(atom))
        return substitute(form.whole, numbers)

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

    def at_lane(self, index: Index, number: int) -> int:
        """The number that a bound index without other unknowns is in one lane."""
        lane = self.scope.lane
        assert lane is not None, "lower: there are no lanes here"
        return substitute(index, {lane: make(number)}).const

    def value(self, index: Index, dtype: DType) -> UOp:
        """An index of the tree as a number, or as one a lane."""
        addresses, lane = self.scope.addresses, self.scope.lane
        bound = self.bind(self.form(index))
        if self.step(bound) == 0 or lane is None:
            number = addresses.value(bound)
        else:
            number = addresses.vector(bound, lane, lane_dtype(bound))
        return self.scope.blocks.narrow(number, dtype)

    # tests

    def holds(self, mask: Mask) -> UOp:
        """The truth of a conjunction."""
        forms = [self.form(constraint) for constraint in mask]
        return self._all(tuple(forms), [])

    def test(self, site: Site) -> UOp | None:
        """The truth that an access happens: its mask holds and what it gathers is in bounds.

        None if lanes gather numbers of their own, so that each has an address of its own.
        """
        if not site.gathers:
            return self._all(site.mask, []) if site.mask else TRUE
        if self._is_scattered(site.gathers):
            return None
        inside = [self._inside(atom) for atom in site.gathers]
        return self._all(site.mask, inside)

    def _all(self, mask: tuple[Form, ...], parts: list[UOp]) -> UOp:
        for form in mask:
            bound = self.bind(form)
            if bound.hi < 0:
                return FALSE
            if bound.lo < 0:
                parts.append(self._at_least_zero(bound))
        depth = self.scope.blocks.depth
        # Single truths before those of lanes, outer before inner.
        parts.sort(key=lambda node: (node.dtype.lanes, depth(node)))
        total = TRUE
        for part in parts:
            total = self.scope.blocks.apply(Ops.AND, total, part)
        return total

    def _at_least_zero(self, index: Index) -> UOp:
        """The truth of index >= 0 for a bound index."""
        addresses, vectors = self.scope.addresses, self.scope.blocks
        step, lane = self.step(index), self.scope.lane
        if step == 0 or lane is None:
            return addresses.at_least_zero(index)
        if step is None:
            numbers = addresses.vector(index, lane, lane_dtype(index))
            return vectors.apply(Ops.LT, numbers.const_like(-1), numbers)
        still = index - of_atom(lane) * step
        bound = as_index(-1) - still
        dtype = lane_dtype(bound)
        limit = vectors.narrow(addresses.value(bound), dtype)
        steps = vectors.steps(step, lane.hi + 1, dtype)
        return vectors.apply(Ops.LT, limit, steps)

    # gathered numbers

    def _is_scattered(self, gathers: tuple[Atom, ...]) -> bool:
        lane = self.scope.lane
        if self.scope.lanes == 1 or lane is None:
            return False
        study = self.scope.study
        return any(lane in study.of_index(of_atom(atom)).axes for atom in gathers)

    def _gathered(self, atom: Atom) -> Atom:
        """The number that a gathered atom is here, negatives counted from the end, as an atom."""
        assert isinstance(atom.node, UOp), f"lower: {atom} gathers no node"
        scope = self.scope
        put = scope.blocks.put
        value = self.evaluate(atom.node)
        number = scope.blocks.narrow(value, dtypes.int64)
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
        whole = self.scope.blocks.narrow(number, dtypes.uint64)
        return self.scope.blocks.apply(Ops.LT, whole, whole.const_like(atom.hi + 1))


def _merged(form: Form, kept: Terms) -> Terms:
    """The terms of a form that stay, in order."""
    found = form.merged.get(kept)
    if found is None:
        terms = [term for term in form.whole.terms if term in form.still or term in kept]
        found = form.merged[kept] = tuple(terms)
    return found


def _gathers(index: Index) -> tuple[Atom, ...]:
    """The gathered atoms of an index value, in order of creation."""
    found = [atom for atom in atoms(index) if atom.kind == "gather"]
    return tuple(sorted(found, key=lambda atom: atom.order))
