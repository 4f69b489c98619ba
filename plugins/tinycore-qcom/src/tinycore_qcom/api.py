"""OpenCL's C functions, called by way of the loader: no package between, nothing imported late.

In: the name of a function and its arguments. Out: its answer, or `OpenCLError` with the code. The
loader is the system's, else the one in the wheel of pyopencl, which this package depends on for
that reason. Next: platforms.py.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

from tinycore.backend import Unavailable
from tinycore_qcom import runtimes
from tinycore_qcom.codes import STATUS

Pointer: TypeAlias = int | None
"""A handle of the driver's, as ctypes returns pointers."""

# Letters of signatures: p pointer, s text, u 32 bits, l 64 bits, n a size.
_TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "s": ctypes.c_char_p,
    "u": ctypes.c_uint32,
    "l": ctypes.c_uint64,
    "n": ctypes.c_size_t,
}

# Functions that return a status. Source: the Khronos headers, CL/cl.h.
_STATUS = {
    "clGetPlatformIDs": "upp",
    "clGetPlatformInfo": "punpp",
    "clGetDeviceIDs": "plupp",
    "clGetDeviceInfo": "punpp",
    "clReleaseContext": "p",
    "clReleaseCommandQueue": "p",
    "clReleaseMemObject": "p",
    "clBuildProgram": "pupspp",
    "clGetProgramInfo": "punpp",
    "clGetProgramBuildInfo": "ppunpp",
    "clReleaseProgram": "p",
    "clSetKernelArg": "punp",
    "clGetKernelInfo": "punpp",
    "clGetKernelWorkGroupInfo": "ppunpp",
    "clReleaseKernel": "p",
    "clWaitForEvents": "up",
    "clGetEventProfilingInfo": "punpp",
    "clReleaseEvent": "p",
    "clFlush": "p",
    "clFinish": "p",
    "clEnqueueReadBuffer": "ppunnpupp",
    "clEnqueueWriteBuffer": "ppunnpupp",
    "clEnqueueCopyBuffer": "pppnnnupp",
    "clEnqueueUnmapMemObject": "pppupp",
    "clEnqueueNDRangeKernel": "ppupppupp",
}

# Functions that return a pointer, and the status through their last argument.
_POINTER = {
    "clCreateContext": "pupppp",
    "clCreateCommandQueue": "pplp",
    "clCreateBuffer": "plnpp",
    "clCreateSubBuffer": "plupp",
    "clCreateImage": "plpppp",
    "clCreateProgramWithSource": "puppp",
    "clCreateProgramWithBinary": "puppppp",
    "clCreateKernel": "psp",
    "clEnqueueMapBuffer": "ppulnnuppp",
}

_SYSTEM = {
    "win32": ("OpenCL.dll",),
    "darwin": ("/System/Library/Frameworks/OpenCL.framework/OpenCL",),
}
# The second is Android's, where the GPU's driver itself has this name.
SYSTEM_ELSEWHERE = ("libOpenCL.so.1", "libOpenCL.so")
_NO_FUNCTION = -59


class OpenCLError(Exception):
    """A function of OpenCL refused: `code` is its status, `function` its name."""

    def __init__(self, function: str, code: int) -> None:
        self.function = function
        self.code = code
        super().__init__(function, code)

    @property
    def status(self) -> str:
        """The status by name and number."""
        return f"{STATUS.get(self.code, 'status')} ({self.code})"

    def __str__(self) -> str:
        return f"{self.function} gave {self.status}"


