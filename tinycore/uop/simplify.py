"""The simplifier: every rule that holds bit by bit, over expressions, kernels and graphs.

Comes in: scalar expressions, statements of a kernel, or shaped nodes. Goes out: equal ones with
less to compute. The rules are in uop/rules_number.py, rules_logic.py and rules_index.py; each is
tested alone, and their order does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from tinycore.uop.graph import broadcast, uniform
from tinycore.uop.matcher import Decision, Decisions, PatternMatcher
from tinycore.uop.ops import ELEMENTWISE, MOVEMENT, Ops, UOp
from tinycore.uop.pattern import Result, Rule, UPat, rule
from tinycore.uop.rewrite import Memo, graph_rewrite
from tinycore.uop.rules_index import INDEX_RULES
from tinycore.uop.rules_logic import LOGIC_RULES
from tinycore.uop.rules_number import NUMBER_RULES
from tinycore.uop.shape import shape_of
from tinycore.uop.tree import Rebuild

simplify = PatternMatcher([*NUMBER_RULES, *LOGIC_RULES, *INDEX_RULES])
"""For scalar expressions: `graph_rewrite(node, simplify)`."""


def simple(node: UOp, memo: Memo) -> UOp:
    """`node`, whose sources are simple, made simple: one look where no rule fits.

    `memo` holds what earlier calls found.
    """
    decide = simplify.decisions[node.op]
    if decide is None or decide(node, None) is None:
        return node
    return graph_rewrite(node, simplify, name="simplify", memo=memo)


def simplify_body(statements: Iterable[UOp]) -> tuple[UOp, ...]:
    """The statements of a kernel with every expression in them simplified, gathered indices too."""
    return _Simplify().body(statements)


class _Simplify(Rebuild):
    """Rebuilds a tree from its leaves up; a node that a rule fits is rewritten to the fixpoint."""

    def __init__(self) -> None:
        super().__init__({}, {})
        self.done: Memo = {}

    def _rebuild(self, node: UOp) -> UOp:
        return simple(super()._rebuild(node), self.done)


def simplify_graph(root: UOp) -> UOp:
    """A graph with its elementwise ops simplified; every node keeps its shape."""
    return graph_rewrite(root, shaped, name="simplify")


@rule(UPat(ELEMENTWISE))
def scalar_constants(node: UOp) -> Result:
    """A constant that movement ops spread out is taken as it is: elementwise ops broadcast it."""
    if not any(source.op in MOVEMENT for source in node.src):
        return None
    return node.replace(src=tuple([uniform(source) or source for source in node.src]))


class _Shaped(Decisions):
    """Decisions whose results are broadcast to the shape of the node they replace."""

    def __missing__(self, op: Ops) -> Decision | None:
        decide = super().__missing__(op)
        if decide is not None:
            self[op] = partial(_keep_shape, decide)
        return self[op]


def _keep_shape(decide: Decision, node: UOp, ctx: Any) -> tuple[UOp, Rule] | None:
    found = decide(node, ctx)
    if found is None:
        return None
    new, applied = found
    return broadcast(new, shape_of(node)), applied


shaped = PatternMatcher([scalar_constants, *NUMBER_RULES, *LOGIC_RULES])
"""For graph nodes, whose constants have no shape of their own."""
shaped.decisions = _Shaped(shaped.rules)
