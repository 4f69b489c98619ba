"""One movement op, seen from its result: which element of its source each element is.

Comes in: a movement node and the indices of an element of its result. Goes out: the indices of
that element in its source, and the constraints under which it is there at all. push.py walks
chains of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from tinycore.uop.affine import NEVER, Mask, mask_of
from tinycore.uop.index import Index, alias, axis, digit, make
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.shape import Dim, Shape, shape_of, upper, upper_shape

Indices = tuple[Index, ...]
ZERO = make(0)


def axes_over(name: str, shape: Iterable[Dim]) -> Indices:
    """Axes that run over a shape, named by a letter and their number."""
    return tuple([axis(f"{name}{k}", extent) for k, extent in enumerate(shape)])


def source_place(node: UOp, indices: Indices) -> tuple[Indices, Mask, float]:
    """Where the element of `node` at `indices` lies in its source, the mask under which it is
    there, and what stands for it where it is not."""
    old = shape_of(node.src[0])
    arg = node.arg
    found = list(indices)
    proof: list[Index] = []
    fill = 0.0
    match node.op:
        case Ops.RESHAPE:
            found = _reshaped(old, arg, indices)
        case Ops.PERMUTE:
            for k, index in zip(arg, indices, strict=True):
                found[k] = index
        case Ops.EXPAND:
            found = [ZERO if old[k] == 1 else index for k, index in enumerate(indices)]
        case Ops.SHRINK:
            found = [index + begin for index, (begin, _) in zip(indices, arg, strict=True)]
        case Ops.FLIP:
            for k in arg:
                found[k] = old[k] - 1 - indices[k]
        case Ops.PAD:
            fill = arg.fill
            for k, (before, after) in enumerate(arg.pairs):
                if (before, after) != (0, 0):
                    found[k] = _within(indices[k] - before, old[k], proof)
        case Ops.SKEW:
            shift = indices[arg.window] * arg.dilation
            found[arg.axis] = indices[arg.axis] * arg.stride + shift
            if arg.inverse:
                distance = indices[arg.axis] - shift
                proof.append(-digit(distance, 1, arg.stride))
                place = digit(distance, arg.stride, 0)
                found[arg.axis] = _within(place, old[arg.axis], proof)
    return tuple(found), mask_of(proof), fill


def _within(index: Index, extent: Dim, proof: list[Index]) -> Index:
    """`index` with the bounds that a mask proves; nothing is within an empty axis."""
    if extent == 0:
        proof += NEVER
        return ZERO
    proof += [index, extent - 1 - index]
    return alias(index, 0, upper(extent) - 1)


def _reshaped(old: Shape, new: Shape, indices: Indices) -> list[Index]:
    """An axis that stays keeps its index, others are digits of the row-major number, on which those
    that stay have no influence."""
    if 0 in old:
        return [ZERO] * len(old)
    keys = _strides(old)
    pairs = zip(_strides(new), indices, strict=True)
    own = {key: index for key, index in pairs if key[1] != 1}
    taken = [index * key[0] for key, index in own.items() if key not in keys]
    place = sum(taken, ZERO)
    return [own[key] if key in own else digit(place, *key) for key in keys]


def _strides(shape: Shape) -> list[tuple[int, int]]:
    """The row-major stride of every axis, and its extent."""
    extents = upper_shape(shape)
    return [(prod(extents[k + 1 :]), extent) for k, extent in enumerate(extents)]


def only_moves_ones(node: UOp) -> bool:
    """True for a RESHAPE that adds or takes axes of extent 1 and nothing else."""
    if node.op is not Ops.RESHAPE:
        return False
    old = [extent for extent in shape_of(node.src[0]) if extent != 1]
    return old == [extent for extent in node.arg if extent != 1]
