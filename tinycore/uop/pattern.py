"""Patterns: what a rewrite rule looks for in a graph.

Comes in: ops, types, sources and names as a rule's author writes them. Goes out: ordered variants
of the pattern, whose sources are tuples, for uop/matcher.py to turn into a decision function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import permutations, product
from os.path import basename
from typing import Any, NamedTuple

from tinycore.dtype import DType, dtypes
from tinycore.errors import ArgumentError
from tinycore.uop.ops import COMMUTATIVE, Ops, Scalar, UOp
from tinycore.uop.table import TABLE

Function = Callable[..., Any]
Result = UOp | None  # of a rule: None where it does not apply after all


def _group(value: Any, kind: type) -> tuple[Any, ...] | None:
    """One thing, several or None (any), as a tuple or None."""
    if value is None:
        return None
    return (value,) if isinstance(value, kind) else tuple(value)


def _operator(op: Ops) -> Callable[..., UPat]:
    """The method that makes the pattern of `op` on patterns and numbers."""

    def made(self: UPat, *others: UPat | Scalar) -> UPat:
        return self.alu(op, *others)

    return made


class UPat:
    """A pattern of nodes: what is left out matches anything.

    `op` and `dtype` are one or several; a scalar type also matches its vectors. `src` is a tuple
    (in order), a list (in any order), or one pattern that every source must match, at least one.
    `arg` is compared by ==. A `name` hands the node to the rule's function; the same name twice
    means the same node. With `allow_any_len` there may be more sources than patterns. In an ordered
    variant `rest` is what all sources after those of `src` must match.

    >>> UPat.var("x") + 0
    UPat(Ops.ADD, src=[UPat(name='x'), UPat(Ops.CONST, arg=0)])
    """

    __slots__ = ("ops", "dtypes", "src", "arg", "name", "allow_any_len", "choices", "rest")

    def __init__(
        self,
        op: Ops | Iterable[Ops] | None = None,
        dtype: DType | Iterable[DType] | None = None,
        src: tuple[UPat, ...] | list[UPat] | UPat | None = None,
        arg: Any = None,
        name: str | None = None,
        allow_any_len: bool = False,
    ) -> None:
        self.ops: tuple[Ops, ...] | None = _group(op, Ops)
        self.dtypes: tuple[DType, ...] | None = _group(dtype, DType)
        self.src = src
        self.arg = arg
        self.name = name
        self.allow_any_len = allow_any_len
        self.choices: tuple[UPat, ...] = ()
        self.rest: UPat | None = None

    @staticmethod
    def any(*choices: UPat) -> UPat:
        """What matches one of several patterns; the first is tried first."""
        pattern = UPat()
        pattern.choices = choices
        return pattern

    @staticmethod
    def var(name: str | None = None, dtype: DType | Iterable[DType] | None = None) -> UPat:
        """Any node, named."""
        return UPat(dtype=dtype, name=name)

    @staticmethod
    def cvar(name: str | None = None, dtype: DType | Iterable[DType] | None = None) -> UPat:
        """Any constant, named."""
        return UPat(Ops.CONST, dtype, name=name)

    @staticmethod
    def const(dtype: DType | Iterable[DType] | None, value: Scalar) -> UPat:
        """The constant `value`; -0.0 equals 0.0, and NaN is itself."""
        return UPat(Ops.CONST, dtype, arg=value)

    def named(self, name: str | None) -> UPat:
        """This pattern with a name; None leaves it as it is."""
        if name is None:
            return self
        new = UPat(self.ops, self.dtypes, self.src, self.arg, name, self.allow_any_len)
        new.choices, new.rest = self.choices, self.rest
        return new

    def over(self, src: tuple[UPat, ...], rest: UPat | None = None) -> UPat:
        """This pattern with its sources in one order."""
        new = UPat(self.ops, self.dtypes, src, self.arg, self.name, self.allow_any_len)
        new.rest = rest
        return new

    def __repr__(self) -> str:
        if self.choices:
            return f"UPat.any({', '.join(map(repr, self.choices))})"
        parts = [] if self.ops is None else [_shown(self.ops)]
        parts += [] if self.dtypes is None else [f"dtype={_shown(self.dtypes)}"]
        for field in ("src", "arg", "name"):
            value = getattr(self, field)
            parts += [] if value is None else [f"{field}={value!r}"]
        parts += ["allow_any_len=True"] if self.allow_any_len else []
        return f"UPat({', '.join(parts)})"

    # arithmetic: the pattern of the node that the same arithmetic on nodes makes

    def alu(self, op: Ops, *others: UPat | Scalar) -> UPat:
        """The pattern of `op` on this and `others`, in any order if the op does not mind."""
        sources = (self, *[o if isinstance(o, UPat) else UPat.const(None, o) for o in others])
        return UPat(op, src=list(sources) if op in COMMUTATIVE else sources)

    def cast(self, dtype: DType | Iterable[DType] | None = None) -> UPat:
        """The pattern of this converted to `dtype`."""
        return UPat(Ops.CAST, dtype, (self,))

    def __invert__(self) -> UPat:
        return self ^ UPat.const(dtypes.bool, True)

    __neg__ = _operator(Ops.NEG)
    __add__ = __radd__ = _operator(Ops.ADD)
    __mul__ = __rmul__ = _operator(Ops.MUL)
    __floordiv__ = _operator(Ops.IDIV)
    __mod__ = _operator(Ops.MOD)
    __and__ = _operator(Ops.AND)
    __or__ = _operator(Ops.OR)
    __xor__ = _operator(Ops.XOR)
    __lshift__ = _operator(Ops.SHL)
    __rshift__ = _operator(Ops.SHR)
    __lt__ = _operator(Ops.LT)
    eq = _operator(Ops.EQ)
    where = _operator(Ops.WHERE)


def _shown(values: tuple[Any, ...]) -> str:
    return repr(values[0]) if len(values) == 1 else repr(values)


class Rule(NamedTuple):
    """A named rewrite: where `pattern` matches, `function` gives the new node, or None to pass.

    The function takes the pattern's names it needs, and `ctx` if it asks for it.
    """

    name: str
    pattern: UPat
    function: Function


def of(op: Ops | Iterable[Ops], *src: UPat, dtype: DType | Iterable[DType] | None = None) -> UPat:
    """The pattern of an op over sources in this order."""
    return UPat(op, dtype, src)


def rule(
    what: UPat | Ops | Iterable[Ops],
    *src: UPat,
    dtype: DType | Iterable[DType] | None = None,
) -> Callable[[Function], Rule]:
    """Makes the function below it a rule of its name; its docstring is the proof.

    It fits the pattern `what`, or an op over sources in this order; the root is named "node".
    """
    pattern = what if isinstance(what, UPat) else of(what, *src, dtype=dtype)
    return lambda function: Rule(function.__name__, pattern.named("node"), function)


def rules_in(names: Mapping[str, object]) -> tuple[Rule, ...]:
    """The rules among the globals of a module, in the order of its text."""
    return tuple([value for value in names.values() if isinstance(value, Rule)])


def as_rule(entry: Rule | tuple[UPat, Function]) -> Rule:
    """A rule; an unnamed one is called by file and line of its function."""
    if isinstance(entry, Rule):
        return entry
    pattern, function = entry
    code = getattr(function, "__code__", None)
    if code is None:
        return Rule(getattr(function, "__name__", repr(function)), pattern, function)
    return Rule(f"{basename(code.co_filename)}:{code.co_firstlineno}", pattern, function)


def check_names(rule: Rule) -> None:
    """Every name that the rule's function needs is bound by each way its pattern can match.

    Raises: ArgumentError naming the rule and the parameter.
    """
    needed = [name for name, default in parameters(rule.function) if not default]
    bound = names(rule.pattern)
    missing = [name for name in needed if name not in bound and name != "ctx"]
    if missing:
        known = ", ".join(sorted(bound)) or "none"
        raise ArgumentError(
            f"PatternMatcher: rule {rule.name} takes {missing[0]!r}, which its pattern does not "
            f"name; expected some of: {known}. Name it in the pattern."
        )


def parameters(function: Function) -> list[tuple[str, bool]]:
    """The names of a rule function's parameters, and whether each has a default."""
    code = getattr(function, "__code__", None)
    if code is None:
        raise ArgumentError(
            f"PatternMatcher: {function!r} is no Python function; expected one with named "
            "parameters. Wrap it in a lambda."
        )
    bound = getattr(function, "__self__", None) is not None
    listed = code.co_varnames[bound : code.co_argcount + code.co_kwonlyargcount]
    optional = len(function.__defaults__ or ())
    required = code.co_argcount - bound - optional
    return [(name, place >= required) for place, name in enumerate(listed)]


