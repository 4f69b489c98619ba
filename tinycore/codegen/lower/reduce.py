"""Gives each lane of a reduction a state of its own, and joins the lanes after the loop.

Comes in: a tree with red loops @vec. Goes out: one whose vector loops are all parallel. The states
of the lanes stand before the outermost loop that only reduces into them, their join after it:
halves combine until one is left. A dependent state moves from its lane's leading state to the
joined one before it is joined (IR.md 3.2). What lanes could not do apart runs lane by lane
instead. Next: combine.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tinycore.codegen.lower.loops import Place, changed, everywhere
from tinycore.dtype import dtypes
from tinycore.runtime.caps import Caps
from tinycore.uop.affine import atoms
from tinycore.uop.index import Atom, as_index, axis, of_atom
from tinycore.uop.monoids import DEPENDENT, MONOIDS
from tinycore.uop.ops import Ops, UOp, alu, toposort
from tinycore.uop.tree import Access, Kernel, StoreArg, axis_of, buffer, load, loop, store, walk
from tinycore.util import prod

MAX_UNROLLED = 64


def reduce(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with its reductions along lanes made parallel."""
    return kernel._replace(body=_Reducer().body(kernel.body))


class _Reducer:
    """One kernel on its way to parallel vector loops."""

    def __init__(self) -> None:
        self.count = 0

    def body(self, statements: Iterable[UOp]) -> tuple[UOp, ...]:
        """Statements made parallel, with the states of lanes around them."""
        found: list[UOp] = []
        for statement in statements:
            loops = [inner for inner, _ in walk([statement]) if _is_reduction(inner)]
            if not loops:
                found.append(statement)
            elif statement.op is Ops.LOOP and statement.arg.map == "grid":
                body = self.body(statement.src)
                found.append(statement.replace(src=body))
            else:
                found += self._statement(statement, loops, _fresh(found))
        return tuple(found)

    def _statement(self, node: UOp, loops: list[UOp], fresh: set[UOp]) -> list[UOp]:
        before: list[UOp] = []
        after: list[UOp] = []
        is_done = True
        for inner in loops:
            states = _states(inner)
            outside = toposort(_replaced(node, inner, []))
            if not states.keys().isdisjoint(outside):
                is_done = False
                continue
            if not _can_part(inner, states):
                arg = inner.arg._replace(map="unroll")
                unrolled = inner.replace(arg=arg)
                node = _replaced(node, inner, [unrolled])[0]
                continue
            self.count += 1
            joining = _Joining(inner, states, f"join{self.count}")
            node = _replaced(node, inner, [joining.parallel()])[0]
            before += joining.own.values()
            after += joining.joined(fresh)
        if not is_done:
            node = node.replace(src=self.body(node.src))
        return [*before, node, *after]


def _fresh(before: list[UOp]) -> set[UOp]:
    """The states that earlier statements only declare: they hold nothing yet."""
    declared = {node for node in before if node.op is Ops.BUFFER}
    others = [node for node in before if node.op is not Ops.BUFFER]
    return declared.difference(toposort(others))


def _is_reduction(node: UOp) -> bool:
    """True if a loop along lanes is not parallel."""
    return node.op is Ops.LOOP and node.arg.map == "vec" and node.arg.kind != "par"


def _replaced(node: UOp, old: UOp, new: list[UOp]) -> tuple[UOp, ...]:
    return changed([node], lambda inner: new if inner is old else [inner])


def _states(loop: UOp) -> dict[UOp, str]:
    """The buffers outside a loop in which its lanes would meet, with their monoids."""
    index = axis_of(loop)
    inside = {node for node, _ in walk(loop.src) if node.op is Ops.BUFFER}
    found: dict[UOp, str] = {}
    for node, _ in walk(loop.src):
        if node.op is not Ops.STORE:
            continue
        for target, place in zip(node.src, node.arg.places, strict=False):
            if target in inside:
                continue
            if not index.terms or not _moves(place, index.terms[0][0]):
                same = found.get(target, node.arg.combine) == node.arg.combine
                found[target] = node.arg.combine if same else ""
    return found


def _moves(place: Access, lane: Atom) -> bool:
    """True if each lane has an element of its own: some index is linear in the lane alone."""
    for index in place.indices:
        inner = [atoms(of_atom(atom)) for atom, _ in index.terms if atom is not lane]
        if len(inner) < len(index.terms):
            return not any(lane in found for found in inner)
    return False


def _can_part(loop: UOp, states: Mapping[UOp, str]) -> bool:
    """False if lanes cannot run apart: a store into memory or one that does not combine would
    meet another, or of what a rebase moves only a part would be theirs."""
    if not axis_of(loop).terms or loop.arg.extent.terms:
        return False
    if any(_is_reduction(node) for node, _ in walk(loop.src)):
        return False
    for state, combine in states.items():
        if not combine or state.arg.space != "reg":
            return False
    for leads, _, dependents in _rebased(loop):
        own = states.keys() & {*leads, *dependents}
        if own and len(own) < len(leads) + len(dependents):
            return False
    return True


Rebased = tuple[tuple[UOp, ...], StoreArg, tuple[UOp, ...]]
"""Leading states, the argument of the store that combines into them, what depends on them."""


def _rebased(loop: UOp) -> list[Rebased]:
    found: dict[UOp, Rebased] = {}
    for node, _ in walk(loop.src):
        if node.op is Ops.STORE and node.arg.rebase:
            count = len(node.arg.places)
            found[node.src[0]] = node.src[:count], node.arg, node.src[2 * count :]
    return list(found.values())


