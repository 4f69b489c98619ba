"""RFACTOR: a reduction axis becomes a par axis of partial states, joined after the loop.

Comes in: a kernel and a red axis inside (or being) a reduction. Goes out: the kernel in which each
iteration of that axis combines into a state of its own. MAP then says what the states are: vector
lanes, registers (several accumulators), threads, or grid blocks (split-K). docs/ir.md rule 8.
"""

from __future__ import annotations

from collections.abc import Set
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
from tinycore.uop.sites import TILES
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
        kernel = in_block(kernel, next(iter(stores)), partial(_factored, node, stores))
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


def _factored(node: UOp, stores: dict[UOp, UOp], body: Statements) -> Statements:
    """The block that declares the states, with partial ones, the loop as one of these, and joins.

    The states hold identities before, so that they are joined one by one, leading states first,
    and nothing needs to be moved.
    """
    name, extent, _, _ = node.arg
    holders = [k for k, one in enumerate(body) if node in loops_in([one])]
    if not holders:
        return body
    [at] = holders
    leads = [state for state, made in stores.items() if made.arg.rebase]
    _check_alone(node, stores.keys(), body, at)
    if leads and stores.keys() & changed(body[:at]):
        raise Illegal(f"RFACTOR: a state of {name} has a value before its loop")
    parts = {state: widened(state, node, f".{name}") for state in stores}
    here = axis(f"{name}.j", extent)

    def part(state: UOp, place: Access) -> UOp:
        return load(parts[state], Access((here, *place.indices)))

    def joined(state: UOp, place: Access) -> UOp:
        """state combine= its partial, moved to the joined leading state if it depends on one."""
        value = part(state, place)
        for lead in leads:
            if state in targets(stores[lead])[1:]:
                shared = Access(place.indices[: len(lead.arg.shape)])
                now = load(lead, shared).alu(Ops.FIN)
                value = value * (part(lead, shared) - now).alu(Ops.EXP)
        return store(state, place, value, stores[state].arg.combine)

    par = loop("par", name, extent, widening(node.src, parts, node))
    cut = edit([body[at]], lambda one: [par if one is node else one])
    joins = []
    for states in (leads, [state for state in stores if state not in leads]):
        joining = [each(state, f"{name}.j", partial(joined, state)) for state in states]
        joins += [loop("red", f"{name}.j", extent, joining)] if states else []
    return (*body[:at], *parts.values(), *cut, *joins, *body[at + 1 :])


def _check_alone(node: UOp, states: Set[UOp], body: Statements, at: int) -> None:
    name = node.arg.axis
    around = edit([body[at]], lambda one: () if one is node else (one,))
    if not states <= {*body}:
        raise Illegal(f"RFACTOR: axis {name} combines into no one block of states")
    if states & (read(around) | changed(around)):
        raise Illegal(f"RFACTOR: a state of {name} is used around its loop")
