"""The driver compiles; what it made is loaded again, and never by another version of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tinycore.backend import (
    CompileError,
    Device,
    LaunchError,
    Unsupported,
    compile_cached,
)
from tinycore_qcom.compiler import DriverCompiler, first_error
from tinycore_qcom.images import with_places
from tinycore_qcom.platforms import Found

WRONG = """__kernel void wrong(__global float* out) {
  out[0] = missing;
}
"""
RIGHT = "__kernel void right(__global float* out) { out[0] = 1.0f; }\n"


def test_a_refused_kernel_is_shown_with_line_and_log(compiler: DriverCompiler) -> None:
    message = r"compile: the driver refuses line 2, 'out\[0\] = missing;': use of undeclared"
    with pytest.raises(CompileError, match=message) as caught:
        compiler.compile(WRONG)
    assert (caught.value.line, caught.value.source) == (2, WRONG)
    assert "missing" in caught.value.log
    assert compiler.compile(RIGHT)


@pytest.mark.parametrize("function", ["clCreateContext", "clCreateProgramWithSource"])
def test_a_driver_without_room_to_compile_is_told(
    found: Found, refuse: Callable[[str, int], Counter[str]], function: str
) -> None:
    refuse(function, -6)
    wrong = (
        rf"compile: {function} gave OUT_OF_HOST_MEMORY \(-6\) for {len(RIGHT)} characters; "
        "expected a program to build. End other programs that use the device, or "
    )
    compiler = DriverCompiler(replace(found, name="without a context"))
    with pytest.raises(CompileError, match=wrong) as caught:
        compiler.compile(RIGHT)
    assert caught.value.source == RIGHT


@pytest.mark.parametrize(
    "log",
    [
        "Compilation started\n1:2:7: error: no such name\n    2 |  a[0]=foo;\nCompilation failed",
        "<kernel>:2:7: error: no such name\n a[0]=foo;\n      ^\n",
        "warning: /cache/file_3.cl:1:1: unknown\nerror: /cache/file_3.cl:2:7: no such name\n",
    ],
    ids=["Intel", "NVIDIA", "POCL"],
)
def test_the_first_error_is_found_in_the_logs_of_several_drivers(log: str) -> None:
    assert first_error(log) == (2, "no such name")
    assert first_error("it failed") is None


def test_the_key_changes_with_all_that_changes_the_binary(found: Found) -> None:
    others = (
        replace(found, platform="other"),
        replace(found, platform_version="other"),
        replace(found, name="other"),
        replace(found, version="OpenCL 1.2 other"),
        replace(found, driver="other"),
    )
    keys = {DriverCompiler(row).key for row in (found, *others)}
    assert len(keys) == 1 + len(others)


def test_a_new_driver_compiles_anew(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_once = DriverCompiler.compile

    def counted(compiler: DriverCompiler, source: str) -> bytes:
        compiled.append(compiler.found.driver)
        return compile_once(compiler, source)

    monkeypatch.setattr(DriverCompiler, "compile", counted)
    newer = replace(found, driver="newer")
    for row in (found, found, newer, newer, found):
        compile_cached(DriverCompiler(row), RIGHT + "// of this test alone")
    assert compiled == [found.driver, "newer"]


@pytest.mark.parametrize(
    ("version", "language"),
    [
        ("OpenCL 3.1 (Build 0)", "-cl-std=CL3.0"),
        ("OpenCL 2.0 Adreno(TM) 640", "-cl-std=CL2.0"),
        ("OpenCL 1.2 pocl", "-cl-std=CL1.2"),
    ],
)
def test_the_newest_language_of_the_device_is_asked_for(
    found: Found, version: str, language: str
) -> None:
    assert DriverCompiler(replace(found, version=version)).options.startswith(language)


def test_a_binary_of_another_driver_is_refused_and_the_device_lives(
    device: Device, binary: bytes
) -> None:
    with pytest.raises(LaunchError, match=r"load: cl\w+ gave .*CCACHE=0"):
        device.load(b"of another driver", "add")
    with pytest.raises(LaunchError, match=r"INVALID_KERNEL_NAME .*expected a kernel called none"):
        device.load(binary, "none")
    assert device.load(binary, "add")


def test_a_binary_that_is_refused_leaves_no_program(
    device: Device, binary: bytes, refuse: Callable[[str, int], Counter[str]]
) -> None:
    done = refuse("clBuildProgram", -6)
    with pytest.raises(LaunchError, match="load: clBuildProgram gave OUT_OF_HOST_MEMORY"):
        device.load(binary, "add")
    assert done["clCreateProgramWithBinary"] == done["clReleaseProgram"] == 1


def test_a_binary_is_shown_where_it_is_text(compiler: DriverCompiler) -> None:
    assert compiler.disassemble(b".version 8.0\n\0") == ".version 8.0\n"
    assert compiler.disassemble(with_places(b".version 8.0\n", [1])) == ".version 8.0\n"
    with pytest.raises(Unsupported, match=r"disassemble: the binaries of .* are not text"):
        compiler.disassemble(b"\x7fELF\x02\xff")


def test_exact_division_is_asked_for_where_there_is_one(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(library: object, name: str, *subject: Any) -> int:
        return 1 << 7

    monkeypatch.setattr("tinycore_qcom.api.Library.number_of", answers)
    options = DriverCompiler(found).options
    assert options.endswith(" -cl-fp32-correctly-rounded-divide-sqrt")
