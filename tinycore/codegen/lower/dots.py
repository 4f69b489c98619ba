"""Sums of four products of int8 by the op DOT, where the target has it.

In: a kernel tree with loops `red @vec`. Out: one where such loops are parallel. Next
file: joins.py.
"""

from tinycore.codegen.lower.joins import is_along, is_sum
from tinycore.codegen.optimize.analysis import factors_of_bytes
from tinycore.codegen.optimize.edit import Nodes, edit, refit
from tinycore.dtype import dtypes
from tinycore.runtime.contract import Caps
from tinycore.uop.index import make
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Kernel

LANES = 4


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
    narrow = factors_of_bytes(made)
    if not narrow or made.arg.places[0].mask:
        return [node]
    total = made.over((made.source, UOp(Ops.DOT, dtypes.int32, narrow)))
    return [refit(node, kind="par").over((total,))]
