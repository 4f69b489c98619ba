"""All rules of one op as one generated decision function, made when that op is first met.

Comes in: rules. Goes out: `PatternMatcher`, whose table gives for an op the function that finds the
first rule that fits a node and applies it. The drivers that walk a graph are in uop/rewrite.py.

The function is nested tests, each written once for neighbouring rules that share it:

    def decide(n, ctx):
        n0, n1 = n.src
        if n1.op is CONST:
            if n1.arg == 0:
                r = function3(x=n0)
                if r is not None and r is not n:
                    return r, rule3
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tinycore.uop.ops import Ops, UOp
from tinycore.uop.pattern import (
    Function,
    Rule,
    UPat,
    arity,
    as_rule,
    check_names,
    parameters,
    variants,
)

Decision = Callable[[UOp, Any], tuple[UOp, Rule] | None]
LAST = 1_000
HUGE = 1e300


class PatternMatcher:
    """Rules in order: where several fit a node, the first that returns a node wins.

    An entry is `(pattern, function)` or a named `Rule`; matchers join with `+`.
    Raises: ArgumentError if a function takes what its pattern does not name.

    >>> double = PatternMatcher([(UPat.var("x") + UPat.var("x"), lambda x: x * 2)])
    """

    def __init__(self, rules: Iterable[Rule | tuple[UPat, Function]]) -> None:
        self.rules = tuple([as_rule(entry) for entry in rules])
        for rule in self.rules:
            check_names(rule)
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
        rules = [rule for rule in self.rules if _accepts(rule.pattern, op)]
        generator = Generator(op, rules)
        self[op] = generator.function() if generator.ways else None
        return self[op]


class Condition(NamedTuple):
    """One condition of a match: `text` with the locals of `places` filled in.

    Tests run by `rank`. `ops` are those that pass, for a test of the op.
    """

    rank: int
    text: str
    places: tuple[str, ...]
    ops: frozenset[Ops] = frozenset()


class Way(NamedTuple):
    """One ordered variant of a rule: tests left to do, its number, and what its function gets."""

    tests: tuple[Condition, ...]
    number: int
    arguments: tuple[tuple[str, str], ...]


class Reading:
    """The tests and names of one ordered pattern, gathered from its root down.

    A place is the expression that leads to a node, as n.src[0]; constants go to `values`.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.tests: list[Condition] = []
        self.bound: dict[str, str] = {}

    def read(self, pattern: UPat, place: str, count: int | None) -> None:
        """Adds the conditions of `pattern` on the node at `place`, which has `count` sources."""
        if pattern.name is not None:
            known = self.bound.setdefault(pattern.name, place)
            if known != place:
                self.add(3, "{0} is {1}", place, known)
        if pattern.dtypes is not None:
            self.add(3, self.type_text(pattern), place)
        if pattern.arg is not None:
            same = pattern.arg == pattern.arg
            text = f"{{0}}.arg == {self.value(pattern.arg)}" if same else "{0}.arg != {0}.arg"
            self.add(3, text, place)
        if isinstance(pattern.src, tuple):
            self.sources(pattern, pattern.src, place, count)

    def add(self, step: int, text: str, *places: str) -> None:
        """Adds a test; the op of a node comes before its number of sources, then all else."""
        depth = max(place.count("src") for place in places)
        self.tests.append(Condition(2 * depth + step, text, places))

    def sources(self, pattern: UPat, src: tuple[UPat, ...], place: str, count: int | None) -> None:
        """Adds the conditions on the sources of the node at `place`."""
        if count is None:
            sign = ">=" if pattern.allow_any_len or pattern.rest else "=="
            self.add(1, f"len({{0}}.src) {sign} {len(src)}", place)
        for number, inner in enumerate(src):
            below = f"{place}.src[{number}]"
            self.op(inner, below)
            self.read(inner, below, arity(inner.ops))
        if pattern.rest is not None:
            self.rest(pattern.rest, place)

    def op(self, pattern: UPat, place: str) -> None:
        """Adds the condition on the op of the node at `place`."""
        if pattern.ops is None:
            return
        depth = place.count("src")
        ops = frozenset(pattern.ops)
        one = len(ops) == 1
        text = (
            f"{{0}}.op is {self.value(pattern.ops[0])}" if one else f"{{0}}.op in {self.value(ops)}"
        )
        self.tests.append(Condition(2 * depth, text, (place,), ops))

    def rest(self, pattern: UPat, place: str) -> None:
        """Adds the condition that every source but the first matches; names keep their nodes."""
        each = f"r{place.count('src')}"
        cases = []
        for variant in variants(pattern):
            inner = Reading(self.values)
            inner.bound = dict(self.bound)
            inner.op(variant, each)
            inner.read(variant, each, arity(variant.ops))
            cases.append(" and ".join([test.text.format(*test.places) for test in inner.sorted()]))
        condition = " or ".join([case or "True" for case in cases])
        text = f"all(({condition}) for {each} in {place}.src[1:])"
        self.tests.append(Condition(LAST, text, (place,)))

    def sorted(self) -> list[Condition]:
        """The tests in the order they run."""
        return sorted(dict.fromkeys(self.tests), key=_rank)

    def type_text(self, pattern: UPat) -> str:
        """The condition on the type: a scalar type also admits its vectors."""
        rows = pattern.dtypes or ()
        scalars = [row.name for row in rows if row.lanes == 1]
        vectors = [row for row in rows if row.lanes > 1]
        cases = [f"{{0}}.dtype.name in {self.value(frozenset(scalars))}"] if scalars else []
        cases += [f"{{0}}.dtype in {self.value(frozenset(vectors))}"] if vectors else []
        return f"({' or '.join(cases)})"

    def value(self, value: Any) -> str:
        """The text of a constant: a literal, or the name of a global of the function."""
        if isinstance(value, int) or (isinstance(value, float) and abs(value) < HUGE):
            return repr(value)
        name = value.name if isinstance(value, Ops) else f"k{len(self.values)}"
        self.values[name] = value
        return name


