"""Reads ELF64 relocatable objects, the form LLVM emits for Linux and the BSDs.

In: the bytes of an object file. Out: an `Object` of sections, symbols and relocations, as the
file has them. Next: image.py places it in memory.

Source: System V ABI, chapters 4 and 5 (https://refspecs.linuxfoundation.org/elf/gabi4+/).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

MAGIC = b"\x7fELF\x02\x01"  # 64-bit, little endian

MACHINE_X86_64 = 62
MACHINE_AARCH64 = 183

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")

_SYMBOL_TABLE = 2
_RELOCATIONS_WITH_ADDEND = 4
_NO_BITS = 8
_WRITE = 1
_ALLOCATE = 2
_GLOBAL = 1
_FUNCTION = 2

# Tables for stack unwinding: kernels never unwind, and nothing in them reads these.
_UNUSED = (".eh_frame", ".rela.eh_frame")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the program: bytes to place at an aligned address. Units: bytes."""

    index: int
    size_bytes: int
    alignment: int
    writable: bool
    content: bytes


class Symbol(NamedTuple):
    """A named place, `value` bytes into a section; section 0 means outside of this object."""

    name: str
    section: int
    value: int
    is_function: bool


class Relocation(NamedTuple):
    """A hole in a section, to be filled from a symbol's address once that is known."""

    section: int
    offset: int
    kind: int
    symbol: int
    addend: int


@dataclass(frozen=True, slots=True)
class Object:
    """An object file, read but not placed."""

    machine: int
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocations: tuple[Relocation, ...]


class _Header(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


def is_elf(data: bytes) -> bool:
    """Whether these bytes are an ELF64 little-endian file."""
    return data.startswith(MAGIC)


def machine_of(data: bytes) -> int:
    """The number of the machine an ELF file is for; 0 if it is cut short."""
    return int.from_bytes(data[18:20], "little")


def read_object(data: bytes) -> Object:
    """The parts of an object file.

    Raises: ValueError if the file is cut short or is no relocatable object.
    """
    try:
        return _read(data)
    except (struct.error, IndexError) as error:
        raise ValueError(f"the object file is damaged: {error}") from error


def _read(data: bytes) -> Object:
    header = _HEADER.unpack_from(data)
    kind, machine, start = header[1], header[2], header[6]
    count, names = header[12], header[13]
    if kind != 1:
        raise ValueError(f"the ELF file has type {kind}; expected a relocatable object, type 1")
    table = data[start : start + count * _SECTION.size]
    headers = [_Header(*fields) for fields in _SECTION.iter_unpack(table)]
    if len(headers) != count:
        raise IndexError(f"it has {len(headers)} of {count} section headers")
    strings = _content(data, headers[names])
    labels = [_text(strings, header.name) for header in headers]
    kept = _kept(headers, labels)
    return Object(
        machine,
        tuple(_section(data, index, headers[index]) for index in kept),
        _symbols(data, headers),
        _relocations(data, headers, set(kept)),
    )


def _kept(headers: list[_Header], labels: list[str]) -> list[int]:
    loaded = [index for index, header in enumerate(headers) if header.flags & _ALLOCATE]
    return [index for index in loaded if labels[index] not in _UNUSED]


def _section(data: bytes, index: int, header: _Header) -> Section:
    content = b"" if header.kind == _NO_BITS else _content(data, header)
    alignment = max(header.alignment, 1)
    return Section(index, header.size, alignment, bool(header.flags & _WRITE), content)


def _content(data: bytes, header: _Header) -> bytes:
    content = data[header.offset : header.offset + header.size]
    if len(content) != header.size:
        raise IndexError(f"a section ends {header.size - len(content)} bytes after the file")
    return content


def _symbols(data: bytes, headers: list[_Header]) -> tuple[Symbol, ...]:
    tables = [header for header in headers if header.kind == _SYMBOL_TABLE]
    if not tables:
        return ()
    strings = _content(data, headers[tables[0].link])
    rows = _SYMBOL.iter_unpack(_content(data, tables[0]))
    return tuple(_symbol(strings, row) for row in rows)


def _symbol(strings: bytes, row: tuple[int, ...]) -> Symbol:
    name, info, _, section, value, _ = row
    exported = info >> 4 >= _GLOBAL and info & 15 == _FUNCTION and section > 0
    return Symbol(_text(strings, name), section, value, exported)


def _relocations(data: bytes, headers: list[_Header], kept: set[int]) -> tuple[Relocation, ...]:
    found: list[Relocation] = []
    for header in headers:
        if header.kind != _RELOCATIONS_WITH_ADDEND or header.info not in kept:
            continue
        for offset, info, addend in _RELOCATION.iter_unpack(_content(data, header)):
            kind, symbol = info & 0xFFFFFFFF, info >> 32
            found.append(Relocation(header.info, offset, kind, symbol, addend))
    return tuple(found)


def _text(strings: bytes, start: int) -> str:
    return strings[start : strings.index(b"\0", start)].decode()
