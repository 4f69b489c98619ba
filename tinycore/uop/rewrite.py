"""The two drivers: `graph_rewrite`, a fixpoint, and `sweep`, one pass in topological order.

Comes in: a graph and a `PatternMatcher`. Goes out: the graph with the rules applied. Both run
without recursion, count what they do by the name of the pass, and tell observers of every rewrite.
The rules of the simplifier are in uop/simplify.py.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tinycore.errors import SpecError
from tinycore.uop.matcher import Decision, Decisions, PatternMatcher
from tinycore.uop.ops import Interning, UOp, toposort
from tinycore.uop.pattern import Rule

GROWTH = 200  # nodes a fixpoint may go through for each node it was given
LEAST = 10_000  # and how many however small the graph is
CYCLE = "came back to a node that it is still rewriting"
Memo = dict[UOp, UOp]
Observer = Callable[[str, Rule, UOp, UOp], None]


class Counters:
    """What the runs of one pass did: nodes visited, decisions asked for, nodes made, rules fired.

    They depend on the program alone, not on the machine, so that CI can hold them; `created` also
    counts what other threads make meanwhile.
    """

    __slots__ = ("visits", "attempts", "created", "fired")

    def __init__(self) -> None:
        self.visits = 0
        self.attempts = 0
        self.created = 0
        self.fired: Counter[str] = Counter()

    @property
    def rewrites(self) -> int:
        """How many times a rule replaced a node."""
        return self.fired.total()

    def __repr__(self) -> str:
        counts = f"visits={self.visits}, attempts={self.attempts}, created={self.created}"
        return f"Counters({counts}, rewrites={self.rewrites})"


COUNTERS: dict[str, Counters] = {}
"""Name of a pass -> its counters, summed over all runs since `COUNTERS.clear()`."""

OBSERVERS: list[Observer] = []
"""Called with pass, rule, old and new node at every rewrite: SPEC=2, tracing, visualisers."""


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Inside, `observer(pass, rule, old, new)` is called at every rewrite."""
    OBSERVERS.append(observer)
    try:
        yield
    finally:
        OBSERVERS.remove(observer)


class _Running(threading.local):
    """The pass that this thread is in."""

    name: str | None = None


_RUNNING = _Running()


class Run:
    """One run of a pass: its name, the nodes begun, what it counted, and the rules it applied."""

    def __init__(self, name: str, roots: Sequence[UOp]) -> None:
        self.name = name
        self.roots = roots
        self.visits = 0
        self.idle = 0
        self.applied: list[Rule] = []
        self.begun: set[UOp] = set()
        self.limit = LEAST
        self.before = Interning.created

    def __enter__(self) -> Run:
        if _RUNNING.name is not None:
            raise SpecError(
                f"graph_rewrite: {self.name!r} was started inside a rule of {_RUNNING.name!r}; "
                "expected rules that only build nodes. Return the node: the driver rewrites it."
            )
        _RUNNING.name = self.name
        return self

    def __exit__(self, *error: object) -> None:
        _RUNNING.name = None
        counters = COUNTERS.setdefault(self.name, Counters())
        counters.visits += self.visits
        counters.attempts += self.visits - self.idle
        counters.created += Interning.created - self.before
        counters.fired.update([rule.name for rule in self.applied])

    def decide(self, decide: Decision | None, node: UOp, ctx: Any) -> UOp:
        """What the first fitting rule makes of `node`; `node` itself if there is none."""
        self.visits += 1
        if decide is None:
            self.idle += 1
            return node
        found = decide(node, ctx)
        return node if found is None else self.fired(node, *found)

    def fired(self, old: UOp, new: UOp, rule: Rule) -> UOp:
        """Notes a rewrite and gives the new node.

        Raises: SpecError naming the last rules if the run went through far too many nodes.
        """
        self.applied.append(rule)
        for observer in OBSERVERS:
            observer(self.name, rule, old, new)
        if len(self.begun) > self.limit:
            given = len(toposort(self.roots))
            self.limit = max(LEAST, GROWTH * given)
            if len(self.begun) > self.limit:
                raise self.endless(f"made {len(self.begun)} nodes from {given}")
        return new

    def endless(self, what: str) -> SpecError:
        """The error of a run that does not end."""
        last = ", ".join([rule.name for rule in self.applied[-3:]])
        return SpecError(
            f"graph_rewrite: {self.name!r} {what}, last by rules {last}; expected rules that come "
            "to an end. Let one of them pass (return None) on what the others make."
        )


