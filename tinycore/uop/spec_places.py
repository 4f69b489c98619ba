"""Rules of one statement: its ops, names, types, ranks, and indices within their bounds.

Comes in: a `Site`. Goes out: what is wrong with its statement, or None. Next: uop/spec_state.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from tinycore.dtype import DType, dtypes
from tinycore.uop.affine import atoms, evaluate, unalias
from tinycore.uop.index import Atom, Index, of_atom, variable
from tinycore.uop.ops import CASTS, ELEMENTWISE, Ops, UOp, result_dtype
from tinycore.uop.printer import Printer, show_statement, show_value
from tinycore.uop.prove import Point, counterexample, holds
from tinycore.uop.sites import (
    Rule,
    Site,
    Use,
    axis_value,
    box_axes,
    declared_name,
    evaluated,
    index_values,
    uses,
)
from tinycore.uop.table import KERNEL, TABLE
from tinycore.uop.tree import GLOBAL, values

SCHEDULE, ACTION, SYNC = "schedule", "action", "sync"

_SCHEDULED = frozenset({Ops.LOOP, Ops.BUFFER, Ops.LET, Ops.STORE, Ops.IF})
_TRANSFORMED = _SCHEDULED | {Ops.BLOCK, Ops.COPY, Ops.WAIT, Ops.FREE, Ops.MMA}
STATEMENTS = {SCHEDULE: _SCHEDULED, ACTION: _TRANSFORMED, SYNC: _TRANSFORMED | {Ops.BARRIER}}
_LEAVES = frozenset({Ops.CONST, Ops.INDEX, Ops.MASK, Ops.LOAD, Ops.LET})
VALUES = frozenset(op for op in ELEMENTWISE | _LEAVES if KERNEL in TABLE[op].levels)


def ops_are_known(site: Site) -> str | None:
    """The tree holds the ops of its boundary, each with its number of sources."""
    op = site.statement.op
    if op not in STATEMENTS[site.boundary]:
        return f"statement {op.name} at boundary {site.boundary}; expected {_listed(site)}."
    for node in evaluated(site.statement):
        count = TABLE[node.op].sources
        if node.op not in VALUES:
            return f"{node.op.name} in an expression; expected a scalar op of kernels."
        if count is not None and len(node.src) != count:
            return f"{node.op.name} of {len(node.src)} sources; expected {count}."
    return None


def _listed(site: Site) -> str:
    names = sorted(op.name for op in STATEMENTS[site.boundary])
    return "one of " + ", ".join(names)


def loops_are_plain(site: Site) -> str | None:
    """Before any action nothing is mapped."""
    place = site.statement.arg.map
    return f"@{place} at boundary schedule; expected no map before an action." if place else None


def buffers_are_plain(site: Site) -> str | None:
    """Before any action nothing is staged in slots or laid out."""
    arg = site.statement.arg
    if arg.space not in ("reg", "packed", GLOBAL):
        return f"space {arg.space} at boundary schedule; expected reg, packed or global."
    if arg.slots != 1 or arg.swizzle is not None or arg.own is not None:
        return "slots, swizzle or own at boundary schedule; expected none before an action."
    return None


# Names


def names_are_new(site: Site) -> str | None:
    """A name means one thing wherever it is in scope."""
    name = declared_name(site.statement)
    if name and name in site.names:
        return f"{name} is a name in scope already; expected a new one."
    clash = [name for name in box_axes(site.statement) if name in site.names]
    return f"box axis {clash[0]} is a name in scope already; expected a new one." if clash else None


def names_are_in_scope(site: Site) -> str | None:
    """Every buffer and value is declared before, in a block around."""
    for node in _named_nodes(site.statement):
        name = node.arg if node.op is Ops.LET else node.arg.name
        known = site.names.get(name)
        if known is None or known.node is not node:
            return (
                f"`{show_statement(node)}` is not in scope; expected it before, in a block around."
            )
    return None


def _named_nodes(statement: UOp) -> Iterator[UOp]:
    if statement.op not in (Ops.LOOP, Ops.IF, Ops.BLOCK):
        yield from [source for source in statement.src if source.op is Ops.BUFFER]
    for node in evaluated(statement):
        if node.op is Ops.LET:
            yield node
        elif node.op is Ops.LOAD:
            yield node.src[0]


def axes_are_in_scope(site: Site) -> str | None:
    """Every axis is that of a loop around, every variable is in the head."""
    box = box_axes(site.statement)
    for value in _indices(site.statement):
        for atom in atoms(value):
            if atom.kind == "gather" or atom in _atoms_of(box.get(atom.name)):
                continue
            if atom not in _atoms_of(_meaning(site, atom)):
                kind = f"{atom.kind} {atom.name} of {atom.lo}..{atom.hi}"
                return f"{kind} is not in scope; expected a loop around or a head with it."
    return None


def _indices(statement: UOp) -> list[Index]:
    return [value for node in [statement, *evaluated(statement)] for value in index_values(node)]


def _atoms_of(value: Index | None) -> frozenset[Atom]:
    return frozenset() if value is None else atoms(value)


def _meaning(site: Site, atom: Atom) -> Index | None:
    """What the name of an axis or a variable counts here."""
    known = site.names.get(atom.name)
    if known is None:
        return None
    if known.node.op is Ops.VARIABLE:
        return variable(*known.node.arg)
    return axis_value(known.node) if known.node.op in (Ops.LOOP, Ops.BLOCK) else None


def indices_are_plain(site: Site) -> str | None:
    """What a mask proved is simplified into an index, and the alias gone."""
    for value in _indices(site.statement):
        if unalias(value) is not value:
            return f"index {Printer().index(value)} holds an alias; expected unalias before."
    return None


# Types and ranks


def ranks_match(site: Site) -> str | None:
    """A place has one index a dimension."""
    for use in uses(site.statement):
        found, expected = len(use.access.indices), len(use.buffer.arg.shape)
        if found != expected:
            name = use.buffer.arg.name
            return f"{found} indices into {name}; expected {expected}, one a dimension."
    return None


def types_match(site: Site) -> str | None:
    """A scalar op has sources of one type."""
    for node in evaluated(site.statement):
        found = _type_defect(node)
        if found:
            return f"`{show_value(node)}` {found}"
    return None


def stores_match(site: Site) -> str | None:
    """What is stored has the type of its buffer."""
    for buffer, value in zip(site.statement.src, values(site.statement), strict=False):
        if value.dtype is not buffer.dtype:
            name = f"{buffer.arg.name} of {buffer.dtype.short}"
            return f"{value.dtype.short} is stored in {name}; expected one type. Cast it."
    return None


def _type_defect(node: UOp) -> str | None:
    if node.op is Ops.LOAD and node.dtype is not node.src[0].dtype:
        return f"is {node.dtype.short}; expected the type of its buffer."
    if node.op not in ELEMENTWISE:
        return None
    types = [source.dtype for source in node.src]
    if node.op is Ops.WHERE and types.pop(0) is not dtypes.bool:
        return f"chooses by {node.src[0].dtype.short}; expected bool."
    if node.op not in (Ops.SHL, Ops.SHR) and len(set(types)) > 1:
        return f"mixes {_shorts(types)}; expected one type. Cast one of them."
    if node.op not in CASTS and node.dtype is not result_dtype(node.op, node.src):
        return f"is {node.dtype.short}; expected {result_dtype(node.op, node.src).short}."
    return None


def _shorts(types: list[DType]) -> str:
    return " and ".join(kind.short for kind in types)


# Bounds


def indices_are_in_bounds(site: Site) -> str | None:
    """Where its mask holds, an index is in 0 .. extent - 1."""
    for use in uses(site.statement):
        given = [*site.given, *use.access.mask]
        for value, goal in _goals(use):
            point = None if holds(goal, given) else counterexample(goal, given)
            if point is not None:
                return _out_of_bounds(use, value, point)
    return None


def _goals(use: Use) -> Iterator[tuple[Index, Index]]:
    """Each index with the values that must be at least zero."""
    if use.access.sequence is not None:
        yield use.access.sequence, use.access.sequence
    for value, extent in zip(use.access.indices, use.buffer.arg.shape, strict=False):
        yield value, value
        yield value, extent - 1 - value


def _out_of_bounds(use: Use, value: Index, point: Point) -> str:
    printer = Printer()
    names = {atom: atom.name or printer.index(of_atom(atom)) for atom in point}
    where = ", ".join([f"{names[atom]} = {number}" for atom, number in point.items()])
    found = evaluate(value, point.__getitem__)
    shape = ", ".join([printer.index(extent) for extent in use.buffer.arg.shape])
    text = f"index {printer.index(value)} of {use.buffer.arg.name}[{shape}] is {found}"
    return f"{text}{' where ' + where if where else ''}; expected a mask or a smaller extent."


RULES: dict[Rule, tuple[Ops, ...]] = {
    ops_are_known: (),
    names_are_new: (),
    names_are_in_scope: (),
    axes_are_in_scope: (),
    indices_are_plain: (),
    ranks_match: (),
    types_match: (),
    stores_match: (Ops.STORE, Ops.COPY),
    indices_are_in_bounds: (),
}
"""Rules of all boundaries, with the statements they speak of; () is every statement."""

PLAIN: dict[Rule, tuple[Ops, ...]] = {
    loops_are_plain: (Ops.LOOP,),
    buffers_are_plain: (Ops.BUFFER,),
}
"""Rules before any action."""
