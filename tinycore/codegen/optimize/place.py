"""AT and FACTOR: where a stage is computed, and what leaves a sum.

Comes in: a kernel and a stage, named by the buffer it writes. Goes out: the kernel with the stage
in a loop of its reader (merge.py), written out where it is read, or stored at the root, where the
group is cut: launches.py makes a launch of each side.
"""

from __future__ import annotations

from functools import reduce
from operator import mul

from tinycore.codegen.optimize.edit import (
    Illegal,
    Statements,
    atoms_in,
    buffer_named,
    changed,
    declared,
    each,
    edit,
    in_block,
    loads,
    masking,
    names_in,
    nodes_in,
    read,
    targets,
)
from tinycore.codegen.optimize.launches import separated
from tinycore.codegen.optimize.merge import let_values, merged
from tinycore.codegen.optimize.reorder import distributed
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, make, of_atom
from tinycore.uop.ops import Ops, UOp, alu, const, factors
from tinycore.uop.sites import evaluated, under
from tinycore.uop.tree import (
    BODIES,
    GLOBAL,
    Access,
    Kernel,
    Rebuild,
    indices,
    let,
    mask_value,
    rebuild,
    store,
)


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
        first, rest = _stored(kernel.body, buffer, names_in(kernel))
        return kernel._replace(body=first + rest)
    if place == "inline":
        return in_block(kernel, buffer, lambda body: _inlined(body, buffer))
    return in_block(kernel, buffer, lambda body: merged(body, stage, place))


# inline


def _inlined(body: Statements, buffer: UOp) -> Statements:
    name = buffer.arg.name
    producer, made, value = _only_store(body, buffer)
    place = made.arg.places[0]
    if made.arg.combine or made.arg.rebase or place.mask:
        raise Illegal(f"AT: {name} is combined or masked; it cannot be inline")
    moving = atoms_in([producer])
    if not {make(0), *map(of_atom, moving)}.issuperset(place.indices):
        raise Illegal("AT: a stage that is inline is stored at plain axes")
    keys = [atom for index in place.indices for atom, _ in index.terms]
    if _axes_of(value) & moving - {*keys} or len({*keys}) < len(keys):
        raise Illegal(f"AT: {name} is no function of its place")
    later = changed(body[body.index(producer) :]) - {buffer}
    if later & read([let("", value)]):
        raise Illegal(f"AT: what {name} was computed from is stored to since")
    reads = [node for node in loads(body) if node.src[0] is buffer]
    rest = edit(body, lambda one: () if one is made else (one,))
    return _pruned(rebuild(rest, {node: _again(value, place, node.arg) for node in reads}))


def _only_store(body: Statements, buffer: UOp) -> tuple[UOp, UOp, UOp]:
    """The one statement of a block that writes a buffer, the one STORE in it, and the value."""
    writers = [one for one in body if buffer in changed([one])]
    found = [one for one in under(writers) if buffer in targets(one)]
    alone = len(writers) == len(found) == 1 and found[0].op is Ops.STORE
    if not alone or found[0].src[0] is not buffer or len(found[0].arg.places) > 1:
        raise Illegal(f"{buffer.arg.name} is not written by one store alone")
    [value] = rebuild(found[0].src[1:2], let_values(writers))
    return writers[0], found[0], value


def _axes_of(value: UOp) -> frozenset[Atom]:
    """The axes that a value depends on, also by the places it reads."""
    nodes = evaluated(let("", value))
    return atoms(*[index for node in nodes for index in indices(node.arg)])


def _again(value: UOp, place: Access, there: Access) -> UOp:
    """The value that is stored at `place`, as a load of `there` finds it under its mask."""
    pairs = zip(place.indices, there.indices, strict=True)
    env = {atom: new for old, new in pairs for atom, _ in old.terms}
    found = Rebuild({}, env, masking(there.mask, there.indices)).node(value)
    fill = const(there.fill or 0, value.dtype)
    return alu(Ops.WHERE, mask_value(there.mask), found, fill)


def _pruned(body: Statements) -> Statements:
    """The body without values nobody reads and loops that do nothing."""
    known = nodes_in(body)
    used = read(body) | changed(body)

    def keep(one: UOp) -> Statements:
        idle = one.op in BODIES and not changed([one])
        unread = one.op is Ops.LET and one not in known
        unused = one.op is Ops.BUFFER and one not in used
        return () if idle or unread or unused else (one,)

    less = edit(body, keep)
    return less if less == body else _pruned(less)


# root


def _stored(body: Statements, buffer: UOp, taken: set[str]) -> tuple[Statements, Statements]:
    """What stands before the cut after the last statement that writes the stage, and what stands
    after; loops around are cut too, and what crosses is global."""
    if buffer in body:
        last = max([k for k, one in enumerate(body, 1) if buffer in changed([one])], default=0)
        if buffer not in read(body[last:]) or not last:
            raise Illegal(f"AT: nothing reads {buffer.arg.name} after it is complete")
        made, own, [first, rest] = separated([body[:last], body[last:]], taken)
        return (*made, *own, *first), rest
    [at] = [k for k, one in enumerate(body) if buffer in declared([one])]
    node = body[at]
    if node.op is not Ops.LOOP or node.arg.kind != "par":
        raise Illegal(f"AT: {buffer.arg.name} is not inside par loops alone")
    first, rest = _stored(node.src, buffer, taken)
    whole = distributed(node.replace(src=first + rest), (first, rest), GLOBAL)
    return body[:at] + whole[:-1], whole[-1:] + body[at + 1 :]


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
    name = buffer.arg.name
    producer, made, value = _only_store(body, buffer)
    if made.arg.combine != "sum" or made.arg.rebase:
        raise Illegal(f"FACTOR: {name} is no plain sum")
    moving, stored = atoms_in([producer]), changed([producer])
    every = factors(value)
    left = [one for one in every if _axes_of(one) & moving or stored & read([let("", one)])]
    still = [one for one in every if one not in left]
    if not still or not left:
        raise Illegal(f"FACTOR: no factor of {name} leaves its sum, or all do")
    less = made.replace(src=(buffer, reduce(mul, left)))
    outside = reduce(mul, still)
    after = each(buffer, f"{name}.", lambda place: store(buffer, place, outside, "prod"))
    at = body.index(producer) + 1
    body = rebuild(body, {made: less})
    return _pruned((*body[:at], after, *body[at:]))
