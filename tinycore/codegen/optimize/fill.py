"""FILL: the mask of a sum is exchanged for zeros that its factors already read.

Comes in: a kernel and an accumulator. Goes out: the kernel whose masked combining stores to it are
unmasked, because a factor of the product is a load that reads 0 under the same mask. A product
with an infinity outside the mask changes, as the identity of the combine is used (IR.md 3.6).
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycore.codegen.optimize.edit import Illegal, edit
from tinycore.uop.affine import Mask
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.tree import Kernel, Rebuild, load


def fill(kernel: Kernel, name: str) -> Kernel:
    """FILL(buffer): sums into `buffer` without the masks that a factor's fill makes needless.

    Legal if some store's mask is also that of a load that is a factor of its value and reads 0.
    """
    taken: list[UOp] = []

    def change(statement: UOp) -> Iterable[UOp]:
        is_ours = statement.op is Ops.STORE and statement.arg.combine == "sum"
        if is_ours and len(statement.arg.places) == 1 and statement.src[0].arg.name == name:
            new = _filled(statement)
            if new is not statement:
                taken.append(new)
            return [new]
        return [statement]

    body = edit(kernel.body, change)
    if not taken:
        raise Illegal(f"FILL: no store to {name} has a mask that a factor's zero makes needless")
    return kernel._replace(body=body)


def _filled(statement: UOp) -> UOp:
    place = statement.arg.places[0]
    zero = next((f for f in _factors(statement.src[1]) if _reads_zero(f, place.mask)), None)
    if not place.mask or zero is None:
        return statement
    wanted = frozenset(place.mask)
    nodes = {n: _without(n, wanted) for n in toposort([statement.src[1]]) if n.op is Ops.LOAD}
    nodes[zero] = zero
    value = Rebuild(nodes, {}).node(statement.src[1])
    arg = statement.arg._replace(places=(place._replace(mask=()),))
    return statement.replace(src=(statement.src[0], value, *statement.src[2:]), arg=arg)


def _factors(value: UOp) -> list[UOp]:
    if value.op is Ops.MUL:
        return [*_factors(value.src[0]), *_factors(value.src[1])]
    return [value]


def _reads_zero(node: UOp, mask: Mask) -> bool:
    return node.op is Ops.LOAD and not node.arg.fill and set(mask) <= set(node.arg.mask)


def _without(node: UOp, mask: frozenset[object]) -> UOp:
    """A load without those constraints, if its index stays inside the buffer anyway."""
    extents = node.src[0].arg.shape
    inside = all(
        index.lo >= 0 and index.hi < extent.lo
        for index, extent in zip(node.arg.indices, extents, strict=True)
    )
    if not inside:
        return node
    kept = tuple([value for value in node.arg.mask if value not in mask])
    return load(node.src[0], node.arg._replace(mask=kept))
