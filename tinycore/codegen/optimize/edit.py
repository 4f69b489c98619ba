"""Tools that every action uses to change a kernel tree: find loops, replace them, add masks.

In: a kernel and the name of an axis. Out: the kernel with the loops of that axis rebuilt. Next
file: split.py.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tinycore.errors import TinycoreError
from tinycore.uop import Ops, UOp
from tinycore.uop.index import Atom, Index, Mask, atoms, axes_over, axis, both
from tinycore.uop.sites import TILES, declared_name, evaluated, under, uses
from tinycore.uop.tree import (
    BODIES,
    STORES,
    Access,
    Kernel,
    Rebuild,
    load,
    loop,
    rebuild,
)

Nodes = Iterable[UOp]
Statements = tuple[UOp, ...]
Change = Callable[[UOp], Nodes]
Places = Callable[[UOp, Access], Access]
Indices = tuple[Index, ...]


class Illegal(TinycoreError):
    """An action does not apply to this kernel; the text says why."""


# Finding


def find(statements: Nodes, *ops: Ops) -> list[UOp]:
    """Every statement of these ops under `statements`, in source order."""
    return direct(under(statements), *ops)


def direct(nodes: Nodes, *ops: Ops) -> list[UOp]:
    """Those of `nodes` themselves that have one of these ops."""
    return [node for node in nodes if node.op in ops]


def loops_in(statements: Nodes) -> list[UOp]:
    """Every loop under `statements`, in source order."""
    return find(statements, Ops.LOOP)


def loops_named(statements: Nodes, name: str) -> list[UOp]:
    """Every loop of an axis under `statements`."""
    return [one for one in loops_in(statements) if one.name == name]


def loops_of(kernel: Kernel, name: str) -> list[UOp]:
    """Every loop of an axis. Raises: Illegal if there is none."""
    found = loops_named(kernel.body, name)
    if not found:
        raise Illegal(f"no loop of axis {name}")
    return found


def place_of(node: UOp) -> str:
    """Where the iterations of a loop run; nowhere for other statements."""
    return str(node.map) if node.is_loop else ""


def atom_of(node: UOp) -> Atom | None:
    """The index atom of a loop's axis; None if it runs once."""
    value = node.index
    return value.terms[0][0] if value.terms else None


def atoms_in(statements: Nodes) -> frozenset[Atom]:
    """The axes of all loops under `statements`."""
    return atoms(*[one.index for one in loops_in(statements)])


def declared(statements: Nodes) -> set[UOp]:
    """The buffers that `statements` declare, at any depth."""
    return set(find(statements, Ops.BUFFER))


def buffer_named(kernel: Kernel, name: str) -> UOp:
    """The parameter or declared buffer of this name. Raises: Illegal if there is none."""
    for buffer in (*kernel.params, *find(kernel.body, Ops.BUFFER)):
        if buffer.name == name:
            return buffer
    raise Illegal(f"no buffer {name}")


def targets(statement: UOp) -> list[UOp]:
    """The buffers that a statement changes, those that a rebase moves last."""
    return direct(statement.src, Ops.BUFFER) if statement.op in STORES else []


def changed(statements: Nodes) -> set[UOp]:
    """The buffers that `statements` change."""
    return {buffer for statement in under(statements) for buffer in targets(statement)}


def nodes_in(statements: Nodes) -> dict[UOp, None]:
    """Every scalar node that `statements` evaluate, in source order."""
    return dict.fromkeys([node for one in under(statements) for node in evaluated(one)])


def loads(statements: Nodes) -> list[UOp]:
    """Every LOAD under `statements`, those of gathered indices included."""
    return direct(nodes_in(statements), Ops.LOAD)


def loads_of(statements: Nodes, buffer: UOp) -> list[UOp]:
    """The LOADs of a buffer under `statements`."""
    return [node for node in loads(statements) if node.source is buffer]


def read(statements: Nodes) -> set[UOp]:
    """The buffers that `statements` load from."""
    return {node.source for node in loads(statements)}


def touched(statements: Nodes) -> set[UOp]:
    """The buffers that `statements` load from, write, wait for or free."""
    sources = [source for statement in under(statements) for source in statement.src]
    return read(statements).union(direct(sources, Ops.BUFFER))


def stores_to(statements: Nodes, buffer: UOp) -> list[UOp]:
    """The STOREs under `statements` that change `buffer`, by rebase too."""
    return [one for one in find(statements, Ops.STORE) if buffer in targets(one)]


