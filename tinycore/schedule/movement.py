"""One movement op, seen from its result: which element of its source each element is.

Comes in: a movement node and the indices of an element of its result. Goes out: the indices of
that element in its source, and the constraints under which it is there at all. push.py walks
chains of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from tinycore.uop.affine import NEVER, Mask, at_least_zero, mask_of, unalias
from tinycore.uop.index import Index, alias, digit, make
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.shape import Dim, PadArg, Shape, SkewArg, shape_of, upper

Indices = tuple[Index, ...]
Constraints = list[Index | bool]
Places = list[Index]
ZERO = make(0)


def source_place(node: UOp, indices: Indices) -> tuple[Indices, Constraints]:
    """Where the element of `node` at `indices` lies in its source, and when it does."""
    constraints: Constraints = []
    found = _STEPS[node.op](node, indices, constraints)
    return tuple(found), constraints


def tightest(constraints: Iterable[Index | bool], known: Mask = ()) -> Mask:
    """The mask `known` with more constraints; of those that differ by a number, the one that
    implies the others, so that a chain of movement has as many as its last step."""
    least = {value.terms: value for value in known}
    for constraint in constraints:
        plain = at_least_zero(unalias(constraint)) if isinstance(constraint, Index) else constraint
        if plain is False:
            return NEVER
        if isinstance(plain, Index):
            before = least.get(plain.terms, plain)
            least[plain.terms] = plain if plain.const <= before.const else before
    return mask_of(least.values()) or ()


def only_moves_ones(node: UOp) -> bool:
    """True for a RESHAPE that adds or takes axes of extent 1 and nothing else."""
    if node.op is not Ops.RESHAPE:
        return False
    old = [extent for extent in shape_of(node.src[0]) if extent != 1]
    return old == [extent for extent in node.arg if extent != 1]


def outside(node: UOp) -> float | None:
    """What a movement shows where its source has no element; None if there is always one."""
    if node.op is Ops.PAD:
        fill: float = node.arg.fill
        return fill
    return 0.0 if node.op is Ops.SKEW and node.arg.inverse else None


def _permute(node: UOp, indices: Indices, proof: Constraints) -> Places:
    found = [ZERO] * len(indices)
    for axis, index in zip(node.arg, indices, strict=True):
        found[axis] = index
    return found


def _expand(node: UOp, indices: Indices, proof: Constraints) -> Places:
    old = shape_of(node.src[0])
    pairs = zip(indices, old, strict=True)
    return [ZERO if n == 1 else index for index, n in pairs]


def _shrink(node: UOp, indices: Indices, proof: Constraints) -> Places:
    pairs = zip(indices, node.arg, strict=True)
    return [index + begin for index, (begin, _) in pairs]


def _flip(node: UOp, indices: Indices, proof: Constraints) -> Places:
    found = list(indices)
    for axis in node.arg:
        found[axis] = shape_of(node)[axis] - 1 - indices[axis]
    return found


def _pad(node: UOp, indices: Indices, proof: Constraints) -> Places:
    arg: PadArg = node.arg
    found: list[Index] = []
    rows = zip(indices, shape_of(node.src[0]), arg.pairs, strict=True)
    for index, extent, (before, after) in rows:
        inner = index - before
        if extent == 0:
            proof.append(False)
        if before != 0:
            proof.append(at_least_zero(inner))
        if after != 0:
            proof.append(at_least_zero(extent - 1 - inner))
        found.append(_within(inner, extent) if (before, after) != (0, 0) else inner)
    return found


def _within(index: Index, extent: Dim) -> Index:
    """`index` with the bounds that its mask proves; nothing is proved of an empty axis."""
    return alias(index, 0, upper(extent) - 1) if extent != 0 else ZERO


def _skew(node: UOp, indices: Indices, proof: Constraints) -> Places:
    arg: SkewArg = node.arg
    found = list(indices)
    shift = indices[arg.window] * arg.dilation
    if not arg.inverse:
        found[arg.axis] = indices[arg.axis] * arg.stride + shift
        return found
    extent = shape_of(node.src[0])[arg.axis]
    distance = indices[arg.axis] - shift
    inner = digit(distance, arg.stride, 0)
    proof += [at_least_zero(inner), at_least_zero(extent - 1 - inner)]
    if arg.stride > 1:
        proof.append(at_least_zero(-digit(distance, 1, arg.stride)))
    found[arg.axis] = _within(inner, extent)
    return found


class Block(NamedTuple):
    """Axes of a RESHAPE that hold the same elements: of its result, and of its source."""

    new: tuple[int, ...]
    old: tuple[int, ...]


@lru_cache(maxsize=1024)
def blocks(old: Shape, new: Shape) -> tuple[Block, ...]:
    """The finest blocks of a RESHAPE from `old` to `new`; axes of extent 1 are in none."""
    left = [axis for axis, extent in enumerate(new) if extent != 1]
    right = [axis for axis, extent in enumerate(old) if extent != 1]
    found = []
    while left:
        a, b = [left.pop(0)], [right.pop(0)]
        x, y = new[a[0]], old[b[0]]
        while x != y:
            assert isinstance(x, int) and isinstance(y, int), f"reshape: {old} to {new}"
            if x < y:
                a.append(left.pop(0))
                x *= upper(new[a[-1]])
            else:
                b.append(right.pop(0))
                y *= upper(old[b[-1]])
        found.append(Block(tuple(a), tuple(b)))
    return tuple(found)


def _reshape(node: UOp, indices: Indices, proof: Constraints) -> Places:
    """A block is linearised with the new extents and taken apart with the old ones."""
    old = shape_of(node.src[0])
    found = [ZERO] * len(old)
    if 0 in old:
        return found
    for block in blocks(old, node.arg):
        if len(block.new) == len(block.old) == 1:
            found[block.old[0]] = indices[block.new[0]]
            continue
        place = _linear([indices[axis] for axis in block.new], [node.arg[a] for a in block.new])
        stride = 1
        for axis in reversed(block.old):
            extent = upper(old[axis])
            found[axis] = digit(place, stride, extent)
            stride *= extent
    return found


def _linear(indices: list[Index], shape: list[Dim]) -> Index:
    """The row-major number of an element."""
    total, stride = ZERO, 1
    for index, extent in zip(reversed(indices), reversed(shape), strict=True):
        total += index * stride
        stride *= upper(extent)
    return total


_STEPS: dict[Ops, Callable[[UOp, Indices, Constraints], Places]] = {
    Ops.RESHAPE: _reshape,
    Ops.PERMUTE: _permute,
    Ops.EXPAND: _expand,
    Ops.SHRINK: _shrink,
    Ops.FLIP: _flip,
    Ops.PAD: _pad,
    Ops.SKEW: _skew,
}
