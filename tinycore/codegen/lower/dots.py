"""Sums of four products of int8 by the op DOT, where the target has it.

In: a kernel tree with loops `red @vec`. Out: one where such loops are parallel. Next
file: joins.py.
"""

from tinycore.codegen.lower.joins import is_along, is_sum
from tinycore.codegen.optimize.edit import Nodes, edit, refit
from tinycore.dtype import dtypes
from tinycore.runtime.contract import Caps
from tinycore.uop.index import make
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Kernel

LANES = 4
KINDS = [dtypes.int32, dtypes.int8, dtypes.int8]


def dots(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` where a sum along four lanes is one op, if the target names it."""
    if Ops.DOT.name not in caps.ops:
        return kernel
    return kernel._replace(body=edit(kernel.body, _dotted))


def _dotted(node: UOp) -> Nodes:
    is_short = is_along(node, "vec") and node.extent is make(LANES)
    if not is_short or not is_sum(node.src, (node,)):
        return [node]
    [made] = node.src
    product = _product(made.src[1])
    if not product or made.arg.combine != "sum" or made.arg.places[0].mask:
        return [node]
    return [refit(node, kind="par").over((made.over((made.source, product)),))]


def _product(value: UOp) -> UOp | None:
    """The products of two int8 in int32, summed; None for other values."""
    narrow = [one.source for one in value.src if one.op is Ops.CAST]
    kinds = [value.dtype, *[one.dtype for one in narrow]]
    if value.op is not Ops.MUL or kinds != KINDS:
        return None
    return UOp(Ops.DOT, dtypes.int32, tuple(narrow))
