"""Loops beside each other become one: a producer runs inside the loop of its reader.

Comes in: a block of statements, a stage (the buffer it writes) and the axis of the reader's loop.
Goes out: the block with the two loops merged, and what only the merged loop touches one dimension
smaller, a value if nothing is left. Reductions merge also where the later one reads the state of
the earlier, by rebase (IR.md 3.2). place.py is the action.
"""

from __future__ import annotations

from tinycore.codegen.optimize.edit import (
    Illegal,
    Readdressed,
    Statements,
    atom_of,
    changed,
    followed,
    loads,
    loops_in,
    names_declared,
    read,
    targets,
)
from tinycore.dtype import dtypes
from tinycore.uop.index import Index
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.sites import Use, declared_name, evaluated, under, uses
from tinycore.uop.tree import GLOBAL, Access, Rebuild, axis_of, let, load, values


def merged(body: Statements, stage: UOp, axis: str) -> Statements:
    """`body` with the loop that writes `stage` inside the next loop that holds one of `axis`.

    Raises: Illegal if there is none, or iterations of the two meet.
    """
    first, second = _pair(body, stage, axis)
    start, between, end = body[:first], body[first + 1 : second], body[second + 1 :]
    fused = _Merge(body[first], body[second], changed((*start, *between))).loop()
    buffers = [statement for statement in between if statement.op is Ops.BUFFER]
    rest = [statement for statement in between if statement.op is not Ops.BUFFER]
    if _conflict(body[first], rest) and _conflict(body[second], rest):
        raise Illegal(f"AT: what stands between the loops needs {stage.arg.name} there")
    down = not _conflict(body[first], rest)
    middle = [*rest, fused] if down else [fused, *rest]
    around, inner = _contracted((*start, *buffers, *middle, *end), fused)
    if fused.arg.axis != axis:
        same = [one for one in (stage, *inner) if _name(one) == _name(stage)]
        inner = merged(inner, same[-1], axis)
    return tuple([fused.replace(src=inner) if one is fused else one for one in around])


def _name(statement: UOp) -> str:
    return str(statement.arg.name) if statement.op is Ops.BUFFER else ""


def _pair(body: Statements, stage: UOp, axis: str) -> tuple[int, int]:
    loops = [k for k, statement in enumerate(body) if statement.op is Ops.LOOP]
    writers = [k for k in loops if stage in changed([body[k]])]
    readers = [k for k in loops if axis in names_declared(loops_in([body[k]]))]
    later = [k for k in readers if writers and k > writers[-1]]
    if not later:
        raise Illegal(f"AT: no loop {axis} beside the loop that writes {stage.arg.name}")
    return writers[-1], later[0]


def _conflict(loop: UOp, others: list[UOp]) -> bool:
    """True if the loop and one of the others touch what either changes, or read its values."""
    ours, theirs = changed([loop]), changed(others)
    lets = {one for one in others if one.op is Ops.LET}
    named = {node for statement in under([loop]) for node in evaluated(statement)}
    return bool(ours & (theirs | read(others)) or theirs & read([loop]) or lets & named)


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
        env = {atom: self.value for atom in [atom_of(first)] if atom is not None}
        self.early = Rebuild({}, followed(first.src, env)).body(first.src)
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
        return UOp(Ops.LOOP, dtypes.void, (*self.early, *self.late), self.arg)

    def _meeting(self) -> list[UOp]:
        """Buffers that an iteration of one loop changes and another of the other loop touches."""
        early, late = changed(self.early), changed(self.late)
        shared = early & (late | read(self.late)) | late & read(self.early)
        own = _own_places((*self.early, *self.late), self.value)
        return sorted([b for b in shared if not own.get(b)], key=lambda b: str(b.arg.name))

    def _rebase(self, lead: UOp) -> None:
        """The late loop reads a maximum that still changes: its sums move with it, if they may."""
        name = lead.arg.name
        stores = [s for s in under(self.early) if s.op is Ops.STORE and lead in targets(s)]
        found = set(loads(self.late)) & {load(lead, Access(p)) for p in _places(stores)}
        reads = [node for node in loads(self.late) if node.src[0] is lead]
        if len(stores) != 1 or stores[0].arg.combine != "max" or [*found] != reads:
            raise Illegal(f"AT: the later loop needs {name} of all iterations")
        if lead in self.earlier or lead in changed(self.late) or self.kind != "red":
            raise Illegal(f"AT: {name} is stored to by more than the earlier loop")
        store, now = stores[0], reads[0]
        score = expanded(self.early, store)[0]
        moved = [s.src[0] for s in under(self.late) if self._depends(s, now, store, score)]
        src = tuple(dict.fromkeys((*store.src, *moved)))
        rebased = store.replace(src=src, arg=store.arg._replace(rebase="exp"))
        self.early = Rebuild({store: rebased}, {}).body(self.early)
        self.late = Rebuild({now: now.alu(Ops.FIN)}, {}).body(self.late)

    def _depends(self, statement: UOp, now: UOp, store: UOp, score: UOp) -> bool:
        """True for a sum of products with one factor exp(score - now).

        Raises: Illegal for anything else that reads `now`.
        """
        found = expanded(self.late, statement)
        if statement.op is Ops.LET or now not in (*toposort(found), *evaluated(statement)):
            return False
        place, mask = store.arg.places[0].indices, store.arg.places[0].mask
        fits = statement.op is Ops.STORE and statement.arg.combine == "sum"
        fits = fits and not statement.arg.rebase and statement.src[0] not in self.earlier
        fits = fits and statement.arg.places[0].indices[: len(place)] == place
        fits = fits and statement.arg.places[0].mask == mask and statement.src[0].arg.init == "sum"
        factors = [factor for value in found for factor in factors_of(value)]
        factors = [factor for factor in factors if now in toposort([factor])]
        if not fits or factors != [(score - now).alu(Ops.EXP)] or now in toposort([score]):
            raise Illegal(
                f"AT: {now.src[0].arg.name} is read other than by one exp(x - it) of a sum"
            )
        return True