def graph_rewrite(
    root: UOp,
    pm: PatternMatcher,
    ctx: Any = None,
    bottom_up: bool = False,
    name: str = "rewrite",
    memo: dict[UOp, UOp] | None = None,
) -> UOp:
    """`root` rewritten until no rule of `pm` fits anywhere in it.

    Rules see a node once its sources are done; with `bottom_up` they see it before, and again if
    its sources changed. `memo` keeps results between calls with the same rules and context.
    Raises: SpecError if the rules do not come to an end.
    """
    done: dict[UOp, UOp] = {} if memo is None else memo
    with Run(name, [root]) as run:
        _fixpoint(root, pm.decisions, ctx, run, done, bottom_up)
    return done[root]


def _fixpoint(root: UOp, decisions: Decisions, ctx: Any, run: Run, done: Memo, early: bool) -> None:
    """Fills `done`. None on the stack marks that the sources of the node below it are done, or
    what that node became. Rules see a node at its mark, or when it is begun if `early`."""
    became: Memo = {}
    begun = run.begun
    stack: list[Any] = [root]
    moved = bool(done)
    while stack:
        node = new = stack.pop()
        if node is not None:
            if node in done:
                continue
            if node in begun:
                raise run.endless(CYCLE)
            begun.add(node)
            if early:
                new = run.decide(decisions[node.op], node, ctx)
            if new is node and node.src:
                stack += (node, None)
                stack += node.src
                continue
        else:
            node = new = stack.pop()
            if node in became:
                done[node] = done[became.pop(node)]
                continue
            if moved:
                new = _rebuilt(node, done)
        if new is node and not early:
            new = run.decide(decisions[node.op], node, ctx)
        if new is node:
            done[node] = node
            continue
        moved = True
        became[node] = new
        stack += (node, None, new)


def _rebuilt(node: UOp, done: Memo) -> UOp:
    """`node` over what its sources became."""
    for source in node.src:
        if done[source] is not source:
            src = tuple([done[inner] for inner in node.src])
            return UOp(node.op, node.dtype, src, node.arg, node.tag)
    return node


def sweep(
    roots: Sequence[UOp], pm: PatternMatcher, ctx: Any = None, name: str = "sweep"
) -> tuple[UOp, ...]:
    """`roots` after one pass: every node is offered to the rules once, over its new sources.

    What a rule returns is not looked at again.
    """
    changed = sweep_order(toposort(roots), pm, ctx, name)
    return tuple([changed.get(root, root) for root in roots])


def sweep_order(
    order: Sequence[UOp], pm: PatternMatcher, ctx: Any = None, name: str = "sweep"
) -> dict[UOp, UOp]:
    """One pass over nodes listed sources first: what each node that changed became."""
    decisions = pm.decisions
    changed: dict[UOp, UOp] = {}
    with Run(name, order) as run:
        for node in order:
            moved = _moved(node, changed) if changed else node
            new = run.decide(decisions[moved.op], moved, ctx)
            if new is not node:
                changed[node] = new
    return changed


def _moved(node: UOp, changed: Memo) -> UOp:
    """`node` over its new sources, those that changed."""
    for source in node.src:
        if source in changed:
            src = tuple([changed.get(inner, inner) for inner in node.src])
            return UOp(node.op, node.dtype, src, node.arg, node.tag)
    return node
