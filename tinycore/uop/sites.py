"""Where each statement of a kernel stands: what is around it, what names mean there, what it uses.

Comes in: a `Kernel`. Goes out: a `Site` for each statement, in source order. Next file: spec.py.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tinycore.uop import tree
from tinycore.uop.index import Index, axis, variable
from tinycore.uop.ops import Ops, UOp, postorder
from tinycore.uop.tree import BODIES, STORES, Access, BlockArg, Kernel, Nodes, parts, values

TILES = (Ops.COPY, Ops.MMA, Ops.WAIT, Ops.FREE, Ops.BARRIER)
"""Statements of a whole team."""

Names = dict[str, UOp | Index]  # axes and variables are indices


class Use(NamedTuple):
    """A place that a statement touches: `how` is "load", "store" or a combine."""

    buffer: UOp
    access: Access
    how: str


class Site(NamedTuple):
    """A statement, what is around it (first the whole kernel), what names mean there, the scalar
    nodes it evaluates and the places it touches."""

    boundary: str
    statement: UOp
    around: Nodes
    names: Names
    nodes: list[UOp]
    uses: list[Use]

    @property
    def loops(self) -> list[UOp]:
        """The LOOPs around."""
        return [outer for outer in self.around if outer.is_loop]


def sites(kernel: Kernel, boundary: str) -> Iterator[Site]:
    """A site for each declaration of the head and each statement that may run."""
    body = (*kernel.variables, *kernel.params, *kernel.body)
    whole = UOp(Ops.BLOCK, src=body, arg=BlockArg("seq"))
    return _below(boundary, (whole,), {})


def _below(boundary: str, around: Nodes, names: Names) -> Iterator[Site]:
    for statement in around[-1].src:
        yield Site(boundary, statement, around, names, evaluated(statement), uses(statement))
        inner = names | declared(statement)
        if statement.op not in BODIES:
            names = inner
        elif all(value.hi >= 0 for value in limits(statement)):
            yield from _below(boundary, (*around, statement), inner)


def under(statements: Iterable[UOp]) -> list[UOp]:
    """The statements and all in them, in source order."""
    return [statement for statement, _ in tree.walk(statements)]


def declared(statement: UOp) -> Names:
    """The names that a statement puts in scope."""
    if statement.is_buffer or statement.is_let:
        return {statement.name: statement}
    if statement.op is Ops.VARIABLE:
        return {statement.arg[0]: variable(*statement.arg)}
    if statement.op in BODIES:
        return dict(axes(statement))
    return {}


def declared_name(statement: UOp) -> str:
    """The name that a statement puts in scope, or ""."""
    return next(iter(declared(statement)), "")


def axes(statement: UOp) -> dict[str, Index]:
    """The axes that a LOOP, a role, a COPY or an MMA runs over."""
    return {name: axis(name, extent) for name, extent in _extents(statement)}


def limits(statement: UOp) -> list[Index]:
    """Values that are at least zero wherever the inside of a statement runs."""
    if statement.op is Ops.IF:
        return list(statement.arg)
    return [extent - 1 - axis(name, extent) for name, extent in _extents(statement)]


def _extents(statement: UOp) -> tree.Box:
    arg = statement.arg
    name = getattr(arg, "axis", "")
    return ((name, arg.extent),) if name else getattr(arg, "box", ())


def evaluated(statement: UOp) -> list[UOp]:
    """The scalar nodes and buffers of a statement's expressions, down to LETs."""
    roots = (*values(statement), *tree.gathered(statement.arg))
    return postorder(roots, lambda node: () if node.is_let else parts(node))


def uses(statement: UOp) -> list[Use]:
    """The places that a statement reads or writes."""
    loads = [node for node in evaluated(statement) if node.is_load]
    return [Use(node.source, node.arg, "load") for node in loads] + written(statement)


def written(statement: UOp) -> list[Use]:
    """The places that a statement writes."""
    if statement.op not in STORES:
        return []
    arg = statement.arg
    pairs = zip(statement.src, arg.places, strict=False)
    return [Use(*pair, arg.combine or "store") for pair in pairs]