class Library:
    """The functions of one loader. Raises: OSError if it cannot be loaded."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._library = ctypes.CDLL(path)
        self._functions: dict[str, Any] = {}

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that returns a status. Raises: OpenCLError if it is not success."""
        code = (self._functions.get(name) or self.function(name))(*arguments)
        if code:
            raise OpenCLError(name, code)

    def create(self, name: str, *arguments: Any) -> int:
        """Call a function that returns a pointer. Raises: OpenCLError."""
        code = ctypes.c_int32(0)
        made: Pointer = self.function(name)(*arguments, ctypes.byref(code))
        if code.value or not made:
            raise OpenCLError(name, code.value)
        return made

    @contextmanager
    def undone(self, release: str, pointer: int) -> Iterator[None]:
        """Give back what a create function made if the block that goes on with it fails."""
        try:
            yield
        except BaseException:
            with suppress(OpenCLError):
                self.call(release, pointer)
            raise

    def function(self, name: str) -> Any:
        """The function itself, for callers that look at the status themselves."""
        found = self._functions.get(name)
        if found is None:
            found = self._functions[name] = self._library[name]
            found.restype = ctypes.c_void_p if name in _POINTER else ctypes.c_int32
            found.argtypes = [_TYPES[letter] for letter in _POINTER.get(name) or _STATUS[name]]
        return found

    def extension(self, platform: int, name: str, letters: str, makes: bool = False) -> Any:
        """A function of an extension; `makes` says that it returns a pointer.

        Raises: OpenCLError if the platform has no such function.
        """
        found = self._functions.get(name)
        if found is None:
            find = self._library["clGetExtensionFunctionAddressForPlatform"]
            find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]
            address = find(platform, name.encode())
            if not address:
                raise OpenCLError(name, _NO_FUNCTION)
            answer = ctypes.c_void_p if makes else ctypes.c_int32
            types = [_TYPES[letter] for letter in letters]
            found = self._functions[name] = ctypes.CFUNCTYPE(answer, *types)(address)
        return found

    def bytes_of(self, name: str, *subject: Any) -> bytes:
        """What an info function tells of a subject and a key. Raises: OpenCLError."""
        size = ctypes.c_size_t(0)
        self.call(name, *subject, 0, None, ctypes.byref(size))
        told = ctypes.create_string_buffer(max(size.value, 1))
        self.call(name, *subject, size, told, None)
        return told.raw[: size.value]

    def text_of(self, name: str, *subject: Any) -> str:
        """The same as text, spaces made single; empty if the driver does not know the key."""
        try:
            told = self.bytes_of(name, *subject)
        except OpenCLError:
            return ""
        return " ".join(told.rstrip(b"\0").decode(errors="replace").split())

    def number_of(self, name: str, *subject: Any) -> int:
        """The same as a whole number; 0 if the driver does not know the key."""
        return next(self.numbers_of(name, *subject), 0)

    def numbers_of(self, name: str, *subject: Any, size_bytes: int = 0) -> Iterator[int]:
        """The same as numbers of so many bytes each, or as a single one."""
        try:
            told = self.bytes_of(name, *subject)
        except OpenCLError:
            return
        step = size_bytes or len(told)
        for start in range(0, len(told), step):
            yield int.from_bytes(told[start : start + step], sys.byteorder)

    def listed(self, name: str, *arguments: Any) -> list[int]:
        """The pointers that a function counts and writes; none if it finds nothing."""
        count = ctypes.c_uint32(0)
        ask = self.function(name)
        if ask(*arguments, 0, None, ctypes.byref(count)) or not count.value:
            return []
        pointers = (ctypes.c_void_p * count.value)()
        self.call(name, *arguments, count, pointers, None)
        return [pointer for pointer in pointers if pointer]


_LOADING = threading.Lock()


def library() -> Library:
    """The loader of this process, which has looked for runtimes once.

    Raises: Unavailable if there is none.
    """
    with _LOADING:
        return _opened()


def open_library() -> Library:
    """The first that loads of the loaders there may be; it looks for runtimes now, and never again.

    Raises: Unavailable if there is none.
    """
    tried: list[str] = []
    for path in _paths():
        try:
            loaded = Library(path)
        except OSError as error:
            tried.append(str(error))
            continue
        with runtimes.visible():
            loaded.listed("clGetPlatformIDs")
        return loaded
    wrong = f"there is no OpenCL loader: {'; '.join(tried)}"
    raise Unavailable(
        wrong,
        hint=f"Do `pip install {runtimes.WRAPPER}`, which brings one, or install the GPU's driver",
    )


_opened = functools.cache(open_library)


def _paths() -> Iterator[str]:
    yield from _SYSTEM.get(sys.platform, SYSTEM_ELSEWHERE)
    places = runtimes.wrapper_folders()
    for place in places:
        # The wheel's loader reads this variable and crashes without it; pyopencl sets the same.
        os.environ["PYOPENCL_HOME"] = str(places[0].parent)
        yield from map(str, sorted(place.glob("libOpenCL*")))
