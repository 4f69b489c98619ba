"""Places an object file in memory and makes it executable, without LLVM.

In: a parsed ELF object. Out: an `Image`, whose functions have addresses. The code is written to
private memory, which then loses its write permission: no page is ever both.
loader.py chooses between this and LLVM's own linker.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from dataclasses import dataclass

from tinycore_cpu.elf import Object, Relocation, Symbol, read_object
from tinycore_cpu.relocation import CELL_ADDRESS, CELL_SIZE, KINDS, Hole, Kind, cell_bytes
from tinycore_cpu.symbols import find_address, process


@dataclass(frozen=True, slots=True)
class Image:
    """Machine code ready to run; it lives as long as this object. `owner` holds the memory."""

    functions: dict[str, int]
    owner: object


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where everything goes, in bytes from the start: code and constants, cells, variables."""

    offsets: dict[int, int]
    cells: dict[int, int]
    sealed_bytes: int
    total_bytes: int


def load_elf(data: bytes) -> Image:
    """An ELF object in memory, its functions by name.

    Raises: ValueError if the object needs a symbol or a relocation that is not there.
    """
    found = read_object(data)
    if found.machine not in KINDS:
        raise ValueError(f"the object is for ELF machine {found.machine}; expected {list(KINDS)}")
    kinds = _kinds(found)
    layout = _lay_out(found, kinds)
    memory = mmap.mmap(-1, layout.total_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    addresses = place(found, layout, kinds, memoryview(memory), base)
    _seal(base, layout.sealed_bytes)
    functions = _functions(found, addresses)
    return Image(functions, memory)


def _kinds(found: Object) -> list[Kind]:
    table = KINDS[found.machine]
    unknown = {hole.kind for hole in found.relocations} - set(table)
    if unknown:
        kinds = sorted(unknown)
        raise ValueError(f"relocations of kind {kinds} are unknown; expected {sorted(table)}")
    return [table[hole.kind] for hole in found.relocations]


def _lay_out(found: Object, kinds: list[Kind]) -> _Layout:
    offsets: dict[int, int] = {}
    end = 0
    for section in found.sections:
        if not section.writable:
            offsets[section.index] = _round_up(end, section.alignment)
            end = offsets[section.index] + section.size_bytes
    end = _round_up(end, CELL_SIZE)
    cells: dict[int, int] = {}
    for symbol in _with_cells(found, kinds):
        cells[symbol] = end
        end += CELL_SIZE
    sealed = end = _round_up(end, mmap.PAGESIZE)
    for section in found.sections:
        if section.writable:
            offsets[section.index] = _round_up(end, section.alignment)
            end = offsets[section.index] + section.size_bytes
    return _Layout(offsets, cells, sealed, max(end, mmap.PAGESIZE))


def _with_cells(found: Object, kinds: list[Kind]) -> list[int]:
    """Symbols that are reached through a cell: external ones, and those the code asks it for."""
    external = {hole.symbol for hole in found.relocations if not _section_of(found, hole)}
    holes = zip(found.relocations, kinds, strict=True)
    asked = {hole.symbol for hole, kind in holes if kind.through == "cell"}
    return sorted(external | asked)


def _section_of(found: Object, hole: Relocation) -> int:
    return found.symbols[hole.symbol].section


def place(
    found: Object, layout: _Layout, kinds: list[Kind], memory: memoryview, base: int
) -> list[int]:
    """Copy the sections to their places and fill all holes; returns the symbols' addresses."""
    for section in found.sections:
        start = layout.offsets[section.index]
        memory[start : start + len(section.content)] = section.content
    used = {hole.symbol for hole in found.relocations}
    addresses = [
        _address(symbol, layout, base, index in used) for index, symbol in enumerate(found.symbols)
    ]
    for symbol, offset in layout.cells.items():
        memory[offset : offset + CELL_SIZE] = cell_bytes(found.machine, addresses[symbol])
    for hole, kind in zip(found.relocations, kinds, strict=True):
        offset = layout.offsets[hole.section] + hole.offset
        target = _target(found, layout, kind, hole, addresses, base)
        kind.patch(Hole(memory, offset, base + offset), target + hole.addend)
    return addresses


def _address(symbol: Symbol, layout: _Layout, base: int, used: bool) -> int:
    if symbol.section in layout.offsets:
        return base + layout.offsets[symbol.section] + symbol.value
    if symbol.section or not symbol.name or not used:
        return 0
    try:
        return find_address(symbol.name)
    except KeyError:
        raise ValueError(
            f"symbol {symbol.name!r} is in no library of this process; "
            "expected libc, libm or libgcc to have it"
        ) from None


def _target(
    found: Object,
    layout: _Layout,
    kind: Kind,
    hole: Relocation,
    addresses: list[int],
    base: int,
) -> int:
    if kind.through == "cell":
        return base + layout.cells[hole.symbol] + CELL_ADDRESS
    if kind.through == "call" and not _section_of(found, hole):
        return base + layout.cells[hole.symbol]
    return addresses[hole.symbol]


def _seal(base: int, size_bytes: int) -> None:
    """Take write permission from the code and give it execute permission."""
    if not size_bytes:
        return
    mprotect = process().mprotect
    mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if mprotect(base, size_bytes, mmap.PROT_READ | mmap.PROT_EXEC):
        reason = os.strerror(ctypes.get_errno())
        raise ValueError(f"the system refuses to make {size_bytes} bytes executable: {reason}")


def _functions(found: Object, addresses: list[int]) -> dict[str, int]:
    pairs = zip(found.symbols, addresses, strict=True)
    return {symbol.name: address for symbol, address in pairs if symbol.is_function and address}


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