def own_places(statements: Nodes, value: Index) -> dict[UOp, set[int]]:
    """The dimensions of each buffer in which every access is at the axis `value` itself."""
    found: dict[UOp, set[int]] = {}
    for statement in under(statements):
        for buffer, access, _ in uses(statement):
            same = {k for k, index in enumerate(access.indices) if index is value}
            found[buffer] = found.get(buffer, same) & same
    return found


def names_in(kernel: Kernel) -> set[str]:
    """Every name of a kernel."""
    return names_declared((*kernel.params, *kernel.variables, *kernel.body))


def names_declared(statements: Nodes) -> set[str]:
    """The names of buffers, values and axes that `statements` declare."""
    return {declared_name(statement) for statement in under(statements)} - {""}


def fresh(name: str, taken: set[str]) -> str:
    """`name`, with primes until it is new; from then on it is taken."""
    while name in taken:
        name += "'"
    taken.add(name)
    return name


# Changing


def refit(node: UOp, **fields: Any) -> UOp:
    """A statement with some fields of its argument changed."""
    return node.replace(arg=node.arg._replace(**fields))


def renewed(node: UOp, **fields: Any) -> UOp:
    """A loop with some fields changed, and its body at the new axis."""
    new = refit(node, **fields)
    return new.over(placed(node.src, {node.index: new.index}))


def edit(statements: Nodes, change: Change) -> Statements:
    """Statements with `change` applied to each, children first."""
    out: list[UOp] = []
    for statement in statements:
        if statement.op in BODIES:
            statement = statement.over(edit(statement.src, change))
        out += change(statement)
    return tuple(out)


def in_block(kernel: Kernel, buffer: UOp, change: Callable[[Statements], Statements]) -> Kernel:
    """The kernel with the block changed that declares `buffer`."""
    blocks = [one for one in find(kernel.body, *BODIES) if buffer in one.src]
    new = {one: one.over(change(one.src)) for one in blocks}
    body = rebuild(kernel.body, new) if new else change(kernel.body)
    return kernel._replace(body=body)


def edit_loops(kernel: Kernel, name: str, change: Change) -> Kernel:
    """The kernel with `change` applied to every loop of an axis. Raises: Illegal if none."""
    ours = loops_of(kernel, name)
    body = edit(kernel.body, lambda one: change(one) if one in ours else (one,))
    return kernel._replace(body=body)


def is_inside(buffer: UOp, place: Access) -> bool:
    """True if a place is in its buffer even where its mask is false."""
    for index, extent in zip(place.indices, buffer.arg.shape, strict=False):
        if index.lo < 0 or index.hi >= extent.lo:
            return False
    return True


def readdressed(node: UOp, change: Places) -> UOp:
    """A load or store at the places that `change` gives for each buffer and place."""
    if node.is_load:
        return load(node.source, change(node.source, node.arg))
    if node.is_store:
        return refit(node, places=tuple(map(change, node.src, node.places)))
    return node


def placed(body: Statements, places: Mapping[Index, Index], mask: Mask = ()) -> Statements:
    """Statements where axes are at other values, under a mask; extents follow.

    An iteration that does not exist leaves no trace: its stores are masked, and its loads where
    places move, but in memory of its own.
    """
    own = declared(body)
    tiles = changed(find(body, *TILES)) - own
    if mask and tiles:
        name = min(one.name for one in tiles)
        raise Illegal(f"a mask does not reach the tile statement on {name}")
    env = {atom: value for place, value in places.items() for atom, _ in place.terms}
    for inner in loops_in(body):
        extent = inner.extent.substitute(env)
        if extent.hi != inner.extent.hi:
            shorter = axis(inner.name, extent)
            env |= dict.fromkeys(atoms(inner.index), shorter)
    names = names_declared(own)
    moved = atoms(*places.values())

    def masked(buffer: UOp, place: Access) -> Access:
        if buffer.name in names and is_inside(buffer, place):
            return place
        return place._replace(mask=both(place.mask, mask))

    def look(node: UOp) -> UOp:
        still = node.is_load and moved.isdisjoint(atoms(*node.arg.indices))
        return node if still else readdressed(node, masked)

    return Rebuild(values_around(body), env, look if mask else None).body(body)


def values_around(body: Statements) -> dict[UOp, UOp]:
    """The LETs that a body uses and does not hold, which no change of it reaches."""
    inside = {*under(body)}
    return {one: one for one in direct(nodes_in(body), Ops.LET) if one not in inside}


def each(buffer: UOp, name: str, make: Callable[[Access], UOp]) -> UOp:
    """A statement for each element of a buffer, in par loops over name0, name1, ..."""
    shape = buffer.shape
    statement = make(Access(axes_over(name, shape)))
    for k, extent in reversed([*enumerate(shape)]):
        statement = loop("par", f"{name}{k}", extent, [statement])
    return statement
