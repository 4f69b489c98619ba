"""Tools that every action uses to change a kernel tree: find loops, replace them, add masks.

Comes in: a kernel and the name of an axis. Goes out: the kernel with every loop of that axis (or
one) rebuilt. Nothing here decides whether a change is right: each action states its own legality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tinycore.errors import TinycoreError
from tinycore.uop.affine import Mask, atoms, mask_of, substitute
from tinycore.uop.index import Atom, Index, axis
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.sites import axes, declared_name, evaluated, written
from tinycore.uop.spec_loops import misplaced
from tinycore.uop.tree import Access, Kernel, Rebuild, axis_of, both, load, walk

Statements = tuple[UOp, ...]
Change = Callable[[UOp], Iterable[UOp]]
BodyChange = Callable[[Statements], Statements]
Places = Callable[[Access], Access]
Env = Mapping[Atom, Index]
HOLDERS = (Ops.LOOP, Ops.IF, Ops.BLOCK)


class Illegal(TinycoreError):
    """An action does not apply to this kernel; the text says why. Search drops the candidate."""


# Finding


def find(statements: Iterable[UOp], *ops: Ops) -> list[UOp]:
    """Every statement of these ops under `statements`, in source order."""
    return [statement for statement, _ in walk(statements) if statement.op in ops]


def direct(statements: Iterable[UOp], op: Ops) -> list[UOp]:
    """Those of `statements` themselves that have this op."""
    return [statement for statement in statements if statement.op is op]


def loops_of(kernel: Kernel, name: str) -> list[UOp]:
    """Every loop of an axis, in source order.

    Raises: Illegal if there is none.
    """
    found = [loop for loop in loops_in(kernel.body) if loop.arg.axis == name]
    if not found:
        raise Illegal(f"no loop of axis {name}")
    return found


def loops_in(statements: Iterable[UOp]) -> list[UOp]:
    """Every loop under `statements`, in source order."""
    return find(statements, Ops.LOOP)


def atom_of(loop: UOp) -> Atom | None:
    """The index atom of a loop's axis; None if it runs once."""
    value = axis_of(loop)
    return value.terms[0][0] if value.terms else None


def atoms_in(statements: Iterable[UOp]) -> set[Atom]:
    """The axes of all loops under `statements`."""
    found = [atom_of(loop) for loop in loops_in(statements)]
    return {atom for atom in found if atom is not None}


def declared(statements: Iterable[UOp]) -> set[UOp]:
    """The buffers that `statements` declare, at any depth."""
    return set(find(statements, Ops.BUFFER))


def buffer_named(kernel: Kernel, name: str) -> UOp:
    """The buffer of this name, a parameter or declared.

    Raises: Illegal if there is none.
    """
    for buffer in (*kernel.params, *find(kernel.body, Ops.BUFFER)):
        if buffer.arg.name == name:
            return buffer
    raise Illegal(f"no buffer {name}")


def changed(statements: Iterable[UOp]) -> set[UOp]:
    """The buffers that `statements` write, those that a rebase moves included."""
    found: set[UOp] = set()
    for statement, _ in walk(statements):
        found.update([use.buffer for use in written(statement)])
        if statement.op is Ops.STORE:
            found.update(targets(statement))
    return found


def loads(statements: Iterable[UOp]) -> list[UOp]:
    """Every LOAD under `statements`, those of gathered indices included, in source order."""
    nodes = [node for statement, _ in walk(statements) for node in evaluated(statement)]
    return list(dict.fromkeys(direct(nodes, Ops.LOAD)))


def read(statements: Iterable[UOp]) -> set[UOp]:
    """The buffers that `statements` load from."""
    return {node.src[0] for node in loads(statements)}


def touched(statements: Iterable[UOp]) -> set[UOp]:
    """The buffers that `statements` load from, write, wait for or free."""
    sources = [source for statement, _ in walk(statements) for source in statement.src]
    return read(statements).union(direct(sources, Ops.BUFFER))


def stores_to(statements: Iterable[UOp], buffer: UOp) -> list[UOp]:
    """The STOREs under `statements` that change `buffer`, by rebase too."""
    return [one for one in find(statements, Ops.STORE) if buffer in targets(one)]


def targets(store: UOp) -> Statements:
    """The buffers a STORE changes, those its rebase moves included."""
    count = len(store.arg.places)
    return store.src[:count] + store.src[2 * count :]


def tied(statements: Iterable[UOp]) -> list[set[UOp]]:
    """The states that a rebase moves together with their leading one: they share dimensions."""
    stores = find(statements, Ops.STORE)
    return [set(targets(one)) for one in stores if one.arg.rebase]


def uses(access: Access, wanted: set[Atom]) -> bool:
    """True if an index of `access` depends on one of the atoms."""
    return any(not wanted.isdisjoint(atoms(index)) for index in access.indices)


