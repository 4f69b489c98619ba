"""The op table: one row an op, and everything the compiler knows about it.

Comes in: nothing. Goes out: `TABLE[op]`, the row that holds an op's levels, number of sources,
shape rule, numpy reference and text. To add an op: a row here, a gradient rule, a spelling or a
decomposition, a Tensor method. Shape rules are in uop/shape.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tinycore.uop.ops import CASTS, ELEMENTWISE, MOVEMENT, Ops, UOp

GRAPH, KERNEL, LOWERED = "graph", "kernel", "lowered"
Reference = Callable[..., Any]


class Row(NamedTuple):
    """The facts of one op.

    `sources` is their number, None where it varies. `text` is an infix sign, a function's name or
    empty. `reference` is the meaning in numpy: called with the numpy module, then the operands.
    `note` states NaN, signed zero, overflow and contraction where the field differs about them.
    """

    levels: frozenset[str]
    sources: int | None
    text: str = ""
    reference: Reference | None = None
    note: str = ""


_ALL = frozenset({GRAPH, KERNEL, LOWERED})
_G = frozenset({GRAPH})
_K = frozenset({KERNEL})
_L = frozenset({LOWERED})
_KL = _K | _L
_GK = _G | _K


def _named(function: str) -> Reference:
    """The function of numpy that has this name."""
    return lambda np, *operands: getattr(np, function)(*operands)


def _unary(text: str, meaning: str | Reference = "", note: str = "") -> Row:
    reference = _named(meaning or text) if isinstance(meaning, str) else meaning
    return Row(_ALL, 1, text, reference, note)


def _binary(text: str, meaning: str | Reference, note: str = "") -> Row:
    reference = _named(meaning) if isinstance(meaning, str) else meaning
    return Row(_ALL, 2, text, reference, note)


def _truncated_quotient(np: Any, a: Any, b: Any) -> Any:
    """Division that rounds toward zero; x // 0 is 0 so that no device may trap."""
    safe = np.where(b == 0, np.ones_like(b), b)
    quotient = np.floor_divide(a, safe)
    inexact = quotient * safe != a
    rounded = quotient + (inexact & ((a < 0) != (safe < 0))).astype(quotient.dtype)
    return np.where(b == 0, np.zeros_like(rounded), rounded)


def _remainder(np: Any, a: Any, b: Any) -> Any:
    return a - _truncated_quotient(np, a, b) * b


def _shift_left(np: Any, a: Any, b: Any) -> Any:
    return np.left_shift(a, b.astype(a.dtype))


def _shift_right(np: Any, a: Any, b: Any) -> Any:
    return np.right_shift(a, b.astype(a.dtype))


def _finite_or_zero(np: Any, a: Any) -> Any:
    return np.where(np.isneginf(a), np.zeros_like(a), a)


def _fma(np: Any, a: Any, b: Any, c: Any) -> Any:
    return (a.astype(np.float64) * b + c).astype(a.dtype)


_PLAIN = {
    Row(_G, 1): (
        Ops.RESHAPE,
        Ops.PERMUTE,
        Ops.EXPAND,
        Ops.DETACH,
    ),
    Row(_K, None): (
        Ops.BLOCK,
        Ops.WAIT,
        Ops.FREE,
    ),
    Row(_KL, None): (
        Ops.LOOP,
        Ops.LOAD,
        Ops.IF,
    ),
}
"""Ops of which there is nothing to say but their levels and sources."""

