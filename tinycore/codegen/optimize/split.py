"""SPLIT, FUSE and MAP: one axis becomes two, two become one, an axis gets a place to run.

Comes in: a kernel and an axis name. Goes out: the kernel after the action, or Illegal. Names carry
their history: i splits into i.0 and i.1 (IR.md 3.4).
"""

from __future__ import annotations

from tinycore.codegen.optimize.edit import (
    Illegal,
    atom_of,
    constraint,
    edit_loops,
    loops_in,
    loops_of,
    nested,
    placed,
    refit,
)
from tinycore.codegen.optimize.launches import as_plan
from tinycore.uop.affine import atoms
from tinycore.uop.index import axis, digit
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Kernel, axis_of, loop

PLACES = ("grid", "warpgroup", "warp", "thread", "lane", "reg", "vec", "unroll")
PLACES_OF = {"par": PLACES, "red": ("thread", "lane", "vec", "unroll"), "ser": ("unroll",)}
FIXED = ("lane", "reg", "vec", "unroll")


def split(kernel: Kernel, name: str, factor: int) -> Kernel:
    """SPLIT(axis, n): a becomes a.0 (outer) and a.1 of n iterations; a mask cuts the remainder.

    Always legal on an axis without a place; an axis that n does not divide gets masked accesses.
    """

    def change(node: UOp) -> list[UOp]:
        times = node.arg.extent.hi
        if node.arg.map:
            raise Illegal(f"SPLIT: axis {name} is mapped to {node.arg.map}")
        if factor < 1 or (factor > 1 and times == 1):
            raise Illegal(f"SPLIT: factor {factor} of axis {name}, which runs {times} times")
        return [tiled(node, factor)]

    return edit_loops(kernel, name, change)


def tiled(node: UOp, factor: int) -> UOp:
    """A loop in tiles of `factor` iterations, the last one masked where they do not fit."""
    name, extent, kind, _ = node.arg
    count = digit(extent + (factor - 1), factor, 0)
    value = axis(f"{name}.0", count) * factor + axis(f"{name}.1", factor)
    mask = constraint(extent - 1 - value)
    if mask and atom_of(node) in atoms(*[one.arg.extent for one in loops_in(node.src)]):
        raise Illegal(f"SPLIT: extents depend on {name}, which {factor} does not divide")
    inner = loop(kind, f"{name}.1", factor, placed(node.src, {axis_of(node): value}, mask))
    return loop(kind, f"{name}.0", count, [inner])


def fuse(kernel: Kernel, first: str, second: str) -> Kernel:
    """FUSE(a, b): a loop and the only loop in its body become one axis a_b.

    Legal for a perfect pair of one kind with constant extents.
    """
    return edit_loops(kernel, first, lambda node: [_fused(node, second)])


def _fused(node: UOp, second: str) -> UOp:
    [inner, *others] = node.src
    first, low = node.arg, inner.arg
    if others or inner.op is not Ops.LOOP or low.axis != second:
        raise Illegal(f"FUSE: {second} is not the whole body of {first.axis}")
    if first.kind != low.kind or first.map or low.map:
        raise Illegal(f"FUSE: {first.axis} and {second} differ in kind or are mapped")
    if not first.extent.is_const or not low.extent.is_const:
        raise Illegal(f"FUSE: extents of {first.axis} and {second} are not constant")
    return fused(node, inner)


def fused(node: UOp, inner: UOp) -> UOp:
    """A perfect pair of loops, of which the inner one has a constant extent, as one loop."""
    first, count = node.arg, inner.arg.extent.const
    name, extent = f"{first.axis}_{inner.arg.axis}", first.extent * count
    whole = axis(name, extent)
    places = {axis_of(node): digit(whole, count, 0), axis_of(inner): digit(whole, 1, count)}
    return loop(first.kind, name, extent, placed(inner.src, places), first.map)


def map_axis(kernel: Kernel, name: str, place: str) -> Kernel:
    """MAP(axis, place): where the iterations of an axis run.

    Legal for par loops everywhere, for red loops on thread, lane, vec and unroll; loops of the
    axis that cannot run there stay as they are, unless none can. Register, vector and unrolled
    axes have constant extents; places nest from grid to vec, from the outside in.
    """
    if place not in PLACES:
        raise Illegal(f"MAP: {place!r} is no place; expected one of {', '.join(PLACES)}")
    able = [node for node in loops_of(kernel, name) if place in PLACES_OF[node.arg.kind]]
    if not able:
        raise Illegal(f"MAP: no loop of {name} can run on {place}")
    for node in able:
        extent = node.arg.extent
        if node.arg.map:
            raise Illegal(f"MAP: axis {name} is mapped to {node.arg.map} already")
        if place in FIXED and not extent.is_const:
            raise Illegal(f"MAP: axis {name} has no constant extent")
        if place == "grid" and any(atom.kind != "variable" for atom in atoms(extent)):
            raise Illegal(f"MAP: the extent of {name} is not known at launch")
    mapped = edit_loops(kernel, name, lambda one: [refit(one, map=place) if one in able else one])
    if place == "grid" and len(mapped.body) > 1:
        as_plan(mapped)
    return nested(mapped, "MAP")
