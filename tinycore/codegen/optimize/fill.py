"""FILL: the mask of a sum is exchanged for zeros that its factors already read.

Comes in: a kernel and an accumulator. Goes out: the kernel whose masked combining stores to it are
unmasked, because a factor of the product is a load that reads 0 under the same mask. A product
with an infinity outside the mask changes, as the identity of the combine is used (docs/ir.md rule
6).
"""

from __future__ import annotations

from tinycore.codegen.optimize.edit import Illegal, edit
from tinycore.uop.affine import Mask
from tinycore.uop.ops import UNARY, Ops, UOp, factors, toposort
from tinycore.uop.sites import evaluated
from tinycore.uop.tree import Access, Kernel, load, rebuild

_UNBOUNDED = UNARY - {Ops.NEG, Ops.TRUNC, Ops.FIN} | {Ops.IDIV, Ops.MOD}


def fill(kernel: Kernel, name: str) -> Kernel:
    """FILL(buffer): sums into `buffer` without the masks that a factor's fill makes needless.

    Legal if the place is in the buffer anyway, some store's mask is also that of a load that is a
    factor of its value and reads 0, and no factor can become infinite where loads read 0.
    """
    body = edit(kernel.body, lambda one: [_filled(one, name)])
    if body == kernel.body:
        raise Illegal(f"FILL: no store to {name} has a mask that a factor's zero makes needless")
    return kernel._replace(body=body)


def _filled(statement: UOp, name: str) -> UOp:
    if statement.op is not Ops.STORE or statement.src[0].arg.name != name:
        return statement
    if statement.arg.combine != "sum" or len(statement.arg.places) > 1:
        return statement
    [place] = statement.arg.places
    target, value, *moved = statement.src
    zeros = [one for one in factors(value) if _reads_zero(one, place)]
    unbounded = any(node.op in _UNBOUNDED for node in toposort([value]))
    if not zeros or not place.mask or unbounded or not _is_inside(target, place):
        return statement
    unmasked = {
        node: _without(node, place.mask)
        for node in evaluated(statement)
        if node.op is Ops.LOAD and node is not zeros[0]
    }
    new = rebuild([value], unmasked)
    plain = place._replace(mask=())
    arg = statement.arg._replace(places=(plain,))
    return statement.replace(src=(target, *new, *moved), arg=arg)


def _reads_zero(node: UOp, place: Access) -> bool:
    if node.op is not Ops.LOAD or node.arg.fill:
        return False
    return set(place.mask) <= set(node.arg.mask)


def _without(node: UOp, mask: Mask) -> UOp:
    """A load without those constraints, if its place is in the buffer anyway."""
    [source] = node.src
    if not _is_inside(source, node.arg):
        return node
    kept = [value for value in node.arg.mask if value not in mask]
    access = node.arg._replace(mask=tuple(kept))
    return load(source, access)


def _is_inside(buffer: UOp, access: Access) -> bool:
    for index, extent in zip(access.indices, buffer.arg.shape, strict=True):
        if index.lo < 0 or index.hi >= extent.lo:
            return False
    return True
