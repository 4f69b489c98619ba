"""Reductions along lanes and across threads: each has a state of its own, and steps join them.

In: a tree with loops `red @vec` and `red @thread`. Out: one with par loops there. What RFACTOR
refuses runs lane by lane; sums to places that threads choose, in order. Next file: mapped.py.
"""

import functools
from collections.abc import Iterable
from contextlib import suppress

from tinycore.codegen.lower.mapped import MAX_COPIES, flat
from tinycore.codegen.optimize.analysis import chain_of, extent_of, iterations
from tinycore.codegen.optimize.edit import (
    Illegal,
    edit,
    edit_loops,
    is_inside,
    loops_in,
    place_of,
    placed,
    refit,
)
from tinycore.codegen.optimize.pieces import rfactor
from tinycore.runtime.contract import Caps
from tinycore.uop import Nodes, Ops, UOp
from tinycore.uop.index import Index, Mask, atoms, make, mask_of
from tinycore.uop.lowered import GROUP, WARP
from tinycore.uop.tree import MONOIDS, Access, Kernel, buffer, gathered, load, store
from tinycore.util import ceildiv, dedup

SHARE = 8  # values a step of a thread


def reduce(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` without reductions along lanes or threads."""
    kernel = kernel._replace(body=flat(kernel.body, "thread"))
    for name in dedup(one.name for one in loops_in(kernel.body) if is_along(one, "vec")):
        kernel = _parted(kernel, name)

    warp = caps.warp_threads if Ops.EXCHANGE.name in caps.ops else 1

    def change(node: UOp) -> Nodes:
        if is_along(node, "thread"):
            return _by_threads(node, warp)
        if is_along(node, "vec"):
            return _by_lanes(node)
        return (node,)

    return kernel._replace(body=edit(kernel.body, change))


def is_along(node: UOp, place: str) -> bool:
    """True for a loop that reduces along a place."""
    return place_of(node) == place and node.kind != "par"


def _parted(kernel: Kernel, name: str) -> Kernel:
    with suppress(Illegal):
        found = rfactor(_on(kernel, name, ""), name)
        return _on(_on(found, name, "vec"), f"{name}.j", "vec")

    def alone(node: UOp) -> Nodes:
        return (refit(node, map="unroll") if is_along(node, "vec") else node,)

    return edit_loops(kernel, name, alone)


def _on(kernel: Kernel, name: str, place: str) -> Kernel:
    return edit_loops(kernel, name, lambda node: [refit(node, map=place)])


def _by_lanes(node: UOp) -> Nodes:
    place = "reg" if iterations(loops_in(node.src)) <= MAX_COPIES else ""

    def change(part: UOp) -> Nodes:
        if part.is_loop:
            return (refit(part, map=place),)
        return _Steps(node, part).total("reg", 2)

    return edit(node.src, change)


def _by_threads(node: UOp, warp: int) -> Nodes:
    """The sums of a loop over threads, each after the reductions around it, or all in order."""
    chains = [chain_of((one,), "red") for one in node.src]
    are_sums = [is_sum(body, (node, *loops)) for loops, body in chains]
    if not node.extent.is_const or not all(are_sums):
        return (refit(node, map=""),)
    sums = [_Steps(node, *_apart(made, node, loops)) for loops, (made,) in chains]
    return tuple(part for one in sums for part in one.total(GROUP, SHARE, warp))


def is_sum(body: Nodes, loops: Nodes) -> bool:
    """True for one STORE that combines at a place which the loops do not choose."""
    made, *others = body
    if others or not made.is_store or made.arg.rebase:
        return False
    place = made.place.indices
    return not gathered(place) and atoms(*[one.index for one in loops]).isdisjoint(atoms(*place))


def _apart(made: UOp, node: UOp, loops: Nodes) -> tuple[UOp, Nodes]:
    """A STORE of a thread's own sum, and that."""
    place, combine = made.place, made.combine
    target, value = made.src
    own = buffer(f"{node.name}.{target.name}.own", value.dtype, (), "reg", init=combine)
    partial = store(own, place._replace(indices=()), value, combine)
    for outer in reversed(loops):
        partial = outer.around(partial)
    inner = atoms(*[one.index for one in (node, *loops)])
    mask: Mask = ()
    if not is_inside(target, place):
        mask = tuple(one for one in place.mask if not atoms(one) & inner)
    rest = place._replace(mask=mask)
    total = load(own, Access(()))
    return store(target, rest, total, combine), (own, partial)


class _Steps:
    """target += value of many lanes or threads, of which fewer are left after each step.

    Each in the loop `node` has `value` after the statements `first`; `found` is what was done.
    """

    def __init__(self, node: UOp, made: UOp, first: Nodes = ()) -> None:
        self.made = made
        self.combine = MONOIDS[made.combine]
        self.node = refit(node, kind="par")
        self.value = made.src[1]
        self.first = first
        self.found: list[UOp] = []

    def total(self, space: str, share: int, warp: int = 1) -> Nodes:
        """The statements; the last combines what is left with the target."""
        if warp > 1 and extent_of(self.node) % warp == 0:
            self._in_warps(warp)
        while True:
            if not self.value.is_load or self.value.source.space != space:
                self._keep(space)
            count = extent_of(self.node)
            if count <= share or (space != GROUP and count % share):
                break
            fewer = ceildiv(count, share)
            self._leave(fewer, range(0, fewer * share, fewer))
        value = self._sum(map(make, range(count)))
        return *self.found, self.made.around(self.made.source, value)

    def _in_warps(self, width: int) -> None:
        """Threads of a warp read each other's registers until each has the sum of all."""
        lane, half = self.node.index, width // 2
        while half:
            self._keep(WARP, f".{half}")
            near = lane // width * width + (lane + half) % width
            self.value = self._sum([lane, near])
            half //= 2
        self._keep(GROUP)
        self._leave(extent_of(self.node) // width, [0], width)

    def _keep(self, space: str, name: str = "") -> None:
        name = f"{self.made.source.name}.{self.node.name}{name}"
        held = buffer(name, self.value.dtype, (self.node.extent,), space)
        place = Access((self.node.index,))
        given = store(held, place, self.value)
        filled = self.node.around(*self.first, given)
        self.found += [held, filled]
        self.value = load(held, place)
        self.first = ()

    def _leave(self, count: int, shifts: Iterable[int], stride: int = 1) -> None:
        name = f"{self.node.name.partition('.h')[0]}.h{count}"
        fewer = refit(self.node, axis=name, extent=make(count))
        self.value = self._sum([fewer.index * stride + shift for shift in shifts])
        self.node = fewer

    def _sum(self, places: Iterable[Index]) -> UOp:
        return functools.reduce(lambda x, y: x.alu(self.combine.op, y), map(self._at, places))

    def _at(self, index: Index) -> UOp:
        """What another has, if there is one."""
        [one] = placed((self.value,), {self.node.index: index})
        beyond = self.node.extent - 1 - index
        mask = mask_of([beyond])
        fill = one.const_like(self.combine.identity).arg
        return load(one.source, one.arg._replace(mask=mask, fill=fill)) if mask else one
