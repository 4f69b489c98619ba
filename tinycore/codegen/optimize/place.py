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
    direct,
    edit,
    find,
    in_block,
    loads,
    names_in,
    read,
    stores_to,
)
from tinycore.codegen.optimize.launches import over, separated, whole
from tinycore.codegen.optimize.merge import expanded, factors_of, merged
from tinycore.codegen.optimize.reorder import Distribution
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, Index
from tinycore.uop.ops import Ops, UOp, alu, const
from tinycore.uop.sites import evaluated, index_values, under
from tinycore.uop.spec_loops import TILES
from tinycore.uop.tree import GLOBAL, Access, Kernel, Rebuild, let, mask_value, rebuild, store


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
    return in_block(kernel, buffer, lambda body: merged(body, buffer, place))


# inline


def _inlined(body: Statements, buffer: UOp) -> Statements:
    producer, made = _only_store(body, buffer)
    place = made.arg.places[0]
    if made.arg.combine or made.arg.rebase or place.mask:
        raise Illegal(f"AT: {buffer.arg.name} is combined or masked; it cannot be inline")
    [value] = expanded((producer,), made)
    keys = [_axis(index) for index in place.indices]
    _check_function(buffer, value, keys, atoms_in([producer]))
    later = changed(body[body.index(producer) :]) - {buffer}
    if later & read([let("", value)]):
        raise Illegal(f"AT: what {buffer.arg.name} was computed from is stored to since")
    nodes = {}
    for node in loads(body):
        if node.src[0] is buffer:
            nodes[node] = _again(value, node, dict(zip(keys, node.arg.indices, strict=True)))
    gone = (made, buffer)
    rest = edit(body, lambda one: () if one in gone else (one,))
    return _pruned(rebuild(rest, nodes))


def _only_store(body: Statements, buffer: UOp) -> tuple[UOp, UOp]:
    """The one statement of a block that writes a buffer, and the one STORE in it."""
    writers = [one for one in body if buffer in changed([one])]
    stores = stores_to(writers, buffer)
    plain = [one for one in stores if len(one.arg.places) == 1 and one.src[0] is buffer]
    tiles = [one for one in find(writers, *TILES) if buffer in one.src]
    if len(writers) != 1 or len(stores) != 1 or not plain or tiles:
        raise Illegal(f"{buffer.arg.name} is written by {len(stores)} stores; expected one")
    return writers[0], stores[0]


def _check_function(buffer: UOp, value: UOp, keys: list[Atom | None], moving: set[Atom]) -> None:
    own = [key for key in keys if key in moving]
    others = _atoms(value) & moving - set(keys)
    if others or len(set(own)) < len(own):
        raise Illegal(f"AT: {buffer.arg.name} is no function of its place")


def _axis(index: Index) -> Atom | None:
    """The atom that an index is, if it is one alone."""
    if not index.terms:
        return None
    [(atom, factor), *others] = index.terms
    if others or index.const or factor != 1:
        raise Illegal("AT: a stage that is inline is stored at plain axes")
    return atom


def _atoms(value: UOp) -> set[Atom]:
    """The axes that a value depends on, also by the places it reads."""
    found: set[Atom] = set()
    for node in evaluated(let("", value)):
        found.update(*[atoms(index) for index in index_values(node)])
    return found


def _again(value: UOp, node: UOp, places: dict[Atom | None, Index]) -> UOp:
    """The value that was stored where `node` reads, under its mask."""
    access: Access = node.arg
    env = {atom: index for atom, index in places.items() if atom is not None}
    if not access.mask:
        return Rebuild({}, env).node(value)
    when = {atom for index in access.indices for atom in atoms(index)}
    found = Masking(env, access.mask, when, set()).node(value)
    fill = const(access.fill or 0, value.dtype)
    return alu(Ops.WHERE, mask_value(access.mask), found, fill)


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


def _stored(body: Statements, buffer: UOp, taken: set[str]) -> tuple[Statements, Statements]:
    """What stands before the cut after the stage, its loops cut too, and what stands after."""
    if buffer in body:
        return _cut_here(body, buffer, taken)
    [at] = [k for k, one in enumerate(body) if buffer in declared([one])]
    node = body[at]
    if node.op is not Ops.LOOP or node.arg.kind != "par":
        raise Illegal(f"AT: {buffer.arg.name} is not inside par loops alone")
    first, rest = _stored(node.src, buffer, taken)
    whole_node = node.replace(src=first + rest)
    parts = Distribution(whole_node, GLOBAL).after(len(first))
    return body[:at] + parts[:-1], parts[-1:] + body[at + 1 :]


def _cut_here(body: Statements, buffer: UOp, taken: set[str]) -> tuple[Statements, Statements]:
    """The block cut after the last statement that writes the stage; what crosses is global."""
    held = direct(body, Ops.BUFFER)
    steps = [one for one in body if one.op is not Ops.BUFFER]
    while steps and buffer not in changed(steps[-1:]):
        steps.pop()
    first = tuple(steps)
    rest = tuple([one for one in body if one not in held][len(first) :])
    if not first or buffer not in read(rest):
        raise Illegal(f"AT: nothing reads {buffer.arg.name} after it is complete")
    made, parts = separated(held, (first, rest), taken)
    names = {one.arg.name for one in made}
    local = [one for one in held if one.arg.name not in names]
    return (*made, *local, *parts[0]), parts[1]


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
    [value] = expanded((producer,), made)
    still: list[UOp] = []
    left: list[UOp] = []
    for one in factors_of(value):
        moves = _atoms(one) & moving or stored & read([let("", one)])
        (left if moves else still).append(one)
    if not still or not left:
        raise Illegal(f"FACTOR: no factor of {buffer.arg.name} leaves its sum, or all do")
    less = made.replace(src=(buffer, reduce(_product, left)))
    after = over(buffer, store(buffer, whole(buffer), reduce(_product, still), "prod"))
    at = body.index(producer)
    [cut] = edit([producer], lambda one: (less,) if one is made else (one,))
    return _pruned((*body[:at], cut, after, *body[at + 1 :]))


def _product(left: UOp, right: UOp) -> UOp:
    return alu(Ops.MUL, left, right)
