"""Fills the holes a compiler leaves in machine code, one table row for each kind of hole.

In: a hole's place, the symbol's address S, the addend A, the address of the hole P and, for
external symbols, the address of a cell that holds S. Out: patched bytes. image.py drives it.

Source: x86-64 psABI 1.0, table 4.9; ELF for the Arm 64-bit Architecture 2024Q3, section 5.7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from tinycore_cpu.elf import MACHINE_AARCH64, MACHINE_X86_64


class Hole(NamedTuple):
    """Where to write: `memory` at `offset`, which is the address `place`."""

    memory: memoryview
    offset: int
    place: int


Patch = Callable[[Hole, int], None]


class Kind(NamedTuple):
    """How one kind of hole is filled: from which address, and with which bits.

    `through` is "address" (the symbol itself), "call" (its stub, if it is external) or "cell"
    (the place that holds its address).
    """

    through: str
    patch: Patch


def cell_bytes(machine: int, address: int) -> bytes:
    """A 16-byte cell: code that jumps to `address`, then, 8 bytes in, the address itself."""
    return _JUMP[machine] + struct.pack("<Q", address)


CELL_SIZE = 16
CELL_ADDRESS = 8

_JUMP = {
    MACHINE_X86_64: bytes.fromhex("ff2502000000 9090"),  # jmp [rip + 2]; nop; nop
    MACHINE_AARCH64: bytes.fromhex("50000058 00021fd6"),  # ldr x16, 8; br x16
}


def _fits(value: int, bits: int, what: str) -> int:
    limit = 1 << (bits - 1)
    if -limit <= value < limit:
        return value
    raise ValueError(f"{what} of {value:#x} does not fit {bits} bits")


def _absolute(form: str) -> Patch:
    def patch(hole: Hole, target: int) -> None:
        struct.pack_into(form, hole.memory, hole.offset, target)

    return patch


def _relative(form: str, bits: int) -> Patch:
    def patch(hole: Hole, target: int) -> None:
        distance = _fits(target - hole.place, bits, "a distance")
        struct.pack_into(form, hole.memory, hole.offset, distance)

    return patch


def _set_bits(hole: Hole, value: int, width: int, at: int) -> None:
    """Put the low `width` bits of `value` into an instruction, `at` bits from its low end."""
    (word,) = struct.unpack_from("<I", hole.memory, hole.offset)
    mask = (1 << width) - 1
    word = word & ~(mask << at) | (value & mask) << at
    struct.pack_into("<I", hole.memory, hole.offset, word)


def _arm_branch(width: int, at: int) -> Patch:
    def patch(hole: Hole, target: int) -> None:
        distance = _fits(target - hole.place, width + 2, "a branch")
        _set_bits(hole, distance >> 2, width, at)

    return patch


def _arm_page(hole: Hole, target: int) -> None:
    pages = _fits((target >> 12) - (hole.place >> 12), 21, "a page distance")
    _arm_adr(hole, pages)


def _arm_near(hole: Hole, target: int) -> None:
    _arm_adr(hole, _fits(target - hole.place, 21, "a distance"))


def _arm_adr(hole: Hole, value: int) -> None:
    _set_bits(hole, value, 2, 29)
    _set_bits(hole, value >> 2, 19, 5)


def _arm_low(shift: int) -> Patch:
    """The low 12 bits of an address, counted in units of the access."""

    def patch(hole: Hole, target: int) -> None:
        _set_bits(hole, (target & 0xFFF) >> shift, 12, 10)

    return patch


_X86_64 = {
    1: Kind("address", _absolute("<Q")),  # 64
    2: Kind("address", _relative("<i", 32)),  # PC32
    4: Kind("call", _relative("<i", 32)),  # PLT32
    9: Kind("cell", _relative("<i", 32)),  # GOTPCREL
    24: Kind("address", _relative("<q", 64)),  # PC64
    41: Kind("cell", _relative("<i", 32)),  # GOTPCRELX
    42: Kind("cell", _relative("<i", 32)),  # REX_GOTPCRELX
}

_AARCH64 = {
    257: Kind("address", _absolute("<Q")),  # ABS64
    260: Kind("address", _relative("<q", 64)),  # PREL64
    261: Kind("address", _relative("<i", 32)),  # PREL32
    274: Kind("address", _arm_near),  # ADR_PREL_LO21
    275: Kind("address", _arm_page),  # ADR_PREL_PG_HI21
    276: Kind("address", _arm_page),  # ADR_PREL_PG_HI21_NC
    277: Kind("address", _arm_low(0)),  # ADD_ABS_LO12_NC
    278: Kind("address", _arm_low(0)),  # LDST8_ABS_LO12_NC
    279: Kind("address", _arm_branch(14, 5)),  # TSTBR14
    280: Kind("address", _arm_branch(19, 5)),  # CONDBR19
    282: Kind("call", _arm_branch(26, 0)),  # JUMP26
    283: Kind("call", _arm_branch(26, 0)),  # CALL26
    284: Kind("address", _arm_low(1)),  # LDST16_ABS_LO12_NC
    285: Kind("address", _arm_low(2)),  # LDST32_ABS_LO12_NC
    286: Kind("address", _arm_low(3)),  # LDST64_ABS_LO12_NC
    299: Kind("address", _arm_low(4)),  # LDST128_ABS_LO12_NC
    311: Kind("cell", _arm_page),  # ADR_GOT_PAGE
    312: Kind("cell", _arm_low(3)),  # LD64_GOT_LO12_NC
}

KINDS = {MACHINE_X86_64: _X86_64, MACHINE_AARCH64: _AARCH64}
