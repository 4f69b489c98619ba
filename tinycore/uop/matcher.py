"""All rules of one op as one generated decision function, made when that op is first met.

Comes in: rules. Goes out: `PatternMatcher`, whose table gives for an op the function that finds the
first rule that fits a node and applies it. The drivers that walk a graph are in uop/rewrite.py.

The function is nested tests, each written once for neighbouring rules that begin with it:

    def decide(n, ctx):
        n0, n1 = n.src
        if n1.op is CONST:
            if n1.arg == 0:
                r = function3(x=n0)
                if r is not None and r is not n:
                    return r, rule3
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import groupby, permutations
from typing import Any, NamedTuple

from tinycore.dtype import DType
from tinycore.errors import ArgumentError
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.pattern import Function, Rule, UPat, as_rule, parameters
from tinycore.uop.table import TABLE

Decision = Callable[[UOp, Any], tuple[UOp, Rule] | None]


class PatternMatcher:
    """Rules in order: where several fit a node, the first that returns a node wins.

    An entry is `(pattern, function)` or a named `Rule`; matchers join with `+`.
    Raises: ArgumentError if a function takes what its pattern does not name.

    >>> double = PatternMatcher([(UPat.var("x") + UPat.var("x"), lambda x: x * 2)])
    """

    def __init__(self, rules: Iterable[Rule | tuple[UPat, Function]]) -> None:
        self.rules = tuple([as_rule(entry) for entry in rules])
        for rule in self.rules:
            _check_names(rule)
        self.decisions = Decisions(self.rules)

    def __add__(self, other: PatternMatcher) -> PatternMatcher:
        return PatternMatcher([*self.rules, *other.rules])

    def rewrite(self, node: UOp, ctx: Any = None) -> UOp | None:
        """What the first fitting rule makes of `node` alone; None if no rule fits."""
        decide = self.decisions[node.op]
        found = None if decide is None else decide(node, ctx)
        return None if found is None else found[0]


class Decisions(dict[Ops, Decision | None]):
    """Op -> decision function, or None where no rule looks at that op; made at first use."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules

    def __missing__(self, op: Ops) -> Decision | None:
        self[op] = Writer(op, self.rules).function()
        return self[op]


def _check_names(rule: Rule) -> None:
    needed = [name for name, needs in parameters(rule.function).items() if needs]
    for way in Writer(None, [rule]).ways:
        missing = [name for name in needed if name not in (*way.places, "ctx", "node")]
        if missing:
            known = ", ".join(sorted(way.places)) or "none"
            raise ArgumentError(
                f"PatternMatcher: rule {rule.name} takes {missing[0]!r}, which its pattern does "
                f"not name; expected some of: {known}. Name it in the pattern."
            )


class Way(NamedTuple):
    """One way in which a rule can fit: its number, tests in order, and the places of its names.

    A place is the expression that leads to a node, as n1.src[0]; a test is a condition on places.
    """

    number: int
    tests: tuple[str, ...]
    places: Mapping[str, str]

    def given(self, *tests: str) -> Way:
        """This way with more tests."""
        return self._replace(tests=(*self.tests, *tests))


@cache
def arity(ops: tuple[Ops, ...]) -> int | None:
    """The number of sources that all of `ops` have; None if it varies."""
    counts = {TABLE[op].sources for op in ops}
    return counts.pop() if len(counts) == 1 else None


