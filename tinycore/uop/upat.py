"""Patterns, rules, and what applies them: `PatternMatcher` to one node, two drivers to a graph.

Comes in: a rule's pattern and function; a graph. Goes out: `UPat`, `Rule`, and the graph rewritten,
by `graph_rewrite` until no rule fits, or by `sweep` once everywhere. Next file: simplify.py.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import permutations
from os.path import basename
from typing import Any, NamedTuple

from tinycore.dtype import DType, Scalar, dtypes
from tinycore.errors import ArgumentError, SpecError
from tinycore.uop.ops import COMMUTATIVE, Arithmetic, Interning, Nodes, Ops, UOp, toposort
from tinycore.uop.tree import Rebuild

Bound = dict[str, Any]  # what a rule may take, by name
Function = Callable[..., Any]
Result = UOp | None  # None: the rule does not apply after all
Types = DType | Iterable[DType] | None
_LEFT_OUT = ("None", "False", "()")
GROWTH = 200  # looks of a fixpoint for each node given
LEAST = 10_000  # looks however small the graph is


@dataclass(eq=False, repr=False)
class UPat(Arithmetic):
    """A pattern of nodes: what is left out matches anything.

    `op` and `dtype` may be several; a scalar type also matches its vectors. `src` is a tuple (in
    order), a list (in any order), or one pattern for every source. A `name` hands the node to the
    rule's function; the same name twice means the same node. With `allow_any_len` more sources may
    follow. Arithmetic on patterns makes the pattern of that arithmetic on nodes.

    >>> UPat.var("x") + 0
    UPat(op=Ops.ADD, src=[UPat(name='x'), UPat(op=Ops.CONST, arg=0)])
    """

    op: Ops | Iterable[Ops] | None = None
    dtype: Types = None
    src: tuple[UPat, ...] | list[UPat] | UPat | None = None
    arg: Any = None
    name: str | None = None
    allow_any_len: bool = False

    def __post_init__(self) -> None:
        self.ops = (self.op,) if isinstance(self.op, Ops) else tuple(self.op or ())
        self.dtypes = (self.dtype,) if isinstance(self.dtype, DType) else tuple(self.dtype or ())

    @staticmethod
    def var(name: str | None = None, dtype: Types = None) -> UPat:
        """Any node, named."""
        return UPat(dtype=dtype, name=name)

    @staticmethod
    def cvar(name: str | None = None) -> UPat:
        """Any constant, named."""
        return UPat(Ops.CONST, name=name)

    @staticmethod
    def const(dtype: Types, value: Scalar) -> UPat:
        """The constant `value`; -0.0 equals 0.0, and NaN equals NaN."""
        return UPat(Ops.CONST, dtype, arg=value)

    def named(self, name: str) -> UPat:
        """This pattern with a name."""
        return replace(self, name=name)

    def alu(self, op: Ops, *others: UPat | Scalar) -> UPat:
        """The pattern of `op`; the order of sources is free if the op commutes."""
        patterns = [o if isinstance(o, UPat) else UPat.const(None, o) for o in others]
        sources = [self, *patterns]
        return UPat(op, src=sources if op in COMMUTATIVE else tuple(sources))

    def cast(self, dtype: Types = None) -> UPat:
        """The pattern of this converted to `dtype`."""
        return UPat(Ops.CAST, dtype, (self,))

    def __invert__(self) -> UPat:
        return self ^ UPat.const(dtypes.bool, True)

    def __repr__(self) -> str:
        texts = {one.name: repr(getattr(self, one.name)) for one in fields(self)}
        shown = [f"{name}={text}" for name, text in texts.items() if text not in _LEFT_OUT]
        return f"UPat({', '.join(shown)})"

    # matching

    def orders(self, count: int) -> Iterable[tuple[UPat, ...]]:
        """The patterns of `count` sources in each order; none for a wrong count."""
        src = self.src
        if src is None:
            return [()]
        if isinstance(src, UPat):
            return [(src,) * count] if count else []
        if len(src) > count or (len(src) < count and not self.allow_any_len):
            return []
        if isinstance(src, list):
            return dict.fromkeys(permutations(src))
        return [src]

    def may_fit(self, node: UOp) -> bool:
        """False if the op of `node`, or of a source, rules a match out."""
        ops = [source.op for source in node.src]
        orders = self.orders(len(ops)) if self._has_op(node.op) else []
        return any(all(map(UPat._has_op, order, ops)) for order in orders)

    def matches(self, node: UOp, bound: Bound) -> Iterator[Bound]:
        """Each way in which `node` fits: `bound`, and what this pattern's names stand for."""
        if not self._has_op(node.op) or not self._fits(node.dtype, node.arg):
            return
        if self.name:
            if bound.get(self.name, node) is not node:
                return
            bound = {**bound, self.name: node}
        for order in self.orders(len(node.src)):
            ways = [bound]
            for pattern, source in zip(order, node.src, strict=False):
                ways = [more for way in ways for more in pattern.matches(source, way)]
            yield from ways

    def _has_op(self, op: Ops) -> bool:
        return not self.ops or op in self.ops

    def _fits(self, dtype: DType, arg: Any) -> bool:
        if self.dtypes and dtype not in self.dtypes and dtype.scalar not in self.dtypes:
            return False
        both_nan = arg != arg and self.arg != self.arg
        return self.arg is None or bool(arg == self.arg) or both_nan

    def names(self) -> set[str]:
        """The names in this pattern."""
        inner = (self.src,) if isinstance(self.src, UPat) else self.src or ()
        own = {self.name} if self.name else set()
        return own.union(*map(UPat.names, inner))


