"""Reads what kernel text declares: buffers with their fields, parameters, box and lane axes.

Comes in: the reader of a line, after the word that asks for a declaration. Goes out: BUFFER and
VARIABLE nodes, whose names are then in the reader's scope. Statements: uop/parser.py.
"""

from __future__ import annotations

from collections.abc import Callable

from tinycore.dtype import dtypes
from tinycore.uop.expressions import TYPES, Box, Expressions
from tinycore.uop.index import Index, axis, variable
from tinycore.uop.lexer import LANES, RESERVED
from tinycore.uop.monoids import MONOIDS
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import GLOBAL, BufferArg, Own


def parameters(reader: Expressions) -> tuple[tuple[UOp, ...], tuple[UOp, ...]]:
    """(X f32[n], n in 1..8): buffers, then variables, which may be extents of the buffers."""
    cursor = reader.cursor
    cursor.expect("(")
    start = cursor.at
    variables = tuple(_variables(reader))
    cursor.move(start)
    params = []
    while cursor.token != ")" and not _is_variable(reader):
        params.append(declared(reader, GLOBAL))
        _separator(reader, ")")
    for _ in variables:
        _variable(reader)
        _separator(reader, ")")
    cursor.expect(")")
    return tuple(params), variables


def declared(reader: Expressions, space: str) -> UOp:
    """NAME type[shape] space fields; the space may be left out where `space` is given."""
    cursor = reader.cursor
    name = cursor.name("a buffer")
    dtype = reader.element_type()
    cursor.expect("[")
    extents, names = _shape(reader)
    word = cursor.token
    if not space or (word[:1].isalpha() and word not in _FIELDS):
        space = cursor.name("a space: reg, packed, group, global or image")
    arg = BufferArg(name, extents, space, names=names)
    while cursor.token in _FIELDS:
        field = _FIELDS[cursor.advance()]
        arg = field(reader, arg)
    node = UOp(Ops.BUFFER, dtype, (), arg)
    reader.names[name] = node
    return node


def read_over(reader: Expressions) -> Box:
    """The axes after the word `over` of this statement, put in scope; the cursor stays before it
    unless it stands there."""
    cursor = reader.cursor
    start = cursor.at
    stays = cursor.token != "over"
    box: Box = {}
    if not cursor.seek("over"):
        return box
    while True:
        name = cursor.name("an axis")
        cursor.expect(":")
        reader.boxed(name, box)
        if not cursor.accept(","):
            break
    if stays:
        cursor.move(start)
    return box


def _separator(reader: Expressions, end: str) -> None:
    if not reader.cursor.accept(",") and reader.cursor.token != end:
        reader.cursor.fail(f"',' or '{end}'")


# variables


def _variables(reader: Expressions) -> list[UOp]:
    """Those of the rest of the line."""
    found = []
    while reader.cursor.token:
        if _is_variable(reader):
            found.append(_variable(reader))
        else:
            reader.cursor.advance()
    return found


def _is_variable(reader: Expressions) -> bool:
    """NAME in, or NAME type in."""
    cursor = reader.cursor
    if not cursor.token[:1].isalpha() or cursor.token in TYPES:
        return False
    after = cursor.tokens[cursor.at + 1 : cursor.at + 3]
    return after[0] == "in" or (after[0] in TYPES and after[1] == "in")


def _variable(reader: Expressions) -> UOp:
    cursor = reader.cursor
    name = cursor.name("a variable")
    dtype = dtypes.int32 if cursor.token == "in" else reader.element_type()
    cursor.expect("in")
    lo = reader.integer()
    cursor.expect("..")
    hi = reader.integer()
    reader.names[name] = variable(name, lo, hi)
    return UOp(Ops.VARIABLE, dtype, (), (name, lo, hi))


# buffers


def _shape(reader: Expressions) -> tuple[tuple[Index, ...], tuple[str, ...]]:
    """Extents up to ']', each perhaps with the name of its dimension."""
    cursor = reader.cursor
    extents: list[Index] = []
    names: list[str] = []
    while not cursor.accept("]"):
        if cursor.peek() == ":":
            names.append(cursor.name("the name of a dimension"))
            cursor.expect(":")
        extents.append(reader.index())
        _separator(reader, "]")
    if names and len(names) != len(extents):
        cursor.refuse(f"found {len(names)} names of {len(extents)} dimensions; name all or none.")
    return tuple(extents), tuple(names)


def _slots(reader: Expressions, arg: BufferArg) -> BufferArg:
    return arg._replace(slots=reader.integer())


def _init(reader: Expressions, arg: BufferArg) -> BufferArg:
    if reader.cursor.token not in MONOIDS:
        reader.cursor.fail(f"one of {', '.join(MONOIDS)}")
    return arg._replace(init=reader.cursor.advance())


def _swizzle(reader: Expressions, arg: BufferArg) -> BufferArg:
    bits = reader.integer()
    base = reader.integer()
    return arg._replace(swizzle=(bits, base, reader.integer()))


def _own(reader: Expressions, arg: BufferArg) -> BufferArg:
    """own t//4 = 8*(r//16) + r%8: r is a dimension; t is a lane of a warpgroup, unless `over t:8`
    counts other lanes."""
    outer = reader.names
    reader.names = dict(outer)
    _lane_axes(reader)
    read_over(reader)
    lane = reader.index()
    reader.cursor.expect("=")
    for name, extent in zip(arg.names, arg.shape, strict=False):
        reader.names[name] = axis(name, extent)
    element = reader.index()
    if reader.cursor.token == "over":
        read_over(reader)
    reader.names = outer
    return arg._replace(own=Own(lane, element))


def _lane_axes(reader: Expressions) -> None:
    """Every name before '=' that is no size."""
    start = reader.cursor.at
    while reader.cursor.token not in ("", "="):
        token = reader.cursor.advance()
        known = reader.names.get(token)
        is_size = isinstance(known, Index) and not known.terms
        if token[0].isalpha() and token not in RESERVED and not is_size:
            reader.names[token] = axis(token, LANES)
    reader.cursor.move(start)


_FIELDS: dict[str, Callable[[Expressions, BufferArg], BufferArg]] = {
    "slots": _slots,
    "=": _init,
    "swizzle": _swizzle,
    "own": _own,
}