class Writer:
    """Writes the decision function of one op; of no op, it finds only in what ways rules fit."""

    def __init__(self, op: Ops | None, rules: Iterable[Rule]) -> None:
        self.op = op
        self.count = None if op is None else arity((op,))
        self.lines: list[str] = []
        self.names: dict[Any, str] = {}
        self.values: dict[str, Any] = {}
        self.ways: list[Way] = []
        for number, rule in enumerate(rules):
            self.values |= {f"rule{number}": rule, f"function{number}": rule.function}
            self.ways += self.fit(rule.pattern, "n", Way(number, (), {}))

    # from patterns to ways

    def fit(self, pattern: UPat, place: str, way: Way) -> list[Way]:
        """The ways in which the node at `place` fits besides."""
        at_root = place == "n" and self.op is not None
        if at_root and pattern.ops and self.op not in pattern.ops:
            return []
        if pattern.ops and not at_root:
            way = way.given(self.op_test(pattern.ops, place))
        if pattern.name:
            way = way._replace(places={pattern.name: place, **way.places})
            known = way.places[pattern.name]
            way = way if known == place else way.given(f"{place} is {known}")
        if pattern.choices:
            return [one for choice in pattern.choices for one in self.fit(choice, place, way)]
        if pattern.dtypes:
            way = way.given(self.type_test(pattern.dtypes, place))
        if pattern.arg is not None:
            nan = pattern.arg != pattern.arg
            test = f"!= {place}.arg" if nan else f"== {self.name(pattern.arg)}"
            way = way.given(f"{place}.arg {test}")
        return self.sources(pattern, place, way)

    def sources(self, pattern: UPat, place: str, way: Way) -> list[Way]:
        """The ways in which the sources of the node at `place` fit besides."""
        src = pattern.src
        if src is None:
            return [way]
        count = self.count if place == "n" and self.op else arity(pattern.ops)
        if isinstance(src, UPat):
            if count is None:
                return self.each(src, place, way)
            src = (src,) * max(count, 1)
        if count is None:
            sign = ">=" if pattern.allow_any_len else "=="
            way = way.given(f"len({place}.src) {sign} {len(src)}")
        elif len(src) > count or (len(src) < count and not pattern.allow_any_len):
            return []
        orders = dict.fromkeys(permutations(src)) if isinstance(src, list) else [src]
        return [one for order in orders for one in self.in_order(order, place, way)]

    def in_order(self, src: tuple[UPat, ...], place: str, way: Way) -> list[Way]:
        """The ways in which the first sources of the node at `place` fit one pattern each."""
        ways = [way]
        for number, inner in enumerate(src):
            local = place == "n" and self.count is not None
            below = f"n{number}" if local else f"{place}.src[{number}]"
            ways = [longer for one in ways for longer in self.fit(inner, below, one)]
        return ways

    def each(self, src: UPat, place: str, way: Way) -> list[Way]:
        """The ways in which every source of the node at `place` fits; names are of the first."""
        ways = []
        for first in self.fit(src, f"{place}.src[0]", way.given(f"{place}.src")):
            rest = self.fit(src, "s", Way(way.number, (), first.places))
            text = " or ".join([" and ".join(one.tests) or "True" for one in rest])
            ways.append(first.given(f"all([{text} for s in {place}.src])"))
        return ways

    def op_test(self, ops: tuple[Ops, ...], place: str) -> str:
        """The test of the op of the node at `place`."""
        if len(ops) == 1:
            return f"{place}.op is {self.name(ops[0])}"
        return f"{place}.op in {self.name(frozenset(ops))}"

    def type_test(self, dtypes: tuple[DType, ...], place: str) -> str:
        """The test of the type of the node at `place`: a scalar type goes by its name."""
        scalars = frozenset([row.name for row in dtypes if row.lanes == 1])
        vectors = frozenset([row for row in dtypes if row.lanes > 1])
        test = f"{place}.dtype.name in {self.name(scalars)}"
        return f"({test} or {place}.dtype in {self.name(vectors)})" if vectors else test

    def name(self, value: Any) -> str:
        """The global of the function that holds a constant."""
        if value not in self.names:
            self.names[value] = value.name if isinstance(value, Ops) else f"k{len(self.names)}"
        return self.names[value]

    # from ways to text

    def function(self) -> Decision | None:
        """The function itself; None if no rule looks at its op."""
        if not self.ways:
            return None
        values = self.values | {name: value for value, name in self.names.items()}
        exec(compile(self.text(), f"<rules of {self.op}>", "exec"), values)
        decide: Decision = values["decide"]
        return decide

    def text(self) -> str:
        """The function as Python text."""
        self.lines = ["def decide(n, ctx):"]
        if self.count:
            self.line(1, "".join([f"n{k}, " for k in range(self.count)]) + "= n.src")
        self.emit(self.ways, 1)
        return "\n".join(self.lines)

    def line(self, depth: int, text: str) -> None:
        """Writes one line."""
        self.lines.append("    " * depth + text)

    def emit(self, ways: list[Way], depth: int) -> None:
        """Writes the tests and calls of `ways` in order."""
        for test, same in groupby(ways, _first_test):
            group = list(same)
            if not test:
                for way in group:
                    self.call(way, depth)
            elif len(group) == 1:
                self.line(depth, f"if {' and '.join(group[0].tests)}:")
                self.call(group[0], depth + 1)
            else:
                self.line(depth, f"if {test}:")
                self.emit([way._replace(tests=way.tests[1:]) for way in group], depth + 1)

    def call(self, way: Way, depth: int) -> None:
        """Writes the call of a rule's function, whose tests have all passed."""
        places = {"ctx": "ctx", "node": "n", **way.places}
        words = parameters(self.values[f"function{way.number}"])
        arguments = ", ".join([f"{word}={places[word]}" for word in words if word in places])
        self.line(depth, f"r = function{way.number}({arguments})")
        self.line(depth, "if r is not None and r is not n:")
        self.line(depth + 1, f"return r, rule{way.number}")


def _first_test(way: Way) -> str:
    return way.tests[0] if way.tests else ""
