"""What a kernel is called and how much work it is: what DEBUG=2 and GlobalCounters say of it.

Comes in: a scheduled kernel. Goes out: a name made of its loops; arithmetic operations, and the
bytes its parameters hold, which is the least it has to move.
"""

from __future__ import annotations

from tinycore.uop.ops import ELEMENTWISE, Ops
from tinycore.uop.shape import size
from tinycore.uop.sites import evaluated
from tinycore.uop.tree import Kernel, walk
from tinycore.util import prod


def work_of(kernel: Kernel) -> tuple[int, int]:
    """Arithmetic operations and bytes of one run, symbolic extents at their upper bounds."""
    operations = 0
    for statement, loops in walk(kernel.body):
        each = len([node for node in evaluated(statement) if node.op in ELEMENTWISE])
        if statement.op is Ops.STORE and statement.arg.combine:
            each += len(statement.arg.places)
        operations += each * prod(loop.arg.extent.hi for loop in loops)
    sizes = [size(param.arg.shape) * param.dtype.itemsize for param in kernel.params]
    return operations, sum(sizes)


def name_of(kernel: Kernel) -> str:
    """A name by the loops: `reduce_128x10_784` sums 784 elements for each of 128 x 10 results."""
    loops = [statement.arg for statement, _ in walk(kernel.body) if statement.op is Ops.LOOP]
    words = ["map"]
    for kind in ("par", "red"):
        extents = [str(loop.extent.hi) for loop in loops if loop.kind == kind]
        if extents:
            words.append("x".join(extents[:4]))
        if extents and kind == "red":
            words[0] = "reduce"
        if len(extents) > 4:
            words.append("more")
    return "_".join(words)
