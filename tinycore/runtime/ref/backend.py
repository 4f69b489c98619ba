"""The device REF: kernels run as they were scheduled, interpreted with numpy.

In: kernels as their text, buffers of host memory. Out: the buffers changed. It is slow and right.
"""

from collections.abc import Sequence
from typing import Any

from tinycore import __version__
from tinycore.dtype import dtypes
from tinycore.runtime import contract
from tinycore.runtime.contract import Caps, Space, Unsupported
from tinycore.runtime.ref import run_kernel
from tinycore.runtime.ref.memory import Array, np
from tinycore.uop.ops import arena
from tinycore.uop.parser import parse
from tinycore.uop.printer import canonical_text
from tinycore.uop.tree import Kernel

CAPS = Caps(
    dtypes=tuple(row.name for row in dtypes.all),
    spaces=(Space("host", 1 << 40, host_visible=True, coherent=True),),
    max_allocation_bytes=1 << 40,
    max_buffers=1024,
    denormals="preserve",
    contraction=False,
    deterministic=True,
)


class HostAllocator(contract.Allocator):
    """Arrays of bytes."""

    def alloc(self, size_bytes: int, space: str, alignment: int) -> Array:
        """Bytes at an aligned address. Raises: MemoryError."""
        memory = np.empty(size_bytes + alignment, np.uint8)
        start = -memory.ctypes.data % alignment
        return memory[start : start + size_bytes]

    def free(self, handle: Array) -> None:
        """Memory goes with the last reference to it."""

    def copyin(self, handle: Array, source: memoryview) -> None:
        """Write bytes."""
        handle[: source.nbytes] = source.cast("B")

    def copyout(self, target: memoryview, handle: Array) -> None:
        """Read bytes."""
        target.cast("B")[:] = handle[: target.nbytes]

    def view(self, handle: Array, size_bytes: int) -> memoryview:
        """The bytes themselves."""
        return memoryview(handle[:size_bytes])


class KernelRenderer(contract.Renderer[Kernel]):
    """Writes a scheduled kernel as its canonical text."""

    takes = "kernel"

    def render(self, program: Kernel) -> str:
        """The text."""
        return canonical_text(program)


class TextCompiler(contract.Compiler):
    """The text is the object code."""

    key = f"ref {__version__}"

    def compile(self, source: str) -> bytes:
        """The text as bytes."""
        return source.encode()


class KernelProgram:
    """A kernel read back from its text, ready to be interpreted."""

    def __init__(self, text: str) -> None:
        self.kernel: Any = next(iter(parse(text).values()))

    def __call__(self, buffers: Sequence[Array], values: Sequence[int], *_: Any, **__: Any) -> None:
        """Run once, whatever the launch; nobody could measure it better than who waits.

        Raises: RefError.
        """
        names = [variable.arg[0] for variable in self.kernel.variables]
        variables = dict(zip(names, values, strict=True))
        with arena():
            run_kernel(self.kernel, buffers, variables)


TARGET = contract.Target("numpy", CAPS, KernelRenderer(CAPS), TextCompiler())


class RefDevice(contract.Device):
    """The interpreter as a device."""

    target = TARGET
    allocator = HostAllocator()

    def load(self, binary: bytes, name: str) -> KernelProgram:
        """The kernel that the text says."""
        return KernelProgram(binary.decode())

    def synchronize(self) -> None:
        """Nothing is ever queued."""

    def close(self) -> None:
        """Nothing is held."""


class RefBackend(contract.Backend):
    """One interpreter, on every machine that has numpy."""

    name = "REF"
    api = contract.PLUGIN_API
    version = __version__
    priority = -100
    fork_safe = True

    def count(self) -> int:
        """One."""
        return 1

    def open(self, index: int, renderer: str = "") -> RefDevice:
        """The interpreter."""
        return RefDevice()

    def target(self, arch: str) -> contract.Target:
        """The one architecture. Raises: Unsupported for another."""
        if arch not in ("", TARGET.arch):
            raise Unsupported(f"target: {arch!r} is unknown; expected {TARGET.arch}", self.name)
        return TARGET


BACKEND = RefBackend()
