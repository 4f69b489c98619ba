"""The two drivers: `graph_rewrite`, a fixpoint, and `sweep`, one pass in topological order.

Comes in: a graph and a `PatternMatcher`. Goes out: the graph with the rules applied. Both run
without recursion, count what they do by the name of the pass, and tell observers of every rewrite.
The rules of the simplifier are in uop/simplify.py.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

from tinycore.errors import SpecError
from tinycore.uop.matcher import Decisions, PatternMatcher
from tinycore.uop.ops import Interning, UOp, toposort
from tinycore.uop.pattern import Rule

GROWTH = 200  # nodes a fixpoint may go through for each node it was given
LEAST = 10_000  # and how many however small the graph is


class Counters:
    """What the runs of one pass did: nodes visited, decisions asked for, nodes made, rules fired.

    They depend on the program alone, not on the machine, so that CI can hold them; `created` also
    counts what other threads make meanwhile.
    """

    def __init__(self) -> None:
        self.visits = 0
        self.attempts = 0
        self.created = 0
        self.fired: Counter[str] = Counter()

    @property
    def rewrites(self) -> int:
        """How many times a rule replaced a node."""
        return self.fired.total()


COUNTERS: defaultdict[str, Counters] = defaultdict(Counters)
"""Name of a pass -> its counters, summed over all runs since `COUNTERS.clear()`."""

OBSERVERS: list[Callable[[str, Rule, UOp, UOp], None]] = []
"""Called with pass, rule, old and new node at every rewrite: SPEC=2, tracing, visualisers."""


def note(name: str, rule: Rule, old: UOp, new: UOp) -> None:
    """Counts a rewrite of pass `name` and tells the observers."""
    COUNTERS[name].fired[rule.name] += 1
    for observer in OBSERVERS:
        observer(name, rule, old, new)


_RUNNING = threading.local()
"""`name` is that of the pass that this thread is in."""


class Run:
    """One run of a pass: what it counts, and the rules it applied last."""

    def __init__(self, name: str, decisions: Decisions, ctx: Any) -> None:
        self.name = name
        self.decisions = decisions
        self.ctx = ctx
        self.counters = COUNTERS[name]
        self.before = Interning.created
        self.last: deque[str] = deque(maxlen=3)

    def __enter__(self) -> Run:
        outer = getattr(_RUNNING, "name", None)
        if outer is not None:
            raise SpecError(
                f"graph_rewrite: {self.name!r} was started inside a rule of {outer!r}; "
                "expected rules that only build nodes. Return the node: the driver rewrites it."
            )
        _RUNNING.name = self.name
        return self

    def __exit__(self, *error: object) -> None:
        _RUNNING.name = None
        self.counters.created += Interning.created - self.before

    def decide(self, node: UOp) -> UOp:
        """What the first fitting rule makes of `node`; `node` itself if there is none."""
        self.counters.visits += 1
        decide = self.decisions[node.op]
        if decide is None:
            return node
        self.counters.attempts += 1
        found = decide(node, self.ctx)
        if found is None:
            return node
        new, rule = found
        self.last.append(rule.name)
        note(self.name, rule, node, new)
        return new

    def endless(self, what: str) -> SpecError:
        """The error of a run that does not end."""
        return SpecError(
            f"graph_rewrite: {self.name!r} {what}, last by rules {', '.join(self.last)}; expected "
            "rules that come to an end. Let one of them pass (return None) on what the others make."
        )

    def limit(self, root: UOp, begun: int) -> int:
        """How many nodes a run may go through. Raises: SpecError if those begun are more."""
        given = len(toposort([root]))
        limit = max(LEAST, GROWTH * given)
        if begun > limit:
            raise self.endless(f"made {begun} nodes from {given}")
        return limit


def graph_rewrite(
    root: UOp, pm: PatternMatcher, ctx: Any = None, bottom_up: bool = False, name: str = "rewrite"
) -> UOp:
    """`root` rewritten until no rule of `pm` fits anywhere in it.

    Rules see a node once its sources are done; with `bottom_up` they see it before, and again if
    its sources changed. Raises: SpecError if the rules do not come to an end.
    """
    with Run(name, pm.decisions, ctx) as run:
        return _fixpoint(root, run, bottom_up)


def _fixpoint(root: UOp, run: Run, early: bool) -> UOp:
    """None on the stack marks that the sources of the node below it are done, or what that node
    became. Rules see a node at its mark, or when it is begun if `early`."""
    done: dict[UOp, UOp] = {}
    became: dict[UOp, UOp] = {}
    begun: set[UOp] = set()
    moved = False
    limit = LEAST
    stack: list[Any] = [root]
    while stack:
        node = new = stack.pop()
        if node is not None:
            if node in done:
                continue
            if node in begun:
                raise run.endless("came back to a node that it is still rewriting")
            begun.add(node)
            if early:
                new = run.decide(node)
            if new is node and node.src:
                stack += (node, None)
                stack += node.src
                continue
        else:
            node = stack.pop()
            if node in became:
                done[node] = done[became.pop(node)]
                continue
            new = _over_new_sources(node, done) if moved else node
        if new is node and not early:
            new = run.decide(node)
        if new is node:
            done[node] = node
            continue
        moved = True
        became[node] = new
        stack += (node, None, new)
        if len(begun) > limit:
            limit = run.limit(root, len(begun))
    return done[root]


def sweep(
    order: Iterable[UOp], pm: PatternMatcher, ctx: Any = None, name: str = "sweep"
) -> dict[UOp, UOp]:
    """One pass over nodes listed sources first: what each node that changed became.

    Every node is offered to the rules once, over its new sources; what a rule returns is not
    looked at again.
    """
    changed: dict[UOp, UOp] = {}
    with Run(name, pm.decisions, ctx) as run:
        for node in order:
            new = run.decide(_over_new_sources(node, changed) if changed else node)
            if new is not node:
                changed[node] = new
    return changed


def _over_new_sources(node: UOp, changed: dict[UOp, UOp]) -> UOp:
    """`node` over what its sources became, where they changed."""
    for source in node.src:
        if changed.get(source, source) is not source:
            src = tuple([changed.get(inner, inner) for inner in node.src])
            return UOp(node.op, node.dtype, src, node.arg, node.tag)
    return node
