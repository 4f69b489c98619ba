"""Object files are placed, linked and sealed without LLVM, and what cannot be is named."""

import ctypes
import gc
import math
import platform
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tinycore.backend import LaunchError
from tinycore_cpu.arch import find_arch
from tinycore_cpu.compiler import LLVMCompiler
from tinycore_cpu.elf import MACHINE_AARCH64, MACHINE_X86_64, Object, read_object
from tinycore_cpu.image import Image, Layout, lay_out, load_elf, place
from tinycore_cpu.loader import load_object
from tinycore_cpu.orc import load_by_llvm
from tinycore_cpu.relocation import CELL_ADDRESS, KINDS, Hole
from tinycore_cpu.symbols import find_address

# Reads a table, calls libm, counts in a variable: constants, cells, stubs and variables.
MIXED = """
@table = constant [4 x double] [double 1.0, double 2.0, double 3.0, double 4.0]
@counter = internal global i64 5
@zeros = internal global [8 x i64] zeroinitializer
@stdout = external global ptr
declare double @cos(double)
define double @mixed(double %x, i64 %i) {
  %at = getelementptr double, ptr @table, i64 %i
  %entry = load double, ptr %at
  %cosine = call double @cos(double %x)
  %sum = fadd double %cosine, %entry
  %moved = fadd double %sum, 0.125
  %old = load i64, ptr @counter
  %zero_at = getelementptr i64, ptr @zeros, i64 %i
  %zero = load i64, ptr %zero_at
  %new = add i64 %old, 1
  store i64 %new, ptr @counter
  %count = add i64 %old, %zero
  %number = sitofp i64 %count to double
  %result = fadd double %moved, %number
  ret double %result
}
define ptr @standard_output() {
  %file = load ptr, ptr @stdout
  ret ptr %file
}
"""
DOUBLE = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_int64)


def mixed(image: Image) -> Callable[[float, int], float]:
    return DOUBLE(image.functions["mixed"])


def test_constants_variables_and_library_calls_work(load: Callable[..., Image]) -> None:
    image = load(MIXED, "mixed")
    call = mixed(image)
    assert call(0.0, 2) == 1.0 + 3.0 + 0.125 + 5
    assert call(1.0, 0) == math.cos(1.0) + 1.0 + 0.125 + 6


def test_a_variable_of_a_library_is_reached_through_its_cell(load: Callable[..., Image]) -> None:
    image = load(MIXED, "standard_output")
    pointer = ctypes.CFUNCTYPE(ctypes.c_void_p)(image.functions["standard_output"])
    assert pointer() == ctypes.c_void_p.from_address(find_address("stdout")).value


def test_two_images_of_one_object_share_no_variable(load: Callable[..., Image]) -> None:
    first, second = load(MIXED, "mixed"), load(MIXED, "mixed")
    assert mixed(first)(0.0, 0) == mixed(second)(0.0, 0)


def test_llvm_links_the_same_object_to_the_same_effect(compiler: LLVMCompiler) -> None:
    binary = compiler.compile(MIXED)
    image = load_by_llvm(binary, ("mixed",))
    assert mixed(image)(0.0, 2) == mixed(load_elf(binary))(0.0, 2)


def test_what_llvm_cannot_link_is_told() -> None:
    with pytest.raises(LaunchError, match="load: LLVM cannot link the object"):
        load_object(b"no object at all", ("k",))


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's map of the memory")
def test_code_is_sealed_and_variables_are_not_code(load: Callable[..., Image]) -> None:
    image = load(MIXED, "mixed")
    code = image.functions["mixed"]
    page = code - code % 4096
    assert permissions(code) == "r-xp"
    assert permissions(page + 4096) == "rw-p"


def permissions(address: int) -> str:
    for row in Path("/proc/self/maps").read_text().splitlines():
        span, mode = row.split()[:2]
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= address < end:
            return mode
    return ""


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's map of the memory")
def test_the_memory_of_a_dropped_image_is_given_back(load: Callable[..., Image]) -> None:
    images = [load(MIXED, "mixed") for _ in range(50)]
    places = [image.functions["mixed"] for image in images]
    assert all(permissions(place) == "r-xp" for place in places)
    before = sum(permissions(place) == "r-xp" for place in places)
    del images
    gc.collect()
    after = sum(permissions(place) == "r-xp" for place in places)
    assert (before, after < 10) == (50, True)


def test_a_missing_symbol_is_named(load: Callable[..., Image]) -> None:
    source = (
        "declare void @no_such_thing()\n"
        "define void @k() {\n  call void @no_such_thing()\n  ret void\n}\n"
    )
    with pytest.raises(LaunchError) as caught:
        load(source, "k")
    assert str(caught.value) == (
        "load: symbol 'no_such_thing' is in no library of this process; "
        "expected libc, libm or libgcc to have it"
    )


def test_a_missing_kernel_is_named_with_those_there_are(load: Callable[..., Image]) -> None:
    with pytest.raises(LaunchError) as caught:
        load(MIXED, "other")
    assert str(caught.value) == (
        "load: the object has no function 'other'; it has mixed, standard_output"
    )


def test_code_for_another_processor_is_refused() -> None:
    other = "aarch64" if "x86" in platform.machine() else "x86-64"
    binary = LLVMCompiler(find_arch(other)).compile(MIXED)
    with pytest.raises(LaunchError, match=r"load: the object is for ELF machine \d+; expected \d+"):
        load_object(binary, ("mixed",))


