"""Rules at work: `PatternMatcher` on one node, and the two drivers that walk a graph.

Comes in: a graph and rules. Goes out: the graph with the rules applied, by `graph_rewrite` until
none fits, by `sweep` once everywhere. Both run without recursion and count what they do by the name
of the pass. The rules of the simplifier are in uop/simplify.py.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tinycore.errors import SpecError
from tinycore.uop.ops import Interning, UOp, toposort
from tinycore.uop.pattern import Function, Result, Rule, UPat, as_rule
from tinycore.uop.tree import Rebuild

GROWTH = 200  # looks that a fixpoint may take for each node it was given
LEAST = 10_000  # and how many however small the graph is


class Counters:
    """What the runs of one pass did: nodes visited, rules tried, nodes made, rules fired.

    They depend on the program alone, not on the machine, so that CI can hold them; `created` also
    counts what other threads make meanwhile. `last` names the rules that fired last.
    """

    def __init__(self) -> None:
        self.visits = 0
        self.attempts = 0
        self.created = 0
        self.fired: Counter[str] = Counter()
        self.last: deque[str] = deque(maxlen=3)


COUNTERS: defaultdict[str, Counters] = defaultdict(Counters)
"""Name of a pass -> its counters, summed over all runs since `COUNTERS.clear()`."""


class PatternMatcher:
    """Rules in order: where several fit a node, the first that returns a node wins.

    An entry is `(pattern, function)` or a named `Rule`; matchers join with `+`. Which rules may fit
    is decided once for an op and two of its sources: most nodes ask one dictionary.
    Raises: ArgumentError if a function takes what its pattern does not name.

    >>> double = PatternMatcher([(UPat.var("x") + UPat.var("x"), lambda x: x * 2)])
    """

    def __init__(self, rules: Iterable[Rule | tuple[UPat, Function]]) -> None:
        self.rules = tuple([as_rule(entry) for entry in rules])
        self._by_shape: dict[Any, list[Rule]] = {}

    def __add__(self, other: PatternMatcher) -> PatternMatcher:
        return PatternMatcher([*self.rules, *other.rules])

    def candidates(self, node: UOp) -> list[Rule]:
        """The rules that may fit a node of this op over such first and middle sources."""
        return [rule for rule in self.rules if rule.pattern.may_fit(node)]

    def apply(self, node: UOp, ctx: Any, counters: Counters) -> UOp:
        """What the first fitting rule makes of `node`; `node` itself if there is none."""
        counters.visits += 1
        src = node.src
        count = len(src)
        shape = (node.op, count, src[0].op, src[count // 2].op) if src else node.op
        rules = self._by_shape.get(shape)
        if rules is None:
            rules = self._by_shape[shape] = self.candidates(node)
        for rule in rules:
            counters.attempts += 1
            new = rule.apply(node, ctx)
            if new is not None:
                counters.fired[rule.name] += 1
                counters.last.append(rule.name)
                return new
        return node

    def rewrite(self, node: UOp, ctx: Any = None) -> Result:
        """What the first fitting rule makes of `node` alone; None if no rule fits."""
        new = self.apply(node, ctx, Counters())
        return None if new is node else new


_RUNNING = threading.local()
"""`name` is that of the pass that this thread is in."""


@contextmanager
def _running(name: str) -> Iterator[Counters]:
    """One run of a pass, which counts here. Raises: SpecError inside another."""
    outer = getattr(_RUNNING, "name", None)
    if outer is not None:
        raise SpecError(
            f"graph_rewrite: {name!r} was started inside a rule of {outer!r}; "
            "expected rules that only build nodes. Return the node: the driver rewrites it."
        )
    counters, before = COUNTERS[name], Interning.created
    _RUNNING.name = name
    try:
        yield counters
    finally:
        _RUNNING.name = None
        counters.created += Interning.created - before


def graph_rewrite(root: UOp, pm: PatternMatcher, ctx: Any = None, name: str = "rewrite") -> UOp:
    """`root` rewritten until no rule of `pm` fits anywhere in it.

    Rules see a node once its sources are done. Raises: SpecError if they do not come to an end.
    """
    order = toposort([root])
    limit = max(LEAST, GROWTH * len(order))
    done: dict[UOp, UOp] = {}
    became: dict[UOp, tuple[UOp]] = {}
    work = order[::-1]
    with _running(name) as counters:
        while work:
            node = work.pop()
            needed = became.get(node, node.src)
            missing = [inner for inner in needed if inner not in done]
            if missing:
                work += (node, *missing)
            elif node in became:
                done[node] = done[needed[0]]
            elif node not in done:
                old = node.over(tuple([done[source] for source in needed]))
                new = pm.apply(old, ctx, counters)
                if new is old:
                    done[node] = done[old] = old
                else:
                    became[node] = (new,)
                    work.append(node)
            if len(work) > limit:
                raise _endless(name, len(order), counters)
    return done[root]


def _endless(name: str, given: int, counters: Counters) -> SpecError:
    """The error of rules that go in a circle or ever further: their nodes wait for each other."""
    return SpecError(
        f"graph_rewrite: {name!r} made ever more of {given} nodes, last by rules "
        f"{', '.join(counters.last)}; expected rules that come to an end. Let one of them pass "
        "(return None) on what the others make."
    )


def sweep(
    statements: Iterable[UOp], pm: PatternMatcher, ctx: Any = None, name: str = "sweep"
) -> tuple[UOp, ...]:
    """`statements` after one pass over all in them and what their indices gather.

    Every node is offered to the rules once, over its new sources; what a rule returns is not
    looked at again.
    """
    with _running(name) as counters:
        return Rebuild(look=lambda node: pm.apply(node, ctx, counters)).body(statements)
