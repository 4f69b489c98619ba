"""Patterns and rules: what a rewrite looks for in a graph, and what it does there.

Comes in: ops, types, sources and names as a rule's author writes them. Goes out: `UPat` and `Rule`,
which uop/matcher.py turns into decision functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from os.path import basename
from typing import Any, NamedTuple

from tinycore.dtype import DType, dtypes
from tinycore.errors import ArgumentError
from tinycore.uop.ops import COMMUTATIVE, Ops, Scalar, UOp

Function = Callable[..., Any]
Result = UOp | None  # of a rule: None where it does not apply after all
Types = DType | Iterable[DType] | None
_LEFT_OUT = ("None", "False", "()")


def _operator(op: Ops) -> Callable[..., UPat]:
    """The method that makes the pattern of `op` on patterns and numbers."""
    return lambda pattern, *others: pattern.alu(op, *others)


class UPat:
    """A pattern of nodes: what is left out matches anything.

    `op` and `dtype` are one or several; a scalar type also matches its vectors. `src` is a tuple
    (in order), a list (in any order), or one pattern that every source must match, at least one.
    `arg` is compared by ==. A `name` hands the node to the rule's function; the same name twice
    means the same node. With `allow_any_len` there may be more sources than patterns.

    >>> UPat.var("x") + 0
    UPat(ops=(Ops.ADD,), src=[UPat(name='x'), UPat(ops=(Ops.CONST,), arg=0)])
    """

    def __init__(
        self,
        op: Ops | Iterable[Ops] | None = None,
        dtype: Types = None,
        src: tuple[UPat, ...] | list[UPat] | UPat | None = None,
        arg: Any = None,
        name: str | None = None,
        allow_any_len: bool = False,
    ) -> None:
        self.ops: tuple[Ops, ...] = (op,) if isinstance(op, Ops) else tuple(op or ())
        self.dtypes = (dtype,) if isinstance(dtype, DType) else tuple(dtype or ())
        self.src = src
        self.arg = arg
        self.name = name
        self.allow_any_len = allow_any_len
        self.choices: tuple[UPat, ...] = ()

    @staticmethod
    def any(*choices: UPat) -> UPat:
        """What matches one of several patterns; the first is tried first."""
        pattern = UPat()
        pattern.choices = choices
        return pattern

    @staticmethod
    def var(name: str | None = None, dtype: Types = None) -> UPat:
        """Any node, named."""
        return UPat(dtype=dtype, name=name)

    @staticmethod
    def cvar(name: str | None = None, dtype: Types = None) -> UPat:
        """Any constant, named."""
        return UPat(Ops.CONST, dtype, name=name)

    @staticmethod
    def const(dtype: Types, value: Scalar) -> UPat:
        """The constant `value`; -0.0 equals 0.0, and NaN is itself."""
        return UPat(Ops.CONST, dtype, arg=value)

    def named(self, name: str) -> UPat:
        """This pattern with a name."""
        new = copy(self)
        new.name = name
        return new

    def __repr__(self) -> str:
        fields = {name: repr(value) for name, value in vars(self).items()}
        shown = [f"{name}={text}" for name, text in fields.items() if text not in _LEFT_OUT]
        return f"UPat({', '.join(shown)})"

    # arithmetic: the pattern of the node that the same arithmetic on nodes makes

    def alu(self, op: Ops, *others: UPat | Scalar) -> UPat:
        """The pattern of `op` on this and `others`, in any order if the op does not mind."""
        sources = [self, *[o if isinstance(o, UPat) else UPat.const(None, o) for o in others]]
        return UPat(op, src=sources if op in COMMUTATIVE else tuple(sources))

    def cast(self, dtype: Types = None) -> UPat:
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


class Rule(NamedTuple):
    """A named rewrite: where `pattern` matches, `function` gives the new node, or None to pass.

    The function takes what it needs of the pattern's names, `node` (the root) and `ctx`.
    """

    name: str
    pattern: UPat
    function: Function


def rule(pattern: UPat) -> Callable[[Function], Rule]:
    """Makes the function below it a rule of its name; its docstring is the proof."""
    return lambda function: Rule(function.__name__, pattern, function)


def as_rule(entry: Rule | tuple[UPat, Function]) -> Rule:
    """A rule; an unnamed one is called by file and line of its function.

    Raises: ArgumentError if the function is not written in Python.
    """
    pattern, function = entry[-2:]
    code = getattr(function, "__code__", None)
    if code is None:
        raise ArgumentError(
            f"PatternMatcher: {function!r} is no Python function; expected one with named "
            "parameters. Wrap it in a lambda."
        )
    if isinstance(entry, Rule):
        return entry
    return Rule(f"{basename(code.co_filename)}:{code.co_firstlineno}", pattern, function)


def parameters(function: Function) -> dict[str, bool]:
    """The names of a function's positional parameters, and whether each needs a value."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    needed = len(names) - len(function.__defaults__ or ())
    bound = hasattr(function, "__self__")
    return {name: place < needed for place, name in enumerate(names) if place >= bound}
