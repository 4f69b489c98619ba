"""The table of a language of the C family: how it spells types, numbers, operators and memory.

In: a vendor's words. Out: a `Dialect`. Next file: c_family.py.
"""

import math
from collections.abc import Mapping
from ctypes import c_float
from typing import NamedTuple, TypeVar

from tinycore.dtype import NARROW, DType, Scalar, dtypes, to_dtype
from tinycore.runtime.contract import Unsupported
from tinycore.uop.ops import BINARY, CASTS, Ops, UOp

Word = TypeVar("Word")

_SIGNS = {Ops.IDIV: "/", Ops.MOD: "%", Ops.OR: "|", Ops.SHL: "<<", Ops.SHR: ">>"}
_INFIX = BINARY - {Ops.MAX, Ops.MIN}
INTEGER = {op: f"{{0}} {_SIGNS.get(op, op.row.text)} {{1}}" for op in _INFIX}
INTEGER |= {Ops.NEG: "0 - {0}", Ops.WHERE: "{0} ? {1} : {2}"}
FLOAT = INTEGER | {Ops.NEG: "-({0})", Ops.RECIP: "1 / {0}"}
BOOL = INTEGER | {Ops.ADD: "{0} | {1}", Ops.MUL: "{0} & {1}"}
BOOL |= {Ops.LT: "!{0} & {1}", Ops.XOR: "{0} != {1}"}
PLAIN = {"f": FLOAT, "i": INTEGER, "u": INTEGER, "b": BOOL}
"""Operators by the kind of what they are applied to."""

OVERFLOWING = (Ops.ADD, Ops.MUL, Ops.NEG, Ops.SHL)
"""What C leaves undefined for signed integers, as it computes those narrower than int too."""


class Reach(NamedTuple):
    """A load and a store of one element or of neighbours.

    Both take {buffer}, {offset} in elements, {lanes}, and the {type} of all lanes; `store` also
    takes a {value} of that type.
    """

    load: str = "{buffer}[{offset}]"
    store: str = "{buffer}[{offset}] = {value};"


class Memory(NamedTuple):
    """How the buffers of one space are declared and reached.

    `declared` takes {type}, {name}, {number}, {size} in elements and {alignment} in bytes;
    `constant` is for parameters that are only read. No two parameters share memory. `aligned`
    reaches neighbours whose number divides the first offset, `unaligned` any. Where `texel` is more
    than one, only aligned neighbours of that number can be stored: a parameter with other stores is
    "global".
    """

    declared: str
    constant: str = ""
    one: Reach = Reach()
    aligned: Reach | None = None
    unaligned: Reach | None = None
    texel: int = 1


