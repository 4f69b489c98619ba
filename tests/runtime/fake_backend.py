"""A device package as a third party would write it: host memory, and kernels that run.

It imports tinycore.backend alone, but for its stand-in hardware, which is REF's interpreter. Tests
use it in this process, and as the module of fake wheels.
"""

from collections.abc import Mapping, Sequence

import numpy

from tinycore.backend import (
    Allocator,
    Backend,
    Caps,
    Compiler,
    Device,
    Handle,
    Launch,
    OutOfMemory,
    Program,
    Space,
    Target,
)
from tinycore.runtime.ref.backend import KernelProgram, KernelRenderer

MEMORY_BYTES = 1 << 20


class FakeAllocator(Allocator):
    """A megabyte of bytearrays that counts what is asked of it."""

    def __init__(self) -> None:
        self.live: dict[int, bytearray] = {}
        self.asked = 0

    def alloc(self, size_bytes: int, space: str, alignment: int) -> Handle:
        """A bytearray, if the megabyte has room for it."""
        assert size_bytes > 0 and space == "fake" and alignment == 64
        self.asked += 1
        if size_bytes + sum(map(len, self.live.values())) > MEMORY_BYTES:
            raise OutOfMemory("full")
        memory = bytearray(size_bytes)
        handle = memoryview(memory)
        self.live[id(handle)] = memory
        return handle

    def free(self, handle: Handle) -> None:
        """Forget the bytearray."""
        del self.live[id(handle)]

    def copyin(self, handle: Handle, source: memoryview) -> None:
        """Copy bytes."""
        assert isinstance(handle, memoryview)
        handle[: len(source)] = source

    def copyout(self, target: memoryview, handle: Handle) -> None:
        """Copy bytes."""
        assert isinstance(handle, memoryview)
        target[:] = handle[: len(target)]

    def offset(self, handle: Handle, offset_bytes: int, size_bytes: int) -> Handle:
        """A slice."""
        assert isinstance(handle, memoryview)
        return handle[offset_bytes : offset_bytes + size_bytes]

    def view(self, handle: Handle, size_bytes: int) -> memoryview:
        """The memory itself."""
        assert isinstance(handle, memoryview)
        return handle[:size_bytes]


class FakeCompiler(Compiler):
    """Compiles by encoding, and counts."""

    key = "fake compiler 1"
    compiled = 0

    def compile(self, source: str) -> bytes:
        """The text as bytes."""
        type(self).compiled += 1
        return source.encode()


class FakeDevice(Device):
    """Knows one kernel, which adds one to each byte, and has the rest interpreted."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.allocator = FakeAllocator()
        self.closed = False

    def load(self, binary: bytes, name: str) -> Program:
        """The kernel, ready to run."""
        return add_one if binary == b"add one" else Interpreted(binary)

    def synchronize(self) -> None:
        """All work is done when it is started."""

    def close(self) -> None:
        """Remember that it was closed."""
        assert not self.closed
        self.closed = True


class Interpreted:
    """A kernel that the stand-in hardware runs on this package's memory."""

    def __init__(self, binary: bytes) -> None:
        self.program = KernelProgram(binary.decode())

    def __call__(
        self,
        buffers: Sequence[Handle],
        values: Sequence[int],
        launch: Launch,
        wait: bool = False,
        descs: Sequence[bytes] = (),
    ) -> float | None:
        """Run it."""
        arrays = []
        for handle in buffers:
            assert isinstance(handle, memoryview)
            arrays.append(numpy.frombuffer(handle, numpy.uint8))
        self.program(arrays, values, launch, wait, descs)
        return None


def add_one(
    buffers: Sequence[Handle],
    values: Sequence[int],
    launch: Launch,
    wait: bool = False,
    descs: Sequence[bytes] = (),
) -> float | None:
    """Add one to each byte of the first buffer."""
    target = buffers[0]
    assert isinstance(target, memoryview)
    for position in range(len(target)):
        target[position] = (target[position] + 1) % 256
    return 1e-6 if wait else None


class FakeBackend(Backend):
    """Two devices that anybody may have."""

    name = "FAKE"
    api = (1, 0)
    version = "1.2"
    aliases: tuple[str, ...] = ("FAUX",)
    renderers = ("PLAIN", "FANCY")

    def __init__(self) -> None:
        self.opened: list[tuple[int, str]] = []

    def count(self) -> int:
        """Two."""
        return 2

    def open(self, index: int, renderer: str = "") -> Device:
        """A new device."""
        self.opened.append((index, renderer))
        return FakeDevice(self.target(""))

    def target(self, arch: str) -> Target:
        """The only target."""
        caps = Caps(dtypes=("uint8", "float32"), spaces=(Space("fake", MEMORY_BYTES),), virtual=2)
        return Target(arch or "fake1", caps, KernelRenderer(caps), FakeCompiler())

    def describe(self, index: int) -> Mapping[str, str]:
        """A made-up product."""
        return {"vendor": "Nobody", "product": f"Fake 3000 #{index}"}


def tinycore_backend(core_api: tuple[int, int]) -> Backend:
    """The hook."""
    return FakeBackend()