TABLE: dict[Ops, Row] = {
    **{op: row for row, ops in _PLAIN.items() for op in ops},
    # leaves
    Ops.CONST: Row(_ALL, 0),
    Ops.VARIABLE: Row(_ALL, 0, note="an integer bound at launch; arg is (name, lo, hi)"),
    Ops.IOTA: Row(_G, 0, note="0 .. arg - 1 along one axis: an index used as a value"),
    Ops.BUFFER: Row(
        _ALL,
        0,
        note="graph: arg GraphBuffer; kernel and lowered: arg BufferArg",
    ),
    # movement; GRAPH.md section 2
    Ops.PAD: Row(_G, 1, note="arg ((lo, hi) an axis, fill)"),
    Ops.SHRINK: Row(_G, 1, note="arg ((begin, end) an axis), index values"),
    Ops.FLIP: Row(_G, 1, note="arg is the sorted tuple of axes"),
    Ops.SKEW: Row(
        _G,
        1,
        note="arg SkewArg: out[o, j] = in[o*stride + j*dilation, j], or inverse",
    ),
    # scalar
    Ops.CAST: Row(_ALL, 1, note="float to int truncates; out of range and NaN are unspecified"),
    Ops.BITCAST: Row(_ALL, 1, "bitcast", note="types of one size only"),
    Ops.NEG: _unary("-", "negative"),
    Ops.EXP: _unary("exp"),
    Ops.LOG: _unary("log", "log", "log(0) = -inf, log(<0) = NaN"),
    Ops.SQRT: _unary("sqrt", "sqrt", "correctly rounded; sqrt(-0.0) = -0.0"),
    Ops.RECIP: _unary("recip", "reciprocal", "1/x, correctly rounded"),
    Ops.SIN: _unary("sin"),
    Ops.TRUNC: _unary("trunc"),
    Ops.FIN: _unary("fin", _finite_or_zero, "x, but 0 for -inf: see monoid exp"),
    Ops.ADD: _binary("+", "add", "integers wrap; x + 0 folds to x"),
    Ops.MUL: _binary("*", "multiply", "x * 0 is not folded (NaN)"),
    Ops.MAX: _binary("max", "maximum", "NaN if either is"),
    Ops.MIN: _binary("min", "minimum", "NaN if either is"),
    Ops.IDIV: _binary("idiv", _truncated_quotient, "rounds toward zero; x / 0 = 0"),
    Ops.MOD: _binary("mod", _remainder, "sign of the dividend; x mod 0 = x"),
    Ops.LT: _binary("<", "less", "false if either is NaN"),
    Ops.EQ: _binary("==", "equal", "false if either is NaN; -0.0 == 0.0"),
    Ops.AND: _binary("&", "bitwise_and"),
    Ops.OR: _binary("or", "bitwise_or"),
    Ops.XOR: _binary("^", "bitwise_xor"),
    Ops.SHL: _binary("shl", _shift_left, "a shift by the width or more is unspecified"),
    Ops.SHR: _binary("shr", _shift_right, "arithmetic for signed, logical for unsigned"),
    Ops.WHERE: Row(_ALL, 3, "where", _named("where")),
    Ops.FMA: Row(_L, 3, "fma", _fma, "a*b + c rounded once, where the target contracts"),
    # the rest of the graph
    Ops.REDUCE: Row(_G, 1, note="arg ReduceArg(axes, combine, dtype); axes stay with extent 1"),
    Ops.GATHER: Row(
        _G,
        2,
        note="(x, ids): rows of x; negative ids count from the end, others 0",
    ),
    Ops.SCATTER: Row(_G, 3, note="(base, ids, values); arg combine"),
    Ops.STORE: Row(_ALL, None, note="graph: (base, value), arg is a view; else a statement"),
    Ops.COPY: Row(_GK, None, note="graph: arg is a device; kernel: a tile assignment"),
    Ops.COLLECTIVE: Row(_G, None, note="arg (kind, combine, devices)"),
    Ops.CALL: Row(_G, None, note="arg is a Python object with body and vjp"),
    Ops.CONTIGUOUS: Row(_G, 1, note="arg is a number that keeps it apart"),
    # the kernel tree; IR.md section 2
    Ops.LET: Row(_K, 1),
    Ops.MMA: Row(_K, 3),
    Ops.INDEX: Row(_K, 0, "index"),
    Ops.MASK: Row(_K, 0),
    # made by lowering
    Ops.BARRIER: Row(_KL, 0),
    Ops.DESC: Row(_L, None),
    Ops.SHUFFLE: Row(_L, None, note="lanes arg[i] of the concatenated sources; splat, extract"),
    Ops.END: Row(_L, 1, note="closes a LOOP or an IF"),
}