def names_in(kernel: Kernel) -> set[str]:
    """Every name of a kernel: of parameters, variables, buffers, values and axes."""
    names = names_declared(kernel.body)
    names.update([param.arg.name for param in kernel.params])
    return names.union([variable.arg[0] for variable in kernel.variables])


def names_declared(statements: Iterable[UOp]) -> set[str]:
    """The names of buffers, values and axes, those of boxes included, that `statements` declare."""
    found = {""}
    for statement, _ in walk(statements):
        found.add(declared_name(statement))
        found.update(axes(statement))
    return found - {""}


def fresh(name: str, taken: set[str]) -> str:
    """`name`, with primes until it is new; from then on it is taken."""
    while name in taken:
        name += "'"
    taken.add(name)
    return name


# Changing


def nested(kernel: Kernel, action: str) -> Kernel:
    """The kernel, if every statement stands in loops that may hold it.

    Raises: Illegal.
    """
    for statement, around in walk(kernel.body):
        for found in misplaced(statement, around):
            raise Illegal(f"{action}: {found}")
    return kernel


def followed(body: Iterable[UOp], env: Env) -> dict[Atom, Index]:
    """`env` with the axes whose bounds it changes: loops that run as far as an outer axis says."""
    found = dict(env)
    for inner in loops_in(body):
        atom = atom_of(inner)
        extent = substitute(inner.arg.extent, found)
        if atom is not None and extent.hi != atom.hi + 1:
            found[atom] = axis(inner.arg.axis, extent)
    return found


def edit(statements: Iterable[UOp], change: Change) -> Statements:
    """Statements with `change` applied to each, children first."""
    out: list[UOp] = []
    for statement in statements:
        if statement.op in HOLDERS:
            body = edit(statement.src, change)
            statement = statement if body == statement.src else statement.replace(src=body)
        out += change(statement)
    return tuple(out)


def in_block(kernel: Kernel, buffer: UOp, change: BodyChange) -> Kernel:
    """The kernel with the block changed that declares `buffer`."""

    def walk(body: Statements) -> Statements:
        if buffer in body or buffer in kernel.params:
            return change(body)
        return tuple([inside(one) for one in body])

    def inside(statement: UOp) -> UOp:
        if statement.op not in HOLDERS:
            return statement
        return statement.replace(src=walk(statement.src))

    return kernel._replace(body=walk(kernel.body))


def edit_loops(kernel: Kernel, name: str, change: Change) -> Kernel:
    """The kernel with `change` applied to every loop of axis `name`.

    Raises: Illegal if there is none.
    """
    loops_of(kernel, name)

    def on(statement: UOp) -> Iterable[UOp]:
        is_ours = statement.op is Ops.LOOP and statement.arg.axis == name
        return change(statement) if is_ours else (statement,)

    return kernel._replace(body=edit(kernel.body, on))


class Masking(Rebuild):
    """Rebuilds a body and adds a mask to what reaches memory outside it.

    A load of an outside buffer is masked if its index depends on `when`; a store to an outside
    buffer always is: an iteration that does not exist must leave no trace.
    """

    def __init__(self, env: Env, mask: Mask, when: set[Atom], inside: set[UOp]) -> None:
        super().__init__({}, env)
        self.mask = mask
        self.when = when
        self.inside = {self.node(buffer) for buffer in inside}

    def _rebuild(self, node: UOp) -> UOp:
        new = super()._rebuild(node)
        if not self.mask:
            return new
        if new.op is Ops.STORE:
            return new.replace(arg=new.arg._replace(places=self._places(new)))
        if not new.src or new.src[0] in self.inside:
            return new
        if new.op in (Ops.COPY, Ops.MMA):
            raise Illegal(f"a mask does not reach the tile statement on {new.src[0].arg.name}")
        if new.op is Ops.LOAD and uses(new.arg, self.when):
            return load(new.src[0], self._masked(new.arg))
        return new

    def _places(self, node: UOp) -> tuple[Access, ...]:
        places = [*node.arg.places]
        for k, target in enumerate(node.src[: len(places)]):
            if target not in self.inside:
                places[k] = self._masked(places[k])
        return tuple(places)

    def _masked(self, access: Access) -> Access:
        return access._replace(mask=both(access.mask, self.mask))


class Readdressed(Rebuild):
    """Rebuilds with some buffers replaced by others, and their accesses changed to fit."""

    def __init__(self, nodes: Mapping[UOp, UOp], change: Places) -> None:
        super().__init__(nodes, {})
        self.moved = nodes
        self.change = change

    def _rebuild(self, node: UOp) -> UOp:
        if node.op is Ops.LOAD and node.src[0] in self.moved:
            node = node.replace(arg=self.change(node.arg))
        elif node.op is Ops.STORE:
            places = [*node.arg.places]
            for k, target in enumerate(node.src[: len(places)]):
                if target in self.moved:
                    places[k] = self.change(places[k])
            node = node.replace(arg=node.arg._replace(places=tuple(places)))
        return super()._rebuild(node)


def constraint(value: Index) -> Mask:
    """The mask `value >= 0`."""
    return mask_of([value])