class Dialect(NamedTuple):
    """The words of one language; most are templates with fields in braces.

    `kernel` takes {preamble}, {name}, {parameters}, {group} with the memory of a group, {threads}
    in one, and {body}. `types` are by dtype, of its size in memory (a bool is a byte); a narrow
    float that is spelled like the unsigned integer of its size is kept as bits. `spaces`: "global"
    for parameters and "image" for those read as such, "group", "packed" for arrays of one thread.
    `number` is that of the group ("grid") and of the "thread" in it. `ops` spell what C has no
    operator for, or otherwise, DOT and EXCHANGE if it has them; `overloads` replace the spelling
    for one dtype, by (op, dtype); `casts` conversions by (old, new). `preamble` has lines by the
    names of dtypes, ops and spaces of parameters, for programs that use them; "" is for all.
    `infinity` and `nan` are float32.
    `vector` is the type of so many {lanes}, for each of `widths`, which rise: a type of two words
    needs another name in the preamble; `vector_of` makes one of {values}, `lane` is number {lane}
    of it. `wraps`: signed integers do, and none is narrower than int. The language's own braces are
    doubled; `cast` and `bitcast` have none.
    """

    name: str
    kernel: str
    types: Mapping[str, str]
    spaces: Mapping[str, Memory]
    number: Mapping[str, str]
    barrier: str
    ops: Mapping[Ops, str]
    preamble: Mapping[str, str] = {}
    suffixes: Mapping[str, str] = {}
    casts: Mapping[tuple[str, str], str] = {}
    overloads: Mapping[tuple[Ops, str], str] = {}
    variable: str = "const {type} {name}"
    separator: str = ", "
    constant: str = "const {type} {name} = {value};"
    register: str = "{type} {name} = {value};"
    loop: str = "for ({type} {name} = 0; {name} < {end}; {name}++)"
    cast: str = "({type})({value})"
    bitcast: str = "as<{type}>({value})"
    fma: str = "fma({0}, {1}, {2})"
    infinity: str = "INFINITY"
    nan: str = "NAN"
    widths: tuple[int, ...] = ()
    vector: str = "{type}{lanes}"
    vector_of: str = "({type})({values})"
    lane: str = "{name}[{lane}]"
    wraps: bool = False

    @property
    def op_names(self) -> tuple[str, ...]:
        """The scalar ops it spells, for `Caps.ops`."""
        return tuple(sorted(op.name for op in {*FLOAT, *CASTS, *self.ops}))

    def word(self, table: Mapping[str, Word], key: str) -> Word:
        """A word of a table. Raises: Unsupported."""
        if key not in table:
            known = ", ".join(table)
            raise Unsupported(f"render: {self.name} has no word for {key}, only for {known}")
        return table[key]

    def type_of(self, dtype: DType) -> str:
        """The type of one lane in a register."""
        return self.word(self.types, dtype.name)

    def converted(self, dtype: DType, value: str) -> str:
        """A value as another type, the way the language does it."""
        return self.cast.format(type=self.type_of(dtype), value=value)

    def is_bits(self, dtype: DType) -> bool:
        """True for a narrow float kept as an unsigned integer."""
        integer = self.types.get(f"uint{dtype.bits}")
        return dtype.scalar in NARROW and self.type_of(dtype) == integer

    def literal(self, value: Scalar, dtype: DType) -> str:
        """One number, exactly."""
        if dtype.kind == "b":
            return str(bool(value)).lower()
        if self.is_bits(dtype):
            return self.literal(int(dtype.to_bits(value)), to_dtype(f"uint{dtype.bits}"))
        if dtype in NARROW:
            exact = float(dtype.decode(dtype.to_bits(value).view(dtype.storage)))
            return self.converted(dtype, self.literal(exact, dtypes.float32))
        if dtype.is_float:
            return self._float(value if dtype.itemsize == 8 else c_float(value).value, dtype)
        if dtype.itemsize < 4:
            return self.converted(dtype, str(value))
        suffix = self.suffixes.get(dtype.name, "")
        if value == dtype.min < 0:  # its size is out of range
            return f"({value + 1}{suffix} - 1)"
        return f"{value}{suffix}"

    def _float(self, value: float, dtype: DType) -> str:
        text = repr(value)
        if math.isfinite(value):
            text = text if len(text) < 9 else value.hex()
            return text + self.suffixes.get(dtype.name, "")
        text = text.replace("inf", self.infinity).replace("nan", self.nan)
        return text if dtype is dtypes.float32 else self.converted(dtype, text)

    def spelling(self, node: UOp) -> str:
        """A scalar op; it takes its sources. Raises: Unsupported."""
        op, old, new = node.op, node.src[-1].dtype, node.dtype
        if op is Ops.BITCAST:
            kind, before = self.type_of(new), self.type_of(old)
            return "{0}" if kind == before else self.bitcast.format(type=kind, value="{0}")
        in_bits = self.is_bits(old) or self.is_bits(new)
        found = self.overloads.get((op, old.name)) or self.ops.get(op)
        found = found or PLAIN[old.kind].get(op)
        if op is Ops.CAST:
            found = self.casts.get((old.name, new.name))
            if not found and not in_bits:
                truth = f"{{0}} != {self.literal(0, old.scalar)}"
                return truth if new.kind == "b" else self.converted(new, "{0}")
        if not found or (in_bits and op not in (Ops.CAST, Ops.WHERE, Ops.EXCHANGE)):
            pair = f"{op.name} from {old!r} to {new!r}"
            raise Unsupported(f"render: {pair} has no spelling in {self.name}")
        wide = dtypes.uint64 if old.itemsize == 8 else dtypes.uint32
        if op not in OVERFLOWING or not old.is_int or self.wraps or old.scalar is wide:
            return found
        sources = [self.converted(wide, source) for source in ("{0}", "{1}")]
        return self.converted(old, found.format(*sources))
