"""The op table: one member of `Ops` an op, and what the compiler knows about it in its row.

To add an op, write a member here, a gradient rule, a spelling or a decomposition, and a Tensor
method. Next file: ops.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

GRAPH, KERNEL, LOWERED = "graph", "kernel", "lowered"
Reference = Callable[..., Any]


SIGNATURES = {
    "unary": "vv",
    "binary": "vvv",
    "comparison": "mvv",
    "shift": "vv*",
    "exchange": "vv*",
    "cast": "v*",
    "choice": "vmvv",
}
"""Types of a scalar op and its sources by group: v as the first v, m bools, * any, of as many
lanes."""


@dataclass(frozen=True)
class Row:
    """The facts of one op.

    `group` is its set below, `text` an infix sign or a function's name; `reference` computes it,
    called with the numpy module, then the operands.
    """

    levels: tuple[str, ...]
    group: str = ""
    text: str = ""
    reference: Reference | None = None

    @property
    def sources(self) -> int:
        """How many sources a scalar op has."""
        return len(SIGNATURES[self.group]) - 1


def _truncated_quotient(np: Any, a: Any, b: Any) -> Any:
    """Division that rounds toward zero; x // 0 is 0 so that no device may trap."""
    safe = b + (b == 0)
    return (a - np.fmod(a, safe)) // safe * (b != 0)


def _remainder(np: Any, a: Any, b: Any) -> Any:
    return a - _truncated_quotient(np, a, b) * b


def _shift(side: str) -> Reference:
    return lambda np, a, b: getattr(np, f"{side}_shift")(a, b.astype(a.dtype))


def _finite_or_zero(np: Any, a: Any) -> Any:
    return np.where(np.isneginf(a), np.zeros_like(a), a)


_ALL = (GRAPH, KERNEL, LOWERED)
_EVERYWHERE = Row(_ALL)
_MOVEMENT = Row((GRAPH,), "movement")
_GRAPH = Row((GRAPH,))
_KERNEL = Row((KERNEL,))
_STATEMENT = Row((KERNEL, LOWERED))
_LOWERED = Row((LOWERED,))


def _scalar(group: str, text: str, meaning: str | Reference = "") -> Row:
    """The row of a scalar op whose `meaning` is a function, or a name in numpy if not `text`."""

    def named(np: Any, *operands: Any) -> Any:
        return getattr(np, str(meaning or text))(*operands)

    reference = named if isinstance(meaning, str) else meaning
    return Row(_ALL, group, text, reference)


class Ops(Enum):
    """Every operation of the three levels."""

    row: Row

    # leaves
    CONST = _EVERYWHERE
    VARIABLE = _EVERYWHERE  # arg is (name, lo, hi)
    IOTA = _GRAPH  # 0 .. arg - 1 along one axis
    BUFFER = _EVERYWHERE  # arg GraphBuffer in the graph, else BufferArg
    # movement; docs/ir.md, the graph
    RESHAPE = _MOVEMENT
    PERMUTE = _MOVEMENT
    EXPAND = _MOVEMENT
    PAD = _MOVEMENT  # arg ((lo, hi) an axis, fill)
    SHRINK = _MOVEMENT  # arg (begin, end) an axis
    FLIP = _MOVEMENT  # arg is the sorted axes
    SKEW = _MOVEMENT  # arg SkewArg
    # scalar, one source
    CAST = Row(_ALL, "cast")  # to int truncates; unspecified out of range and for NaN
    BITCAST = Row(_ALL, "cast", "bitcast")  # types of one size only
    NEG = _scalar("unary", "-", "negative")
    EXP = _scalar("unary", "exp")
    LOG = _scalar("unary", "log")  # log(0) = -inf, log(<0) = NaN
    SQRT = _scalar("unary", "sqrt")  # correctly rounded; sqrt(-0.0) = -0.0
    RECIP = _scalar("unary", "recip", "reciprocal")  # 1/x, correctly rounded
    SIN = _scalar("unary", "sin")
    TRUNC = _scalar("unary", "trunc")
    FIN = _scalar("unary", "fin", _finite_or_zero)  # x, but 0 for -inf: see monoid exp
    # scalar, two sources
    ADD = _scalar("binary", "+", "add")  # integers wrap; x + 0 folds to x
    MUL = _scalar("binary", "*", "multiply")  # x * 0 is not folded (NaN)
    MAX = _scalar("binary", "max", "maximum")  # NaN if either is
    MIN = _scalar("binary", "min", "minimum")  # NaN if either is
    IDIV = _scalar("binary", "idiv", _truncated_quotient)  # rounds toward zero; x / 0 = 0
    MOD = _scalar("binary", "mod", _remainder)  # sign of the dividend; x mod 0 = x
    LT = _scalar("comparison", "<", "less")  # false if either is NaN
    EQ = _scalar("comparison", "==", "equal")  # false if either is NaN; -0.0 == 0.0
    AND = _scalar("binary", "&", "bitwise_and")
    OR = _scalar("binary", "or", "bitwise_or")
    XOR = _scalar("binary", "^", "bitwise_xor")
    SHL = _scalar("shift", "shl", _shift("left"))  # no bit is left outside 0 .. width - 1
    SHR = _scalar("shift", "shr", _shift("right"))  # the same; filled with the sign
    # scalar, three sources
    WHERE = _scalar("choice", "where")
    # the rest of the graph
    REDUCE = _GRAPH  # arg ReduceArg; axes stay with extent 1
    GATHER = _GRAPH  # (x, ids): rows of x; negative ids count from the end, others 0
    SCATTER = _GRAPH  # (base, ids, values); arg combine
    STORE = _EVERYWHERE  # graph: (base, value), arg a view
    COPY = Row((GRAPH, KERNEL))  # graph: arg is a device; kernel: a tile
    DETACH = _GRAPH
    CONTIGUOUS = _GRAPH
    # the kernel tree; docs/ir.md
    BLOCK = _KERNEL
    LOOP = _STATEMENT
    LET = _KERNEL
    LOAD = _STATEMENT
    WAIT = _KERNEL
    FREE = _KERNEL
    MMA = _KERNEL
    IF = _STATEMENT
    INDEX = _KERNEL
    MASK = _KERNEL
    # made by lowering
    BARRIER = _STATEMENT
    EXCHANGE = Row((LOWERED,), "exchange")  # x of the thread of this number, of its warp
    DOT = _LOWERED  # (a, b): the sum of products of four int8 lanes, int32
    SHUFFLE = _LOWERED  # lanes arg[i] of the concatenated sources
    END = _LOWERED  # closes a LOOP or an IF

    def __new__(cls, row: Row) -> Ops:
        member = object.__new__(cls)
        member._value_ = len(cls.__members__)  # rows may be equal
        member.row = row
        return member

    __hash__ = object.__hash__  # Enum's own hash is a Python call

    def __repr__(self) -> str:
        return f"Ops.{self.name}"
