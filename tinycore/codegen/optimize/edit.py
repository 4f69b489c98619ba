"""Tools that every action uses to change a kernel tree: find loops, replace them, add masks.

Comes in: a kernel and the name of an axis. Goes out: the kernel with every loop of that axis (or
one) rebuilt. Nothing here decides whether a change is right: each action states its own legality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tinycore.errors import TinycoreError
from tinycore.uop.affine import NEVER, Mask, at_least_zero, atoms, mask_of
from tinycore.uop.index import Atom, Index
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import (
    Access,
    Kernel,
    Rebuild,
    axis_of,
    both,
    load,
    walk,
)

Statements = tuple[UOp, ...]
Change = Callable[[UOp], Iterable[UOp]]


class Illegal(TinycoreError):
    """An action does not apply to this kernel; the text says why. Search drops the candidate."""


def loops_of(kernel: Kernel, axis: str) -> list[UOp]:
    """Every loop of an axis, in source order.

    Raises: Illegal if there is none.
    """
    found = [s for s, _ in walk(kernel.body) if s.op is Ops.LOOP and s.arg.axis == axis]
    if not found:
        raise Illegal(f"no loop of axis {axis}")
    return found


def edit(statements: Iterable[UOp], change: Change) -> Statements:
    """Statements with `change` applied to each, children first."""
    out: list[UOp] = []
    for statement in statements:
        if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
            body = edit(statement.src, change)
            statement = statement if body == statement.src else statement.replace(src=body)
        out += change(statement)
    return tuple(out)


def edit_loops(kernel: Kernel, axis: str, change: Change) -> Kernel:
    """The kernel with `change` applied to every loop of `axis`.

    Raises: Illegal if there is none.
    """
    loops_of(kernel, axis)

    def on(statement: UOp) -> Iterable[UOp]:
        is_ours = statement.op is Ops.LOOP and statement.arg.axis == axis
        return change(statement) if is_ours else (statement,)

    return kernel._replace(body=edit(kernel.body, on))


def atom_of(loop: UOp) -> Atom | None:
    """The index atom of a loop's axis; None if it runs once."""
    value = axis_of(loop)
    return value.terms[0][0] if value.terms else None


def declared(statements: Iterable[UOp]) -> set[UOp]:
    """The buffers that `statements` declare, at any depth."""
    return {s for s, _ in walk(statements) if s.op is Ops.BUFFER}


def uses(access: Access, wanted: Iterable[Atom]) -> bool:
    """True if an index of `access` depends on one of the atoms."""
    wanted = set(wanted)
    return any(not wanted.isdisjoint(atoms(index)) for index in access.indices)


class Masking(Rebuild):
    """Rebuilds a body and adds a mask to what reaches memory outside it.

    A load of an outside buffer is masked if its index depends on `when`; a store to an outside
    buffer always is: an iteration that does not exist must leave no trace.
    """

    def __init__(
        self, env: Mapping[Atom, Index], mask: Mask, when: set[Atom], inside: set[UOp]
    ) -> None:
        super().__init__({}, env)
        self.mask = mask
        self.when = when
        self.inside = {self.node(buffer) for buffer in inside}

    def _rebuild(self, node: UOp) -> UOp:
        new = super()._rebuild(node)
        if not self.mask:
            return new
        if new.op is Ops.LOAD and new.src[0] not in self.inside and uses(new.arg, self.when):
            return load(new.src[0], self._masked(new.arg))
        if new.op is Ops.STORE:
            return new.replace(arg=new.arg._replace(places=self._places(new)))
        return new

    def _places(self, node: UOp) -> tuple[Access, ...]:
        pairs = zip(node.arg.places, node.src, strict=False)
        return tuple([p if b in self.inside else self._masked(p) for p, b in pairs])

    def _masked(self, access: Access) -> Access:
        return access._replace(mask=both(access.mask, self.mask))


def constraint(value: Index) -> Mask:
    """The mask `value >= 0`."""
    found = mask_of([at_least_zero(value)])
    return NEVER if found is None else found
