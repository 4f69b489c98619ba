"""The lowered program: the linear list of nodes that a renderer spells, and what it may hold.

Comes in: the list that codegen/lower made. Goes out: `Lowered`, checked. Next: codegen/render.

A LOOP is its own counter (int64, from 0), but @grid and @thread the number of the group or thread,
which runs the body if that is below the extent. LOOP and IF end at an END whose source they are.
All threads of a group reach a BARRIER. A register buffer is indexed by constants; other offsets are
int64, in elements, a vector's that of its first lane; `arg` of its LOAD or STORE is true where that
is a multiple of the lanes. Every node but constants, variables and parameters stands once, above
its users; `tag` tells apart equal ones.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tinycore.dtype import dtypes
from tinycore.errors import SpecError
from tinycore.uop.index import Indices
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp
from tinycore.uop.table import LOWERED, SIGNATURES
from tinycore.uop.tree import Nodes

Defects = Iterator[str]  # what is wrong with a node, if anything is


class Lowered(NamedTuple):
    """A program for one target, with `scratch_bytes` a worker.

    `grid` holds the extents of the outermost parallel loops, which workers share, `group` those of
    a group's threads; launches evaluate both.
    """

    name: str
    params: Nodes
    variables: Nodes
    grid: Indices
    group: Indices
    scratch_bytes: int
    uops: Nodes


FUSED = "fused"

REGISTER = "reg"
"""The space of register buffers."""

SCRATCH = "packed"
"""The space of a worker's own memory, where `tag` is the first byte of a buffer."""

GROUP = "group"
"""The space of memory that the threads of a group share."""

WARP = "warp"
"""The space of registers that threads of a warp share, an element each."""

PLACELESS = (Ops.CONST, Ops.VARIABLE)
"""Ops that stand nowhere in the list."""

FIXED = {"i": dtypes.int64, "b": dtypes.bool, "-": dtypes.void}
FIXED |= {"w": dtypes.int32, "q": dtypes.int8.vec(4)}  # of DOT alone
STATEMENTS = {
    Ops.LOOP: ("ii",),
    Ops.IF: ("-b",),
    Ops.LOAD: ("vei", "veimv"),
    Ops.STORE: ("-eiv", "-eivm"),
    Ops.DOT: ("wqq",),
}
"""Signatures as in uop/table.py, with the types above; e is an element of a buffer of v."""


def check_lowered(program: Lowered) -> None:
    """Raises: SpecError if the program breaks a rule."""
    for node, what in _defects(program):
        raise SpecError(f"lowered: in {program.name}, {node!r} {what}; see uop/lowered.py")


def _defects(program: Lowered) -> Iterator[tuple[UOp, str]]:
    scopes: list[set[UOp]] = [set(program.params)]
    for node in program.uops:
        for what in _broken(node):
            yield node, what
        for source in node.src:
            if source.op not in PLACELESS and not any(source in scope for scope in scopes):
                yield node, f"uses {source!r} before it stands in an open block"
        if node.is_loop or node.op is Ops.IF:
            scopes.append(set())
        scopes[-1].add(node)
        if node.op is Ops.END and node.source not in scopes.pop():
            yield node, "closes another"
    if len(scopes) > 1:
        yield program.uops[-1], "is left in an open block"


def _broken(node: UOp) -> Defects:
    if LOWERED not in node.op.row.levels:
        yield "is no lowered op"
    if node.op in STATEMENTS or node.op in ELEMENTWISE:
        yield from misfits(node)
    if node.op is Ops.SHUFFLE:
        total = sum(source.lanes for source in node.src)
        if len(node.arg) != node.lanes or not {*node.arg} <= {*range(total)}:
            yield f"picks lanes {node.arg} of {total}"
    if node.is_load or node.is_store:
        buffer, offset = node.src[:2]
        if not buffer.is_buffer:
            yield "is not at a buffer"
        elif buffer.space == REGISTER:
            [count] = buffer.arg.shape
            if not offset.is_const or not 0 <= offset.arg < count.const:
                yield "needs a constant offset inside its registers"


def misfits(node: UOp) -> Defects:
    """How the types of a node differ from those of its op."""
    found = [one.dtype for one in (node, *node.src)]
    signatures = STATEMENTS.get(node.op) or (SIGNATURES[node.op.row.group],)
    fitting = [one for one in signatures if len(one) == len(found)]
    if not fitting:
        yield f"has {len(node.src)} sources; expected as many as {signatures}"
    for signature in fitting:
        value = found[signature.find("v")]
        is_register = getattr(node.source.arg, "space", "") == REGISTER
        element = value if is_register else value.scalar
        types = {**FIXED, "v": value, "e": element, "m": dtypes.bool.vec(value.lanes)}
        like = [one.vec(value.lanes) for one in found]
        expected = [types.get(*pair) for pair in zip(signature, like, strict=True)]
        if found != expected:
            yield f"has types {found}; expected {expected}"


def show_lowered(program: Lowered) -> str:
    """The program as text, a node a line."""
    names: dict[UOp, str] = {node: node.name for node in program.params}
    head = ", ".join(f"{node.arg.name} {node.dtype.short}" for node in program.params)
    lines = [f"lowered {program.name}({head}) scratch {program.scratch_bytes}"]
    margin = "  "
    for node in program.uops:
        if node.op is Ops.END:
            margin = margin[2:]
            lines.append(f"{margin}end")
            continue
        words = [node.op.name.lower()]
        sources = [names.get(source) or _constant(source) for source in node.src]
        if node.dtype is not dtypes.void:
            lanes = f"x{node.lanes}" if node.lanes > 1 else ""
            names[node] = f"%{len(names)}"
            words = [names[node], "=", *words, node.dtype.short + lanes, *_notes(node)]
        lines.append(margin + " ".join(words + sources))
        margin += "  " * (node.op in (Ops.LOOP, Ops.IF))
    return "\n".join(lines) + "\n"


def _notes(node: UOp) -> list[str]:
    arg = node.arg
    if node.is_loop:
        return [arg.axis, f"@{arg.map}"] if arg.map else [arg.axis]
    if node.is_buffer:
        return [f"{arg.name}[{arg.shape[0].const}]", arg.space]
    if node.op is Ops.SHUFFLE:
        return ["splat" if len(arg) > 1 and not any(arg) else str(list(arg))]
    return []


def _constant(node: UOp) -> str:
    return str(node.arg[0] if node.op is Ops.VARIABLE else node.arg)


def fused(total: UOp) -> UOp:
    """A sum and its products marked FUSED: they may be rounded once, where the target contracts.

    No others may, so that another kernel computes the same value again.
    """
    if not total.is_float or total.op not in (Ops.ADD, Ops.MUL):
        return total
    src = [one.replace(tag=FUSED) if one.op is Ops.MUL else one for one in total.src]
    return total.replace(src=tuple(src), tag=FUSED)
