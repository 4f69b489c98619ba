"""Where each statement of a kernel stands: what is around it, what names mean there, what it uses.

Comes in: a `Kernel`. Goes out: one `Site` a statement, in source order, and the places in buffers
that a statement reads and writes. uop/spec.py checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tinycore.dtype import dtypes
from tinycore.uop.index import Index, axis, variable
from tinycore.uop.ops import Ops, UOp, postorder
from tinycore.uop.tree import STORES, Access, BlockArg, Kernel, gathered, indices, values

SEQ, ROLES, ROLE = "seq", "roles", "role"
BODIES = (Ops.LOOP, Ops.IF, Ops.BLOCK)
Names = dict[str, UOp | Index]  # buffers and values are nodes; axes and variables are indices


class Use(NamedTuple):
    """A place that a statement touches: `how` is "load", "store" or a combine."""

    buffer: UOp
    access: Access
    how: str


class Site(NamedTuple):
    """A statement, the LOOPs, IFs and BLOCKs around it, of which the first holds the whole kernel,
    what names mean there, the scalar nodes it evaluates and the places it touches."""

    boundary: str
    statement: UOp
    around: tuple[UOp, ...]
    names: Names
    nodes: list[UOp]
    uses: list[Use]

    @property
    def loops(self) -> list[UOp]:
        """The LOOPs around."""
        return [outer for outer in self.around if outer.op is Ops.LOOP]


Rule = Callable[[Site], Iterator[str]]  # what is wrong with a statement, if anything is


def sites(kernel: Kernel, boundary: str) -> Iterator[Site]:
    """Every declaration of the head and every statement that may run, with its surroundings."""
    body = (*kernel.variables, *kernel.params, *kernel.body)
    whole = UOp(Ops.BLOCK, dtypes.void, body, BlockArg(SEQ))
    return _below(boundary, (whole,), {})


def _below(boundary: str, around: tuple[UOp, ...], names: Names) -> Iterator[Site]:
    for statement in around[-1].src:
        nodes, touched = evaluated(statement), uses(statement)
        yield Site(boundary, statement, around, names, nodes, touched)
        inner = names | declared(statement)
        if statement.op not in BODIES:
            names = inner
        elif all(value.hi >= 0 for value in limits(statement)):
            yield from _below(boundary, (*around, statement), inner)


def limits(statement: UOp) -> list[Index]:
    """What holds wherever something in a statement runs: each is at least zero."""
    if statement.op is Ops.IF:
        return list(statement.arg)
    return [extent - 1 - axis(name, extent) for name, extent in _extents(statement)]


def declared(statement: UOp) -> Names:
    """What a statement puts in scope, by its name: a buffer, a value, an axis or a variable."""
    if statement.op is Ops.BUFFER:
        return {statement.arg.name: statement}
    if statement.op is Ops.LET:
        return {statement.arg: statement}
    if statement.op is Ops.VARIABLE:
        return {statement.arg[0]: variable(*statement.arg)}
    return dict(axes(statement)) if statement.op in BODIES else {}


def declared_name(statement: UOp) -> str:
    """The name that a statement puts in scope."""
    return next(iter(declared(statement)), "")


def axes(statement: UOp) -> dict[str, Index]:
    """The axes that a LOOP, a role, a COPY or a MMA runs over, by name."""
    return {name: axis(name, extent) for name, extent in _extents(statement)}


def _extents(statement: UOp) -> list[tuple[str, Index]]:
    arg = statement.arg
    if statement.op in (Ops.LOOP, Ops.BLOCK):
        return [(arg.axis, arg.extent)] if arg.axis else []
    return list(arg.box) if statement.op in STORES else []


# what a statement uses


def uses(statement: UOp) -> list[Use]:
    """The places that a statement reads and writes, those of its expressions first."""
    nodes = [*evaluated(statement), statement]
    return [use for node in nodes for use in _touched(node)]


def written(statement: UOp) -> list[Use]:
    """The places that a statement writes."""
    return [use for use in _touched(statement) if use.how != "load"]


def _touched(node: UOp) -> list[Use]:
    """The places in the fields of a statement or of a LOAD, whose first sources are the buffers."""
    if node.op is Ops.LOAD:
        return [Use(node.src[0], node.arg, "load")]
    if node.op not in STORES:
        return []
    how = node.arg.combine or "store"
    pairs = zip(node.src, node.arg.places, strict=False)
    return [Use(buffer, place, how) for buffer, place in pairs]


def evaluated(statement: UOp) -> list[UOp]:
    """The scalar nodes that a statement evaluates, those under gathered indices too.

    A LET is among them, what it was computed from is not.
    """
    roots = [*values(statement), *gathered(indices(statement.arg))]
    return postorder(roots, _parts)


def _parts(node: UOp) -> list[UOp]:
    if node.op is Ops.LET:
        return []
    sources = [source for source in node.src if source.op is not Ops.BUFFER]
    return [*sources, *gathered(indices(node.arg))]


def under(statements: Iterable[UOp]) -> list[UOp]:
    """`statements` and all statements in them, in source order."""
    found: list[UOp] = []
    for statement in statements:
        found.append(statement)
        if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
            found += under(statement.src)
    return found