class _Joining:
    """A loop along lanes; `own` holds for each of its states one of every lane, the lane first."""

    def __init__(self, loop: UOp, states: Mapping[UOp, str], name: str) -> None:
        self.loop = loop
        self.states = states
        self.name = name
        self.lanes = loop.arg.extent.const
        self.own: dict[UOp, UOp] = {}
        for state, combine in states.items():
            shape = (self.lanes, *state.arg.shape)
            own = f"{state.arg.name}.{name}"
            self.own[state] = buffer(own, state.dtype, shape, "reg", init=combine)

    def parallel(self) -> UOp:
        """The loop with each state replaced by that of the lane."""
        lane = axis_of(self.loop)
        new: dict[UOp, UOp] = {}
        for node in toposort(self.loop.src):
            src = [new.get(source, source) for source in node.src]
            arg = node.arg
            if node.op is Ops.LOAD and node.src[0] in self.own:
                arg = arg._replace(indices=(lane, *arg.indices))
            elif node.op is Ops.STORE:
                places = list(arg.places)
                for k, place in enumerate(places):
                    if node.src[k] in self.own:
                        indices = (lane, *place.indices)
                        places[k] = place._replace(indices=indices)
                arg = arg._replace(places=tuple(places))
            if node.op in (Ops.LOAD, Ops.STORE):
                src = [self.own.get(source, source) for source in src]
            new[node] = UOp(node.op, node.dtype, tuple(src), arg, node.tag)
        body = tuple([new[statement] for statement in self.loop.src])
        arg = self.loop.arg._replace(kind="par")
        return self.loop.replace(src=body, arg=arg)

    def joined(self, fresh: set[UOp]) -> list[UOp]:
        """The statements that bring every state of the lanes into the state itself.

        Leading states come first; then each dependent moves, in every lane, from the lane's
        leading state to the joined one, and is joined like any other.
        """
        found: list[UOp] = []
        left = dict(self.states)
        for leads, arg, dependents in _rebased(self.loop):
            if leads[0] not in left:
                continue
            if {*leads, *dependents} <= fresh:
                found += self._combined(leads, StoreArg(()), arg.combine, ())
            else:
                found += self._combined(leads, arg, arg.combine, dependents)
            for dependent in dependents:
                found += self._moved(leads, arg, dependent)
            for lead in leads:
                del left[lead]
        for state, combine in left.items():
            into = StoreArg((), "" if state in fresh else combine)
            found += self._combined((state,), into, combine, ())
        return found

    def _combined(
        self, leads: tuple[UOp, ...], arg: StoreArg, combine: str, dependents: tuple[UOp, ...]
    ) -> list[UOp]:
        """Join states; what depends on them moves with them."""

        def at(place: Place) -> list[UOp]:
            found, values = [], []
            for lead in leads:
                statements, value = self._halved(lead, place, combine)
                found += statements
                values.append(value)
            if not arg.combine:
                parts = zip(leads, values, strict=True)
                return [*found, *[store(lead, Access(place), value) for lead, value in parts]]
            here = arg._replace(places=(Access(place),) * len(leads))
            return [*found, UOp(Ops.STORE, dtypes.void, (*leads, *values, *dependents), here)]

        return self._everywhere(leads[0], "", at)

    def _moved(self, leads: tuple[UOp, ...], arg: StoreArg, dependent: UOp) -> list[UOp]:
        """Move a dependent of every lane from the lane's leading state to the joined one."""
        own = self.own[dependent]
        lane = axis(f"{self.name}.move", self.lanes)
        moved = DEPENDENT[arg.rebase].moved

        def at(place: Place) -> list[UOp]:
            lead = place[: len(leads[0].arg.shape)]
            old = tuple([load(self.own[state], Access((lane, *lead))) for state in leads])
            new = tuple([load(state, Access(lead)) for state in leads])
            here = Access((lane, *place))
            body = store(own, here, moved(old, new, load(own, here)))
            return [loop("par", f"{self.name}.move", self.lanes, [body], "vec")]

        return self._everywhere(dependent, ".moved", at)

    def _halved(self, state: UOp, place: Place, combine: str) -> tuple[list[UOp], UOp]:
        """Statements that combine halves of the lanes, and the value that is left."""
        op = MONOIDS[combine].op
        found: list[UOp] = []
        rest: list[UOp] = []
        source, lanes = self.own[state], self.lanes
        while lanes > 1:
            if lanes % 2:
                last = as_index(lanes - 1)
                rest.append(load(source, Access((last, *place))))
            lanes //= 2
            name = f"{self.name}.h{lanes}"
            lane = axis(name, lanes)
            low = load(source, Access((lane, *place)))
            high = load(source, Access((lane + lanes, *place)))
            half = buffer(f"{state.arg.name}.{name}", state.dtype, [lanes], "reg")
            body = store(half, Access((lane,)), alu(op, low, high))
            found += [half, loop("par", name, lanes, [body], "vec")]
            source, place = half, ()
        value = load(source, Access((as_index(0), *place)))
        for part in rest:
            value = alu(op, value, part)
        return found, value

    def _everywhere(self, state: UOp, what: str, at: Callable[[Place], list[UOp]]) -> list[UOp]:
        """`at` for every element of a state."""
        shape = state.arg.shape
        count = prod([extent.hi for extent in shape])
        run = "reg" if count <= MAX_UNROLLED else ""
        runs = [run] * len(shape)
        return everywhere(f"{self.name}.{state.arg.name}{what}", shape, at, 1, runs)
