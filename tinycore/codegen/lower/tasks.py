"""Maps grid loops to the workers of a target that counts tasks: one flat axis of them.

Comes in: a tree with loops @grid. Goes out: one with a single loop @grid; the axes it replaced
are digits of its axis. Targets with groups of threads will get descriptors of their own here.
"""

from __future__ import annotations

from tinycore.codegen.optimize.edit import edit
from tinycore.codegen.optimize.split import fused
from tinycore.errors import SpecError
from tinycore.runtime.caps import Caps
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Kernel, walk


def tasks(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with its grid loops made one.

    Raises: SpecError if grid loops follow one another, or a store to a parameter stands outside.
    """
    grids = [node for node, _ in walk(kernel.body) if _is_grid(node)]
    if not grids:
        return kernel
    chain = _chain(grids[0])
    _check(kernel, grids, chain)
    if len(grids) == 1:
        return kernel
    last = chain.pop()
    flat = last.replace(src=edit(last.src, _in_order))
    for outer in reversed(chain):
        flat = fused(outer, flat)
    body = edit(kernel.body, lambda node: [flat if node is grids[0] else node])
    return kernel._replace(body=body)


def _is_grid(node: UOp) -> bool:
    return node.op is Ops.LOOP and node.arg.map == "grid"


def _chain(outer: UOp) -> list[UOp]:
    """Grid loops with nothing between them whose inner extents are numbers."""
    found = [outer]
    while len(found[-1].src) == 1 and _is_grid(found[-1].src[0]):
        inner = found[-1].src[0]
        if inner.arg.extent.terms:
            break
        found.append(inner)
    return found


def _check(kernel: Kernel, grids: list[UOp], chain: list[UOp]) -> None:
    inside = {node for node, _ in walk((chain[0],))}
    apart = [node for node in grids if node not in inside]
    if apart:
        names = f"{chain[0].arg.axis} and {apart[0].arg.axis}"
        raise SpecError(f"lower: {kernel.name} has grid loops {names} side by side; expected one")
    for node, _ in walk(kernel.body):
        if node.op is Ops.STORE and node not in inside and node.src[0] in kernel.params:
            name = node.src[0].arg.name
            raise SpecError(f"lower: {kernel.name} stores to {name} outside of its grid loop")


def _in_order(node: UOp) -> list[UOp]:
    """A grid loop that is deeper than the shared one runs in order."""
    return [node.replace(arg=node.arg._replace(map="")) if _is_grid(node) else node]
