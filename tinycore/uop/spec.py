"""What a kernel must be at each boundary of the compiler, as a table of small rules.

Comes in: a `Kernel` and a boundary: "schedule" (as create_schedule leaves it), "action" (after any
action), "sync" (with barriers). Goes out: nothing, or SpecError, which names the rule and the
statement. Here are the rules of one statement, in uop/spec_loops.py those of loops and agents.
Values are REF's to check; the linear program is checked in uop/lowered.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tinycore.errors import SpecError
from tinycore.uop import spec_loops
from tinycore.uop.affine import atoms, evaluate, unalias
from tinycore.uop.index import Atom, Index, of_atom
from tinycore.uop.lowered import misfits
from tinycore.uop.ops import ELEMENTWISE, Ops
from tinycore.uop.printer import Printer, show
from tinycore.uop.sites import BODIES, Rule, Site, axes, declared, limits, sites
from tinycore.uop.tree import Kernel, indices, values
from tinycore.util import np

_SCHEDULED = frozenset({Ops.VARIABLE, Ops.BUFFER, Ops.LOOP, Ops.LET, Ops.STORE, Ops.IF})
_TILED = _SCHEDULED | {Ops.BLOCK, Ops.COPY, Ops.WAIT, Ops.FREE, Ops.MMA}
STATEMENTS = {"schedule": _SCHEDULED, "action": _TILED, "sync": _TILED | {Ops.BARRIER}}
VALUES = ELEMENTWISE | {Ops.CONST, Ops.INDEX, Ops.MASK, Ops.LOAD, Ops.LET}

PLAIN: dict[str, tuple[object, ...]] = {
    "map": ("",),
    "space": ("reg", "packed", "global"),
    "slots": (1,),
    "own": (None,),
}
"""Fields that actions fill, and what they may be before."""

POINTS = 1 << 14  # tried against an index that its mask does not prove


def check(kernel: Kernel, boundary: str) -> None:
    """Raises: SpecError if `kernel` breaks a rule of `boundary`: "schedule", "action" or "sync"."""
    if boundary == "sync" and not kernel.spmd:
        raise SpecError(f"spec: the head of kernel {kernel.name} lacks spmd; expected it by now.")
    for site in sites(kernel, boundary):
        for rule, ops in RULES.items():
            speaks = not ops or site.statement.op in ops
            for found in rule(site) if speaks else ():
                name = rule.__name__.replace("_", " ")
                text = show(site.statement)
                raise SpecError(f"spec, {name}: `{text}` of kernel {kernel.name}: {found}")


# Rules of one statement


def ops_are_known(site: Site) -> Iterator[str]:
    """The tree holds the ops and fields of its boundary."""
    statement, boundary = site.statement, site.boundary
    known = STATEMENTS[boundary]
    if statement.op not in known:
        names = sorted([op.name for op in known])
        yield f"statement {statement.op.name} at boundary {boundary}; expected one of {names}."
    for field, plain in PLAIN.items() if boundary == "schedule" else ():
        found = getattr(statement.arg, field, plain[0])
        if found not in plain:
            yield f"{field} {found} at boundary schedule; expected one of {plain}."
    for node in site.nodes:
        if node.op not in VALUES:
            yield f"{node.op.name} in an expression; expected a scalar op of kernels."


def names_are_new(site: Site) -> Iterator[str]:
    """A name means one thing wherever it is in scope."""
    for name in (*declared(site.statement), *axes(site.statement)):
        if name in site.names:
            yield f"{name} is a name in scope already; expected a new one."


def names_are_in_scope(site: Site) -> Iterator[str]:
    """What is named is declared before, in a block around: buffers, values, axes and variables; no
    index holds an alias."""
    known = site.names | axes(site.statement)
    named = [*site.nodes, *[use.buffer for use in site.uses]]
    if site.statement.op not in BODIES:
        named += site.statement.src
    for node in named:
        for name, meaning in declared(node).items():
            if known.get(name) is not meaning:
                yield f"`{show(node)}` is not in scope; expected it before, or around."
    arg = site.statement.arg
    if site.statement.op is Ops.BUFFER:
        arg = arg.shape  # an own relation speaks of names of its own
    for value in indices((arg, *[node.arg for node in site.nodes])):
        if unalias(value) is not value:
            yield f"index {Printer().index(value)} holds an alias; expected unalias before."
        for atom in atoms(value):
            if atom.kind != "gather" and known.get(atom.name) is not of_atom(atom):
                found = f"{atom.kind} {atom.name} of {atom.lo}..{atom.hi} is not in scope"
                yield f"{found}; expected a loop around or a head with it."


def types_match(site: Site) -> Iterator[str]:
    """A scalar op has sources of one type; what is loaded or stored has that of its buffer."""
    for node in site.nodes:
        for found in misfits(node) if node.op in ELEMENTWISE else ():
            yield f"`{show(node)}` {found}. Cast it."
    moved = [(node.src[0], node) for node in site.nodes if node.op is Ops.LOAD]
    if site.statement.op is not Ops.MMA:
        moved += zip(site.statement.src, values(site.statement), strict=False)
    for buffer, value in moved:
        if value.dtype is not buffer.dtype:
            text = f"{value.dtype.short} at {buffer.arg.name} of {buffer.dtype.short}"
            yield f"{text}; expected one type. Cast it."


def ranks_match(site: Site) -> Iterator[str]:
    """A place has one index a dimension, and says which slot if there are several."""
    for use in site.uses:
        arg = use.buffer.arg
        found, expected = len(use.access.indices), len(arg.shape)
        if found != expected:
            yield f"{found} indices into {arg.name}; expected {expected}, one a dimension."
        if arg.slots > 1 and use.access.sequence is None:
            yield f"{arg.name} has {arg.slots} slots; expected b[e; ..]."


def indices_are_in_bounds(site: Site) -> Iterator[str]:
    """Where its mask holds, an index is in 0 .. extent - 1."""
    around = [value for outer in (*site.around, site.statement) for value in limits(outer)]
    for use in site.uses:
        given = [*around, *use.access.mask]
        pairs = zip(use.access.indices, use.buffer.arg.shape, strict=True)
        goals = [(value, extent - 1 - value) for value, extent in pairs]
        goals += [(value, value) for value in indices(use.access._replace(mask=()))]
        for value, goal in goals:
            point = counterexample(goal, given)
            if point is not None:
                place = f"{Printer().index(value)} of {use.buffer.arg.name}"
                number = evaluate(value, point.__getitem__)
                yield f"index {place} is {number} at {point}; expected a mask or a larger extent."


def counterexample(value: Index, given: Sequence[Index]) -> dict[Atom, int] | None:
    """A point where every constraint holds and `value` < 0, if trying points finds one.

    What no point refutes is left to REF, which sees values.
    """
    if value.lo >= 0 or any((value - known).lo >= 0 for known in given):
        return None
    random = np().random.default_rng(0)
    free = atoms(value, *given)
    points = {atom: _tried(atom, random) for atom in sorted(free, key=repr)}
    read = points.__getitem__
    wrong = evaluate(value, read) < 0
    for known in given:
        wrong = wrong & (evaluate(known, read) >= 0)
    for place in np().flatnonzero(wrong):
        return {atom: int(column[place]) for atom, column in points.items()}
    return None


def _tried(atom: Atom, random: Any) -> Any:
    """Numbers between the bounds, each bound a quarter of the time."""
    lo, hi = atom.lo, atom.hi
    beyond = (hi - lo + 1) // 2
    numbers = random.integers(lo - beyond, hi + beyond, POINTS, endpoint=True)
    return numbers.clip(lo, hi)


RULES: dict[Rule, tuple[Ops, ...]] = {
    ops_are_known: (),
    names_are_new: (),
    names_are_in_scope: (),
    ranks_match: (),
    types_match: (),
    indices_are_in_bounds: (),
    **spec_loops.RULES,
}
"""The rules, with the statements they speak of; () is every statement."""
