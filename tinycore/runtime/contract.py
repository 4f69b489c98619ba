"""What a device package gives the core: five classes to subclass, the rest is optional.

In: a package's `tinycore_backend(core_api)` returns a `Backend`. Out: `Target`, `Device`,
`Allocator` and `Program`, which the engine drives.
Next: registry.py, which finds, checks and opens them. Vendors import all from tinycore.backend.

The core never requires these base classes: any object with the required members will do, so a
closed or native package can be one too. Errors are those of runtime/errors.py; whatever else
escapes from vendor code is caught, kept and shown under the device's name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tinycore.dtype import DType
from tinycore.errors import ArgumentError
from tinycore.runtime.caps import Caps
from tinycore.runtime.errors import Unsupported
from tinycore.runtime.program import Graph, Handle, Program

Source = TypeVar("Source", contravariant=True)

PLUGIN_API = (1, 0)
"""The version of this contract, (major, minor). Minors only add, with defaults."""


class Allocator(ABC):
    """Hands out device memory and moves bytes in and out of it."""

    @abstractmethod
    def alloc(self, size_bytes: int, space: str, alignment: int) -> Handle:
        """Memory of at least `size_bytes` (never 0) in a space of the Caps; content is arbitrary.

        Raises: OutOfMemory if there is no room; the device must stay usable.
        """

    @abstractmethod
    def free(self, handle: Handle) -> None:
        """Give memory back; called once for each `alloc`, when no queued work can reach it."""

    @abstractmethod
    def copyin(self, handle: Handle, source: memoryview) -> None:
        """Write the bytes of `source` to the start of the memory, in order with launches."""

    @abstractmethod
    def copyout(self, target: memoryview, handle: Handle) -> None:
        """Fill `target` with the first bytes of the memory, once all earlier work is done."""

    def offset(self, handle: Handle, offset_bytes: int, size_bytes: int) -> Handle | None:
        """Optional: a handle for a part of the memory; None if the device has no such thing.

        `offset_bytes` is a multiple of `Caps.offset_alignment`; the part is never freed.
        """
        return None

    def view(self, handle: Handle, size_bytes: int) -> memoryview | None:
        """Optional: a writable view of the memory itself, no copy; None if the host cannot see it.

        The caller has synchronized, and keeps the buffer alive while it uses the view.
        """
        return None

    def transfer(self, target: Handle, source: Handle, size_bytes: int) -> bool:
        """Optional: copy within the device (or from a peer); False if it must go by the host."""
        return False


class Renderer(ABC, Generic[Source]):
    """Writes a kernel as the text its compiler reads.

    `takes` says where it takes over from the core. "lanes": a lowered program, every value a
    scalar or a vector, so it is a `Renderer[Lowered]`. "kernel": the scheduled kernel, a tree of
    loops nothing was done to, so it is a `Renderer[Kernel]`. `caps` are those of its target.
    """

    takes: str = "lanes"

    def __init__(self, caps: Caps) -> None:
        self.caps = caps

    @abstractmethod
    def render(self, program: Source) -> str:
        """The source text of a program. Pure: same in, same out.

        Raises: Unsupported, naming op and dtype.
        """

    def supported_dtypes(self) -> tuple[DType, ...]:
        """Every dtype a buffer of this target may have."""
        return self.caps.supported_dtypes()


class Compiler(ABC):
    """Turns rendered text into an object that `Device.load` takes.

    `key` changes whenever the object could: compiler, driver and firmware versions, flags,
    architecture. It is part of the key of the disk cache, so a lie here runs stale kernels.
    """

    key: str

    @abstractmethod
    def compile(self, source: str) -> bytes:
        """The object code of `source`. Needs no device. Raises: CompileError."""

    def disassemble(self, binary: bytes) -> str:
        """Optional: the object code as text, shown at DEBUG=7."""
        raise Unsupported(f"disassemble: {type(self).__name__} has no disassembler")


@dataclass(frozen=True)
class Target:
    """One architecture by name: all that is needed to compile for it, with no device at hand.

    A device without code generation (`caps.codegen` false) has neither renderer nor compiler.
    """

    arch: str
    caps: Caps
    renderer: Renderer[Any] | None = None
    compiler: Compiler | None = None

    def __post_init__(self) -> None:
        given = (self.renderer is not None, self.compiler is not None)
        codegen = self.caps.codegen
        if given != (codegen, codegen):
            raise ArgumentError(
                f"Target: renderer, compiler given: {given}, but caps.codegen is {codegen}; "
                "expected both for a device with code generation, else none"
            )


class Device(ABC):
    """One open device; `graph` stays None where there is none."""

    target: Target
    allocator: Allocator
    graph: Graph | None = None

    @abstractmethod
    def load(self, binary: bytes, name: str) -> Program:
        """Make the kernel `name` in compiled object code ready to run."""

    @abstractmethod
    def synchronize(self) -> None:
        """Return when all queued work is done. Raises: LaunchError for work that failed late."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back; nothing is called after it. Called at most once."""


class Backend(ABC):
    """One kind of device: says what there is, opens nothing until asked.

    `name` is the canonical device name and equals the entry point's. `api` is the PLUGIN_API it
    was written for, `version` the package's own. Higher `priority` wins when a default is chosen.
    `renderers` are names a user may append to DEV (`DEV=NAME:RENDERER`); the first is used unless
    `open` is told otherwise. `fork_safe` says that a child process may go on using an open device.
    """

    name: str
    api: tuple[int, int]
    version: str
    priority: int = 0
    aliases: tuple[str, ...] = ()
    renderers: tuple[str, ...] = ()
    fork_safe: bool = False

    @abstractmethod
    def count(self) -> int:
        """How many devices there are, in less than 200 ms, opening none and never raising.

        Raises: Unavailable where there could be one, with the reason (a driver too old).
        """

    @abstractmethod
    def open(self, index: int, renderer: str = "") -> Device:
        """Open device `index`: below `count()`, or below `count() * caps.virtual` if shared.

        `renderer` is one of `renderers`, or "" for the usual one. Raises: Unavailable.
        """

    @abstractmethod
    def target(self, arch: str) -> Target:
        """The target of a named architecture; needs no device and no driver.

        "" means the host's own where that makes sense. Raises: Unsupported, naming the known.
        """

    def describe(self, index: int) -> Mapping[str, str]:
        """Optional: vendor, product, stable id, driver and firmware versions of one device."""
        return {}
