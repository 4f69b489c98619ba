"""Maps grid loops to the workers of a target that counts tasks: one flat axis of them.

Comes in: a tree with loops @grid. Goes out: one with a single loop @grid; the axes it replaced
are digits of its axis. Targets with groups of threads will get descriptors of their own here.
"""

from __future__ import annotations

from tinycore.errors import SpecError
from tinycore.runtime.caps import Caps
from tinycore.uop.index import Atom, Index, as_index, axis, digit
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Kernel, Rebuild, axis_of, loop, walk


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
    flat = _flattened(chain) if len(chain) > 1 else chain[0].replace(src=_unmapped(chain[0].src))
    return kernel._replace(body=tuple([_replaced(s, chain[0], flat) for s in kernel.body]))


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


def _flattened(chain: list[UOp]) -> UOp:
    """One loop for several: axis k is the digit of the flat axis that its extent counts."""
    name = "_".join([node.arg.axis for node in chain])
    total: Index = as_index(1)
    for node in chain:
        total = node.arg.extent * total
    flat = axis(name, total)
    env: dict[Atom, Index] = {}
    size = 1
    for node in reversed(chain):
        index = axis_of(node)
        extent = node.arg.extent
        if index.terms:
            modulus = 0 if node is chain[0] else extent.const
            env[index.terms[0][0]] = digit(flat, size, modulus)
        size *= 1 if extent.terms else extent.const
    body = Rebuild({}, env).body(_unmapped(chain[-1].src))
    return loop("par", name, total, body, "grid")


def _unmapped(body: tuple[UOp, ...]) -> tuple[UOp, ...]:
    """Statements whose grid loops, deeper than the shared one, run in order."""
    found = []
    for node in body:
        if node.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
            node = node.replace(src=_unmapped(node.src))
        found.append(node.replace(arg=node.arg._replace(map="")) if _is_grid(node) else node)
    return tuple(found)


def _replaced(node: UOp, old: UOp, new: UOp) -> UOp:
    if node is old:
        return new
    if node.op not in (Ops.LOOP, Ops.IF, Ops.BLOCK):
        return node
    return node.replace(src=tuple([_replaced(child, old, new) for child in node.src]))
