"""AT, PLACE and FACTOR: where a stage is computed or read, and what leaves a sum.

In: a kernel and a stage, named by the buffer it writes. Out: the kernel with the stage inside its
reader's loop, written into its readers, or stored at the root. Next file: stage.py.
"""

from collections.abc import Iterable
from contextlib import suppress
from functools import reduce
from operator import mul

from tinycore.codegen.optimize.edit import (
    Illegal,
    Indices,
    Statements,
    atoms_in,
    buffer_named,
    changed,
    direct,
    each,
    edit,
    find,
    in_block,
    loads_of,
    loops_in,
    loops_named,
    names_declared,
    names_in,
    nodes_in,
    own_places,
    placed,
    read,
    refit,
    stores_to,
    targets,
    touched,
)
from tinycore.codegen.optimize.pieces import distributed, met, resized, separated, tied
from tinycore.dtype import dtypes
from tinycore.uop import Ops, UOp
from tinycore.uop.index import Atom, atoms, make
from tinycore.uop.ops import factors, toposort
from tinycore.uop.sites import TILES, evaluated, under
from tinycore.uop.tree import (
    BODIES,
    GLOBAL,
    Kernel,
    indices,
    let,
    mask_value,
    rebuild,
    store,
    values,
)

Pair = tuple[Statements, Statements]


