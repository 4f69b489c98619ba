"""Loops beside each other become one: a producer runs inside the loop of its reader.

Comes in: a block of statements, a stage (the buffer it writes) and the axis of the reader's loop.
Goes out: the block with the two loops merged, and what only the merged loop touches one dimension
smaller, a value if nothing is left. Reductions merge also where the later one reads the state of
the earlier, by rebase (IR.md 3.2). place.py is the action.
"""

from __future__ import annotations

from typing import NamedTuple

from tinycore.codegen.optimize.edit import (
    Illegal,
    Readdressed,
    Statements,
    changed,
    direct,
    find,
    followed,
    loads,
    loops_in,
    names_declared,
    read,
    stores_to,
    tied,
    touched,
)
from tinycore.dtype import dtypes
from tinycore.uop.index import Index
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.sites import Use, declared_name, evaluated, under, uses
from tinycore.uop.tree import GLOBAL, Access, axis_of, let, load, rebuild, values


def merged(body: Statements, stage: UOp, axis: str) -> Statements:
    """`body` with the loop that writes `stage` inside the next loop that holds one of `axis`.

    Raises: Illegal if there is none, or iterations of the two meet.
    """
    at, to = _pair(body, stage, axis)
    first, second = body[at], body[to]
    start, between = body[:at], body[at + 1 : to]
    fused = _Merge(first, second, changed(start + between)).loop()
    buffers = tuple(direct(between, Ops.BUFFER))
    rest = tuple([one for one in between if one.op is not Ops.BUFFER])
    if not _conflict(first, rest):
        middle = (*rest, fused)
    elif not _conflict(second, rest):
        middle = (fused, *rest)
    else:
        raise Illegal(f"AT: what stands between the loops needs {stage.arg.name} there")
    around, inner = _contracted(start + buffers + middle + body[to + 1 :], fused)
    if fused.arg.axis != axis:
        inner = merged(inner, _renewed(inner, stage), axis)
    done = fused.replace(src=inner)
    return tuple([done if one is fused else one for one in around])


def _renewed(body: Statements, stage: UOp) -> UOp:
    """The stage as it is declared in `body` now, if it has moved there."""
    for one in body:
        if one.op is Ops.BUFFER and one.arg.name == stage.arg.name:
            return one
    return stage


def _pair(body: Statements, stage: UOp, axis: str) -> tuple[int, int]:
    found: list[int] = []
    for k, one in enumerate(body):
        if one.op is Ops.LOOP and stage in changed([one]):
            found = [k]
        elif len(found) == 1 and _holds(one, axis):
            found.append(k)
    if len(found) < 2:
        raise Illegal(f"AT: no loop {axis} beside the loop that writes {stage.arg.name}")
    return found[0], found[1]


def _holds(statement: UOp, axis: str) -> bool:
    return any(loop.arg.axis == axis for loop in loops_in([statement]))


def _conflict(loop: UOp, others: Statements) -> bool:
    """True if the loop and one of the others touch what either changes, or read its values."""
    ours, theirs = changed([loop]), changed(others)
    lets = {one for one in others if one.op is Ops.LET}
    named = {node for one in under([loop]) for node in evaluated(one)}
    met = ours & touched(others) | theirs & read([loop])
    return bool(met or lets & named)


class _Merge:
    """Two loops over one index space; the first one's axis takes the name of the second's."""

    def __init__(self, first: UOp, second: UOp, earlier: set[UOp]) -> None:
        one, two = first.arg, second.arg
        if one.extent is not two.extent or one.map != two.map:
            raise Illegal(f"AT: loops {one.axis} and {two.axis} differ in extent or place")
        if "ser" in (one.kind, two.kind):
            raise Illegal(f"AT: loop {one.axis} or {two.axis} runs in order")
        self.kind = "par" if one.kind == two.kind == "par" else "red"
        self.arg = two._replace(kind=self.kind)
        self.earlier = earlier
        self.value = axis_of(second)
        env = {atom: self.value for atom, _ in axis_of(first).terms}
        self.early = rebuild(first.src, {}, followed(first.src, env))
        self.late = second.src

    def loop(self) -> UOp:
        """The one loop. Raises: Illegal if its iterations meet where the two loops' do not."""
        for buffer in self._meeting():
            self._rebase(buffer)
        held = {_declared(one) for one in self.early} & names_declared(self.late)
        held |= {self.arg.axis} & names_declared(self.early)
        held -= {""}
        if held:
            raise Illegal(f"AT: {min(held)} is a name in both loops")
        body = self.early + self.late
        return UOp(Ops.LOOP, dtypes.void, body, self.arg)

    def _meeting(self) -> list[UOp]:
        """Buffers that an iteration of one loop changes and another of the other loop touches."""
        early, late = changed(self.early), changed(self.late)
        shared = early & touched(self.late) | late & read(self.early)
        own = _own_places(self.early + self.late, self.value)
        return [buffer for buffer in shared if not own.get(buffer)]

    def _rebase(self, lead: UOp) -> None:
        """The late loop reads a maximum that still changes: its sums move with it, if they may."""
        name = lead.arg.name
        stores = stores_to(self.early, lead)
        reads = [node for node in loads(self.late) if node.src[0] is lead]
        single = len(stores) == len(reads) == 1
        if not single or stores[0].arg.combine != "max":
            raise Illegal(f"AT: the later loop needs {name} of all iterations")
        again = self.earlier | changed(self.late)
        if lead in again or self.kind != "red":
            raise Illegal(f"AT: {name} is stored to by more than the earlier loop")
        store, now = stores[0], reads[0]
        score = expanded(self.early, store)[0]
        moves = _Moves(self.late, store, now, score)
        sums = [one for one in under(self.late) if moves.reads(one)]
        moved = dict.fromkeys([one.src[0] for one in sums])
        if not all(map(moves.fits, sums)) or self.earlier & moved.keys():
            raise Illegal(f"AT: {name} is read other than by one exp(x - it) of a sum")
        arg = store.arg._replace(rebase="exp")
        src = (*store.src, *moved)
        rebased = store.replace(src=src, arg=arg)
        self.early = rebuild(self.early, {store: rebased})
        self.late = rebuild(self.late, {now: now.alu(Ops.FIN)})


