"""Expressions of the kernel level before they have a place: scalar ops over LOADs.

A LOAD reads a graph node: a BUFFER, or one whose value another stage stores. A REDUCE with an
`Inner` stands for a reduction evaluated where it is read. Comes in: expressions. Goes out: what
they read, the axes they depend on, and copies with axes and loads replaced. No function here
recurses: an expression may be longer than Python's stack. push.py makes expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from tinycore.uop.affine import Mask, atoms, mask_of, substitute
from tinycore.uop.index import TABLES, Atom, Index, as_index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.shape import Dim
from tinycore.uop.simplify import choose, scalar
from tinycore.uop.tree import Access, BufferArg, both, index_value, load, mask_value


class Inner(NamedTuple):
    """The arg of a REDUCE inside an expression: its axes, their extents, its monoid and mask."""

    axes: tuple[Index, ...]
    extents: tuple[Index, ...]
    combine: str
    mask: Mask


def reduction(
    value: UOp, axes: Sequence[Index], extents: Iterable[Dim], combine: str, mask: Mask = ()
) -> UOp:
    """`value` combined over some axes, where a mask holds."""
    arg = Inner(tuple(axes), tuple(map(as_index, extents)), combine, mask)
    return UOp(Ops.REDUCE, value.dtype, (value,), arg)


Env = Mapping[Atom, Index]
Read = Callable[[UOp, Access], UOp | None]
T = TypeVar("T")


def indices_of(node: UOp) -> tuple[Index, ...]:
    """Every index value in the arg of an expression's node."""
    if node.op is Ops.LOAD:
        return (*node.arg.indices, *node.arg.mask)
    if node.op is Ops.MASK:
        return node.arg  # type: ignore[no-any-return]
    if node.op is Ops.INDEX:
        return (node.arg,)
    return node.arg.mask if node.op is Ops.REDUCE else ()


def gathered(indices: Iterable[Index]) -> list[UOp]:
    """The expressions that compute the gathered places in some indices."""
    if not TABLES.gathers:
        return []
    found = [atom.node for index in indices for atom in atoms(index)]
    return [node for node in found if isinstance(node, UOp)]


def parts(node: UOp) -> Sequence[UOp]:
    """The expressions a node is made of, those of gathered places included."""
    if node.op in (Ops.LOAD, Ops.MASK, Ops.INDEX):
        return gathered(indices_of(node))
    return (*node.src, *gathered(node.arg.mask)) if node.op is Ops.REDUCE else node.src


def in_order(roots: Iterable[UOp], done: Container[UOp] = ()) -> list[UOp]:
    """Every node of some expressions, parts first; nodes of `done` and what is below are out."""
    return sorted_by(parts, roots, done)


def sorted_by(
    below: Callable[[T], Sequence[T]], roots: Iterable[T], done: Container[T] = ()
) -> list[T]:
    """All that is under some roots, each after what is `below` it; not recursive."""
    order: dict[T, None] = {}
    work = [root for root in roots if root not in done]
    work.reverse()
    while work:
        inside = below(work[-1])
        missing = [one for one in inside if one not in order and one not in done]
        if missing:
            work += reversed(missing)
        else:
            order[work.pop()] = None
    return list(order)


def reads_in(roots: Iterable[UOp]) -> dict[UOp, list[Access]]:
    """What some expressions read, and where, in order of evaluation."""
    found: dict[UOp, list[Access]] = {}
    for node in in_order(roots):
        if node.op is Ops.LOAD:
            found.setdefault(node.src[0], []).append(node.arg)
    return found


def factors(root: UOp) -> list[UOp]:
    """The factors of a product, in order; an expression that is no product is its own factor."""
    found = []
    work = [root]
    while work:
        node = work.pop()
        if node.op is Ops.MUL:
            work += reversed(node.src)
        else:
            found.append(node)
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
        is_state = node.op is Ops.LOAD and isinstance(node.src[0].arg, BufferArg)
        found: Needs = frozenset(node.src if is_state else ())
        found = found.union(*[self.known[part] for part in parts(node)])
        found = found.union(*[atoms(index) for index in indices_of(node)])
        return found.difference(*map(atoms, node.arg.axes)) if node.op is Ops.REDUCE else found


def renamed(old: Sequence[Index], new: Sequence[Index]) -> dict[Atom, Index]:
    """The axes of `old` as what stands at their places in `new`."""
    pairs = zip(old, new, strict=True)
    return {own.terms[0][0]: index for own, index in pairs if own.terms and own is not index}


class Rewrite:
    """Copies expressions with axes replaced, a mask put on every LOAD, and loads replaced.

    `read` gives the expression for a LOAD whose access has been rewritten, None to keep it.
    """

    def __init__(self, env: Env, mask: Mask = (), read: Read | None = None) -> None:
        self.env = env
        self.mask = mask
        self.read = read
        self.memo: dict[UOp, UOp] = {}
        self.moved: dict[Index, Index] = {}

    def __call__(self, root: UOp) -> UOp:
        found = self.memo.get(root)
        if found is None:
            for node in in_order([root], self.memo):
                self.memo[node] = self._copy(node)
            found = self.memo[root]
        return found

    def index(self, value: Index) -> Index:
        """An index with axes replaced."""
        found = self.moved.get(value)
        return substitute(value, self.env, self._gathered, self.moved) if found is None else found

    def masked(self, mask: Mask) -> Mask:
        """A mask with axes replaced."""
        return mask_of([self.index(value) for value in mask])

    def access(self, access: Access) -> Access:
        """A place with axes replaced, under the mask of this copy."""
        indices = tuple([self.index(index) for index in access.indices])
        mask = both(self.masked(access.mask), self.mask)
        return Access(indices, mask, None, access.fill if mask else None)

    def _gathered(self, node: object) -> object:
        return self(node) if isinstance(node, UOp) else node

    def _copy(self, node: UOp) -> UOp:
        match node.op:
            case Ops.LOAD:
                return self.load(node)
            case Ops.INDEX:
                return index_value(self.index(node.arg), node.dtype)
            case Ops.MASK:
                return mask_value(self.masked(node.arg))
            case Ops.REDUCE:
                return self.reduction(node)
        src = tuple([self.memo[source] for source in node.src])
        return node if src == node.src else scalar(node.op, node.dtype, *src)

    def load(self, node: UOp) -> UOp:
        """A LOAD, or what `read` gives for it."""
        access = self.access(node.arg)
        found = self.read(node.src[0], access) if self.read else None
        return load(node.src[0], access) if found is None else found

    def reduction(self, node: UOp) -> UOp:
        """A REDUCE with its axes and mask."""
        arg = node.arg
        axes = [self.index(step) for step in arg.axes]
        value = self.memo[node.src[0]]
        return reduction(value, axes, arg.extents, arg.combine, self.masked(arg.mask))


def inline(value: UOp, env: Env, access: Access) -> UOp:
    """`value` with axes replaced, read under the mask and fill of `access`."""
    found = Rewrite(env, access.mask)(value)
    if not access.mask:
        return found
    return choose(access.mask, found, access.fill or 0)


def reductions(*roots: UOp) -> list[UOp]:
    """Every reduction evaluated inside expressions."""
    return [node for node in in_order(roots) if node.op is Ops.REDUCE]
