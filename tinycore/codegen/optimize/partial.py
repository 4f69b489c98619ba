"""Sums over part of a grid: each group adds up in registers of its own, and stores the result.

In: a kernel some of whose loops have become a grid. Out: the same, in which no register outlives a
grid loop that only adds to it. Next file: split.py.
"""

from tinycore.codegen.optimize.edit import (
    atoms_in,
    changed,
    direct,
    fresh,
    names_in,
    place_of,
    refit,
    touched,
)
from tinycore.codegen.optimize.pieces import resized
from tinycore.uop import Ops, UOp
from tinycore.uop.affine import atoms, mask_of
from tinycore.uop.sites import under, uses
from tinycore.uop.tree import GLOBAL, Access, Kernel, load, rebuild, store


def settled(kernel: Kernel) -> Kernel:
    """`kernel`, where sums that a grid loop leaves to statements after it go to global memory."""
    body, taken = kernel.body, names_in(kernel)
    for held in direct(body, Ops.BUFFER):
        first, *others = [one for one in body if held in touched([one])] or [held]
        if place_of(first) == "grid" and held.arg.init and held not in changed(others):
            stored = refit(held, space=GLOBAL, init="")
            sums = refit(held, name=fresh(f"{held.name}.g", taken), shape=())
            added = _added(first, held, stored, sums)
            body = rebuild(body, {**added, held: stored}) if added else body
    return kernel._replace(body=body)


def _added(node: UOp, held: UOp, stored: UOp, sums: UOp) -> dict[UOp, UOp]:
    """The loop that adds to one place alone, as one that adds to `sums` and stores them at its end.

    Nothing if there is none.
    """
    found = [use for one in under([node]) for use in uses(one) if use.buffer is held]
    places = {use.access.indices for use in found}
    sums_up = [use for use in found if use.how != "load"]
    if len(places) > 1 or not sums_up or "store" in [use.how for use in sums_up]:
        return {}
    [indices] = places
    while atoms(*indices) & atoms_in(node.src):
        inside = [one for one in node.src if held in touched([one])]
        is_par = node.arg.kind == "par"
        if len(inside) > 1 or not is_par:
            return {}
        [node] = inside
    inner = atoms_in(node.src)
    masks = [{value for value in use.access.mask if not atoms(value) & inner} for use in sums_up]
    mask = mask_of(set.intersection(*masks))
    total = store(stored, Access(indices, mask), load(sums, Access(())))
    added = resized(node.src, {held: sums}, lambda _: ())
    return {node: node.over((sums, *added, total))}