class _Moves(NamedTuple):
    """What a late loop may do with a leading state: `now` reads what `store` makes of `score`."""

    body: Statements
    store: UOp
    now: UOp
    score: UOp

    def reads(self, statement: UOp) -> bool:
        """True for a statement that depends on the state."""
        if statement.op is Ops.LET:
            return False
        found = toposort(expanded(self.body, statement))
        return self.now in found or self.now in evaluated(statement)

    def fits(self, statement: UOp) -> bool:
        """True for a sum, at the state's place, of products with one factor exp(score - now)."""
        arg = statement.arg
        if statement.op is not Ops.STORE or arg.combine != "sum" or arg.rebase:
            return False
        lead, place = self.store.arg.places[0], arg.places[0]
        leads = place.indices[: len(lead.indices)]
        if place.mask != lead.mask or not leads == lead.indices == self.now.arg.indices:
            return False
        factors = factors_of(expanded(self.body, statement)[0])
        moving = [factor for factor in factors if self.now in toposort([factor])]
        exponential = (self.score - self.now).alu(Ops.EXP)
        if moving != [exponential] or self.now in toposort([self.score]):
            return False
        return bool(statement.src[0].arg.init == "sum")


def _declared(statement: UOp) -> str:
    return declared_name(statement) if statement.op in (Ops.LET, Ops.BUFFER) else ""


def expanded(body: Statements, statement: UOp) -> Statements:
    """What a statement evaluates, with the LETs of `body` written out."""
    lets: dict[UOp, UOp] = {}
    for one in find(body, Ops.LET):
        [lets[one]] = rebuild(one.src, lets)
    return rebuild(values(statement), lets)


def factors_of(value: UOp) -> list[UOp]:
    """The operands of a product of products."""
    if value.op is not Ops.MUL:
        return [value]
    return [factor for source in value.src for factor in factors_of(source)]


# What only the merged loop touches


def _own_places(body: Statements, value: Index) -> dict[UOp, set[int]]:
    """The dimensions in which every access of a buffer is at the axis itself."""
    found: dict[UOp, set[int]] = {}
    for use in _uses(body):
        shape = use.buffer.arg.shape
        same = {k for k, index in enumerate(use.access.indices) if index is value}
        same = {k for k in same if shape[k].hi == value.hi + 1}
        found[use.buffer] = found.get(use.buffer, same) & same
    return found


def _uses(body: Statements) -> list[Use]:
    return [use for statement in under(body) for use in uses(statement)]


def _contracted(body: Statements, fused: UOp) -> tuple[Statements, Statements]:
    """The block without the buffers that only `fused` touches, at its own axis, and its body."""
    own = _own_places(fused.src, axis_of(fused))
    outside = touched([one for one in body if one is not fused])
    held = direct(body, Ops.BUFFER)
    free = {one for one in held if one not in outside}
    for group in tied(fused.src):
        common = set.intersection(*[own.get(one, set()) for one in group])
        own.update(dict.fromkeys(group, common if group <= free else set()))
    moved = [one for one in held if one in free and own.get(one)]
    inner = fused.src
    for buffer in moved:
        inner = _as_value(*_narrowed(inner, buffer, min(own[buffer])))
    return tuple([one for one in body if one not in moved]), inner


def _narrowed(body: Statements, buffer: UOp, at: int) -> tuple[Statements, UOp]:
    """`body` with a buffer that has lost dimension `at`."""
    arg = buffer.arg
    shape = arg.shape[:at] + arg.shape[at + 1 :]
    near = "packed" if arg.space == GLOBAL else arg.space
    space = near if shape else "reg"
    new = buffer.replace(arg=arg._replace(shape=shape, space=space))

    def change(access: Access) -> Access:
        left = access.indices[:at] + access.indices[at + 1 :]
        return access._replace(indices=left)

    return Readdressed({buffer: new}, change).body(body), new


def _as_value(body: Statements, buffer: UOp) -> Statements:
    """The body after the buffer's declaration, or with a LET for it if it is stored to once."""
    found = [use for use in _uses(body) if use.buffer is buffer]
    stores = [use.how for use in found if use.how != "load"]
    plain = all(use.access == Access(()) for use in found)
    here = [one for one in direct(body, Ops.STORE) if one.src[0] is buffer]
    if not plain or buffer.arg.init or stores != ["store"] or not here:
        return (buffer, *body)
    at = body.index(here[0])
    before, after = body[:at], body[at + 1 :]
    if buffer in read(before):
        return (buffer, *body)
    value = body[at].src[1]
    now = load(buffer, Access(()))
    if _is_kept(value, after):
        return before + rebuild(after, {now: value})
    named = let(buffer.arg.name, value)
    return (*before, named, *rebuild(after, {now: named}))


def _is_kept(value: UOp, after: Statements) -> bool:
    """True for a register that nothing stores to afterwards: it needs no second name."""
    if value.op is not Ops.LOAD or value.arg.mask:
        return False
    source = value.src[0]
    return bool(source.arg.space == "reg") and source not in changed(after)
