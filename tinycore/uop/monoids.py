"""How states combine: monoids, and dependent pairs, where a leading state moves others.

Comes in: nothing. Goes out: `MONOIDS` and `DEPENDENT`, by the names that kernels have for them.
uop/tree.py comes next: its STOREs combine by these rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tinycore.uop.ops import Ops, UOp


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
    """A dependent pair: when its leading states move from r1 to r1', each state r2 that depends on
    them becomes moved(r1, r1', r2). Partial states merge by the same function.

    Source: docs/ir.md rule 2.
    """

    leads: tuple[str, ...]
    moved: Callable[[States, States, UOp], UOp]


def _exp(old: States, new: States, state: UOp) -> UOp:
    """Sums of exp(x - old) become sums of exp(x - new); factor 1 where nothing moved."""
    factor = (old[0] - new[0]).alu(Ops.EXP)
    factor = old[0].eq(new[0]).where(1, factor)
    return state * factor.cast(state.dtype)


def _reset(old: States, new: States, state: UOp) -> UOp:
    """A state that belonged to the old leader starts again from the identity of min."""
    return old[0].eq(new[0]).where(state, state.dtype.max)


def _var(old: States, new: States, state: UOp) -> UOp:
    """Squared deviations around the old mean, around the new one. Source: Welford 1962."""
    count = old[0]
    old_mean = (count < 1).where(0, _mean(*old))
    shift = old_mean - _mean(*new)
    return state + (count * shift * shift).cast(state.dtype)


def _mean(count: UOp, total: UOp) -> UOp:
    return total / count.alu(Ops.MAX, 1)


DEPENDENT: dict[str, Dependent] = {
    "exp": Dependent(("max",), _exp),
    "reset": Dependent(("max",), _reset),
    "var": Dependent(("sum", "sum"), _var),
}