def at(kernel: Kernel, stage: str, place: str) -> Kernel:
    """AT(stage, loop | inline | root): where the stage that writes buffer `stage` is computed.

    `inline`: its one elementwise store is written into its readers. A loop: the loop that writes it
    merges with the next one beside it that holds a loop of this axis, if iterations need nothing of
    each other, or read a maximum as one factor exp(x - maximum) of a sum (docs/ir.md rule 2).
    `root`: the stage is stored, and what follows stands in loops of its own.
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


# image


def place(kernel: Kernel, name: str, space: str) -> Kernel:
    """PLACE(buffer, image): a parameter is an image of texels, four elements each.

    Legal for a parameter of float32 that the kernel only reads or only writes.
    """
    buffer = buffer_named(kernel, name)
    written = stores_to(kernel.body, buffer)
    is_both = written and (buffer in read(kernel.body) or any(one.combine for one in written))
    fits = buffer in kernel.params and buffer.dtype is dtypes.float32
    if space != "image" or is_both or not fits:
        wanted = "a float32 parameter that is only read or only written, in image"
        raise Illegal(f"PLACE: {name} in {space!r}; expected {wanted}")
    moved = {buffer: refit(buffer, space=space)}
    params = rebuild(kernel.params, moved)
    return kernel._replace(params=params, body=rebuild(kernel.body, moved))


# inline


def _inlined(body: Statements, buffer: UOp, once: bool = False) -> Statements:
    """`body` with a stage written into its readers; `once`: as a value with a name."""
    name = buffer.name
    producer, made, value = _only_store(body, buffer)
    place = made.place
    if made.combine or place.mask or buffer.init:
        raise Illegal(f"AT: {name} is combined or masked; it cannot be inline")
    plain = {one.index for one in loops_in([producer])}
    if {*place.indices} - plain - {make(0)}:
        raise Illegal("AT: a stage that is inline is stored at plain axes")
    keys = [index for index in place.indices if index.terms]
    if _moving(value, producer) - atoms(*keys) or len({*keys}) < len(keys):
        raise Illegal(f"AT: {name} is no function of its place")
    whole = let(name, value)
    is_named = once and not (value.is_load and value.source.space == "reg")
    if changed(body[body.index(producer) :]) & read([whole]):
        raise Illegal(f"AT: what {name} was computed from is stored to since")
    now = {made: whole}
    for node in loads_of(body, buffer):
        places = dict(zip(place.indices, node.arg.indices, strict=True))
        [found] = placed((whole,), places, node.arg.mask)
        found = found if is_named and found is whole else found.source
        now[node] = mask_value(node.arg.mask).where(found, node.arg.fill)
    return pruned(rebuild(body, now))


def _only_store(body: Statements, buffer: UOp) -> tuple[UOp, UOp, UOp]:
    found = [one for one in under(body) if buffer in targets(one)]
    plain = [one for one in direct(found, Ops.STORE) if targets(one) == [buffer]]
    if len(found) != 1 or not plain or plain[0] in under(find(body, Ops.IF)):
        raise Illegal(f"{buffer.name} is not written by one store alone, without a condition")
    producer = next(one for one in body if buffer in changed([one]))
    [value] = rebuild(values(plain[0]), let_values([producer]))
    return producer, plain[0], value


def _moving(value: UOp, producer: UOp) -> frozenset[Atom]:
    """The axes of `producer` that a value, or a place it reads, depends on."""
    args = tuple(node.arg for node in evaluated(let("", value)))
    return atoms(*indices(args)) & atoms_in([producer])


def pruned(body: Statements) -> Statements:
    """`body` without buffers and values that nothing reads, and loops that change nothing."""
    used = {*nodes_in(body), *touched(body)}

    def keep(one: UOp) -> Statements:
        idle = one.op in BODIES and not changed([one])
        unread = (one.is_let or one.is_buffer) and one not in used
        return () if idle or unread else (one,)

    less = edit(body, keep)
    return less if less == body else pruned(less)


# root


def _stored(body: Statements, buffer: UOp, taken: set[str]) -> Pair:
    """What stands before and after a cut behind the last write of the stage."""
    if buffer in body:
        written = [k for k, one in enumerate(body, 1) if buffer in changed([one])]
        last = max(written, default=0)
        if buffer not in read(body[last:]) or not last:
            raise Illegal(f"AT: nothing reads {buffer.name} after it is complete")
        [first, rest], buffers = separated([body[:last], body[last:]], taken)
        return (*buffers, *first), rest
    [at] = [k for k, one in enumerate(body) if buffer in touched([one])]
    node = body[at]
    if not node.is_loop or node.kind != "par":
        raise Illegal(f"AT: {buffer.name} is not inside par loops alone")
    first, rest = _stored(node.src, buffer, taken)
    whole = distributed(node.over(first + rest), (first, rest), GLOBAL)
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
    name = buffer.name
    producer, made, value = _only_store(body, buffer)
    if not made.combine == buffer.init == "sum":
        raise Illegal(f"FACTOR: {name} is no plain sum")
    every, stored = factors(value), changed([producer])
    left = [one for one in every if _moving(one, producer) or stored & read([let("", one)])]
    still = [one for one in every if one not in left]
    if not still or not left:
        raise Illegal(f"FACTOR: no factor of {name} leaves its sum, or all do")
    outside = reduce(mul, still)
    after = each(buffer, f"{name}.", lambda place: store(buffer, place, outside, "prod"))
    at = body.index(producer) + 1
    body = rebuild(body, {made: made.over((buffer, reduce(mul, left)))})
    return pruned((*body[:at], after, *body[at:]))


def merged(body: Statements, stage: str, axis: str) -> Statements:
    """`body` with the loop that writes `stage` inside the next loop that holds one of `axis`.

    Raises: Illegal if there is none, or iterations of the two meet.
    """
    at, to = _pair(body, stage, axis)
    between, after = body[at + 1 : to], body[to + 1 :]
    before = body[:at] + between
    if met(body[at : at + 1], between):
        raise Illegal(f"AT: what stands between the loops needs {stage} there")
    fused = _fused(body[at], body[to], {*body} - changed(before))
    before, inner = _contracted(before, fused, after)
    if fused.name != axis:
        inner = merged(inner, stage, axis)
    return (*before, fused.over(inner), *after)


def _pair(body: Statements, stage: str, axis: str) -> tuple[int, int]:
    writers = []
    for at, one in enumerate(body):
        if one.is_loop and stage in [buffer.name for buffer in changed([one])]:
            writers.append(at)
        elif one.is_loop and writers and loops_named([one], axis):
            return writers[-1], at
    raise Illegal(f"AT: no loop {axis} beside the loop that writes {stage}")


def _fused(first: UOp, second: UOp, empty: set[UOp]) -> UOp:
    """Two loops over one index space as one, named as the second."""
    if first.extent is not second.extent or first.map != second.map:
        raise Illegal(f"AT: loops {first.name} and {second.name} differ in extent or place")
    if "ser" in (first.kind, second.kind):
        raise Illegal(f"AT: loop {first.name} or {second.name} runs in order")
    late = second.src
    early = placed(first.src, {first.index: second.index})
    own = own_places(early + late, second.index)
    for lead in sorted(met(early, late), key=lambda one: one.name):
        if not own.get(lead):
            early, late = _rebased(early, late, lead, empty)
    new = names_declared(direct(early, Ops.LET, Ops.BUFFER))
    clash = new & names_declared(late) | {second.name} & names_declared(early)
    if clash:
        raise Illegal(f"AT: {min(clash)} is a name in both loops")
    kind = first.kind if first.kind == second.kind else "red"
    return refit(second, kind=kind).over(early + late)


def _rebased(early: Statements, late: Statements, lead: UOp, empty: set[UOp]) -> Pair:
    """Two bodies of which the later reads a maximum that still changes: its sums move with it."""
    name = lead.name
    stores = stores_to(early, lead)
    reads = loads_of(late, lead)
    if [one.combine for one in stores] != ["max"] or len(reads) != 1:
        raise Illegal(f"AT: the later loop needs {name} of all iterations")
    [made], [now] = stores, reads
    if made.arg.rebase == "reset":
        raise Illegal(f"AT: {name} resets what depends on it")
    [score] = rebuild(values(made), let_values(early))
    exponential = (score - now).alu(Ops.EXP)
    users = [one for one in rebuild(under(late), let_values(late)) if now in evaluated(one)]
    moved = dict.fromkeys(one.source for one in users)
    fits = all(_follows(one, made, now, exponential) for one in users)
    if not fits or moved.keys() - empty:
        raise Illegal(f"AT: {name} is read other than by one exp(x - it) of a sum that begins here")
    rebased = refit(made, rebase="exp").over((*made.src, *moved))
    return rebuild(early, {made: rebased}), rebuild(late, {now: now.alu(Ops.FIN)})


def _follows(sum_of: UOp, made: UOp, now: UOp, exponential: UOp) -> bool:
    """True for a sum, at the place of that state, of products with one factor exp(score - now)."""
    lead, place = made.place, sum_of.place
    leads = place._replace(indices=place.indices[: len(lead.indices)])
    is_there = leads == lead and lead.indices == now.arg.indices
    moving = [one for one in factors(sum_of.src[1]) if now in toposort([one])]
    is_sum = sum_of.combine == sum_of.source.init == "sum"
    return is_sum and is_there and moving == [exponential]


def let_values(statements: Iterable[UOp]) -> dict[UOp, UOp]:
    """The value of every LET under `statements`, with no other LET in it."""
    found: dict[UOp, UOp] = {}
    for one in find(statements, Ops.LET):
        [found[one]] = rebuild(one.src, found)
    return found


# What only the merged loop touches


def _contracted(before: Statements, fused: UOp, after: Statements) -> Pair:
    """What stands before a loop and its body, where buffers that only it touches lose its axis."""
    own = own_places(fused.src, fused.index)
    outside = touched(before + after) | changed(find(fused.src, *TILES))
    free = {one for one in direct(before, Ops.BUFFER) if own.get(one) and one not in outside}
    for group in tied(fused.src):
        common = set.intersection(*[own.get(one, set()) for one in group])
        if common and group <= free:
            own |= dict.fromkeys(group, common)
        else:
            free -= group
    inner = fused.src
    for buffer in [one for one in before if one in free]:
        inner = _narrowed(inner, buffer, min(own[buffer]))
    return tuple(one for one in before if one not in free), inner


def _narrowed(body: Statements, buffer: UOp, at: int) -> Statements:
    def less(indices: Indices) -> Indices:
        return indices[:at] + indices[at + 1 :]

    shape, space = less(buffer.arg.shape), buffer.space
    near = "packed" if space == GLOBAL else space
    new = refit(buffer, shape=shape, space=near if shape else "reg")
    whole = (new, *resized(body, {buffer: new}, less))
    if not shape and {*stores_to(whole, new)} & {*whole}:
        with suppress(Illegal):
            return _inlined(whole, new, once=True)
    return whole
