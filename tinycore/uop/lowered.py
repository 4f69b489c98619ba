"""The lowered program: the linear list of nodes that a renderer spells, and what it may hold.

Comes in: the list that codegen/lower made. Goes out: `Lowered`, checked. Next: codegen/render.

Legend of the list. A LOOP is its own induction value (int64, from 0); LOOP and IF end at an END
whose source they are. A register buffer holds scalars or vectors, one an element, at constant
offsets; other offsets are int64, in elements, the first lane's for a vector. Constants,
variables and parameters stand in no place; every other node stands once, above its users and in
a block around them. `tag` tells apart nodes that mean different moments: loads, stores, loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tinycore.dtype import dtypes
from tinycore.errors import SpecError
from tinycore.uop.index import Index
from tinycore.uop.ops import CASTS, ELEMENTWISE, Ops, UOp


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
    scopes: list[set[UOp]] = [set(program.params)]
    opened: list[UOp] = []
    for node in program.uops:
        _require(node.op in LOWERED, program, node, "is no lowered op")
        for source in node.src:
            known = source.op in PLACELESS or any(source in scope for scope in scopes)
            _require(known, program, node, f"uses {source!r} before it stands in an open block")
        rule = _RULES.get(node.op)
        if rule is not None:
            rule(program, node)
        elif node.op in ELEMENTWISE:
            _elementwise(program, node)
        if node.op is Ops.END:
            _require(bool(opened) and opened[-1] is node.src[0], program, node, "closes another")
            opened.pop()
            scopes.pop()
            continue
        if node.op in (Ops.LOOP, Ops.IF):
            opened.append(node)
            scopes.append(set())
        scopes[-1].add(node)
    if opened:
        raise SpecError(f"lowered: {program.name} leaves {opened[-1]!r} open; expected its END")


def _require(holds: bool, program: Lowered, node: UOp, what: str) -> None:
    if not holds:
        raise SpecError(f"lowered: in {program.name}, {node!r} {what}; see uop/lowered.py")


def _elementwise(program: Lowered, node: UOp) -> None:
    lanes = {source.dtype.lanes for source in node.src}
    _require(lanes == {node.dtype.lanes}, program, node, f"mixes {sorted(lanes)} lanes")
    if node.op in CASTS or node.op in (Ops.SHL, Ops.SHR):
        return
    types = {source.dtype for source in node.src[1 if node.op is Ops.WHERE else 0 :]}
    _require(len(types) == 1, program, node, "mixes types")


def _loop(program: Lowered, node: UOp) -> None:
    fits = node.dtype is dtypes.int64 and node.src[0].dtype is dtypes.int64
    _require(fits, program, node, "must count in int64")


def _condition(program: Lowered, node: UOp) -> None:
    _require(node.src[0].dtype is dtypes.bool, program, node, "needs one scalar condition")


def _place(program: Lowered, node: UOp) -> None:
    buffer, offset = node.src[:2]
    _require(buffer.op is Ops.BUFFER, program, node, "is not at a buffer")
    _require(offset.dtype is dtypes.int64, program, node, "needs an int64 offset")
    if buffer.arg.space != REGISTER:
        return
    inside = offset.op is Ops.CONST and 0 <= offset.arg < buffer.arg.shape[0].const
    _require(inside, program, node, "needs a constant offset inside its registers")


def _load(program: Lowered, node: UOp) -> None:
    _place(program, node)
    _require(len(node.src) in (2, 4), program, node, "takes buffer, offset[, mask, fill]")
    _same_element(program, node, node)
    if len(node.src) == 4:
        _mask(program, node, node.src[2], node)
        _require(node.src[3].dtype is node.dtype, program, node, "has a fill of another type")


def _store(program: Lowered, node: UOp) -> None:
    _place(program, node)
    _require(len(node.src) in (3, 4), program, node, "takes buffer, offset, value[, mask]")
    _same_element(program, node, node.src[2])
    if len(node.src) == 4:
        _mask(program, node, node.src[3], node.src[2])


def _same_element(program: Lowered, node: UOp, value: UOp) -> None:
    buffer = node.src[0]
    whole = buffer.arg.space == REGISTER
    same = value.dtype is buffer.dtype if whole else value.dtype.scalar is buffer.dtype
    _require(same, program, node, f"moves {value.dtype!r} at a buffer of {buffer.dtype!r}")


def _mask(program: Lowered, node: UOp, mask: UOp, value: UOp) -> None:
    fits = mask.dtype is dtypes.bool.vec(value.dtype.lanes)
    _require(fits, program, node, "needs one boolean a lane as mask")


def _shuffle(program: Lowered, node: UOp) -> None:
    total = sum(source.dtype.lanes for source in node.src)
    inside = all(0 <= lane < total for lane in node.arg)
    fits = inside and len(node.arg) == node.dtype.lanes
    _require(fits, program, node, f"picks lanes {node.arg} of {total}")


_RULES: dict[Ops, Callable[[Lowered, UOp], None]] = {
    Ops.LOOP: _loop,
    Ops.IF: _condition,
    Ops.LOAD: _load,
    Ops.STORE: _store,
    Ops.SHUFFLE: _shuffle,
}


def show_lowered(program: Lowered) -> str:
    """The program as text, a node a line; numbers name nodes in order of first appearance."""
    names: dict[UOp, str] = {node: node.arg.name for node in program.params}
    lines = []
    depth = 1
    for node in program.uops:
        if node.op is Ops.END:
            depth -= 1
            lines.append("  " * depth + "end")
            continue
        lines.append("  " * depth + _line(node, names))
        if node.op in (Ops.LOOP, Ops.IF):
            depth += 1
    head = ", ".join([f"{node.arg.name} {node.dtype.short}" for node in program.params])
    return f"lowered {program.name}({head}) scratch {program.scratch_bytes}\n" + "".join(
        [line + "\n" for line in lines]
    )


def _line(node: UOp, names: dict[UOp, str]) -> str:
    sources = " ".join([_name(source, names) for source in node.src])
    if node.op is Ops.STORE:
        return f"store {sources}"
    if node.op is Ops.IF:
        return f"if {sources}"
    names[node] = f"%{len(names)}"
    kind = node.dtype.short + (f"x{node.dtype.lanes}" if node.dtype.lanes > 1 else "")
    return f"{names[node]} = {node.op.name.lower()} {kind}{_note(node)} {sources}".rstrip()


def _name(node: UOp, names: dict[UOp, str]) -> str:
    if node.op is Ops.CONST:
        return repr(node.arg)
    return str(node.arg[0]) if node.op is Ops.VARIABLE else names.get(node, "?")


def _note(node: UOp) -> str:
    if node.op is Ops.LOOP:
        return f" {node.arg.axis}" + (f" @{node.arg.map}" if node.arg.map else "")
    if node.op is Ops.BUFFER:
        return f" {node.arg.name}[{node.arg.shape[0].const}] {node.arg.space}"
    if node.op is not Ops.SHUFFLE:
        return ""
    return f" {list(node.arg)}" if any(node.arg) or len(node.arg) == 1 else " splat"
