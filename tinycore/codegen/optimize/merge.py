"""Loops beside each other become one: a producer runs inside the loop of its reader.

Comes in: a block of statements, a stage (the buffer it writes) and the axis of the reader's loop.
Goes out: the block with the two loops merged, and what only the merged loop touches one dimension
smaller, a value if nothing is left. Reductions merge also where the later one reads the state of
the earlier, by rebase (docs/ir.md rule 2). place.py is the action.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycore.codegen.optimize.edit import (
    Illegal,
    Statements,
    changed,
    direct,
    find,
    loads,
    loops_named,
    met,
    names_declared,
    own_places,
    placed,
    read,
    refit,
    resized,
    stores_to,
    tied,
    touched,
)
from tinycore.uop.ops import Ops, UOp, factors, toposort
from tinycore.uop.sites import TILES, evaluated, under
from tinycore.uop.tree import (
    GLOBAL,
    Access,
    StoreArg,
    axis_of,
    let,
    load,
    loop,
    rebuild,
)


def merged(body: Statements, stage: str, axis: str) -> Statements:
    """`body` with the loop that writes `stage` inside the next loop that holds one of `axis`.

    Raises: Illegal if there is none, or iterations of the two meet.
    """
    at, to = _pair(body, stage, axis)
    between, after = body[at + 1 : to], body[to + 1 :]
    before = body[:at] + between
    if met([body[at]], between):
        raise Illegal(f"AT: what stands between the loops needs {stage} there")
    fused = _fused(body[at], body[to], changed(before))
    before, inner = _contracted(before, fused, after)
    if fused.arg.axis != axis:
        inner = merged(inner, stage, axis)
    return (*before, fused.replace(src=inner), *after)


def _pair(body: Statements, stage: str, axis: str) -> tuple[int, int]:
    """Where the next loop that holds the axis stands, after the last that writes the stage."""
    writers: list[int] = []
    for at, one in enumerate(body):
        if one.op is not Ops.LOOP:
            continue
        if stage in [buffer.arg.name for buffer in changed([one])]:
            writers.append(at)
        elif writers and loops_named([one], axis):
            return writers[-1], at
    raise Illegal(f"AT: no loop {axis} beside the loop that writes {stage}")


def _fused(first: UOp, second: UOp, earlier: set[UOp]) -> UOp:
    """Two loops over one index space as one, under the name of the second's axis.

    Raises: Illegal if iterations of the one meet where those of the two do not.
    """
    one, two = first.arg, second.arg
    if one.extent is not two.extent or one.map != two.map:
        raise Illegal(f"AT: loops {one.axis} and {two.axis} differ in extent or place")
    if "ser" in (one.kind, two.kind):
        raise Illegal(f"AT: loop {one.axis} or {two.axis} runs in order")
    early = placed(first.src, {axis_of(first): axis_of(second)})
    late = second.src
    own = own_places(early + late, axis_of(second))
    meeting = [one for one in met(early, late) if not own.get(one)]
    for lead in sorted(meeting, key=lambda one: str(one.arg.name)):
        early, late = _rebased(early, late, lead, earlier)
    clash = names_declared(direct(early, Ops.LET, Ops.BUFFER)) & names_declared(late)
    clash |= {two.axis} & names_declared(early)
    if clash:
        raise Illegal(f"AT: {min(clash)} is a name in both loops")
    kind = one.kind if one.kind == two.kind else "red"
    return loop(kind, two.axis, two.extent, early + late, two.map)


def _rebased(
    early: Statements, late: Statements, lead: UOp, earlier: set[UOp]
) -> tuple[Statements, Statements]:
    """Two bodies of which the later reads a maximum that still changes: its sums move with it."""
    name = lead.arg.name
    stores = stores_to(early, lead)
    reads = [node for node in loads(late) if node.src[0] is lead]
    if not len(stores) == len(reads) == 1 or stores[0].arg.combine != "max":
        raise Illegal(f"AT: the later loop needs {name} of all iterations")
    if lead in earlier | changed(late):
        raise Illegal(f"AT: {name} is stored to by more than the earlier loop")
    [made], [now] = stores, reads
    [score] = rebuild(made.src[1:2], let_values(early))
    exponential = (score - now).alu(Ops.EXP)
    steps = [one for one in under(late) if one.op is not Ops.LET]
    users = [one for one in rebuild(steps, let_values(late)) if now in evaluated(one)]
    moved = dict.fromkeys([one.src[0] for one in users])
    fits = all(_follows(one, made, now, exponential) for one in users)
    if not fits or moved.keys() & earlier:
        raise Illegal(f"AT: {name} is read other than by one exp(x - it) of a sum")
    rebased = refit(made, rebase="exp").replace(src=(*made.src, *moved))
    return rebuild(early, {made: rebased}), rebuild(late, {now: now.alu(Ops.FIN)})


def _follows(sum_of: UOp, made: UOp, now: UOp, exponential: UOp) -> bool:
    """True for a sum, at the place of the state that `made` changes, of products with one factor
    exp(score - now)."""
    arg = sum_of.arg
    if sum_of.op is not Ops.STORE or arg.combine != "sum" or arg.rebase:
        return False
    lead, place = made.arg.places[0], arg.places[0]
    leads = place._replace(indices=place.indices[: len(lead.indices)])
    if leads != lead or lead.indices != now.arg.indices:
        return False
    moving = [one for one in factors(sum_of.src[1]) if now in toposort([one])]
    return moving == [exponential] and sum_of.src[0].arg.init == "sum"


def let_values(statements: Iterable[UOp]) -> dict[UOp, UOp]:
    """The value of every LET under `statements`, with no other LET in it."""
    found: dict[UOp, UOp] = {}
    for one in find(statements, Ops.LET):
        [found[one]] = rebuild(one.src, found)
    return found


# What only the merged loop touches


def _contracted(before: Statements, fused: UOp, after: Statements) -> tuple[Statements, Statements]:
    """What stands before a loop, without the buffers that only it touches, at its own axis; and
    the body of the loop."""
    own = own_places(fused.src, axis_of(fused))
    tiles = [source for one in find(fused.src, *TILES) for source in one.src]
    outside = touched(before + after).union(tiles)
    free = {one for one in direct(before, Ops.BUFFER) if own.get(one) and one not in outside}
    for group in tied(fused.src):
        common = set.intersection(*[own.get(one, set()) for one in group])
        if common and group <= free:
            own.update(dict.fromkeys(group, common))
        else:
            free -= group
    inner = fused.src
    for buffer in [one for one in before if one in free]:
        inner = _narrowed(inner, buffer, min(own[buffer]))
    return tuple([one for one in before if one not in free]), inner


def _narrowed(body: Statements, buffer: UOp, at: int) -> Statements:
    """`body` with a buffer that has lost dimension `at`, or with a value instead of it."""
    shape = buffer.arg.shape[:at] + buffer.arg.shape[at + 1 :]
    near = "packed" if buffer.arg.space == GLOBAL else buffer.arg.space
    new = refit(buffer, shape=shape, space=near if shape else "reg")

    inner = resized(body, {buffer: new}, lambda indices: indices[:at] + indices[at + 1 :])
    return (new, *inner) if shape else _as_value(inner, new)


def _as_value(body: Statements, buffer: UOp) -> Statements:
    """The body after the buffer's declaration, or with a LET for it if it is stored to once.

    A register that nothing stores to afterwards needs no second name.
    """
    now, place = load(buffer, Access(())), StoreArg((Access(()),))
    others = [one for one in loads(body) if one.src[0] is buffer and one is not now]
    stores = stores_to(body, buffer)
    once = len(stores) == 1 and stores[0] in body and stores[0].arg == place
    at = body.index(stores[0]) if once else 0
    if not once or others or buffer.arg.init or buffer in read(body[:at]):
        return (buffer, *body)
    before, after, value = body[:at], body[at + 1 :], body[at].src[1]
    plain = value.op is Ops.LOAD and not value.arg.mask and value.src[0].arg.space == "reg"
    if not plain or value.src[0] in changed(after):
        value = let(buffer.arg.name, value)
        before = (*before, value)
    return before + rebuild(after, {now: value})
