"""Where each statement of a kernel stands: what is around it, what names mean there, what it uses.

Comes in: a `Kernel`. Goes out: one `Site` a statement, in source order, and the places in buffers
that a statement reads and writes. uop/spec.py checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from tinycore.dtype import dtypes
from tinycore.uop.affine import Mask, atoms
from tinycore.uop.index import Index, axis
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Access, BlockArg, Kernel, values, walk

SEQ, ROLES, ROLE = "seq", "roles", "role"


class Name(NamedTuple):
    """What a name means: a node, and how many statements were around its declaration."""

    node: UOp
    depth: int


class Site(NamedTuple):
    """A statement, the block it stands in, and the LOOPs, IFs and BLOCKs around it."""

    kernel: Kernel
    boundary: str
    statement: UOp
    body: tuple[UOp, ...]
    around: tuple[UOp, ...]
    names: Mapping[str, Name]

    @property
    def given(self) -> list[Index]:
        """What holds wherever the statement runs: each is at least zero."""
        found: list[Index] = []
        for outer in self.around:
            if outer.op is Ops.IF:
                found += outer.arg
            elif outer.op is Ops.LOOP and (outer.arg.extent.terms or outer.arg.extent.hi < 1):
                found.append(outer.arg.extent - 1 - axis_value(outer))
        return found + _box_limits(self.statement)

    def inside(self, buffer: UOp) -> tuple[UOp, ...]:
        """What is around the statement but not around the declaration of `buffer`."""
        known = self.names.get(buffer.arg.name)
        return self.around[known.depth :] if known is not None else self.around


class Use(NamedTuple):
    """A place that a statement touches: `how` is "load", "store" or a combine."""

    buffer: UOp
    access: Access
    how: str

    @property
    def indices(self) -> tuple[Index, ...]:
        """The sequence number and the indices."""
        sequence = self.access.sequence
        return self.access.indices if sequence is None else (sequence, *self.access.indices)


Rule = Callable[[Site], str | None]  # what is wrong with a statement, if anything is


def sites(kernel: Kernel, boundary: str) -> Iterator[Site]:
    """Every statement of `kernel` with its surroundings."""
    names = {param.arg.name: Name(param, 0) for param in kernel.params}
    names |= {variable.arg[0]: Name(variable, 0) for variable in kernel.variables}
    whole = UOp(Ops.BLOCK, dtypes.void, kernel.body, BlockArg(SEQ))
    yield from _block(Site(kernel, boundary, whole, (), (), names), kernel.body)


def _block(outer: Site, body: tuple[UOp, ...]) -> Iterator[Site]:
    names = dict(outer.names)
    for statement in body:
        site = outer._replace(statement=statement, body=body, names=names)
        yield site
        name = declared_name(statement)
        known = {name: Name(statement, len(site.around))} if name else {}
        if statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
            around = (*site.around, statement)
            inner = site._replace(around=around, names=names | known)
            yield from _block(inner, statement.src)
        else:
            names.update(known)


def declared_name(statement: UOp) -> str:
    """The name that a statement puts in scope: of a buffer, a value or an axis."""
    if statement.op is Ops.BUFFER:
        name: str = statement.arg.name
        return name
    if statement.op is Ops.LET:
        return str(statement.arg)
    return str(statement.arg.axis) if statement.op in (Ops.LOOP, Ops.BLOCK) else ""


def axis_value(statement: UOp) -> Index:
    """The axis that a LOOP or a role runs over."""
    arg = statement.arg
    return axis(arg.axis, arg.extent if statement.op is Ops.LOOP else arg.replicas)


def box_axes(statement: UOp) -> dict[str, Index]:
    """The box axes of a COPY or a MMA."""
    if statement.op not in (Ops.COPY, Ops.MMA):
        return {}
    return {name: axis(name, extent) for name, extent in statement.arg.box}


def _box_limits(statement: UOp) -> list[Index]:
    if statement.op not in (Ops.COPY, Ops.MMA):
        return []
    box = [(name, extent) for name, extent in statement.arg.box if extent.terms]
    return [extent - 1 - axis(name, extent) for name, extent in box]


# what a statement uses


def uses(statement: UOp) -> list[Use]:
    """The places that a statement reads and writes, those of its expressions first."""
    found = [Use(node.src[0], node.arg, "load") for node in loads(evaluated(statement))]
    return found + written(statement) + _multiplied(statement)


def written(statement: UOp) -> list[Use]:
    """The places that a statement writes."""
    arg = statement.arg
    if statement.op is Ops.STORE:
        pairs = zip(statement.src, arg.places, strict=False)
        return [Use(buffer, place, arg.combine or "store") for buffer, place in pairs]
    if statement.op is Ops.COPY:
        return [Use(statement.src[0], arg.place, "store")]
    return [Use(statement.src[0], arg.acc, "sum")] if statement.op is Ops.MMA else []


def _multiplied(statement: UOp) -> list[Use]:
    if statement.op is not Ops.MMA:
        return []
    _, a, b = statement.src
    return [Use(a, statement.arg.a, "load"), Use(b, statement.arg.b, "load")]


def loads(nodes: Iterable[UOp]) -> list[UOp]:
    """The LOADs among `nodes`."""
    return [node for node in nodes if node.op is Ops.LOAD]


def evaluated(statement: UOp) -> list[UOp]:
    """The scalar nodes that a statement evaluates, those under gathered indices too.

    A LET is among them, what it was computed from is not.
    """
    work = [*values(statement), *_gathered(statement)]
    found: dict[UOp, None] = {}
    while work:
        node = work.pop()
        if node in found:
            continue
        found[node] = None
        if node.op is not Ops.LET:
            work += [source for source in node.src if source.op is not Ops.BUFFER]
            work += _gathered(node)
    return list(found)


def _gathered(node: UOp) -> list[UOp]:
    found = []
    for value in index_values(node):
        found += [atom.node for atom in atoms(value) if isinstance(atom.node, UOp)]
    return found


def index_values(node: UOp) -> list[Index]:
    """The index values in the fields of a statement or of a scalar node."""
    read = _INDEX_VALUES.get(node.op)
    return [] if read is None else list(read(node))


def _of_access(access: Access) -> list[Index]:
    sequence = [] if access.sequence is None else [access.sequence]
    return [*sequence, *access.indices, *access.mask]


def _of_accesses(accesses: Iterable[Access]) -> list[Index]:
    return [value for access in accesses for value in _of_access(access)]


def _of_copy(node: UOp) -> list[Index]:
    return [*_of_access(node.arg.place), *_extents(node)]


def _of_mma(node: UOp) -> list[Index]:
    places = (node.arg.acc, node.arg.a, node.arg.b)
    return [*_of_accesses(places), *_extents(node)]


def _extents(node: UOp) -> list[Index]:
    return [extent for _, extent in node.arg.box]


def _of_slots(node: UOp) -> list[Index]:
    return [sequence for sequence in node.arg if sequence is not None]


def _of_mask(node: UOp) -> Mask:
    mask: Mask = node.arg
    return mask


_INDEX_VALUES: dict[Ops, Callable[[UOp], Iterable[Index]]] = {
    Ops.LOAD: lambda node: _of_access(node.arg),
    Ops.STORE: lambda node: _of_accesses(node.arg.places),
    Ops.COPY: _of_copy,
    Ops.MMA: _of_mma,
    Ops.WAIT: _of_slots,
    Ops.FREE: _of_slots,
    Ops.IF: _of_mask,
    Ops.MASK: _of_mask,
    Ops.INDEX: lambda node: [node.arg],
    Ops.LOOP: lambda node: [node.arg.extent],
    Ops.BUFFER: lambda node: node.arg.shape,
}


def under(statements: Iterable[UOp]) -> list[UOp]:
    """`statements` and all statements in them, in source order."""
    return [statement for statement, _ in walk(statements)]
