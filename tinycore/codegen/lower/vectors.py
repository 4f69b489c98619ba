"""Loops over lanes: those that lowering itself writes, and wide ones cut to what registers hold.

Comes in: an extent and what to do at an index, or a tree. Goes out: statements. copies.py,
combine.py and expand.py use these for tiles, whole buffers and fills.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tinycore.runtime.caps import Caps
from tinycore.uop.index import Index, as_index, axis
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Kernel, axis_of, loop, rebuild

MAX_UNROLLED = 4
MAX_REGISTERS = 8  # of 4-byte lanes, for one vector loop
Body = Callable[[Index], list[UOp]]


def along_lanes(name: str, extent: Index, lanes: int, body: Body, kind: str = "par") -> list[UOp]:
    """`body` for every index below `extent`, `lanes` at once; what is left over follows."""
    if extent.terms or lanes == 1:
        return [loop(kind, name, extent, body(axis(name, extent)))]
    whole, rest = divmod(extent.const, lanes)
    found = []
    if whole:
        outer, lane = axis(f"{name}.0", whole), axis(f"{name}.1", lanes)
        inner = loop(kind, f"{name}.1", lanes, body(outer * lanes + lane), "vec")
        run = "unroll" if whole <= MAX_UNROLLED else ""
        found.append(loop(kind, f"{name}.0", whole, [inner], run))
    if rest:
        lane = axis(f"{name}'", rest)
        found.append(loop(kind, f"{name}'", rest, body(lane + whole * lanes), "vec"))
    return found


def nested(names: Iterable[tuple[str, Index, str]], body: list[UOp]) -> list[UOp]:
    """Parallel loops of (name, extent, map), the first outermost, around `body`."""
    for name, extent, kind in reversed(list(names)):
        body = [loop("par", name, as_index(extent), body, kind)]
    return body


def fit_lanes(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with vector loops that are far wider than registers cut into loops of vectors."""
    most = MAX_REGISTERS * caps.vector_bytes // 4
    wide = [node for node in kernel.body if _has_wide(node, most)]
    if not wide:
        return kernel
    return kernel._replace(body=_fitted(kernel.body, most, caps.vector_bytes // 4))


def _is_wide(node: UOp, most: int) -> bool:
    if node.op is not Ops.LOOP or node.arg.map != "vec" or node.arg.kind == "ser":
        return False
    return not node.arg.extent.terms and bool(node.arg.extent.const > most)


def _has_wide(node: UOp, most: int) -> bool:
    if node.op not in (Ops.LOOP, Ops.IF, Ops.BLOCK):
        return False
    return _is_wide(node, most) or any(_has_wide(child, most) for child in node.src)


def _fitted(statements: Iterable[UOp], most: int, lanes: int) -> tuple[UOp, ...]:
    found: list[UOp] = []
    for node in statements:
        if node.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
            node = node.replace(src=_fitted(node.src, most, lanes))
        found += _cut(node, lanes) if _is_wide(node, most) else [node]
    return tuple(found)


def _cut(wide: UOp, lanes: int) -> list[UOp]:
    atom = axis_of(wide).terms[0][0]

    def at(index: Index) -> list[UOp]:
        return list(rebuild(wide.src, {}, {atom: index}))

    return along_lanes(wide.arg.axis, wide.arg.extent, lanes, at, wide.arg.kind)