def _places(stores: list[UOp]) -> list[tuple[Index, ...]]:
    return [store.arg.places[0].indices for store in stores]


def _declared(statement: UOp) -> str:
    return declared_name(statement) if statement.op in (Ops.LET, Ops.BUFFER) else ""


def expanded(body: Statements, statement: UOp) -> Statements:
    """What a statement evaluates, with the LETs of `body` written out."""
    lets: dict[UOp, UOp] = {}
    for one in under(body):
        if one.op is Ops.LET:
            lets[one] = Rebuild(lets, {}).node(one.src[0])
    return Rebuild(lets, {}).body(values(statement))


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
    elsewhere = [one for one in body if one is not fused and one.op is not Ops.BUFFER]
    outside = read(elsewhere) | changed(elsewhere)
    moved = [one for one in body if one.op is Ops.BUFFER and own.get(one) and one not in outside]
    inner = fused.src
    for buffer in moved:
        inner = _as_value(*_narrowed(inner, buffer, min(own[buffer])))
    return tuple([one for one in body if one not in moved]), inner


def _narrowed(body: Statements, buffer: UOp, at: int) -> tuple[Statements, UOp]:
    """`body` with a buffer that has lost dimension `at`."""
    arg = buffer.arg
    shape = arg.shape[:at] + arg.shape[at + 1 :]
    near = "packed" if arg.space == GLOBAL else arg.space
    new = buffer.replace(arg=arg._replace(shape=shape, space=near if shape else "reg"))

    def change(access: Access) -> Access:
        return access._replace(indices=access.indices[:at] + access.indices[at + 1 :])

    return Readdressed({buffer: new}, change).body(body), new


def _as_value(body: Statements, buffer: UOp) -> Statements:
    """The body after the buffer's declaration, or with a LET for it if it is stored to once."""
    found = [use for use in _uses(body) if use.buffer is buffer]
    at = [k for k, one in enumerate(body) if one.op is Ops.STORE and one.src[0] is buffer]
    stores = [use.how for use in found if use.how != "load"]
    plain = all(use.access == Access(()) for use in found) and not buffer.arg.init
    if not plain or stores != ["store"] or not at or buffer in read(body[: at[0]]):
        return (buffer, *body)
    before, value, after = body[: at[0]], body[at[0]].src[1], body[at[0] + 1 :]
    now = load(buffer, Access(()))
    if _is_kept(value, after):
        return (*before, *Rebuild({now: value}, {}).body(after))
    named = let(buffer.arg.name, value)
    return (*before, named, *Rebuild({now: named}, {}).body(after))


def _is_kept(value: UOp, after: Statements) -> bool:
    """True for a register that nothing stores to afterwards: it needs no second name."""
    if value.op is not Ops.LOAD or value.arg.mask or value.src[0].arg.space != "reg":
        return False
    return value.src[0] not in changed(after)
