"""Gives a kernel with thread loops the form that each thread of a group runs.

In: a tree with loops @thread. Out: one flat thread loop at a time, registers of one thread, memory
of the group where threads meet, a barrier before what others wrote. Next file: stores.py.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import gcd

from tinycore.codegen.lower.mapped import in_order, laid_out
from tinycore.codegen.optimize.analysis import iterations
from tinycore.codegen.optimize.edit import (
    Indices,
    changed,
    declared,
    find,
    fresh,
    names_in,
    place_of,
    read,
    refit,
)
from tinycore.codegen.optimize.pieces import resized, tied
from tinycore.codegen.optimize.stage import moving_part
from tinycore.runtime.contract import Caps, Unsupported
from tinycore.uop import Nodes, Ops, UOp
from tinycore.uop.index import Index, atoms, axis, make
from tinycore.uop.lowered import GROUP, WARP
from tinycore.uop.sites import under, uses
from tinycore.uop.tree import BODIES, GLOBAL, Kernel, loop, rebuild, walk
from tinycore.util import ceildiv, np


def threads(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` as the threads of a group run it, each statement outside of thread loops by all.

    In order where the target has no groups. Raises: Unsupported if one would have more threads or
    memory than the target allows.
    """
    if caps.max_group_threads < 2:
        return kernel._replace(body=in_order(kernel.body, "thread"))
    count = group_size(kernel)
    if count < 2:
        return kernel
    passing = [one for one in find(kernel.body, Ops.BUFFER) if one.space == GLOBAL]
    body = rebuild(kernel.body, {one: refit(one, space="packed") for one in passing})
    number = axis("thread", count)
    body = _private(body, number)
    kernel = kernel._replace(body=body, spmd=True)
    shared = [one for one in find(body, Ops.BUFFER) if one.space == GROUP]
    held = sum(laid_out(one.arg).size * one.dtype.itemsize for one in shared)
    for wanted, most, what in (
        (count, caps.max_group_threads, "threads"),
        (held, caps.group_bytes, "bytes of group memory"),
    ):
        if wanted > most:
            raise Unsupported(
                f"lower: {kernel.name} needs {wanted} {what} a group; this target has {most}"
            )
    return kernel._replace(body=_Sync(kernel, number).body(body, set()))


def group_size(kernel: Kernel) -> int:
    """Threads a group: those of the largest nest of thread loops."""
    nests = [(*around, one) for one, around in walk(kernel.body)]
    return max([iterations(filter(is_thread, nest)) for nest in nests], default=1)


def is_thread(node: UOp) -> bool:
    """True for a loop whose iterations are threads."""
    return place_of(node) == "thread"


# Where registers live

OWN = ("reg", "packed")  # memory of one thread


Cuts = tuple[tuple[int, int], ...]
_Touch = tuple[Indices, bool]
"""Where a thread uses a buffer, and if it changes it in a thread loop."""


def _touches(body: Nodes, number: Index) -> dict[UOp, list[_Touch]]:
    """What each thread does to each buffer; `number` is the thread's."""
    found: dict[UOp, list[_Touch]] = defaultdict(list)
    for statement, loops in walk(body):
        around = [*filter(is_thread, loops)]
        env = dict.fromkeys(atoms(*[one.index for one in around]), number)
        for use in uses(statement):
            told = tuple(index.substitute(env) for index in use.access.indices)
            found[use.buffer].append((told, use.how != "load" and bool(around)))
    return found


