"""Makes tile assignments loops: a COPY runs where it stands, so WAIT and FREE wait for nothing.

Comes in: a tree after its actions. Goes out: one without COPY, WAIT and FREE. For targets without
engines that copy on their own. The last axis of the box runs along lanes; where the source is
contiguous along another one, square blocks are read by rows and written by columns, through
registers. Next: reduce.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tinycore.codegen.lower.registers import in_memory
from tinycore.codegen.lower.vectors import along_lanes, nested
from tinycore.runtime.caps import Caps
from tinycore.runtime.errors import Unsupported
from tinycore.uop.index import Atom, Index, as_index, axis
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.tree import Access, CopyArg, Kernel, StoreArg, buffer, load, loop, rebuild


class Span(NamedTuple):
    """A part of a box axis: `axis` is its atom, None if the axis has one element."""

    name: str
    axis: Atom | None
    first: int
    extent: Index


Env = dict[Atom, Index]


def copies(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with its tile assignments as loops. Raises: Unsupported for MMA and roles."""
    return kernel._replace(body=Copies(caps).body(kernel.body))


class Copies:
    """Writes the loops of the COPYs of one kernel."""

    def __init__(self, caps: Caps) -> None:
        self.vector_bytes = caps.vector_bytes
        self.count = 0

    def body(self, statements: Iterable[UOp]) -> tuple[UOp, ...]:
        """Statements with their COPYs made loops."""
        found: list[UOp] = []
        for statement in statements:
            _refuse(statement)
            if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
                inner = self.body(statement.src)
                found.append(statement.replace(src=inner))
            elif statement.op is Ops.COPY:
                found += self._copy(statement)
            elif statement.op not in (Ops.WAIT, Ops.FREE):
                found.append(statement)
        return tuple(found)

    def _copy(self, copy: UOp) -> list[UOp]:
        arg: CopyArg = copy.arg
        spans = [_span(name, extent) for name, extent in arg.box]
        lanes = self.vector_bytes // copy.src[0].dtype.itemsize
        along = _contiguous(copy, spans)
        if along is None or min(along.extent.const, spans[-1].extent.const) < lanes:
            return self._plain(copy, spans, lanes)
        found = []
        for rows in _parts(spans[-1], lanes):
            for columns in _parts(along, lanes):
                others = [span for span in spans[:-1] if span is not along]
                write = self._plain
                if min(rows.extent.const, columns.extent.const) >= lanes:
                    write = self._blocks
                found += write(copy, [*others, columns, rows], lanes)
        return found

    def _plain(self, copy: UOp, spans: list[Span], lanes: int) -> list[UOp]:
        """Loops over spans, the last along lanes."""
        prefix = self._prefix()
        if not spans:
            return [_assigned(copy, {})]
        *outer, last = spans
        env = _placed(outer, prefix)

        def at(index: Index) -> list[UOp]:
            return [_assigned(copy, env | _at(last, index))]

        inner = along_lanes(f"{prefix}.{last.name}", last.extent, lanes, at)
        return nested(_loops(outer, prefix), inner)

    def _blocks(self, copy: UOp, spans: list[Span], lanes: int) -> list[UOp]:
        """Loops over square blocks of the last two spans; each passes through registers."""
        prefix = self._prefix()
        *outer, columns, rows = spans
        env = _placed(outer, prefix)
        right = axis(f"{prefix}.right", columns.extent.const // lanes) * lanes
        down = axis(f"{prefix}.down", rows.extent.const // lanes) * lanes
        i, k = axis(f"{prefix}.i", lanes), axis(f"{prefix}.k", lanes)
        target, source = copy.src
        tile = buffer(f"{prefix}.tile", target.dtype, (lanes, lanes), "reg")
        into = copy.replace(src=(tile, source), arg=CopyArg(Access((i, k)), ()))
        out = copy.replace(src=(target, load(tile, Access((k, i)))))
        read = env | _at(columns, right + k) | _at(rows, down + i)
        write = env | _at(columns, right + i) | _at(rows, down + k)
        body = [tile]
        for step, place in ((into, read), (out, write)):
            row = loop("par", f"{prefix}.k", lanes, [_assigned(step, place)], "vec")
            body.append(loop("par", f"{prefix}.i", lanes, [row], "unroll"))
        inner = loop("par", f"{prefix}.right", columns.extent.const // lanes, body)
        around = loop("par", f"{prefix}.down", rows.extent.const // lanes, [inner])
        return nested(_loops(outer, prefix), [around])

    def _prefix(self) -> str:
        self.count += 1
        return f"copy{self.count}"


def _refuse(statement: UOp) -> None:
    if statement.op is Ops.MMA:
        raise Unsupported("lower: MMA has no lowering for this target; expected loops")
    if statement.op is Ops.BLOCK and statement.arg.kind != "seq":
        raise Unsupported("lower: roles have no lowering for this target; expected one block")


def _span(name: str, extent: Index) -> Span:
    terms = axis(name, extent).terms
    return Span(name, terms[0][0] if terms else None, 0, extent)


def _parts(span: Span, lanes: int) -> list[Span]:
    """The whole multiples of `lanes` in a span of constant extent, and the rest."""
    extent = span.extent.const
    whole = extent - extent % lanes
    cuts = [(0, whole), (whole, extent - whole)]
    found = []
    for first, size in cuts:
        if size:
            found.append(span._replace(first=first, extent=as_index(size)))
    return found


def _at(span: Span, index: Index) -> Env:
    """What a box axis becomes at an index of its span."""
    return {} if span.axis is None else {span.axis: index + span.first}


def _placed(spans: Iterable[Span], prefix: str) -> Env:
    env: Env = {}
    for span in spans:
        env |= _at(span, axis(f"{prefix}.{span.name}", span.extent))
    return env


def _loops(spans: Iterable[Span], prefix: str) -> list[tuple[str, Index, str]]:
    return [(f"{prefix}.{span.name}", span.extent, "") for span in spans]


def _assigned(copy: UOp, env: Env) -> UOp:
    """The STORE of one element of a tile: box axes replaced."""
    arg = StoreArg((copy.arg.place,))
    store = UOp(Ops.STORE, copy.dtype, copy.src, arg)
    return rebuild([store], {}, env)[0]


def _contiguous(copy: UOp, spans: list[Span]) -> Span | None:
    """The axis of the box that the source runs along in memory, if it is not the last one."""
    if not all(span.extent.is_const for span in spans):
        return None
    for node in toposort([copy.src[1]]):
        if node.op is not Ops.LOAD:
            continue
        offset = in_memory(node.src[0].arg).offset(node.arg)
        steps = dict(offset.terms)
        found = [span for span in spans if span.axis and steps.get(span.axis) == 1]
        if found:
            return found[0] if found[0] is not spans[-1] else None
    return None
