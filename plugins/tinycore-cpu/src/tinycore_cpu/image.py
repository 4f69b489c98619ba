"""Places an object file in memory and makes it executable, without LLVM.

In: a parsed ELF object. Out: an `Image`, whose functions have addresses. The code is written to
private memory, which then loses its write permission: no page is ever both.
loader.py chooses between this and LLVM's own linker.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass

from tinycore_cpu.elf import Object, Section, Symbol, read_object
from tinycore_cpu.relocation import CELL_ADDRESS, CELL_SIZE, KINDS, Hole, Kind, cell_bytes
from tinycore_cpu.symbols import find_address, process


@dataclass(frozen=True, slots=True)
class Image:
    """Machine code ready to run; it lives as long as this object. `owner` holds the memory."""

    functions: dict[str, int]
    owner: object


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything goes, in bytes from the start: constants and code, cells, variables.

    `sections` and `cells` are offsets by section and by symbol; what is before `sealed_bytes` is
    never written again.
    """

    sections: dict[int, int]
    cells: dict[int, int]
    sealed_bytes: int
    total_bytes: int


def load_elf(data: bytes) -> Image:
    """An ELF object in memory, its functions by name.

    Raises: ValueError if the object needs a symbol or a relocation that is not there.
    """
    found = read_object(data)
    layout = lay_out(found)
    pages = mmap.mmap(-1, layout.total_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    addresses = place(found, layout, memoryview(pages), base)
    _seal(base, layout.sealed_bytes)
    pairs = zip(found.symbols, addresses, strict=True)
    functions = {symbol.name: address for symbol, address in pairs if symbol.is_function}
    return Image(functions, pages)


def lay_out(found: Object) -> Layout:
    """An offset for each section and each cell. Raises: ValueError for unknown relocations."""
    constant = [section for section in found.sections if not section.writable]
    variable = [section for section in found.sections if section.writable]
    sections: dict[int, int] = {}
    end = _stack(constant, 0, sections)
    start = _round_up(end, CELL_SIZE)
    symbols = _with_cells(found)
    cells = {symbol: start + index * CELL_SIZE for index, symbol in enumerate(symbols)}
    sealed = _round_up(start + len(cells) * CELL_SIZE, mmap.PAGESIZE)
    end = _stack(variable, sealed, sections)
    return Layout(sections, cells, sealed, max(end, mmap.PAGESIZE))


def _stack(sections: Sequence[Section], end: int, offsets: dict[int, int]) -> int:
    for section in sections:
        offsets[section.index] = _round_up(end, section.alignment)
        end = offsets[section.index] + section.size_bytes
    return end


def _with_cells(found: Object) -> list[int]:
    """Symbols that are reached through a cell: external ones, and those the code asks it for."""
    table = _kinds(found)
    used = {(hole.symbol, table[hole.kind].through) for hole in found.relocations}
    external = {symbol for symbol, _ in used if not found.symbols[symbol].section}
    asked = {symbol for symbol, through in used if through == "cell"}
    return sorted(external | asked)


def _kinds(found: Object) -> dict[int, Kind]:
    if found.machine not in KINDS:
        raise ValueError(f"the object is for ELF machine {found.machine}; expected {list(KINDS)}")
    table = KINDS[found.machine]
    unknown = {hole.kind for hole in found.relocations} - set(table)
    if unknown:
        kinds = sorted(unknown)
        raise ValueError(f"relocations of kind {kinds} are unknown; expected {sorted(table)}")
    return table


def place(found: Object, layout: Layout, memory: memoryview, base: int) -> list[int]:
    """Copy the sections to their places and fill all holes; returns the symbols' addresses."""
    for section in found.sections:
        start = layout.sections[section.index]
        memory[start : start + len(section.content)] = section.content
    addresses = [_address(symbol, layout, base) for symbol in found.symbols]
    for symbol, offset in layout.cells.items():
        addresses[symbol] = addresses[symbol] or _external(found.symbols[symbol].name)
        memory[offset : offset + CELL_SIZE] = cell_bytes(found.machine, addresses[symbol])
    table = _kinds(found)
    for hole in found.relocations:
        offset = layout.sections[hole.section] + hole.offset
        kind = table[hole.kind]
        target = addresses[hole.symbol]
        if kind.through == "cell":
            target = base + layout.cells[hole.symbol] + CELL_ADDRESS
        elif kind.through == "call" and not found.symbols[hole.symbol].section:
            target = base + layout.cells[hole.symbol]
        kind.patch(Hole(memory, offset, base + offset), target + hole.addend)
    return addresses


def _address(symbol: Symbol, layout: Layout, base: int) -> int:
    if symbol.section not in layout.sections:
        return 0
    return base + layout.sections[symbol.section] + symbol.value


def _external(name: str) -> int:
    try:
        return find_address(name)
    except KeyError:
        raise ValueError(
            f"symbol {name!r} is in no library of this process; "
            "expected libc, libm or libgcc to have it"
        ) from None


def _seal(base: int, size_bytes: int) -> None:
    """Take write permission from the code and give it execute permission."""
    mprotect = process().mprotect
    mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if mprotect(base, size_bytes, mmap.PROT_READ | mmap.PROT_EXEC):
        reason = os.strerror(ctypes.get_errno())
        raise ValueError(f"the system refuses to make {size_bytes} bytes executable: {reason}")


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
