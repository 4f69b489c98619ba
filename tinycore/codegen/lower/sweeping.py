"""One sweep of rules over a whole kernel tree: statements, values, and what indices gather.

Comes in: a kernel, rules. Goes out: the kernel they make. decompose.py and contract.py run so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tinycore.uop.affine import atoms
from tinycore.uop.index import Index
from tinycore.uop.matcher import PatternMatcher
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.rewrite import sweep
from tinycore.uop.tree import Access, Kernel, rebuild


def swept(kernel: Kernel, rules: PatternMatcher, ctx: Any, name: str) -> Kernel:
    """`kernel` after one pass of `rules` over everything in it."""
    order = toposort(kernel.body)
    gathered: list[UOp] = []
    found = dict.fromkeys(_gathered(order))
    while len(found) > len(gathered):
        gathered = list(found)
        order = toposort([*gathered, *kernel.body])
        found = dict.fromkeys(_gathered(order))
    changed = sweep(order, rules, ctx, name)
    body = tuple([changed.get(statement, statement) for statement in kernel.body])
    moved = {node: changed[node] for node in gathered if node in changed}
    return kernel._replace(body=rebuild(body, moved) if moved else body)


_INDEXED = frozenset({Ops.LOAD, Ops.STORE, Ops.MASK, Ops.IF, Ops.INDEX})


def _gathered(order: Iterable[UOp]) -> Iterator[UOp]:
    """The nodes whose numbers indices use."""
    for node in order:
        if node.op not in _INDEXED:
            continue
        for index in _indices(node):
            if not index.terms:
                continue
            for atom in atoms(index):
                if atom.kind == "gather" and isinstance(atom.node, UOp):
                    yield atom.node


def _indices(node: UOp) -> Iterator[Index]:
    """The index values of a node's argument."""
    if node.op is Ops.LOAD:
        yield from _of_access(node.arg)
    elif node.op is Ops.STORE:
        for place in node.arg.places:
            yield from _of_access(place)
    elif node.op in (Ops.MASK, Ops.IF):
        yield from node.arg
    elif node.op is Ops.INDEX:
        yield node.arg


def _of_access(access: Access) -> Iterator[Index]:
    yield from access.indices
    yield from access.mask
