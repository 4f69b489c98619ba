"""AT and FACTOR: where a stage is computed, and what leaves a sum.

Comes in: a kernel and a stage, named by the buffer it writes. Goes out: the kernel with the stage
in a loop of its reader (merge.py), written out where it is read, or stored at the root, where the
group is cut: launches.py makes a launch of each side.
"""

from __future__ import annotations

from functools import reduce

from tinycore.codegen.optimize.edit import (
    HOLDERS,
    Illegal,
    Masking,
    Statements,
    atoms_in,
    buffer_named,
    changed,
    declared,
    edit,
    in_block,
    loads,
    names_in,
    read,
)
from tinycore.codegen.optimize.launches import over, separated, whole
from tinycore.codegen.optimize.merge import expanded, factors_of, merged
from tinycore.codegen.optimize.reorder import Distribution
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index
from tinycore.uop.ops import Ops, UOp, alu, const
from tinycore.uop.sites import evaluated, index_values, under
from tinycore.uop.tree import GLOBAL, Access, Kernel, Rebuild, let, mask_value, store


def at(kernel: Kernel, stage: str, place: str) -> Kernel:
    """AT(stage, loop | inline | root): where the stage that writes buffer `stage` is computed.

    `inline`: its one elementwise store is written into its readers. A loop: the loop that writes
    it merges with the next one beside it that holds a loop of this axis, as long as each
    iteration needs nothing of another, or reads a maximum as one factor exp(x - maximum) of a
    sum. `root`: the stage is stored, and what follows it stands in loops of its own.
    """
    buffer = buffer_named(kernel, stage)
    if buffer in kernel.params and place in ("inline", "root"):
        raise Illegal(f"AT: {stage} is a parameter; expected a stage of the kernel")
    if place == "root":
        return kernel._replace(body=_stored(kernel.body, buffer, names_in(kernel))[0])
    if place == "inline":
        return in_block(kernel, buffer, lambda body: _inlined(body, buffer))
    return in_block(kernel, buffer, lambda body: merged(body, buffer, place))


# inline


def _inlined(body: Statements, buffer: UOp) -> Statements:
    producer, made = _only_store(body, buffer)
    place, moving = made.arg.places[0], atoms_in([producer])
    if made.arg.combine or made.arg.rebase or place.mask:
        raise Illegal(f"AT: {buffer.arg.name} is combined or masked; it cannot be inline")
    keys = [_axis(index) for index in place.indices]
    value = expanded((producer,), made)[0]
    own = [key for key in keys if key in moving]
    if len(set(own)) < len(own) or _atoms(value) & moving - set(keys):
        raise Illegal(f"AT: {buffer.arg.name} is no function of its place")
    later = changed(body[body.index(producer) :]) - {buffer}
    if later & read([let("", value)]):
        raise Illegal(f"AT: what {buffer.arg.name} was computed from is stored to since")
    nodes = {
        node: _again(value, node, dict(zip(keys, node.arg.indices, strict=True)))
        for node in loads(body)
        if node.src[0] is buffer
    }
    rest = edit(body, lambda one: () if one in (made, buffer) else (one,))
    return _pruned(Rebuild(nodes, {}).body(rest))


def _only_store(body: Statements, buffer: UOp) -> tuple[UOp, UOp]:
    """The one statement of a block that writes a buffer, and the one STORE in it."""
    writers = [one for one in body if buffer in changed([one])]
    stores = [one for one in under(writers) if one.op not in HOLDERS and buffer in changed([one])]
    if len(stores) != 1 or stores[0].op is not Ops.STORE or len(stores[0].arg.places) > 1:
        raise Illegal(f"{buffer.arg.name} is written by {len(stores)} statements; expected one")
    return writers[0], stores[0]


def _axis(index: Index) -> Atom | None:
    """The atom that an index is, if it is one alone."""
    is_atom = len(index.terms) == 1 and index.const == 0 and index.terms[0][1] == 1
    if not is_atom and index.terms:
        raise Illegal("AT: a stage that is inline is stored at plain axes")
    return index.terms[0][0] if index.terms else None


def _atoms(value: UOp) -> set[Atom]:
    """The axes that a value depends on, also by the places it reads."""
    nodes = evaluated(let("", value))
    return {atom for node in nodes for index in index_values(node) for atom in atoms(index)}


