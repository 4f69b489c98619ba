"""The device REF: kernels run as they were scheduled, interpreted with numpy.

In: kernels as their text, buffers of host memory. Out: the buffers changed. It is built in, slow,
and right: what every other device is compared with. It takes over at the level of kernels, so that
nothing of codegen is between the schedule and the result.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from tinycore import __version__
from tinycore.config import CHECK_OOB
from tinycore.dtype import dtypes
from tinycore.runtime.caps import Caps, Space
from tinycore.runtime.contract import (
    PLUGIN_API,
    Allocator,
    Backend,
    Compiler,
    Device,
    Renderer,
    Target,
)
from tinycore.runtime.errors import OutOfMemory, Unsupported
from tinycore.runtime.program import Handle, Launch
from tinycore.runtime.ref import number
from tinycore.runtime.ref.entry import run_kernel
from tinycore.runtime.ref.number import Array
from tinycore.uop.canonical import canonical
from tinycore.uop.ops import UOp, arena
from tinycore.uop.parser import parse
from tinycore.uop.printer import show
from tinycore.uop.tree import Kernel
from tinycore.util import np, prod

ARCH = "numpy"
ALIGNMENT = 64
CAPS = Caps(
    dtypes=tuple(row.name for row in dtypes.all),
    spaces=(Space("host", 1 << 40, ALIGNMENT, host_visible=True, coherent=True),),
    max_allocation_bytes=1 << 40,
    max_buffers=1024,
    denormals="preserve",
    contraction=False,
    deterministic=True,
)


class HostAllocator(Allocator):
    """Arrays of bytes."""

    def alloc(self, size_bytes: int, space: str, alignment: int) -> Handle:
        """Bytes at an aligned address. Raises: OutOfMemory."""
        try:
            memory = np().empty(size_bytes + alignment, np().uint8)
        except MemoryError as error:
            raise OutOfMemory(f"{size_bytes} bytes do not fit in memory", "REF") from error
        start = -memory.ctypes.data % alignment
        handle: Handle = memory[start : start + size_bytes]
        return handle

    def free(self, handle: Handle) -> None:
        """Memory goes with the last reference to it."""

    def copyin(self, handle: Handle, source: memoryview) -> None:
        """Write bytes."""
        _bytes(handle)[: source.nbytes] = source.cast("B")

    def copyout(self, target: memoryview, handle: Handle) -> None:
        """Read bytes."""
        target.cast("B")[:] = memoryview(_bytes(handle)[: target.nbytes])

    def offset(self, handle: Handle, offset_bytes: int, size_bytes: int) -> Handle | None:
        """A part of the same bytes."""
        part: Handle = _bytes(handle)[offset_bytes : offset_bytes + size_bytes]
        return part

    def view(self, handle: Handle, size_bytes: int) -> memoryview | None:
        """The bytes themselves."""
        return memoryview(_bytes(handle)[:size_bytes])


class KernelRenderer(Renderer[Kernel]):
    """Writes a scheduled kernel as its canonical text."""

    takes = "kernel"

    def render(self, program: Kernel) -> str:
        """The text."""
        return show(canonical(program))


class TextCompiler(Compiler):
    """The text is the object code."""

    key = f"ref {__version__}"

    def compile(self, source: str) -> bytes:
        """The text as bytes."""
        return source.encode()


class KernelProgram:
    """A kernel read back from its text, ready to be interpreted."""

    def __init__(self, text: str) -> None:
        (unit,) = parse(text).values()
        assert isinstance(unit, Kernel), "ref: the object code is no kernel"
        self.kernel = unit

    def __call__(
        self,
        buffers: Sequence[Handle],
        values: Sequence[int],
        launch: Launch,
        wait: bool = False,
        descs: Sequence[bytes] = (),
    ) -> float | None:
        """Run once. Units: seconds. Raises: RefError."""
        start = time.perf_counter()
        kernel = self.kernel
        arrays = [_elements(*pair) for pair in zip(kernel.params, buffers, strict=True)]
        names = [variable.arg[0] for variable in kernel.variables]
        variables = dict(zip(names, values, strict=True))
        with arena():
            run_kernel(kernel, arrays, variables, check_out_of_bounds=bool(CHECK_OOB.value))
        return time.perf_counter() - start


def _elements(param: UOp, handle: Handle) -> Array:
    """The memory of a buffer as elements, flat."""
    dtype = number.storage(param.dtype)
    size = prod(extent.hi for extent in param.arg.shape)
    return _bytes(handle)[: size * dtype.itemsize].view(dtype)


def _bytes(handle: Handle) -> Array:
    assert isinstance(handle, np().ndarray), "ref: a handle of another device"
    return handle


class RefDevice(Device):
    """The interpreter as a device; work is done when it is started."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.allocator = HostAllocator()

    def load(self, binary: bytes, name: str) -> KernelProgram:
        """The kernel that the text says."""
        return KernelProgram(binary.decode())

    def synchronize(self) -> None:
        """Nothing is ever queued."""

    def close(self) -> None:
        """Nothing is held."""


class RefBackend(Backend):
    """One interpreter, on every machine that has numpy."""

    name = "REF"
    api = PLUGIN_API
    version = __version__
    priority = -100
    fork_safe = True

    def count(self) -> int:
        """One."""
        return 1

    def open(self, index: int, renderer: str = "") -> Device:
        """The interpreter."""
        return RefDevice(self.target(""))

    def target(self, arch: str) -> Target:
        """The one architecture. Raises: Unsupported for another."""
        if arch not in ("", ARCH):
            raise Unsupported(f"target: {arch!r} is unknown; expected {ARCH}", self.name)
        return Target(ARCH, CAPS, KernelRenderer(CAPS), TextCompiler())


BACKEND = RefBackend()
