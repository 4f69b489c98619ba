"""RFACTOR: a reduction axis becomes a par axis of partial states, joined after the loop.

Comes in: a kernel and a red axis inside (or being) a reduction. Goes out: the kernel in which each
iteration of that axis combines into a state of its own. MAP then says what the states are: vector
lanes, registers (several accumulators), threads, or grid blocks (split-K). IR.md 3.10.
"""

from __future__ import annotations

from functools import partial

from tinycore.codegen.optimize.edit import (
    Illegal,
    Statements,
    changed,
    declared,
    each,
    edit,
    find,
    in_block,
    loops_in,
    loops_of,
    read,
    targets,
)
from tinycore.codegen.optimize.reorder import widened, widening
from tinycore.uop.index import axis
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.spec_loops import TILES
from tinycore.uop.tree import Access, Kernel, load, loop, store


def rfactor(kernel: Kernel, name: str) -> Kernel:
    """RFACTOR(axis): partial states along a red axis, and join loops over axis.j.

    Legal where the red loops of the axis change what lies outside the reduction only by combining
    stores to register buffers, which nothing else in the reduction touches.
    """
    reds = [found for found in loops_of(kernel, name) if found.arg.kind == "red"]
    if not reds or any(found.arg.map for found in reds):
        raise Illegal(f"RFACTOR: axis {name} is no free reduction axis")
    for node in reds:
        stores = _combining(node)
        kernel = in_block(kernel, next(iter(stores)), _Factored(node, stores).block)
    return kernel


def _combining(node: UOp) -> dict[UOp, UOp]:
    """The states that a loop combines into, and the stores that do."""
    name, own = node.arg.axis, declared([node])
    others = find(node.src, *TILES, Ops.IF, Ops.BLOCK)
    if others:
        raise Illegal(f"RFACTOR: {others[0].op.name} under axis {name}")
    stores = [one for one in find(node.src, Ops.STORE) if one.arg.combine]
    found = {one.src[0]: one for one in stores if one.src[0] not in own}
    for state, made in found.items():
        if len(made.arg.places) > 1 or made.arg.rebase not in ("", "exp"):
            raise Illegal(f"RFACTOR: axis {name} carries a state that cannot be merged")
        if state.arg.space != "reg" or not state.arg.init:
            raise Illegal(f"RFACTOR: a state of {name} is no register that starts as one")
        if not found.keys() >= {*targets(made)}:
            raise Illegal(f"RFACTOR: {state.arg.name} moves what {name} does not combine into")
    if not found:
        raise Illegal(f"RFACTOR: axis {name} combines into no state")
    return found


class _Factored:
    """A red loop that gets partial states; `stores` are those that combine into each state.

    States hold identities before the loop, so that they are joined one by one, leading states
    first, and nothing needs to be moved.
    """

    def __init__(self, node: UOp, stores: dict[UOp, UOp]) -> None:
        self.node = node
        self.name, self.extent, _, _ = node.arg
        self.stores = stores
        self.leads = [state for state, made in stores.items() if made.arg.rebase]
        self.parts = {state: widened(state, node, f".{self.name}") for state in stores}

    def block(self, body: Statements) -> Statements:
        """The block that declares the states, with the partial ones and the joins."""
        places = [k for k, one in enumerate(body) if self.node in loops_in([one])]
        if not places:
            return body
        [at] = places
        self._check_alone(body, at)
        inner = widening(self.node.src, self.parts, self.node)
        partial_states = loop("par", self.name, self.extent, inner)
        cut = edit([body[at]], lambda one: [partial_states if one is self.node else one])
        rest = [state for state in self.stores if state not in self.leads]
        joins = [self._join(states) for states in (self.leads, rest) if states]
        return (*body[:at], *self.parts.values(), *cut, *joins, *body[at + 1 :])

    def _check_alone(self, body: Statements, at: int) -> None:
        states = self.stores.keys()
        around = edit([body[at]], lambda one: () if one is self.node else (one,))
        if not states <= {*body}:
            raise Illegal(f"RFACTOR: axis {self.name} combines into no one block of states")
        if states & (read(around) | changed(around)):
            raise Illegal(f"RFACTOR: a state of {self.name} is used around its loop")
        if self.leads and states & changed(body[:at]):
            raise Illegal(f"RFACTOR: a state of {self.name} has a value before its loop")

    def _join(self, states: list[UOp]) -> UOp:
        name = f"{self.name}.j"
        body = [each(state, name, partial(self._joined, state)) for state in states]
        return loop("red", name, self.extent, body)

    def _joined(self, state: UOp, place: Access) -> UOp:
        """state combine= its partial, moved to the joined leading state if it depends on one."""
        value = self._part(state, place)
        for lead in self.leads:
            if state in targets(self.stores[lead])[1:]:
                shared = Access(place.indices[: len(lead.arg.shape)])
                now = load(lead, shared).alu(Ops.FIN)
                value = value * (self._part(lead, shared) - now).alu(Ops.EXP)
        return store(state, place, value, self.stores[state].arg.combine)

    def _part(self, state: UOp, place: Access) -> UOp:
        """The partial state that the join is at."""
        here = axis(f"{self.name}.j", self.extent)
        return load(self.parts[state], Access((here, *place.indices)))
