"""RFACTOR: a reduction axis becomes a par axis of partial states, joined after the loop.

Comes in: a kernel and a red axis inside (or being) a reduction. Goes out: the kernel in which each
iteration of that axis combines into a state of its own. MAP then says what the states are: vector
lanes, registers (several accumulators), threads, or grid blocks (split-K). IR.md 3.10.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinycore.codegen.optimize.edit import (
    HOLDERS,
    Illegal,
    Statements,
    changed,
    declared,
    edit,
    loops_in,
    loops_of,
    read,
    targets,
)
from tinycore.codegen.optimize.reorder import widened, widening
from tinycore.uop.index import Index, axis
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import under
from tinycore.uop.tree import Access, Kernel, axis_of, load, loop

_ALLOWED = frozenset({Ops.STORE, Ops.LET, Ops.LOOP, Ops.BUFFER})


def rfactor(kernel: Kernel, name: str) -> Kernel:
    """RFACTOR(axis): partial states along a red axis, and join loops over axis.j.

    Legal where the red loops of the axis change what lies outside the reduction only by combining
    stores to register buffers, which nothing else in the reduction touches.
    """
    reds = [found for found in loops_of(kernel, name) if found.arg.kind == "red"]
    if not reds or any(found.arg.map for found in reds):
        raise Illegal(f"RFACTOR: axis {name} is no free reduction axis")
    return kernel._replace(body=_in_block(kernel.body, name))


def _in_block(statements: Iterable[UOp], name: str) -> Statements:
    """Each reduction over the axis, where the states it combines into are declared."""
    out: list[UOp] = []
    for statement in statements:
        reds = [loop for loop in _red_loops(statement) if loop.arg.axis == name]
        if not reds:
            out.append(statement)
        elif statement.op in HOLDERS and _holds_states(statement, reds):
            out.append(statement.replace(src=_in_block(statement.src, name)))
        elif len(reds) > 1:
            raise Illegal(f"RFACTOR: several loops of {name} share a state")
        else:
            out += _Factored(statement, reds[0], changed(out)).statements()
    return tuple(out)


def _red_loops(statement: UOp) -> list[UOp]:
    return [loop for loop in loops_in([statement]) if loop.arg.kind == "red"]


def _holds_states(statement: UOp, loops: list[UOp]) -> bool:
    inner = declared(statement.src)
    return all(inner & (changed(loop.src) - declared(loop.src)) for loop in loops)


class _Factored:
    """One reduction, `outer`, whose loop `inner` gets partial states.

    States that hold identities when the join begins are joined one by one, leading states first,
    and nothing needs to be moved.
    """

    def __init__(self, outer: UOp, inner: UOp, earlier: set[UOp]) -> None:
        self.outer = outer
        self.inner = inner
        self.name: str = inner.arg.axis
        self.stores = self._combining()
        self.leads = [store.src[0] for store in self.stores.values() if store.arg.rebase]
        self.parts = {
            state: widened(state, inner.arg.extent, f".{self.name}") for state in self.stores
        }
        self._check_alone()
        self.fresh = earlier.isdisjoint(self.parts)

    def statements(self) -> Statements:
        """The partial states, the reduction on them, and the joins."""
        body = edit([self.outer], self._on_loop)
        rest = [state for state in self.parts if state not in self.leads]
        groups = [self.leads, rest] if self.fresh else [[*self.leads, *rest]]
        joins = [self._join(states) for states in groups if states]
        return (*self.parts.values(), *body, *joins)

    def _combining(self) -> dict[UOp, UOp]:
        """The states and the stores that combine into them."""
        own = declared([self.inner])
        found: dict[UOp, UOp] = {}
        for statement in under(self.inner.src):
            if statement.op not in _ALLOWED:
                raise Illegal(f"RFACTOR: {statement.op.name} under axis {self.name}")
            combines = statement.op is Ops.STORE and statement.arg.combine
            if not combines or statement.src[0] in own:
                continue
            if len(statement.arg.places) > 1 or statement.arg.rebase not in ("", "exp"):
                raise Illegal(f"RFACTOR: axis {self.name} carries a state that cannot be merged")
            found[statement.src[0]] = statement
        return found

    def _check_alone(self) -> None:
        moved = {state for store in self.stores.values() for state in targets(store)}
        inside = declared([self.outer])
        states = set(self.parts)
        if not states or moved - states or states & inside:
            raise Illegal(f"RFACTOR: axis {self.name} combines into no one block of states")
        if any(state.arg.space != "reg" or not state.arg.init for state in states):
            raise Illegal(f"RFACTOR: a state of {self.name} is no register that starts as one")
        around = edit([self.outer], lambda node: () if node is self.inner else (node,))
        if states & (read(around) | changed(around)):
            raise Illegal(f"RFACTOR: a state of {self.name} is used around its loop")

    def _on_loop(self, statement: UOp) -> Iterable[UOp]:
        if statement is not self.inner:
            return [statement]
        body = widening(self.parts, axis_of(self.inner)).body(statement.src)
        return [loop("par", self.name, self.inner.arg.extent, body)]

    def _join(self, states: list[UOp]) -> UOp:
        body = [self._merge(state) for state in states]
        return loop("red", self.name + ".j", self.inner.arg.extent, body)

    def _merge(self, state: UOp) -> UOp:
        """state combine= its partial, moved to the joined leading state if it depends on one."""
        axes = [(f"{self.name}.j{k}", extent) for k, extent in enumerate(state.arg.shape)]
        inner = tuple([axis(*each) for each in axes])
        value = load(self.parts[state], Access((self._place(), *inner)))
        for lead in self.leads:
            if state in targets(self.stores[lead])[1:]:
                value = value * self._factor(lead, inner)
        store = self.stores[state]
        arg = store.arg._replace(places=(Access(inner),))
        merged = store.replace(src=(state, value, *store.src[2:]), arg=arg)
        if self.fresh:
            merged = store.replace(src=(state, value), arg=arg._replace(rebase=""))
        for name, extent in reversed(axes):
            merged = loop("par", name, extent, [merged])
        return merged

    def _place(self) -> Index:
        return axis(self.name + ".j", self.inner.arg.extent)

    def _factor(self, lead: UOp, inner: tuple[Index, ...]) -> UOp:
        """exp(partial lead - joined lead): what moves a partial dependent state."""
        shared = inner[: len(lead.arg.shape)]
        part = load(self.parts[lead], Access((self._place(), *shared)))
        joined = load(lead, Access(shared)).alu(Ops.FIN)
        return (part - joined).alu(Ops.EXP)
