"""Expressions of the kernel level before they have a place: scalar ops over LOADs.

Comes in: a graph node and indices. Goes out: the expression of that element, with movement turned
into indices and masks. Nothing recurses, since expressions may be deep. Next file: stages.py.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from tinycore.uop.index import (
    Atom,
    Dim,
    Index,
    Mask,
    Shape,
    alias,
    as_index,
    atoms,
    axis,
    both,
    digit,
    gather,
    mask_of,
    upper,
    upper_shape,
    variable,
)
from tinycore.uop.ops import MOVEMENT, Ops, UOp, postorder
from tinycore.uop.simplify import choose, index_of, number, scalar, simple
from tinycore.uop.tree import Access, BufferArg, Rebuild, gathered, indices, load

ZERO = as_index(0)
_PLAIN = MOVEMENT | {Ops.CONTIGUOUS}  # each element is one of the source


class Inner(NamedTuple):
    """The arg of a REDUCE inside an expression."""

    axes: tuple[Index, ...]
    extents: Shape
    combine: str
    mask: Mask = ()


Indices = tuple[Index, ...]


def replaced(values: Indices, places: Iterable[int], new: Indices) -> Indices:
    """`values` with some places replaced."""
    found = dict(enumerate(values)) | dict(zip(places, new, strict=True))
    return tuple(found.values())


def renamed(axes: Indices, new: Indices) -> dict[Atom, Index]:
    """What a copy puts in place of axes; one of extent 1 is a constant and stays."""
    pairs = zip(axes, new, strict=True)
    return {own.terms[0][0]: other for own, other in pairs if own.terms}


def parts(node: UOp) -> Sequence[UOp]:
    """The expressions a node is made of, gathered places included."""
    found = gathered(node.arg)
    return found if node.is_load else [*node.src, *found]


def reads_in(roots: Iterable[UOp]) -> dict[UOp, list[Indices]]:
    """What expressions read and where, in order of evaluation."""
    found: dict[UOp, list[Indices]] = {}
    for node in postorder(roots, parts):
        if node.is_load:
            found.setdefault(node.source, []).append(node.arg.indices)
    return found


Needs = frozenset[object]  # axes, variables, gathers and register buffers


class Dependence(dict[UOp, Needs]):
    """What each expression depends on, found once for each node."""

    def __missing__(self, root: UOp) -> Needs:
        for node in postorder([root], parts, self):
            found: Needs = atoms(*indices(node.arg)).union(*[self[part] for part in parts(node)])
            if node.is_load and isinstance(node.source.arg, BufferArg):
                found |= {node.source}
            self[node] = found - atoms(*node.arg.axes) if node.is_reduce else found
        return self[root]


class Rewrite(Rebuild):
    """Copies expressions; what a LOAD reads stays."""

    parts = staticmethod(parts)


def reductions(*roots: UOp) -> list[UOp]:
    """Every reduction inside expressions."""
    return [node for node in postorder(roots, parts) if node.is_reduce]


# Indices pushed down


Inside = tuple[Mask, int]  # a mask, and how many steps are taken around
State = tuple[UOp, Indices, Inside]  # one element of a node, and where it is wanted
Steps = Generator[State, UOp, UOp]  # asks for elements, returns its expression


class Push:
    """Expressions of elements, each made once, for a `reader`.

    One of `stages` gives its element, unless it has to be computed, as that of `root`. An axis of
    steps is named by how many are around it, so that equal expressions are one.
    """

    def __init__(
        self, stages: Mapping[UOp, Any], reader: object = None, root: UOp | None = None
    ) -> None:
        self.stages = stages
        self.reader = reader
        self.root = root
        self.values: dict[State, UOp] = {}

    def value(self, node: UOp, indices: Indices) -> UOp:
        """The element of `node` at `indices`."""
        need = self._descend(node, indices, ((), 0))
        work = []
        while True:
            found = self.values.get(need) or self._loaded(need)
            if not found:
                work.append((need, self._steps(need)))
            elif not work:
                return found
            try:
                need = work[-1][1].send(found)
            except StopIteration as end:
                need, _ = work.pop()
                self.values[need] = end.value

    def _loaded(self, state: State) -> Any:
        """The LOAD of an element that is stored, else None."""
        node, indices, (mask, _) = state
        if node.is_buffer:
            return load(node, Access(indices, mask))
        if node not in self.stages or node is self.root:
            return None
        return self.stages[node].read(self.reader, Access(indices, mask))

    def _descend(self, node: UOp, indices: Indices, inside: Inside) -> State:
        """The first state below, through movement, that has a value of its own."""
        while node.op in _PLAIN and node not in self.stages:
            below, proof, _ = source_place(node, indices)
            if proof:
                break
            node, indices = node.source, below
        return node, indices, inside

    def _steps(self, state: State) -> Steps:
        node, indices, inside = state
        if node.is_const:
            return node
        if node.op is Ops.IOTA:
            return number(indices[0], node.dtype)
        if node.op is Ops.VARIABLE:
            return number(variable(*node.arg), node.dtype)
        if node.op in _PLAIN:
            return (yield from self._moved(state))
        if node.op is Ops.GATHER:
            return (yield from self._gathered(state))
        if node.is_reduce:
            return (yield from self._reduced(state))
        values = []
        for source in node.src:
            values.append((yield self._descend(source, indices, inside)))
        return scalar(node.op, node.dtype, *values)

    def _moved(self, state: State) -> Steps:
        """A masked movement: a LOAD below gets the fill, if it has no other; a sum of 0 takes no
        step; else the fill is chosen after the expression."""
        node, indices, (mask, count) = state
        below, proof, fill = source_place(node, indices)
        proved = mask_of(map(Index.unalias, proof))
        need = self._descend(node.source, below, (both(mask, proved), count))
        value = yield need
        arg = value.arg
        if value.is_load and (value is self._loaded(need) or arg.fill == fill):
            return load(value.source, arg._replace(fill=fill or 0))
        if value.is_reduce and arg.combine == "sum" and not fill:
            return value.replace(arg=arg._replace(mask=both(proved, arg.mask)))
        return choose(proved, value, fill)

    def _reduced(self, state: State) -> Steps:
        """A reduction; a sum of a sum that is no stage is one sum."""
        node, indices, (mask, count) = state
        axes, combine = node.arg
        extents = tuple([node.source.shape[k] for k in axes])
        steps = tuple([axis(f"r{count + k}", extent) for k, extent in enumerate(extents)])
        below = replaced(indices, axes, steps)
        need = self._descend(node.source, below, (mask, count + len(axes)))
        value = yield need
        is_sum = value.op is node.op and value.combine == combine == "sum"
        if need[0] in self.stages or not is_sum:
            return value.under(Ops.REDUCE, Inner(steps, extents, combine))
        inner = value.arg
        return value.replace(arg=Inner(steps + inner.axes, extents + inner.extents, *inner[2:]))

    def _gathered(self, state: State) -> Steps:
        """A gathered element, by a plain index if its row is known to be valid. A LOAD of
        stored data shows 0 for a wrong row itself, anything else must choose."""
        node, indices, inside = state
        rows, ids = node.src
        rank, extent = len(ids.shape), upper(rows.shape[0])
        which = yield self._descend(ids, indices[:rank], inside)
        known = index_of(which)
        place = known if known and known.lo >= 0 and known.hi < extent else gather(which, extent)
        value = yield self._descend(rows, (place, *indices[rank:]), inside)
        holds = value.is_load and value.source.is_buffer and not value.arg.fill
        if place is known or (holds and atoms(place) <= atoms(*value.arg.indices)):
            return value
        low = simple(which.const_like(-extent - 1) < which)
        is_row = simple(low & simple(which < extent))
        return simple(is_row.where(value, 0))


# One movement op, seen from its result


def source_place(node: UOp, indices: Indices) -> tuple[Indices, Mask, float]:
    """Where an element of `node` lies in its source, the mask under which it is there, and its
    value elsewhere."""
    old = node.source.shape
    arg = node.arg
    found = list(indices)
    proof: list[Index] = []
    fill = 0.0
    match node.op:
        case Ops.RESHAPE:
            found = _reshaped(old, arg, indices)
        case Ops.PERMUTE:
            for k, place in enumerate(arg):
                found[place] = indices[k]
        case Ops.EXPAND:
            found = [ZERO if old[k] == 1 else index for k, index in enumerate(indices)]
        case Ops.SHRINK:
            found = [indices[k] + begin for k, (begin, _) in enumerate(arg)]
        case Ops.FLIP:
            for k in arg:
                found[k] = old[k] - 1 - indices[k]
        case Ops.PAD:
            fill = arg.fill
            for k, (before, _) in enumerate(arg.pairs):
                found[k] = _within(indices[k] - before, old[k], proof)
        case Ops.SKEW:
            shift = indices[arg.window] * arg.dilation
            found[arg.axis] = indices[arg.axis] * arg.stride + shift
            if arg.inverse:
                distance = indices[arg.axis] - shift
                proof.append(-(distance % arg.stride))
                found[arg.axis] = _within(distance // arg.stride, old[arg.axis], proof)
    return tuple(found), mask_of(proof), fill


def _within(index: Index, extent: Dim, proof: list[Index]) -> Index:
    """`index` with the bounds that a mask proves."""
    proof += [index, extent - 1 - index]
    return alias(index, 0, upper(extent) - 1)


def _reshaped(old: Shape, new: Shape, indices: Indices) -> list[Index]:
    """An axis that stays keeps its index; the others are digits of the row-major number."""
    keys = _strides(old)
    own = dict(zip(_strides(new), indices, strict=True))
    taken = [index * key[0] for key, index in own.items() if key not in keys]
    place = sum(taken, ZERO)
    return [own[key] if key in own else digit(place, *key) for key in keys]


def _strides(shape: Shape) -> list[tuple[int, int]]:
    extents = upper_shape(shape)
    return [(prod(extents[k + 1 :]), extent) for k, extent in enumerate(extents)]
