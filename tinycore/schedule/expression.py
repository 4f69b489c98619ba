"""Expressions of the kernel level before they have a place: scalar ops over LOADs.

A LOAD reads a graph node: a BUFFER, or one whose value another stage stores. A REDUCE with an
`Inner` stands for a reduction evaluated where it is read. Comes in: expressions. Goes out: what
they read, the axes they depend on, and copies with axes and loads replaced. No function here
recurses: an expression may be longer than Python's stack. push.py makes expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tinycore.uop.affine import Mask, atoms
from tinycore.uop.index import Atom, Index, as_index, axis
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp, postorder
from tinycore.uop.shape import Dim
from tinycore.uop.simplify import choose, scalar
from tinycore.uop.tree import Access, BufferArg, Rebuild, both, gathered, indices, load, mapped


class Inner(NamedTuple):
    """The arg of a REDUCE inside an expression: its axes, their extents, its monoid, and the mask
    under which it combines."""

    axes: tuple[Index, ...]
    extents: tuple[Index, ...]
    combine: str
    mask: Mask = ()


Indices = tuple[Index, ...]
Env = Mapping[Atom, Index]
Read = Callable[[UOp, Access], UOp | None]


def axes_over(name: str, shape: Iterable[Dim]) -> Indices:
    """Axes that run over a shape, named by a letter and their number."""
    return tuple([axis(f"{name}{k}", extent) for k, extent in enumerate(shape)])


def reduction(value: UOp, axes: Iterable[Index], extents: Iterable[Dim], combine: str) -> UOp:
    """`value` combined over some axes."""
    arg = Inner(tuple(axes), tuple(map(as_index, extents)), combine)
    return value.under(Ops.REDUCE, arg)


def parts(node: UOp) -> Sequence[UOp]:
    """The expressions a node is made of, those of gathered places included."""
    found = gathered(node.arg)
    return found if node.op is Ops.LOAD else [*node.src, *found]


def in_order(roots: Iterable[UOp], done: Container[UOp] = ()) -> list[UOp]:
    """Every node of some expressions, parts first; nodes of `done` and what is below are out."""
    return postorder(roots, parts, done)


def reads_in(roots: Iterable[UOp]) -> dict[UOp, list[Access]]:
    """What some expressions read, and where, in order of evaluation."""
    found: dict[UOp, list[Access]] = {}
    for node in in_order(roots):
        if node.op is Ops.LOAD:
            found.setdefault(node.source, []).append(node.arg)
    return found


Needs = frozenset[object]  # axes, variables, gathers and register buffers


class Dependence:
    """What each expression depends on, found once for each node."""

    def __init__(self) -> None:
        self.known: dict[UOp, Needs] = {}

    def __call__(self, root: UOp) -> Needs:
        found = self.known.get(root)
        if found is None:
            for node in in_order([root], self.known):
                self.known[node] = self._of(node)
            found = self.known[root]
        return found

    def _of(self, node: UOp) -> Needs:
        found: Needs = atoms(*indices(node.arg))
        if node.op is Ops.LOAD and isinstance(node.source.arg, BufferArg):
            found |= {node.source}
        for part in parts(node):
            found |= self.known[part]
        if node.op is Ops.REDUCE:
            found -= atoms(*node.arg.axes)
        return found


def renamed(old: Sequence[Index], new: Sequence[Index]) -> dict[Atom, Index]:
    """The axes of `old` as what stands at their places in `new`."""
    env = {}
    for own, index in zip(old, new, strict=True):
        if own.terms and own is not index:
            env[own.terms[0][0]] = index
    return env


class Rewrite(Rebuild):
    """Copies expressions with axes replaced, a mask put on every LOAD, and loads replaced.

    `read` gives the expression for a LOAD whose access has been rewritten, None to keep it.
    """

    parts = staticmethod(parts)  # a LOAD reads what stays as it is

    def __init__(self, env: Env, mask: Mask = (), read: Read | None = None) -> None:
        super().__init__(env=env)
        self.mask = mask
        self.read = read

    def __call__(self, root: UOp) -> UOp:
        return self.node(root)

    def access(self, access: Access) -> Access:
        """A place with axes replaced, under the mask of this copy."""
        places, mask, _, fill = mapped(access, self.index)
        mask = both(mask, self.mask)
        return Access(places, mask, None, fill if mask else None)

    def _rebuild(self, node: UOp) -> UOp:
        if node.op is Ops.LOAD:
            return self.load(node)
        return super()._rebuild(node)

    def made(self, node: UOp, src: tuple[UOp, ...], arg: Any) -> UOp:
        """A simple expression."""
        if node.op in ELEMENTWISE:
            return scalar(node.op, node.dtype, *src)
        return super().made(node, src, arg)

    def load(self, node: UOp) -> UOp:
        """A LOAD, or what `read` gives for it."""
        access = self.access(node.arg)
        found = self.read(node.source, access) if self.read else None
        return load(node.source, access) if found is None else found


def inline(value: UOp, env: Env, access: Access) -> UOp:
    """`value` with axes replaced, read under the mask and fill of `access`."""
    found = Rewrite(env, access.mask)(value)
    if not access.mask:
        return found
    return choose(access.mask, found, access.fill or 0)


def reductions(*roots: UOp) -> list[UOp]:
    """Every reduction evaluated inside expressions."""
    return [node for node in in_order(roots) if node.op is Ops.REDUCE]