def names(pattern: UPat) -> set[str]:
    """The names bound however `pattern` matches: those of all its choices."""
    found = {pattern.name} if pattern.name else set()
    if pattern.choices:
        bound = [names(choice.named(pattern.name)) for choice in pattern.choices]
        found |= set.intersection(*bound)
    for inner in sources(pattern):
        found |= names(inner)
    return found


def sources(pattern: UPat) -> Iterator[UPat]:
    """The patterns of the sources, in no order that matters."""
    if isinstance(pattern.src, UPat):
        yield pattern.src
    elif pattern.src is not None:
        yield from pattern.src


def variants(pattern: UPat, ops: tuple[Ops, ...] | None = None) -> Iterator[UPat]:
    """The ordered patterns that `pattern` stands for: a list becomes each order of its entries.

    `ops` narrows the ops of the root, so that the number of its sources is known.
    """
    if pattern.choices:
        for choice in pattern.choices:
            yield from variants(choice.named(pattern.name), ops)
        return
    yield from _orders(pattern, arity(ops or pattern.ops))


@cache
def arity(ops: tuple[Ops, ...] | None) -> int | None:
    """The number of sources that all of `ops` have; None if it varies."""
    counts = {TABLE[op].sources for op in ops or ()}
    return counts.pop() if len(counts) == 1 else None


def _orders(pattern: UPat, count: int | None) -> Iterator[UPat]:
    src = pattern.src
    if src is None:
        yield pattern
        return
    if isinstance(src, UPat):
        if count is None:
            yield from [pattern.over((first,), src) for first in variants(src)]
            return
        src = (src,) * max(count, 1)
    if count is not None and not _fits(pattern, len(src), count):
        return
    for order in permutations(src) if isinstance(src, list) else [src]:
        for combination in product(*[list(variants(inner)) for inner in order]):
            same = combination == pattern.src
            yield pattern if same else pattern.over(combination)


def _fits(pattern: UPat, given: int, count: int) -> bool:
    return given <= count if pattern.allow_any_len else given == count
