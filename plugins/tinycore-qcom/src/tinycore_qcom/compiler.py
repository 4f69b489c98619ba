"""Compiles OpenCL C by the driver of one device.

In: source. Out: the driver's binary, which the same driver loads again without compiling.
Next: device.py.
"""

from __future__ import annotations

import ctypes
import functools
import re

from tinycore.backend import CompileError, Compiler, LaunchError, Unsupported
from tinycore_qcom import api, codes
from tinycore_qcom.api import Library, OpenCLError
from tinycore_qcom.images import image_places, parted, with_places
from tinycore_qcom.platforms import Found

_BUILD_LOG = 0x1183
_BINARY_SIZES, _BINARIES = 0x1165, 0x1166
# The line of an error stands before that word, or, on POCL, behind it and the name of a file.
_PLACES = (
    re.compile(r"(?:^|[:(])(\d+):\d+\)?: (?:fatal )?error: (.*)", re.MULTILINE),
    re.compile(r"^(?:fatal )?error: .*?:(\d+):\d+: (.*)", re.MULTILINE),
)
EXACT_DIVISION = "-cl-fp32-correctly-rounded-divide-sqrt"
_IS_EXACT = 1 << 7
_FLOAT_CONFIG = 0x101B
# The language of each version of the device: 2.0 has what later ones made optional.
_LANGUAGES = (((3, 0), "CL3.0"), ((2, 0), "CL2.0"), ((1, 2), "CL1.2"))


class DriverCompiler(Compiler):
    """The compiler in the driver of one device; makes a context of its own when first used."""

    def __init__(self, found: Found, plan: str = "") -> None:
        self.found = found
        self.options = build_options(found)
        names = found.platform, found.platform_version, found.name, found.version, found.driver
        self.key = " | ".join((*names, self.options, plan))

    def compile(self, source: str) -> bytes:
        """The driver's binary. Raises: CompileError, with its log and the line it points at."""
        library = api.library()
        try:
            program = _program(library, self.found, source)
        except OpenCLError as error:
            wrong = f"compile: {error} for {len(source)} characters; expected a program to build"
            raise CompileError(wrong, hint=codes.MAKE_ROOM, source=source) from error
        try:
            build(library, program, self.found, self.options)
            return with_places(_binary(library, program), image_places(source))
        except OpenCLError as error:
            log = build_log(library, program, self.found)
            raise _refused(error, source, log) from error
        finally:
            library.call("clReleaseProgram", program)

    def disassemble(self, binary: bytes) -> str:
        """The binary, where the driver's is text. Raises: Unsupported where it is not."""
        try:
            return parted(binary)[0].rstrip(b"\0").decode("ascii")
        except UnicodeDecodeError:
            raise Unsupported(
                f"disassemble: the binaries of {self.found.platform} are not text; "
                "expected a driver that shows its code"
            ) from None


def build_options(found: Found) -> str:
    """The flags for a device: its newest language, and exact division where it can."""
    words = re.findall(r"\d+", found.version)
    version = int(words[0]), int(words[1])
    languages = [name for least, name in _LANGUAGES if version >= least]
    config = api.library().number_of("clGetDeviceInfo", found.pointer, _FLOAT_CONFIG)
    options = [f"-cl-std={name}" for name in languages[:1]]
    return " ".join(options + [EXACT_DIVISION] * bool(config & _IS_EXACT))


def load_program(library: Library, context: int, found: Found, binary: bytes) -> int:
    """A program made of the driver's own binary. Raises: LaunchError if the driver refuses it."""
    device = ctypes.byref(ctypes.c_void_p(found.pointer))
    size = ctypes.byref(ctypes.c_size_t(len(binary)))
    content = ctypes.byref(ctypes.c_char_p(binary))
    try:
        arguments = context, 1, device, size, content, None
        program = library.create("clCreateProgramWithBinary", *arguments)
        with library.undone("clReleaseProgram", program):
            build(library, program, found, "")
    except OpenCLError as error:
        wrong = f"load: {error} for a binary of {len(binary)} bytes; expected one of this driver"
        raise LaunchError(wrong, hint="Set CCACHE=0 to compile it anew") from error
    return program


def build(library: Library, program: int, found: Found, options: str) -> None:
    """Let the driver compile, or finish what it loaded. Raises: OpenCLError."""
    device = ctypes.byref(ctypes.c_void_p(found.pointer))
    library.call("clBuildProgram", program, 1, device, options.encode(), None, None)


def build_log(library: Library, program: int, found: Found) -> str:
    """What the driver's compiler said, line by line."""
    told = library.bytes_of("clGetProgramBuildInfo", program, found.pointer, _BUILD_LOG)
    return told.rstrip(b"\0").decode(errors="replace").strip()


def _program(library: Library, found: Found, source: str) -> int:
    text = source.encode()
    lines = ctypes.byref(ctypes.c_char_p(text))
    length = ctypes.byref(ctypes.c_size_t(len(text)))
    return library.create("clCreateProgramWithSource", _context(found), 1, lines, length)


@functools.cache
def _context(found: Found) -> int:
    device = ctypes.byref(ctypes.c_void_p(found.pointer))
    return api.library().create("clCreateContext", None, 1, device, None, None)


def _binary(library: Library, program: int) -> bytes:
    size = library.number_of("clGetProgramInfo", program, _BINARY_SIZES)
    content = ctypes.create_string_buffer(size)
    pointers = (ctypes.c_void_p * 1)(ctypes.addressof(content))
    ask = ctypes.sizeof(pointers), pointers, None
    library.call("clGetProgramInfo", program, _BINARIES, *ask)
    return content.raw


def first_error(log: str) -> tuple[int, str] | None:
    """The line that a compiler's log points at first, and what is wrong there; None if none."""
    found = next(filter(None, (place.search(log) for place in _PLACES)), None)
    return (int(found[1]), found[2]) if found else None


def _refused(error: OpenCLError, source: str, log: str) -> CompileError:
    """The driver's complaint as an error that shows the offending line."""
    found = first_error(log)
    if found is None:
        message = f"compile: {error}: {log or 'the driver says no more'}"
        return CompileError(message, source=source, log=log)
    line, wrong = found
    text = source.splitlines()[line - 1].strip() if line <= source.count("\n") + 1 else ""
    message = f"compile: the driver refuses line {line}, {text!r}: {wrong}"
    return CompileError(message, source=source, line=line, log=log)
