"""Loops that lowering itself writes, over every place of a tile or a buffer.

Comes in: the loops and what to do at a place. Goes out: statements. copies.py, combine.py and
expand.py use these.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinycore.codegen.optimize.edit import Nodes, Statements
from tinycore.dtype import dtypes
from tinycore.uop.index import Index, axis
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import LoopArg, axis_of, loop, rebuild

MAX_UNROLLED = 4


def loops_over(name: str, shape: Sequence[Index]) -> list[LoopArg]:
    """A parallel loop for each dimension."""
    return [LoopArg(f"{name}.{k}", extent, "par") for k, extent in enumerate(shape)]


def place_in(loops: Sequence[LoopArg]) -> tuple[Index, ...]:
    """Where the iterations of some loops are."""
    return tuple([axis(arg.axis, arg.extent) for arg in loops])


def nest(loops: Sequence[LoopArg], body: Nodes, lanes: int) -> Statements:
    """`body` in loops, the last of which runs along lanes."""
    found = tuple(body)
    for arg in reversed(loops):
        node = UOp(Ops.LOOP, dtypes.void, found, arg)
        found = _along_lanes(node, lanes)
        lanes = 1
    return found


def _along_lanes(node: UOp, lanes: int) -> Statements:
    """A loop as one over whole vectors and one over what is left."""
    name, extent = node.arg.axis, node.arg.extent
    if lanes == 1 or extent.terms:
        return (node,)
    found = []
    whole, rest = divmod(extent.const, lanes)
    if whole:
        index = axis(f"{name}.0", whole) * lanes + axis(f"{name}.1", lanes)
        inner = loop("par", f"{name}.1", lanes, _at(node, index), "vec")
        run = "unroll" if whole <= MAX_UNROLLED else ""
        found.append(loop("par", f"{name}.0", whole, [inner], run))
    if rest:
        index = axis(f"{name}'", rest) + whole * lanes
        found.append(loop("par", f"{name}'", rest, _at(node, index), "vec"))
    return tuple(found)


def _at(node: UOp, value: Index) -> Statements:
    """The body of a loop with another value for its axis."""
    env = {atom: value for atom, _ in axis_of(node).terms}
    return rebuild(node.src, {}, env)
