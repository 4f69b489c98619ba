"""Patterns matched by walking them: what the generated decision functions are measured against.

In: a pattern and a node. Out: the names bound, or None. Slow and plain, so that tests also take it
as the meaning of a pattern.
"""

from collections.abc import Iterator, Sequence
from itertools import permutations

from tinycore.dtype import DType
from tinycore.uop.ops import UOp
from tinycore.uop.pattern import Rule, UPat, parameters

Bound = dict[str, UOp]


def matches(pattern: UPat, node: UOp, bound: Bound) -> Iterator[Bound]:
    """Every way in which `node` fits, as the names bound, those of `bound` included."""
    if not _fits(pattern, node):
        return
    if pattern.name is not None:
        if bound.get(pattern.name, node) is not node:
            return
        bound = {**bound, pattern.name: node}
    if pattern.choices:
        for choice in pattern.choices:
            yield from matches(choice, node, bound)
        return
    yield from _sources(pattern, node, bound)


def _fits(pattern: UPat, node: UOp) -> bool:
    if pattern.ops and node.op not in pattern.ops:
        return False
    if pattern.dtypes and not any(_has_type(node, row) for row in pattern.dtypes):
        return False
    if pattern.arg is None or pattern.arg != pattern.arg:
        return pattern.arg is None or node.arg != node.arg
    return bool(node.arg == pattern.arg)


def _has_type(node: UOp, dtype: DType) -> bool:
    return node.dtype is dtype or (dtype.lanes == 1 and node.dtype.scalar is dtype)


def _sources(pattern: UPat, node: UOp, bound: Bound) -> Iterator[Bound]:
    src = pattern.src
    if src is None:
        yield bound
        return
    if isinstance(src, UPat):
        if node.src:
            yield from _each([src] * len(node.src), node.src, bound)
        return
    if len(src) != len(node.src) and not (pattern.allow_any_len and len(src) < len(node.src)):
        return
    for order in permutations(src) if isinstance(src, list) else [src]:
        yield from _each(order, node.src, bound)


def _each(patterns: Sequence[UPat], nodes: Sequence[UOp], bound: Bound) -> Iterator[Bound]:
    if not patterns:
        yield bound
        return
    for inner in matches(patterns[0], nodes[0], bound):
        yield from _each(patterns[1:], nodes[1:], inner)


def apply(rules: Sequence[Rule], node: UOp) -> UOp | None:
    """What the first rule that fits makes of `node`."""
    for rule in rules:
        wanted = parameters(rule.function)
        for names in matches(rule.pattern, node, {}):
            bound = {"node": node, **names}
            found = rule.function(**{name: bound[name] for name in wanted if name in bound})
            if found is not None and found is not node:
                return found  # type: ignore[no-any-return]
    return None