class Rule(NamedTuple):
    """A named rewrite: where `pattern` matches, `function` gives the new node, or None to pass.

    The function takes the pattern's names, `node` (the root) and `ctx` as it needs them.
    """

    name: str
    pattern: UPat
    function: Function

    def apply(self, node: UOp, ctx: Any) -> Result:
        """What becomes of `node`, or None."""
        for bound in self.pattern.matches(node, {"node": node, "ctx": ctx}):
            wanted = {name: bound[name] for name in parameters(self.function) if name in bound}
            new: Result = self.function(**wanted)
            if new and new is not node:
                return new
        return None


def rule(pattern: UPat) -> Callable[[Function], Rule]:
    """Makes the function below a rule of its name; its docstring is the proof."""
    return lambda function: Rule(function.__name__, pattern, function)


def as_rule(entry: Rule | tuple[UPat, Function]) -> Rule:
    """A rule; an unnamed one is called by file and line.

    Raises: ArgumentError if the function is not Python's or takes an unknown name.
    """
    pattern, function = entry[-2:]
    code = getattr(function, "__code__", None)
    if code is None:
        text = f"PatternMatcher: {function!r} is no Python function"
        raise ArgumentError(f"{text}; expected one with named parameters. Wrap it in a lambda.")
    name = f"{basename(code.co_filename)}:{code.co_firstlineno}"
    found = entry if isinstance(entry, Rule) else Rule(name, pattern, function)
    known = pattern.names()
    needed = parameters(function)[: -len(function.__defaults__ or ()) or None]
    missing = [word for word in needed if word not in (*known, "self", "node", "ctx")]
    if missing:
        text = f"PatternMatcher: rule {found.name} takes {missing[0]!r}, which its pattern does not"
        names = ", ".join(sorted(known)) or "none"
        raise ArgumentError(f"{text} name; expected some of: {names}. Name it in the pattern.")
    return found


def parameters(function: Function) -> tuple[str, ...]:
    """The names of a function's positional parameters."""
    code = function.__code__
    return code.co_varnames[: code.co_argcount]


class Counters:
    """What the runs of one pass did: nodes visited, rules tried, nodes made, rules fired.

    They do not depend on the machine, so that CI can hold them; but `created` counts all threads.
    """

    visits = attempts = created = 0

    def __init__(self) -> None:
        self.fired = Counter[str]()
        self.last: deque[str] = deque(maxlen=3)


COUNTERS: defaultdict[str, Counters] = defaultdict(Counters)
"""Counters by the name of a pass, summed over its runs."""


class PatternMatcher:
    """Rules in order: the first that returns a node wins.

    An entry is `(pattern, function)` or a `Rule`; matchers join with `+`.
    Raises: ArgumentError if a function takes what its pattern does not name.

    >>> double = PatternMatcher([(UPat.var("x") + UPat.var("x"), lambda x: x * 2)])
    """

    def __init__(self, rules: Iterable[Rule | tuple[UPat, Function]]) -> None:
        self.rules = tuple(map(as_rule, rules))
        self._by_shape: dict[Any, list[Rule]] = {}

    def __add__(self, other: PatternMatcher) -> PatternMatcher:
        return PatternMatcher(self.rules + other.rules)

    def rewrite(self, node: UOp, ctx: Any = None, counters: Counters | None = None) -> Result:
        """What the first fitting rule makes of `node` alone, or None."""
        counters = counters or Counters()
        counters.visits += 1
        shape = (node.op, *[source.op for source in node.src])
        rules = self._by_shape.get(shape)
        if rules is None:
            rules = [rule for rule in self.rules if rule.pattern.may_fit(node)]
            self._by_shape[shape] = rules
        for rule in rules:
            counters.attempts += 1
            new = rule.apply(node, ctx)
            if new:
                counters.fired[rule.name] += 1
                counters.last.append(rule.name)
                return new
        return None


_RUNNING = threading.local()


@contextmanager
def _running(name: str) -> Iterator[Counters]:
    """One run of a pass. Raises: SpecError inside another."""
    outer = getattr(_RUNNING, "name", "")
    if outer:
        found = f"graph_rewrite: {name!r} was started inside a rule of {outer!r}; expected rules"
        raise SpecError(f"{found} that only build nodes. Return the node: the driver rewrites it.")
    counters, before = COUNTERS[name], Interning.created
    _RUNNING.name = name
    try:
        yield counters
    finally:
        _RUNNING.name = ""
        counters.created += Interning.created - before


def graph_rewrite(root: UOp, pm: PatternMatcher, ctx: Any = None, name: str = "rewrite") -> UOp:
    """`root` rewritten until no rule of `pm` fits anywhere in it.

    Raises: SpecError if the rules do not come to an end.
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
                new = pm.rewrite(old, ctx, counters)
                if not new:
                    done[node] = done[old] = old
                else:
                    became[node] = (new,)
                    work.append(node)
            if len(work) > limit:
                raise SpecError(
                    f"graph_rewrite: {name!r} made ever more of {len(order)} nodes, last by "
                    f"rules {', '.join(counters.last)}; expected rules that come to an end. "
                    "Let one of them pass (return None) on what the others make."
                )
    return done[root]


def sweep(
    statements: Iterable[UOp], pm: PatternMatcher, ctx: Any = None, name: str = "sweep"
) -> Nodes:
    """`statements` after each node in them, gathered ones too, was offered to the rules once.

    What a rule returns is not looked at again.
    """
    with _running(name) as counters:
        return Rebuild(look=lambda node: pm.rewrite(node, ctx, counters) or node).body(statements)
