"""Index values and masks at one point of a kernel: numbers put in, lanes found, tests made.

Comes in: index values of the tree. Goes out: index values that hold only what the program itself
counts (serial loops, variables, gathered numbers, the lane), and tests as nodes.
Next: elements.py reads and writes there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tinycore.codegen.lower.address import lane_dtype
from tinycore.codegen.lower.scope import LANE, Scope
from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import Mask, atoms, substitute
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
    uneven: Index


class Indices:
    """Index values, bound to the numbers of a scope; `evaluate` gives gathered numbers."""

    def __init__(self, scope: Scope, evaluate: Callable[[UOp], UOp]) -> None:
        self.scope = scope
        self.evaluate = evaluate
        self.forms: dict[Index, Form] = {}
        self.computed: dict[UOp, Atom] = {}

    def site(self, buffer: UOp, access: Access) -> Site:
        """An access, prepared for every number its axes will have."""
        storage = self.scope.storage[buffer]
        offset = storage.offset(access, buffer.arg.slots)
        gathers = [atom for index in access.indices for atom in _gathers(index)]
        mask = tuple([self.form(constraint) for constraint in access.mask])
        return Site(self.form(offset), mask, tuple(dict.fromkeys(gathers)), storage.width)

    def form(self, index: Index) -> Form:
        """An index value, prepared."""
        found = self.forms.get(index)
        if found is None:
            found = self.forms[index] = self._form(self.scope.addresses.open_aliases(index))
        return found

    def _form(self, index: Index) -> Form:
        expanded = self.scope.study.expanded
        moving = tuple([term for term in index.terms if term[0] in expanded])
        still = tuple([term for term in index.terms if term[0] not in expanded])
        gathers = _gathers(index)
        inner = [atoms(make(0, ((atom, 1),))) for atom, _ in still if atom.base or atom.factors]
        is_plain = not gathers and not any(expanded & found for found in inner)
        return Form(index, moving, still, gathers, is_plain, {(): still})

    def bind(self, form: Form) -> Index:
        """The index with the numbers of expanded axes and of gathered values put in."""
        if not form.is_plain:
            return self._substituted(form)
        env = self.scope.env
        total = form.whole.const
        kept: Terms = ()
        for term in form.moving:
            number = env.get(term[0], LANE)
            if number == LANE:
                kept += (term,)
            else:
                total += term[1] * number
        return make(total, self._merged(form, kept))

    def place(self, form: Form) -> Place:
        """A place with the numbers of expanded axes and of gathered values put in."""
        if form.is_plain:
            return self._plain_place(form)
        bound = self.bind(form)
        step = self.step(bound)
        if step is None:
            return Place(0, (), None, bound)
        lane = self.scope.lane
        terms = (
            tuple([term for term in bound.terms if term[0] is not lane]) if step else bound.terms
        )
        return Place(bound.const, terms, step, ZERO)

    def _plain_place(self, form: Form) -> Place:
        env = self.scope.env
        constant, step = form.whole.const, 0
        kept: Terms = ()
        for term in form.moving:
            number = env.get(term[0])
            if number is None:
                kept += (term,)
            elif number == LANE:
                step = term[1]
            else:
                constant += term[1] * number
        return Place(constant, self._merged(form, kept), step, ZERO)

    def _merged(self, form: Form, kept: Terms) -> Terms:
        """The terms that stay, in order."""
        found = form.merged.get(kept)
        if found is None:
            found = tuple([t for t in form.whole.terms if t in form.still or t in kept])
            form.merged[kept] = found
        return found

    def _substituted(self, form: Form) -> Index:
        env = self.scope.env
        axes, _ = self.scope.study.of_index(form.whole)
        numbers = {axis: make(env[axis]) for axis in axes if env.get(axis, LANE) != LANE}
        for atom in form.gathers:
            numbers[atom] = of_atom(self._gathered(atom))
        return substitute(form.whole, numbers) if numbers else form.whole

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
        scope = self.scope
        bound = self.bind(self.form(index))
        if self.step(bound) == 0 or scope.lane is None:
            return scope.addresses.narrow(scope.addresses.value(bound), dtype)
        numbers = scope.addresses.vector(bound, scope.lane, lane_dtype(bound))
        return scope.addresses.narrow(numbers, dtype.vec(scope.lanes))

    def holds(self, mask: Mask) -> UOp:
        """The truth of a conjunction."""
        return self._all(tuple([self.form(constraint) for constraint in mask]), [])

    def test(self, site: Site) -> UOp | None:
        """The truth that an access happens: its mask holds and what it gathers is in bounds.

        None if lanes gather numbers of their own, so that each has an address of its own.
        """
        if not site.gathers:
            return self._all(site.mask, []) if site.mask else TRUE
        if self._is_scattered(site.gathers):
            return None
        return self._all(site.mask, [self._inside(atom) for atom in site.gathers])

    def _all(self, mask: tuple[Form, ...], parts: list[UOp]) -> UOp:
        for form in mask:
            bound = self.bind(form)
            if bound.hi < 0:
                return FALSE
            if bound.lo < 0:
                parts.append(self._at_least_zero(bound))
        parts.sort(key=self._by_depth)
        total = TRUE
        for part in parts:
            total = self.scope.addresses.splat(total, part.dtype.lanes)
            total = self.scope.blocks.put(alu(Ops.AND, total, part))
        return total

    def _is_scattered(self, gathers: tuple[Atom, ...]) -> bool:
        lane = self.scope.lane
        if self.scope.lanes == 1 or lane is None:
            return False
        study = self.scope.study
        return any(lane in study.of_index(of_atom(atom)).axes for atom in gathers)

    def _by_depth(self, node: UOp) -> tuple[int, int]:
        """Single truths before those of lanes, outer before inner."""
        block = self.scope.blocks.home.get(node)
        return node.dtype.lanes, 0 if block is None else block.depth

    def _at_least_zero(self, index: Index) -> UOp:
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


def _gathers(index: Index) -> tuple[Atom, ...]:
    """The gathered atoms of an index value, in order of creation."""
    if not index.terms:
        return ()
    found = [atom for atom in atoms(index) if atom.kind == "gather"]
    return tuple(sorted(found, key=_order)) if found else ()


def _order(atom: Atom) -> int:
    return atom.order
