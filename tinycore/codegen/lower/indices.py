"""Places each node in the outermost block that knows its sources, and makes nodes of indices.

In: index values, masks, and what each axis is here. Out: int64 nodes, or vectors where an index
runs along lanes, in the linear list of the program. Next file: expand.py.
Legend: a digit is (base // d) % m, of a base whose normal form is at least zero.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from functools import cache, partial, reduce
from itertools import count
from operator import attrgetter
from typing import Any, NamedTuple

from tinycore.dtype import DType, dtypes, to_dtype
from tinycore.uop.index import Atom, Index, Terms, atoms, make, of_atom, rebuild
from tinycore.uop.lowered import PLACELESS
from tinycore.uop.ops import Ops, UOp, alu, const

TRUE = const(True, dtypes.bool)
FALSE = const(False, dtypes.bool)


class Block(NamedTuple):
    """A scope of the program: the whole of it, a loop or an IF.

    `stored` are the buffers written inside; loads stay in a `firm` block, which may never run.
    """

    head: UOp | None
    depth: int
    stored: Set[UOp]
    firm: bool
    body: list[UOp]


_DEPTH = attrgetter("depth")


class Blocks:
    """The open blocks, outermost first, and where each node stands.

    `moment` is a new number for the tag of a node that holds only from now on.
    """

    def __init__(self) -> None:
        self.stack = [Block(None, 0, frozenset(), False, [])]
        self.home: dict[UOp, Block] = {}
        self.moment = count(1).__next__
        self.steps = cache(_steps)

    def put(self, node: UOp) -> UOp:
        """`node`, placed as far out as its sources allow."""
        if node in self.home or node.op in PLACELESS:
            return node
        return self.append(node, self.deepest(node.src))

    def append(self, node: UOp, block: Block | None = None) -> UOp:
        """`node`, placed in a block, or here."""
        home = self.home[node] = block or self.stack[-1]
        home.body.append(node)
        return node

    def block(self, node: UOp) -> Block:
        """Where a node stands: the outermost block for constants and parameters."""
        return self.home.get(node, self.stack[0])

    def deepest(self, nodes: Sequence[UOp]) -> Block:
        """The innermost block that any of the nodes stands in."""
        return max(map(self.block, nodes), key=_DEPTH)

    # vectors

    def apply(self, op: Ops, *src: UOp, tag: Any = None) -> UOp:
        """A scalar op, on single values or lane by lane."""
        lanes = max([node.lanes for node in src])
        node = alu(op, *[self.splat(node, lanes) for node in src])
        if tag and node.op is op:
            node = node.replace(tag=tag)
        return self.put(node)

    def splat(self, node: UOp, lanes: int) -> UOp:
        """`node` in every lane."""
        if node.lanes == lanes:
            return node
        return self.merge((node,), (0,) * lanes)

    def one(self, node: UOp, lane: int) -> UOp:
        """One lane of `node`."""
        return self.merge((node,), (lane % node.lanes,))

    def merge(self, parts: Sequence[UOp], lanes: tuple[int, ...]) -> UOp:
        """A vector of some lanes of the parts, numbered one part after another."""
        first, *others = parts
        dtype = first.dtype.vec(len(lanes))
        if first.is_const and not others:
            return const(first.arg, dtype)
        if lanes == tuple(range(first.lanes)) and not others:
            return first
        count, lane = len(parts), lanes[0]
        is_column = lanes == tuple(range(lane, count * count, count))
        if is_column and first.lanes == count and _is_power(count):
            return self._column(parts, lane, count)
        return self.put(UOp(Ops.SHUFFLE, dtype, tuple(parts), lanes))

    def _column(self, parts: Sequence[UOp], lane: int, size: int) -> UOp:
        """One lane of each part; columns share the halves of parts that they zip."""
        if size == 1:
            return parts[lane]
        count = len(parts)
        zipped = [self._column(parts, lane // 2 + k, size // 2) for k in (0, count // 2)]
        begin = lane % 2 * count // 2
        lanes = [k + side for k in range(begin, begin + count // 2) for side in (0, count)]
        return self.put(UOp(Ops.SHUFFLE, parts[0].dtype, tuple(zipped), tuple(lanes)))

    def narrow(self, node: UOp, dtype: DType) -> UOp:
        """Integers as `dtype`, the type of one lane, which they fit."""
        return self.put(node.cast(dtype.vec(node.lanes)))


class Indices(Blocks):
    """Index values at one point of a program.

    `copied` holds the numbers of copied axes; `now` the node of an axis or LET, and the moment a
    buffer last changed. `lane` is the axis of the vector loop around, `lanes` the width of its
    values; `short` says that digits are cheaper in 32 bits. `evaluate` gives the node
    of a value that an index gathers.
    """

    evaluate: Callable[..., UOp]

    def __init__(self, short: bool) -> None:
        super().__init__()
        self.short = short
        self.now: dict[Any, Any] = {}
        self.copied: dict[Any, Index] = {}
        self.lane: Any = None
        self.lanes = 1
        self.unknowns = cache(_unknowns)
        self.as_index = cache(self._as_index)
        self.number = cache(partial(const, dtype=dtypes.int64))
        self.sums: dict[Terms, UOp] = {}

    # numbers put in

    def bind(self, index: Index) -> Index:
        """The index with the numbers of copied axes and gathered values put in."""
        unknowns = self.unknowns(index)
        if unknowns:
            return index.substitute({atom: self._number_of(atom) for atom in unknowns})
        if not self.copied:
            return index
        return rebuild(index, self.copied.get)

    def by_lane(self, index: Index) -> list[Index]:
        """A bound index in each lane alone."""
        moving = [atom for atom in atoms(index) if self.runs(atom)]
        lanes = range(self.lanes)
        places = [{atom: self._in_lane(atom, lane) for atom in moving} for lane in lanes]
        return [index.substitute(place) for place in places]

    def _in_lane(self, atom: Atom, lane: int) -> Index:
        if atom is self.lane:
            return make(lane)
        return self.as_index(self.one(self._counted(atom), lane), atom.hi)

    def step(self, index: Index) -> int | None:
        """How far a bound index moves from lane to lane; None if not by equal steps."""
        moving: dict[Any, int] = {atom: n for atom, n in index.terms if self.runs(atom)}
        step = moving.pop(self.lane, 0)
        return None if moving else step

    def first(self, index: Index) -> Index:
        """A bound index in lane 0, if it moves by equal steps."""
        return rebuild(index, {self.lane: make(0)}.get)

    def runs(self, atom: Atom) -> bool:
        """True if an atom of a bound index differs from lane to lane."""
        if self.lanes == 1 or atom.kind == "variable":
            return False
        node: UOp | None = self.now.get(atom)
        if node:
            return node.lanes > 1
        return any(self.runs(part) for part in atoms(of_atom(atom)))

    def _number_of(self, atom: Atom) -> Index:
        if atom.kind == "gather":
            return self.as_index(self._gathered(atom), atom.hi)
        return self.copied.get(atom) or of_atom(atom)

    def _gathered(self, atom: Atom) -> UOp:
        """The number that a gathered atom is here, negatives counted from the end."""
        number = self.narrow(self.evaluate(atom.node), dtypes.int64)
        from_end = self.put(number + (atom.hi + 1))
        negative = self.put(number < 0)
        return self.put(negative.where(from_end, number))

    def _as_index(self, number: UOp, most: int) -> Index:
        atom = Atom("axis", 0, most, "gathered")
        self.now[atom] = number
        return of_atom(atom)

    # conditions

    def holds(self, mask: Iterable[Index], parts: Iterable[UOp] = ()) -> UOp:
        """The truth of all `parts`, and of every bound index of `mask` being at least zero."""
        nodes = [*parts]
        for index in mask:
            if index.hi < 0:
                return FALSE
            if index.lo < 0:
                nodes.append(self._at_least_zero(index))
        # single truths before lanes, outer before inner
        nodes.sort(key=lambda node: (node.lanes, self.block(node).depth))
        total = TRUE
        for node in nodes:
            total = self.apply(Ops.AND, total, node)
        return total

    def mask(self, conditions: Sequence[Index]) -> UOp:
        """The truth of a conjunction of the tree."""
        return self.holds(map(self.bind, conditions))

    def inside(self, index: Index) -> list[UOp]:
        """The truths that what an index gathers lies in its extent."""
        found = []
        for atom in self.unknowns(index):
            if atom.kind == "gather":
                number = self.narrow(self._gathered(atom), dtypes.uint64)
                found.append(self.put(number < atom.hi + 1))
        return found

    def _at_least_zero(self, index: Index) -> UOp:
        step = self.step(index)
        if step is None:
            numbers = self.value(index)
            return self.put(numbers.const_like(-1) < numbers)
        if step:
            bound = -1 - self.first(index)
            dtype = _lane_dtype(bound)
            limit = self.narrow(self.same(bound), dtype)
            return self.apply(Ops.LT, limit, self.put(self.steps(step, self.lanes, dtype)))
        if index.terms[0][1] >= 0:
            return self.put(self.number(-1 - index.const) < self._sum(index.terms))
        return self.put(self._sum((-index).terms) < index.const + 1)

    # nodes

    def value(self, index: Index) -> UOp:
        """The node of a bound index: int64, or a vector of the narrowest type that holds it."""
        moving = make(0, tuple(term for term in index.terms if self.runs(term[0])))
        if moving.is_const:
            return self.same(index)
        dtype = _lane_dtype(index)
        total = self.narrow(self.same(index - moving), dtype)
        parts = [(self._atom(atom, dtype), factor) for atom, factor in moving.terms]
        return self._added(total, parts)

    def same(self, index: Index) -> UOp:
        """The node of a bound index that is the same in all lanes."""
        if not index.const:
            return self._sum(index.terms)
        constant = self.number(index.const)
        return self.put(alu(Ops.ADD, self._sum(index.terms), constant))

    def _sum(self, terms: Terms) -> UOp:
        total = self.sums.get(terms)
        if total and self.block(total) in self.stack:
            return total
        parts = [(self._atom(atom, dtypes.int64), factor) for atom, factor in terms]
        parts.sort(key=lambda part: self.block(part[0]).depth)
        total = self.sums[terms] = self._added(self.number(0), parts)
        return total

    def _added(self, total: UOp, parts: Iterable[tuple[UOp, int]]) -> UOp:
        for node, factor in parts:
            part = alu(Ops.MUL, node, node.const_like(factor))
            total = self.apply(Ops.ADD, total, self.put(part))
        return total

    def _atom(self, atom: Atom, dtype: DType) -> UOp:
        if not atom.parts:
            return self.narrow(self._counted(atom), dtype)
        parts = [self.narrow(self.value(part), dtype) for part in atom.parts]
        whole = reduce(partial(self.apply, Ops.MUL), parts)
        return self._digit(whole, atom) if atom.kind == "digit" else whole

    def _counted(self, atom: Atom) -> UOp:
        if atom.kind == "variable":
            arg = atom.name, atom.lo, atom.hi
            return UOp(Ops.VARIABLE, dtypes.int64, arg=arg)
        return self.put(self.now[atom])

    def _digit(self, base: UOp, atom: Atom) -> UOp:
        [counted] = atom.parts
        assert counted.lo >= 0, f"lower: {atom} of a negative number"
        kind = base.dtype
        if self.short:
            base = self.narrow(base, _lane_dtype(counted))
        if _is_power(atom.divisor) and _is_power(atom.modulus):
            shift = atom.divisor.bit_length() - 1
            digit = self.put(base >> shift) if shift else base
            if atom.modulus:
                digit = self.put(digit & (atom.modulus - 1))
            return self.narrow(digit, kind)
        digit = self.narrow(base, to_dtype(f"u{base.dtype.name}"))
        if atom.divisor > 1:
            digit = self.put(digit // atom.divisor)
        if atom.modulus:
            digit = self.put(digit % atom.modulus)
        return self.narrow(digit, kind)


def _steps(step: int, lanes: int, dtype: DType) -> UOp:
    places = range(lanes)
    numbers = tuple(const(step * lane, dtype) for lane in places)
    return UOp(Ops.SHUFFLE, dtype.vec(lanes), numbers, tuple(places))


def _unknowns(index: Index) -> list[Atom]:
    """The axes and gathers that an index depends on, unless it is linear."""
    if all(atom.kind in ("axis", "variable") for atom, _ in index.terms):
        return []
    return sorted(atom for atom in atoms(index) if atom.kind != "variable")


def _is_power(number: int) -> bool:
    return number & (number - 1) == 0


def _lane_dtype(index: Index) -> DType:
    work = [index]
    for value in work:  # which grows as parts are found
        work += [part for atom, _ in value.terms for part in atom.parts]
        sizes = [abs(factor) * max(abs(atom.lo), abs(atom.hi)) for atom, factor in value.terms]
        if sum(sizes, abs(value.const)) > dtypes.int32.max:
            return dtypes.int64
    return dtypes.int32