def _private(body: Nodes, number: Index) -> Nodes:
    """The statements, where each register buffer around thread loops is a thread's or the group's.

    One that only statements of all threads write is every thread's own. Where one thread alone
    touches an element, each has the elements that are its. Others are the group's, and so are
    states that one rebase moves unless all are cut alike where the leading one is.
    """
    touches = _touches(body, number)
    inner = declared(filter(is_thread, under(body)))
    cuts: dict[UOp, Cuts | None] = {}
    for held in find(body, Ops.BUFFER):
        if held.space in OWN and held not in inner:
            is_written = any(changes for _, changes in touches[held])
            cuts[held] = _cuts(touches[held], number) if is_written else ()
    for states in tied(body):
        rank = min(len(one.shape) for one in states)
        found = [cuts.get(one) for one in states]
        if len({None if cut is None else cut[:rank] for cut in found}) > 1:
            cuts |= dict.fromkeys(states)
    for held, cut in cuts.items():
        if cut is None:
            body = rebuild(body, {held: refit(held, space=GROUP)})
        elif cut:
            body = _narrowed(body, held, cut)
    return body


def _cuts(touches: Sequence[_Touch], number: Index) -> Cuts | None:
    """How a buffer of which one thread alone touches each element is cut; None if others do.

    Of each `span` elements along a dimension a thread has `own` neighbours, at its `part`.
    """
    moving, numbers = atoms(number), np().arange(number.hi + 1)
    found = {tuple(moving_part(index, moving) for index in told) for told, _ in touches}
    parts = found.pop()
    places = [0 * numbers + part.evaluate(lambda atom: numbers) for part in parts]
    is_own = not found and len({*zip(*places, strict=True)}) == len(numbers)
    cuts = []
    for k, part in enumerate(parts):
        own = gcd(*dict(part.terms).values()) or 1
        span = part.hi + own
        cuts.append((own, span))
        is_own &= all(told[k] % span // own is part // own for told, _ in touches)
    return tuple(cuts) if is_own else None


def _narrowed(body: Nodes, held: UOp, cuts: Cuts) -> Nodes:
    """The statements with a buffer of a thread's elements alone."""

    def kept(indices: Indices) -> Indices:
        places = zip(indices, cuts, strict=True)
        return tuple(index // span * own + index % own for index, (own, span) in places)

    shape = [
        extent if own == span else make(ceildiv(extent.hi, span) * own)
        for extent, (own, span) in zip(held.arg.shape, cuts, strict=True)
    ]
    return resized(body, {held: refit(held, shape=tuple(shape))}, kept)


# Barriers

Touched = set[tuple[UOp, bool]]  # buffers that threads share, and whether they are changed


class _Sync:
    """Puts barriers into one kernel."""

    def __init__(self, kernel: Kernel, number: Index) -> None:
        self.taken = names_in(kernel)
        touches, written = _touches(kernel.body, number), changed(kernel.body)
        shared = {one for one in written if one.space not in (*OWN, WARP)}
        own = {one for one in shared if one.space == GLOBAL and _cuts(touches[one], number)}
        self.shared = shared - own

    def body(self, statements: Iterable[UOp], since: Touched) -> Nodes:
        """Statements with barriers; `since` is what happened since the last."""
        out: list[UOp] = []
        for statement in statements:
            does = self._touched(statement)
            is_met = any({(one, True), (one, not changes)} & since for one, changes in does)
            if is_met:
                out.append(UOp(Ops.BARRIER))
            if is_met or statement.op is Ops.BARRIER:
                since.clear()
            if statement.op in BODIES and not is_thread(statement):
                does = set()
                for _ in range(1 + self._repeats(statement)):  # the second round meets the first
                    statement = statement.over(self.body(statement.src, does))
            since |= does
            if statement.is_store and statement.source.space not in OWN:
                # what all threads would write to memory is written by the first
                statement = loop("par", fresh("first", self.taken), 1, [statement], "thread")
            out.append(statement)
        return tuple(out)

    def _repeats(self, statement: UOp) -> bool:
        """True if iterations meet: those of a par loop only in a buffer that they use in turn."""
        if not statement.is_loop or place_of(statement) == "grid":
            return False
        return statement.kind != "par" or bool(self.shared & declared(statement.src))

    def _touched(self, statement: UOp) -> Touched:
        changes = changed([statement])
        if statement.is_buffer and statement.init:
            changes = {statement}
        loaded = {(one, False) for one in read([statement]) & self.shared}
        return loaded | {(one, True) for one in changes & self.shared}
