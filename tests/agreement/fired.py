"""What fired in a program: ops, monoids and kinds of mask, by what the tables of the core hold.

In: the nodes of a program, the kernels of its schedules and the actions taken. Out: names. Next
file: graphs.py.
"""

from collections.abc import Iterable, Iterator

from tinycore.codegen.optimize.actions import ACTIONS
from tinycore.uop.index import atoms
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import evaluated
from tinycore.uop.table import GRAPH
from tinycore.uop.tree import DEPENDENT, MONOIDS, Kernel, walk

MASKS = ("pad", "masked load", "masked store", "gather", "select", "scatter")
ALL = (
    *[f"op {op.name}" for op in Ops if GRAPH in op.row.levels],
    *[f"monoid {name}" for name in MONOIDS],
    *[f"scatter {name}" for name in MONOIDS],
    *[f"rebase {name}" for name in DEPENDENT],
    *[f"mask {name}" for name in MASKS],
    *[f"action {name}" for name in ACTIONS],
)
"""All that has to fire."""


def in_graph(nodes: Iterable[UOp]) -> Iterator[str]:
    """What the nodes of a graph are."""
    for node in nodes:
        yield f"op {node.op.name}"
        if node.op is Ops.PAD:
            yield "mask pad"
        if node.op is Ops.SCATTER:
            yield f"scatter {node.arg}"
            yield "mask scatter"


def in_kernel(kernel: Kernel) -> Iterator[str]:
    """What the statements of a kernel hold."""
    for statement, _ in walk(kernel.body):
        if statement.is_store:
            yield from [f"monoid {name}" for name in (statement.combine,) if name]
            yield from [f"rebase {name}" for name in (statement.arg.rebase,) if name]
            yield from ["mask masked store" for place in statement.places if place.mask]
        for node in evaluated(statement):
            if node.op is Ops.WHERE:
                yield "mask select"
            if node.is_load and node.arg.mask:
                yield "mask masked load"
            if node.is_load and any(one.kind == "gather" for one in atoms(*node.arg.indices)):
                yield "mask gather"