SCALAR = ELEMENTWISE  # at most 26 of them: DESIGN.md 4
assert len(SCALAR) <= 26, "table: more than 26 scalar ops"
assert len(TABLE) == len(Ops) <= 60, "table: an op without a row, or more than 60 ops"
assert TABLE.keys() >= CASTS | MOVEMENT, "table: a group names an op without a row"


class Monoid(NamedTuple):
    """An associative combine with its identity; `op` combines two states."""

    op: Ops
    identity: float
    text: str


MONOIDS: dict[str, Monoid] = {
    "sum": Monoid(Ops.ADD, 0.0, "+="),
    "prod": Monoid(Ops.MUL, 1.0, "*="),
    "max": Monoid(Ops.MAX, float("-inf"), "max="),
    "min": Monoid(Ops.MIN, float("inf"), "min="),
}


States = tuple[UOp, ...]


class Dependent(NamedTuple):
    """A dependent pair: when the leading state moves r1 -> r1', each dependent state r2 becomes
    rho(np, r1, r1', r2), in nodes moved(r1, r1', r2). Partial states merge by the same function.
    Source: IR.md 3.2."""

    leads: tuple[str, ...]
    rho: Reference
    moved: Callable[[States, States, UOp], UOp]


def _move_exp(np: Any, old: Any, new: Any, state: Any) -> Any:
    """Sums of exp(x - old) become sums of exp(x - new); factor 1 where nothing moved."""
    factor = np.where(old[0] == new[0], np.ones_like(old[0]), np.exp(old[0] - new[0]))
    return state * factor


def _moved_exp(old: States, new: States, state: UOp) -> UOp:
    factor = (old[0] - new[0]).alu(Ops.EXP)
    same = old[0].alu(Ops.EQ, new[0])
    return state * same.alu(Ops.WHERE, factor.const_like(1), factor).cast(state.dtype)


def _move_reset(np: Any, old: Any, new: Any, state: Any) -> Any:
    """A state that belonged to the old leader starts again from the identity of min."""
    return np.where(old[0] == new[0], state, np.full_like(state, _top(np, state)))


def _moved_reset(old: States, new: States, state: UOp) -> UOp:
    same = old[0].alu(Ops.EQ, new[0])
    return same.alu(Ops.WHERE, state, state.const_like(state.dtype.max))


def _top(np: Any, state: Any) -> Any:
    return np.inf if state.dtype.kind == "f" else np.iinfo(state.dtype).max


def _move_var(np: Any, old: Any, new: Any, state: Any) -> Any:
    """Squared deviations around the old mean, around the new one. Source: Welford 1962."""
    old_mean = np.where(old[0] > 0, old[1] / np.maximum(old[0], 1), 0)
    shift = old_mean - new[1] / np.maximum(new[0], 1)
    return state + old[0] * shift * shift


def _moved_var(old: States, new: States, state: UOp) -> UOp:
    some = old[0].const_like(0) < old[0]
    old_mean = some.alu(Ops.WHERE, _mean(*old), old[0].const_like(0))
    shift = old_mean - _mean(*new)
    return state + (old[0] * shift * shift).cast(state.dtype)


def _mean(count: UOp, total: UOp) -> UOp:
    return total / count.alu(Ops.MAX, 1)


DEPENDENT: dict[str, Dependent] = {
    "exp": Dependent(("max",), _move_exp, _moved_exp),
    "reset": Dependent(("max",), _move_reset, _moved_reset),
    "var": Dependent(("sum", "sum"), _move_var, _moved_var),
}