def _rank(test: Condition) -> int:
    return test.rank


def _accepts(pattern: UPat, op: Ops) -> bool:
    if pattern.choices:
        return any(_accepts(choice, op) for choice in pattern.choices)
    return pattern.ops is None or op in pattern.ops


class Generator:
    """Writes the decision function of one op from the rules that accept it."""

    def __init__(self, op: Ops, rules: Iterable[Rule]) -> None:
        self.op = op
        self.count = arity((op,))
        self.values: dict[str, Any] = {}
        self.lines: list[str] = []
        self.ways = [way for number, rule in enumerate(rules) for way in self.read(number, rule)]

    def read(self, number: int, rule: Rule) -> list[Way]:
        """The ways in which a rule can fit a node of this op, without repeats."""
        self.values[f"rule{number}"] = rule
        self.values[f"function{number}"] = rule.function
        wanted = [word for word, _ in parameters(rule.function)]
        ways = []
        for pattern in variants(rule.pattern, (self.op,)):
            if not _accepts(pattern, self.op):
                continue
            reading = Reading(self.values)
            reading.read(pattern, "n", self.count)
            bound = {"ctx": "ctx", **reading.bound}
            arguments = [(word, bound[word]) for word in wanted if word in bound]
            ways.append(Way(tuple(reading.sorted()), number, tuple(arguments)))
        return list(dict.fromkeys(ways))

    def text(self) -> str:
        """The function as Python text."""
        self.lines = ["def decide(n, ctx):"]
        known = {"n": "n", "ctx": "ctx"}
        if self.count:
            known |= {f"n.src[{k}]": f"n{k}" for k in range(self.count)}
            self.line(1, "".join([f"n{k}, " for k in range(self.count)]) + "= n.src")
        self.emit(self.ways, 1, known)
        return "\n".join(self.lines)

    def function(self) -> Decision:
        """The function itself."""
        exec(compile(self.text(), f"<rules of {self.op.name}>", "exec"), self.values)
        decide: Decision = self.values["decide"]
        return decide

    def line(self, depth: int, text: str) -> None:
        """Writes one line."""
        self.lines.append("    " * depth + text)

    def emit(self, ways: list[Way], depth: int, known: dict[str, str]) -> None:
        """Writes the tests and calls of `ways` in order; `known` maps places to locals."""
        while ways:
            way = ways[0]
            if not way.tests:
                self.call(way, depth, known)
                ways = ways[1:]
                continue
            test = way.tests[0]
            group, ways = _sharing(test, ways)
            places = [self.local(place, depth, known) for place in test.places]
            self.line(depth, f"if {test.text.format(*places)}:")
            self.emit([_without(test, one) for one in group], depth + 1, dict(known))

    def call(self, way: Way, depth: int, known: dict[str, str]) -> None:
        """Writes the call of a rule's function, whose tests have all passed."""
        places = [(word, self.local(place, depth, known)) for word, place in way.arguments]
        arguments = ", ".join([f"{word}={place}" for word, place in places])
        self.line(depth, f"r = function{way.number}({arguments})")
        self.line(depth, "if r is not None and r is not n:")
        self.line(depth + 1, f"return r, rule{way.number}")

    def local(self, place: str, depth: int, known: dict[str, str]) -> str:
        """The local that holds the node at `place`; a line that reads it comes first."""
        if place not in known:
            parent, _, number = place[:-1].rpartition(".src[")
            above = self.local(parent, depth, known)
            known[place] = f"{above}_{number}"
            self.line(depth, f"{known[place]} = {above}.src[{number}]")
        return known[place]


def _sharing(test: Condition, ways: list[Way]) -> tuple[list[Way], list[Way]]:
    """The ways that share `test`, as far as none overtakes one that may fit too; and the rest."""
    group: list[Way] = []
    left: list[Way] = []
    blocked = False
    for way in ways:
        if test in way.tests and not blocked:
            group.append(way)
            continue
        left.append(way)
        blocked = blocked or not _excludes(way, test)
    return group, left


def _excludes(way: Way, test: Condition) -> bool:
    """True if no node passes both `test` and the tests of `way`."""
    if not test.ops:
        return False
    same = [other for other in way.tests if other.ops and other.places == test.places]
    return any(other.ops.isdisjoint(test.ops) for other in same)


def _without(test: Condition, way: Way) -> Way:
    return way._replace(tests=tuple([other for other in way.tests if other != test]))
