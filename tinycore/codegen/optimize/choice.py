"""The actions taken so far, and what every heuristic asks of a kernel.

In: a kernel and the caps of a target. Out: the kernel after the actions, and their texts. Next
files: heuristic.py, teams.py.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from tinycore.codegen.optimize.actions import Actions, applied
from tinycore.codegen.optimize.analysis import (
    chain_of,
    extent_of,
    is_linear,
    names_of,
    perfect_pairs,
    references,
)
from tinycore.codegen.optimize.contraction import Contraction
from tinycore.codegen.optimize.edit import direct, find, loops_in
from tinycore.runtime.contract import Caps
from tinycore.uop import Nodes, Ops, UOp
from tinycore.uop.tree import Kernel

_PACE = {0: 0.0, None: 0.0, 1: 1.0, 2: 0.25}  # how near neighbours of a stride are


class Choice:
    """A kernel and the actions taken so far."""

    def __init__(self, kernel: Kernel, caps: Caps) -> None:
        held = (*kernel.params, *find(kernel.body, Ops.BUFFER))
        widest = [one.dtype.itemsize for one in held if one.is_float]
        self.kernel = kernel
        self.caps = caps
        self.taken: Actions = ()
        self.lanes = max(caps.vector_bytes // max(widest, default=4), 1)

    def take(self, *texts: str) -> bool:
        """Apply each action that is legal; True if all are."""
        self.kernel, legal = applied(self.kernel, texts)
        self.taken += legal
        return legal == texts

    def below(self, inner: str, *names: str) -> bool:
        """Bring each of some loops inside another, the first of them first; True if all can."""
        return self.take(*[f"REORDER({name}, {inner})" for name in names])

    def take_all(self, *texts: str, fits: Callable[[Kernel], bool] = lambda _: True) -> bool:
        """Apply all of the actions, or none if one is not legal or what they make does not fit."""
        before = self.kernel, self.taken
        if self.take(*texts) and fits(self.kernel):
            return True
        self.kernel, self.taken = before
        return False

    def place(self, where: str, *names: str) -> bool:
        """Give each axis that can run there a place; True if all can."""
        return self.take(*[f"MAP({name}, {where})" for name in names])

    def fuse_contiguous(self) -> None:
        """Make one axis of neighbours that every access walks at one pace."""
        pairs = perfect_pairs(self.kernel.body) if is_linear(self.kernel) else []
        if any(self.take_all(f"FUSE({a}, {b})", fits=is_linear) for a, b in pairs):
            self.fuse_contiguous()

    def operands(self, root: UOp, around: Nodes = ()) -> Contraction | None:
        """The loads of a statement that is one reduction under par loops; else None.

        Of the loops around it the innermost counts as one of them.
        """
        chain, body = chain_of((root,))
        reds, inside = chain_of(tuple(direct(body, Ops.LOOP)), "red")
        if not chain or not reds or loops_in(inside):
            return None
        path = around + chain
        loads = [one for one in references(reds[:1], path) if not one.is_store]
        stored = references([one for one in body if one is not reds[0]], path)
        return Contraction(around[-1:] + chain, reds, loads, stored, self.lanes, self.caps)

    def unmask(self, position: int) -> None:
        """Put zeros for the masks of the sums in a root statement."""
        stores = find([self.kernel.body[position]], Ops.STORE)
        self.take(*[f"FILL({made.source.name})" for made in stores if made.place.mask])

    def fused(self, names: Sequence[str]) -> str:
        """Make one axis of loops that nest, as far as that is legal; the rest run on the grid."""
        whole = ""
        for name in names:
            if whole and not self.take(f"FUSE({whole}, {name})"):
                self.take(f"MAP({whole}, grid)")
                whole = ""
            whole = f"{whole}_{name}" if whole else name
        return whole

    def order(self, names: list[str], wanted: Sequence[str]) -> list[str]:
        """Bring nested loops, outermost first, in a wanted order after others, where legal."""
        rank = {name: k for k, name in enumerate(wanted)}
        for k, (outer, inner) in enumerate(pairwise(names)):
            wrong = rank.get(outer, -1) > rank.get(inner, -1)
            if wrong and self.take(f"REORDER({outer}, {inner})"):
                return self.order([*names[:k], inner, outer, *names[k + 2 :]], wanted)
        return names

    def sink(self, name: str, *below: str) -> None:
        """Bring lanes along an axis inside other loops."""
        orders = [f"REORDER({name}.1, {one})" for one in below]
        self.take(f"SPLIT({name}, {self.lanes})", *orders, f"MAP({name}.1, vec)")

    def arrange(self, wanted: Sequence[str]) -> None:
        """Bring the par loops that nest from the top in a wanted order."""
        self.order(names_of(chain_of(self.kernel.body)[0]), wanted)


def contiguous_axis(path: Nodes, near: bool = False) -> UOp | None:
    """The loop of a path along which most accesses inside all, those to registers or the others,
    move to neighbours."""
    every = references(path[-1].src, path)
    inner = [one for one in every if near is (one.buffer.space == "reg")]
    best, best_score = None, 0.0
    for loop in reversed(path):
        if loop.map or (loop.kind == "red" and loop is not path[-1]):
            continue
        score = sum(_PACE.get(one.stride(loop), -0.5) for one in inner)
        if score > best_score and extent_of(loop) >= 4:
            best, best_score = loop, score
    return best
