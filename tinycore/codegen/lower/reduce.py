"""Gives each lane of a reduction a state of its own, and joins the lanes after the loop.

Comes in: a tree with red loops @vec. Goes out: one whose vector loops are all parallel. RFACTOR
makes the states of the lanes and the loop that joins them; there, halves combine until one is
left. What it refuses runs lane by lane. Next: combine.py.
"""

from __future__ import annotations

from collections.abc import Callable

from tinycore.codegen.optimize.edit import Illegal, Statements, edit, loops_in
from tinycore.codegen.optimize.rfactor import rfactor
from tinycore.runtime.caps import Caps
from tinycore.uop.index import Index, as_index, axis
from tinycore.uop.monoids import MONOIDS
from tinycore.uop.ops import Ops, UOp, alu
from tinycore.uop.tree import (
    Access,
    Kernel,
    LoopArg,
    buffer,
    load,
    loop,
    rebuild,
    store,
)
from tinycore.util import dedup, prod

MAX_UNROLLED = 64


def reduce(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with its reductions along lanes made parallel."""
    loops = [node for node in loops_in(kernel.body) if _is_along_lanes(node)]
    if not loops:
        return kernel
    for name in dedup([node.arg.axis for node in loops]):
        kernel = _parted(kernel, name)
    return kernel._replace(body=edit(kernel.body, _joined))


def _is_along_lanes(node: UOp) -> bool:
    return node.op is Ops.LOOP and node.arg.map == "vec" and node.arg.kind != "par"


def _parted(kernel: Kernel, name: str) -> Kernel:
    """`kernel` with a state in each lane of an axis, joined in a reduction along lanes."""

    def on_axis(place: str) -> Kernel:
        return _mapped(kernel, place, lambda arg: arg.axis == name and arg.kind != "par")

    try:
        found = rfactor(on_axis(""), name)
    except Illegal:
        return on_axis("unroll")
    return _mapped(found, "vec", lambda arg: arg.axis in (name, f"{name}.j"))


def _mapped(kernel: Kernel, place: str, where: Callable[[LoopArg], bool]) -> Kernel:
    def change(node: UOp) -> list[UOp]:
        if node.op is not Ops.LOOP or not where(node.arg):
            return [node]
        return [node.replace(arg=node.arg._replace(map=place))]

    return kernel._replace(body=edit(kernel.body, change))


def _joined(node: UOp) -> list[UOp]:
    """A join of lanes as joins of halves, one statement of it after another."""
    if not _is_along_lanes(node):
        return [node]
    return [part for statement in node.src for part in _in_halves(statement, node.arg)]


def _in_halves(statement: UOp, lanes: LoopArg) -> Statements:
    """A combining store, in the loops over the elements of its state."""
    inner = loops_in([statement])
    count = prod([part.arg.extent.hi for part in inner])
    place = "reg" if count <= MAX_UNROLLED else ""

    def change(part: UOp) -> list[UOp]:
        if part.op is Ops.LOOP:
            return [part.replace(arg=part.arg._replace(map=place))]
        return _halved(part, lanes.axis, lanes.extent.const)

    return edit([statement], change)


def _halved(node: UOp, name: str, lanes: int) -> list[UOp]:
    """The store of one element: halves of the lanes combine until one is left."""
    target, value, *moved = node.src
    op = MONOIDS[node.arg.combine].op
    lane = axis(name, lanes)
    found: list[UOp] = []
    rest: list[UOp] = []
    if value.op is not Ops.LOAD:
        found, value = _kept(target, name, lanes, value)
    while lanes > 3:
        if lanes % 2:
            rest.append(_at(value, lane, as_index(lanes - 1)))
        lanes //= 2
        part = f"{name}.h{lanes}"
        index = axis(part, lanes)
        low = _at(value, lane, index)
        high = _at(value, lane, index + lanes)
        kept, value = _kept(target, part, lanes, alu(op, low, high))
        found += kept
        lane = index
    parts = [_at(value, lane, as_index(k)) for k in range(lanes)]
    total, *others = parts + rest
    for other in others:
        total = alu(op, total, other)
    return [*found, node.replace(src=(target, total, *moved))]


def _at(value: UOp, lane: Index, index: Index) -> UOp:
    """`value` with another index for its lane."""
    env = {atom: index for atom, _ in lane.terms}
    return rebuild([value], {}, env)[0]


def _kept(target: UOp, name: str, lanes: int, value: UOp) -> tuple[list[UOp], UOp]:
    """Statements that put a value along an axis in a register, and the value in it."""
    part = buffer(f"{target.arg.name}.{name}", value.dtype, [lanes], "reg")
    place = Access((axis(name, lanes),))
    body = store(part, place, value)
    along = loop("par", name, lanes, [body], "vec")
    return [part, along], load(part, place)
