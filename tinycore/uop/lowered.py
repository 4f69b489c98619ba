"""The lowered program: the linear list of nodes that a renderer spells, and what it may hold.

Comes in: the list that codegen/lower made. Goes out: `Lowered`, checked. Next: codegen/render.

Legend of the list. A LOOP is its own induction value (int64, from 0); LOOP and IF end at an END
whose source they are. A register buffer holds scalars or vectors, one an element, at constant
offsets; other offsets are int64, in elements, the first lane's for a vector. Constants,
variables and parameters stand in no place; every other node stands once, above its users and in
a block around them. `tag` tells apart nodes that mean different moments: loads, stores, loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tinycore.dtype import dtypes
from tinycore.errors import SpecError
from tinycore.uop.index import Index
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp


class Lowered(NamedTuple):
    """A program for one target.

    `grid` holds the extents of the outermost parallel loops that workers share, `group` those of
    the threads of one group; both are evaluated at launch. Units: `scratch_bytes` a worker.
    """

    name: str
    params: tuple[UOp, ...]
    variables: tuple[UOp, ...]
    grid: tuple[Index, ...]
    group: tuple[Index, ...]
    scratch_bytes: int
    uops: tuple[UOp, ...]


REGISTER = "reg"
"""The space of buffers whose elements are registers."""

SCRATCH = "packed"
"""The space of a worker's own memory: `tag` of such a buffer is its first byte."""

PLACELESS = frozenset({Ops.CONST, Ops.VARIABLE})
"""Ops that may be used without standing in the list."""

STATEMENTS = frozenset({Ops.BUFFER, Ops.LOOP, Ops.IF, Ops.END, Ops.STORE, Ops.BARRIER})
"""Ops whose position is their meaning."""

LOWERED = ELEMENTWISE | PLACELESS | STATEMENTS | {Ops.LOAD, Ops.SHUFFLE, Ops.DESC}
"""Every op a renderer may meet."""


def check_lowered(program: Lowered) -> None:
    """Raises: SpecError if the program breaks a rule of this page."""
    known: set[UOp] = set(program.params)
    opened: list[tuple[UOp, set[UOp]]] = []
    for node in program.uops:
        for what in _broken(node):
            raise _error(program, node, what)
        for source in node.src:
            if source.op not in PLACELESS and source not in known:
                raise _error(program, node, f"uses {source!r} before it stands in an open block")
        if node.op is Ops.END:
            if not opened or opened[-1][0] is not node.src[0]:
                raise _error(program, node, "closes another")
            known = opened.pop()[1]
            continue
        if node.op in (Ops.LOOP, Ops.IF):
            opened.append((node, set(known)))
        known.add(node)
    if opened:
        raise _error(program, opened[-1][0], "is left open")


def _error(program: Lowered, node: UOp, what: str) -> SpecError:
    return SpecError(f"lowered: in {program.name}, {node!r} {what}; see uop/lowered.py")


def _broken(node: UOp) -> Iterator[str]:
    """The rules that a node breaks alone."""
    types = [source.dtype for source in node.src]
    if node.op not in LOWERED:
        yield "is no lowered op"
    elif node.op is Ops.LOOP:
        if (node.dtype, *types) != (dtypes.int64, dtypes.int64):
            yield "must count in int64"
    elif node.op is Ops.IF:
        if types != [dtypes.bool]:
            yield "needs one scalar condition"
    elif node.op is Ops.SHUFFLE:
        total = sum([dtype.lanes for dtype in types])
        if len(node.arg) != node.dtype.lanes or not all(0 <= lane < total for lane in node.arg):
            yield f"picks lanes {node.arg} of {total}"
    elif node.op in (Ops.LOAD, Ops.STORE):
        yield from _broken_access(node)
    elif node.op in ELEMENTWISE:
        lanes = {dtype.lanes for dtype in types}
        if lanes != {node.dtype.lanes}:
            yield f"mixes {sorted(lanes)} lanes"
        alike = set(types[1:] if node.op is Ops.WHERE else types)
        if len(alike) > 1 and node.op not in (Ops.SHL, Ops.SHR):
            yield "mixes types"


def _broken_access(node: UOp) -> Iterator[str]:
    is_load = node.op is Ops.LOAD
    expected = "buffer, offset[, mask, fill]" if is_load else "buffer, offset, value[, mask]"
    if len(node.src) not in ((2, 4) if is_load else (3, 4)):
        yield f"takes {expected}"
        return
    buffer, offset, *others = node.src
    moved = node if is_load else others.pop(0)
    if buffer.op is not Ops.BUFFER:
        yield "is not at a buffer"
        return
    if offset.dtype is not dtypes.int64:
        yield "needs an int64 offset"
    is_register = buffer.arg.space == REGISTER
    if is_register and (
        offset.op is not Ops.CONST or not 0 <= offset.arg < buffer.arg.shape[0].const
    ):
        yield "needs a constant offset inside its registers"
    if (moved.dtype if is_register else moved.dtype.scalar) is not buffer.dtype:
        yield f"moves {moved.dtype!r} at a buffer of {buffer.dtype!r}"
    if others and others[0].dtype is not dtypes.bool.vec(moved.dtype.lanes):
        yield "needs one boolean a lane as mask"
    if len(others) == 2 and others[1].dtype is not node.dtype:
        yield "has a fill of another type"


def show_lowered(program: Lowered) -> str:
    """The program as text, a node a line; numbers name nodes in order of first appearance."""
    names: dict[UOp, str] = {node: node.arg.name for node in program.params}
    head = ", ".join([f"{node.arg.name} {node.dtype.short}" for node in program.params])
    lines = [f"lowered {program.name}({head}) scratch {program.scratch_bytes}"]
    margin = "  "
    for node in program.uops:
        if node.op is Ops.END:
            margin = margin[2:]
            lines.append(f"{margin}end")
            continue
        words = [node.op.name.lower()]
        if node.dtype is not dtypes.void:
            lanes = f"x{node.dtype.lanes}" if node.dtype.lanes > 1 else ""
            words += [node.dtype.short + lanes, *_notes(node)]
        words += [names.get(source) or _constant(source) for source in node.src]
        if node.dtype is not dtypes.void:
            names[node] = f"%{len(names)}"
            words[:0] = [names[node], "="]
        lines.append(margin + " ".join(words))
        if node.op in (Ops.LOOP, Ops.IF):
            margin += "  "
    return "\n".join(lines) + "\n"


def _notes(node: UOp) -> list[str]:
    if node.op is Ops.LOOP:
        return [node.arg.axis, f"@{node.arg.map}"][: 2 if node.arg.map else 1]
    if node.op is Ops.BUFFER:
        return [f"{node.arg.name}[{node.arg.shape[0].const}]", node.arg.space]
    if node.op is Ops.SHUFFLE:
        return ["splat" if node.arg == (0,) * len(node.arg) != (0,) else str(list(node.arg))]
    return []


def _constant(node: UOp) -> str:
    return str(node.arg[0] if node.op is Ops.VARIABLE else node.arg)
