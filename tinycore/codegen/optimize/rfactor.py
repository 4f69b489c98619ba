"""RFACTOR: a reduction axis becomes a par axis of partial states, joined after the loop.

Comes in: a kernel and a red axis inside (or being) a reduction. Goes out: the kernel in which each
iteration of that axis combines into a state of its own. MAP then says what the states are: vector
lanes, registers (several accumulators), threads, or grid blocks (split-K). IR.md 3.10.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycore.codegen.optimize.edit import Illegal, Statements, edit, loops_of
from tinycore.codegen.optimize.reorder import Widening, targets, widened
from tinycore.uop.index import Index, axis
from tinycore.uop.ops import Ops, UOp, alu, toposort
from tinycore.uop.tree import Access, Kernel, axis_of, load, loop, walk

_ALLOWED = frozenset({Ops.STORE, Ops.LET, Ops.LOOP, Ops.BUFFER})


def rfactor(kernel: Kernel, name: str) -> Kernel:
    """RFACTOR(axis): partial states along a red axis, and a join loop over axis.j.

    Legal where the loops of the axis change what lies outside the reduction only by combining
    stores to register buffers, which nothing else in the reduction touches.
    """
    if any(found.arg.kind != "red" for found in loops_of(kernel, name)):
        raise Illegal(f"RFACTOR: axis {name} is no reduction axis")
    stores = [s for s, _ in walk(kernel.body) if s.op is Ops.STORE]
    return kernel._replace(body=_in_block(kernel.body, name, stores))


def _in_block(statements: Iterable[UOp], name: str, stores: list[UOp]) -> Statements:
    out: list[UOp] = []
    for statement in statements:
        inner = [s for s, _ in walk([statement]) if s.op is Ops.LOOP and s.arg.axis == name]
        if not inner:
            out.append(statement)
        elif statement.op is Ops.LOOP and statement.arg.kind == "red":
            out += _Factored(statement, inner[0], stores).statements()
        else:
            out.append(statement.replace(src=_in_block(statement.src, name, stores)))
    return tuple(out)


class _Factored:
    """One reduction, `outer`, whose loop `inner` gets partial states.

    `fresh` says that nothing else in the kernel stores to the states: they hold identities when
    the join begins, so that the leading states join first, without moving anything.
    """

    def __init__(self, outer: UOp, inner: UOp, stores: list[UOp]) -> None:
        self.outer = outer
        self.inner = inner
        self.name: str = inner.arg.axis
        self.stores = self._combining()
        self.leads = {s.src[0]: s for s in self.stores if s.arg.rebase}
        extent: Index = inner.arg.extent
        self.parts = {state: widened(state, extent, ".p") for state in self._states()}
        others = [s for s in stores if s not in self.stores]
        self.fresh = not any(state in targets(s) for s in others for state in self.parts)

    def statements(self) -> Statements:
        """The partial states, the reduction on them, and the join."""
        body = edit([self.outer], self._on_loop)
        return (*self.parts.values(), *body, *self._joins())

    def _combining(self) -> list[UOp]:
        held = {s for s, _ in walk([self.outer]) if s.op is Ops.BUFFER}
        found = []
        for statement, _ in walk(self.inner.src):
            if statement.op not in _ALLOWED:
                raise Illegal(f"RFACTOR: {statement.op.name} under axis {self.name}")
            combines = statement.op is Ops.STORE and statement.arg.combine
            if combines and statement.src[0] not in held:
                found.append(statement)
        if any(len(s.arg.places) > 1 or s.arg.rebase not in ("", "exp") for s in found):
            raise Illegal(f"RFACTOR: axis {self.name} carries a state that cannot be merged")
        return found

    def _states(self) -> list[UOp]:
        states = list(dict.fromkeys(state for s in self.stores for state in targets(s)))
        if not states or any(state.arg.space != "reg" for state in states):
            raise Illegal(f"RFACTOR: axis {self.name} combines no register buffer")
        own = set(toposort([self.inner]))
        for node in toposort([self.outer]):
            if node not in own and any(source in states for source in node.src):
                raise Illegal(f"RFACTOR: a state of {self.name} is used around its loop")
        return states

    def _on_loop(self, statement: UOp) -> Iterable[UOp]:
        if statement is not self.inner:
            return [statement]
        body = Widening(self.parts, axis_of(self.inner)).body(statement.src)
        return [loop("par", self.name, self.inner.arg.extent, body)]

    def _joins(self) -> list[UOp]:
        """Merges every partial state: leading states first, then what they moved, then sums."""
        name = self.name + ".j"
        place = axis(name, self.inner.arg.extent)
        mover = {state: s.src[0] for s in self.leads.values() for state in s.src[2:]}
        leads = [self._merge(state, place, None) for state in self.leads]
        rest = [
            self._merge(state, place, mover.get(state))
            for state in self.parts
            if state not in self.leads
        ]
        bodies = [leads, rest] if self.fresh else [leads + rest]
        return [loop("red", name, self.inner.arg.extent, body) for body in bodies if body]

    def _merge(self, state: UOp, place: Index, lead: UOp | None) -> UOp:
        axes = [f"{self.name}.j{k}" for k in range(len(state.arg.shape))]
        inner = tuple([axis(n, e) for n, e in zip(axes, state.arg.shape, strict=True)])
        value = load(self.parts[state], Access((place, *inner)))
        if lead is not None:
            value = alu(Ops.MUL, value, self._factor(lead, place, inner))
        source = next(s for s in self.stores if s.src[0] is state)
        arg = source.arg._replace(places=(Access(inner),))
        src = (state, value, *source.src[2:])
        if self.fresh:
            arg, src = arg._replace(rebase=""), src[:2]
        merged = source.replace(src=src, arg=arg)
        for name, extent in reversed(list(zip(axes, state.arg.shape, strict=True))):
            merged = loop("par", name, extent, [merged])
        return merged

    def _factor(self, lead: UOp, place: Index, inner: tuple[Index, ...]) -> UOp:
        """exp(partial lead - joined lead): what moves a partial dependent state."""
        shared = inner[: len(lead.arg.shape)]
        part = load(self.parts[lead], Access((place, *shared)))
        joined = alu(Ops.FIN, load(lead, Access(shared)))
        return alu(Ops.EXP, alu(Ops.ADD, part, alu(Ops.NEG, joined)))
