"""What a kernel is called and how much work it is: what DEBUG=2 and GlobalCounters say of it.

Comes in: a scheduled kernel. Goes out: a name made of its loops; arithmetic operations, and the
bytes its parameters hold, which is the least it has to move.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tinycore.uop.ops import ELEMENTWISE, Ops, UOp, toposort
from tinycore.uop.shape import size
from tinycore.uop.tree import Kernel, values, walk


class Work(NamedTuple):
    """Arithmetic operations and bytes of one run, symbolic extents at their upper bounds."""

    operations: int
    traffic_bytes: int


def work_of(kernel: Kernel) -> Work:
    """The work of one run of a kernel."""
    traffic = sum(size(p.arg.shape) * p.dtype.itemsize for p in kernel.params)
    return Work(_operations(kernel.body, set()), traffic)


def _operations(statements: Iterable[UOp], named: set[UOp]) -> int:
    total = 0
    for statement in statements:
        if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
            extent = statement.arg.extent.hi if statement.op is Ops.LOOP else 1
            total += extent * _operations(statement.src, named)
            continue
        for node in toposort(values(statement)):
            if node.op in ELEMENTWISE and node not in named:
                total += 1
        if statement.op is Ops.LET:
            named.update(toposort(statement.src))
        if statement.op is Ops.STORE and statement.arg.combine:
            total += len(statement.arg.places)
    return total


def name_of(kernel: Kernel) -> str:
    """A name by the loops: `reduce_128x10_784` sums 784 elements for each of 128 x 10 results."""
    loops = [s.arg for s, _ in walk(kernel.body) if s.op is Ops.LOOP]
    par = _extents([loop.extent.hi for loop in loops if loop.kind == "par"])
    red = _extents([loop.extent.hi for loop in loops if loop.kind == "red"])
    return "_".join(["reduce" if red else "map", *[part for part in (par, red) if part]])


def _extents(numbers: list[int]) -> str:
    shown = "x".join(str(number) for number in numbers[:4])
    return shown + ("_more" if len(numbers) > 4 else "")