def _again(value: UOp, node: UOp, places: dict[Atom | None, Index]) -> UOp:
    """The value that was stored where `node` reads, under its mask."""
    access: Access = node.arg
    env = {atom: index for atom, index in places.items() if atom is not None}
    if not access.mask:
        return Rebuild({}, env).node(value)
    when = {atom for index in access.indices for atom in atoms(index)}
    found = Masking(env, access.mask, when, set()).node(value)
    return alu(Ops.WHERE, mask_value(access.mask), found, const(access.fill or 0, value.dtype))


def _pruned(body: Statements) -> Statements:
    """The body without values nobody reads and loops that do nothing."""
    known = {node for one in under(body) for node in evaluated(one)}
    touched = read(body) | changed(body)

    def keep(one: UOp) -> Statements:
        idle = one.op in HOLDERS and not changed([one])
        unread = one.op is Ops.LET and one not in known
        unused = one.op is Ops.BUFFER and one not in touched
        return () if idle or unread or unused else (one,)

    less = edit(body, keep)
    return less if less == body else _pruned(less)


# root


def _stored(body: Statements, buffer: UOp, taken: set[str]) -> tuple[Statements, int]:
    """The body with the stage's loops cut off, and how many statements stand before the cut."""
    if buffer in body:
        return _cut_here(body, buffer, taken)
    at = next(k for k, one in enumerate(body) if buffer in declared([one]))
    node = body[at]
    if node.op is not Ops.LOOP or node.arg.kind != "par":
        raise Illegal(f"AT: {buffer.arg.name} is not inside par loops alone")
    inside, count = _stored(node.src, buffer, taken)
    parts = Distribution(node.replace(src=inside), GLOBAL).after(count)
    return (*body[:at], *parts, *body[at + 1 :]), at + len(parts) - 1


def _cut_here(body: Statements, buffer: UOp, taken: set[str]) -> tuple[Statements, int]:
    """The block cut after the last statement that writes the stage; what crosses is global."""
    held = [one for one in body if one.op is Ops.BUFFER]
    steps = [one for one in body if one.op is not Ops.BUFFER]
    after = 1 + max([k for k, one in enumerate(steps) if buffer in changed([one])], default=-1)
    parts = tuple(steps[:after]), tuple(steps[after:])
    made, parts_apart = separated(held, parts, taken)
    if not after or buffer not in read(parts[1]):
        raise Illegal(f"AT: nothing reads {buffer.arg.name} after it is complete")
    names = {one.arg.name for one in made}
    first = (*made, *[one for one in held if one.arg.name not in names], *parts_apart[0])
    return (*first, *parts_apart[1]), len(first)


# FACTOR


def factor(kernel: Kernel, stage: str) -> Kernel:
    """FACTOR(stage): what does not change in the loops of a sum multiplies the sum afterwards.

    A rounding change. Legal for a buffer with one combining store, a sum of products.
    """
    buffer = buffer_named(kernel, stage)
    if buffer in kernel.params:
        raise Illegal(f"FACTOR: {stage} is a parameter; expected a stage of the kernel")
    return in_block(kernel, buffer, lambda body: _factored(body, buffer))


def _factored(body: Statements, buffer: UOp) -> Statements:
    producer, made = _only_store(body, buffer)
    if made.arg.combine != "sum" or made.arg.rebase:
        raise Illegal(f"FACTOR: {buffer.arg.name} is no plain sum")
    moving, stored = atoms_in([producer]), changed([producer])
    factors = factors_of(expanded((producer,), made)[0])
    still = [
        one for one in factors if not _atoms(one) & moving and not stored & read([let("", one)])
    ]
    left = [one for one in factors if one not in still]
    if not still or not left:
        raise Illegal(f"FACTOR: no factor of {buffer.arg.name} leaves its sum, or all do")
    less = made.replace(src=(buffer, reduce(_product, left)))
    after = over(buffer, store(buffer, whole(buffer), reduce(_product, still), "prod"))
    rest = edit(body, lambda one: (less,) if one is made else (one,))
    position = next(k for k, one in enumerate(rest) if buffer in changed([one])) + 1
    return _pruned((*rest[:position], after, *rest[position:]))


def _product(left: UOp, right: UOp) -> UOp:
    return alu(Ops.MUL, left, right)