def test_a_file_cut_short_is_refused(compiler: LLVMCompiler) -> None:
    binary = compiler.compile(MIXED)
    for size in (20, 64, 100, len(binary) // 2, len(binary) - 64):
        with pytest.raises(LaunchError, match="load: the object file is damaged"):
            load_object(binary[:size], ("mixed",))


def test_an_executable_file_is_refused(compiler: LLVMCompiler) -> None:
    binary = bytearray(compiler.compile(MIXED))
    struct.pack_into("<H", binary, 16, 2)
    with pytest.raises(LaunchError, match="the ELF file has type 2; expected a relocatable object"):
        load_object(bytes(binary), ("mixed",))


def test_an_unknown_relocation_is_refused(compiler: LLVMCompiler) -> None:
    found = read_object(compiler.compile(MIXED))
    strange = found.relocations[0]._replace(kind=999)
    broken = Object(found.machine, found.sections, found.symbols, (strange,))
    with pytest.raises(ValueError, match=r"relocations of kind \[999\] are unknown; expected \[1,"):
        lay_out(broken)


@pytest.mark.parametrize(
    ("machine", "kind", "what"),
    [
        (MACHINE_X86_64, 2, "a distance of 0x10000000000 does not fit 32 bits"),
        (MACHINE_AARCH64, 283, "a branch of 0x10000000000 does not fit 28 bits"),
        (MACHINE_AARCH64, 275, "a page distance of 0x10000000 does not fit 21 bits"),
    ],
)
def test_a_hole_too_far_from_its_symbol_is_refused(machine: int, kind: int, what: str) -> None:
    hole = Hole(memoryview(bytearray(8)), 0, 0)
    with pytest.raises(ValueError, match=what):
        KINDS[machine][kind].patch(hole, 1 << 40)


# ARM code cannot run here, so its instructions are read back: each must point at its symbol.
ARM = """
@table = internal constant [4 x i64] [i64 1, i64 2, i64 3, i64 4]
@bytes = internal global [16 x i8] zeroinitializer
@pairs = internal global <4 x float> zeroinitializer
@environ = external global ptr
declare double @cos(double)
define double @k(double %x, i64 %i) {
  %at = getelementptr i64, ptr @table, i64 %i
  %word = load i64, ptr %at
  %byte = load i8, ptr @bytes
  %half = load i16, ptr @bytes
  %int = load i32, ptr @bytes
  %long = load i64, ptr @bytes
  %quad = load <4 x float>, ptr @pairs
  %lane = extractelement <4 x float> %quad, i64 %i
  %outside = load ptr, ptr @environ
  %address = ptrtoint ptr %outside to i64
  %byte64 = zext i8 %byte to i64
  %half64 = zext i16 %half to i64
  %int64 = zext i32 %int to i64
  %a = add i64 %word, %byte64
  %b = add i64 %a, %half64
  %c = add i64 %b, %int64
  %d = add i64 %c, %long
  %e = add i64 %d, %address
  %number = uitofp i64 %e to double
  %wide = fpext float %lane to double
  %sum = fadd double %number, %wide
  %cosine = call double @cos(double %x)
  %result = fadd double %sum, %cosine
  ret double %result
}
"""


def arm_object() -> tuple[Object, Layout, bytearray]:
    found = read_object(LLVMCompiler(find_arch("aarch64 neoverse-v1")).compile(ARM))
    layout = lay_out(found)
    return found, layout, bytearray(layout.total_bytes)


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


LOW_SHIFT = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4, 312: 3}


def test_every_arm_instruction_points_at_its_symbol() -> None:
    found, layout, memory = arm_object()
    base = 0x7F12_3456_7000
    addresses = place(found, layout, memoryview(memory), base)
    seen = set()
    for hole in found.relocations:
        offset = layout.sections[hole.section] + hole.offset
        (word,) = struct.unpack_from("<I", memory, offset)
        target = addresses[hole.symbol] + hole.addend
        if hole.kind in (311, 312):
            target = base + layout.cells[hole.symbol] + CELL_ADDRESS
        if hole.kind in (275, 311):
            pages = signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)
            assert ((base + offset) >> 12) + pages == target >> 12
        elif hole.kind in LOW_SHIFT:
            shift = LOW_SHIFT[hole.kind]
            assert (word >> 10 & 0xFFF) << shift == target & 0xFFF
        elif hole.kind == 283:
            stub = base + offset + 4 * signed(word & 0x3FFFFFF, 26)
            assert stub == base + layout.cells[hole.symbol]
        else:
            raise AssertionError(f"kind {hole.kind} is not read back")
        seen.add(hole.kind)
    assert seen >= {275, 277, 283, 311, 312}


def test_an_arm_cell_jumps_to_the_address_it_holds() -> None:
    found, layout, memory = arm_object()
    place(found, layout, memoryview(memory), 1 << 40)
    symbol = next(index for index, symbol in enumerate(found.symbols) if symbol.name == "cos")
    load_word, jump, address = struct.unpack_from("<IIQ", memory, layout.cells[symbol])
    # ldr x16, 8 bytes ahead; br x16
    assert (load_word, jump) == (0x58000000 | (8 // 4) << 5 | 16, 0xD61F0000 | 16 << 5)
    assert address == find_address("cos")
