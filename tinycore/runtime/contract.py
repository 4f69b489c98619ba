"""What a device package gives the core: capabilities, programs, five classes to subclass, errors.

In: a package's `tinycore_backend(core_api)`. Out: a `Backend`. Any object with the required members
will do. What goes wrong is told in one line `DEVICE: message. hint`. Next file: registry.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from tinycore.dtype import DType, to_dtype
from tinycore.errors import ArgumentError, TinycoreError

PLUGIN_API = (1, 0)
"""The version of this contract, (major, minor). Minors only add, with defaults."""

Handle = object
"""A vendor's own name for a piece of device memory; the core only hands it back."""

Names = tuple[str, ...]
XYZ = tuple[int, int, int]  # how many along each

Source = TypeVar("Source", contravariant=True)

_CHOICES: dict[str, tuple[object, ...]] = {
    "denormals": ("preserve", "flush", "either"),
    "rounding": ("nearest", "zero", "either"),
    "matmul_f32": ("ieee", "tf32"),
    "thread_safety": (0, 1, 2, 3),
}


# Errors: users, vendors and BEAM workers share them, and every class survives pickling


@dataclass(eq=False, repr=False)
class BackendError(TinycoreError, RuntimeError):
    """A device or its package failed: `message` says how, `hint` what to do about it.

    `state` is what a plugin is in after this failure.
    """

    message: str
    device: str = ""
    hint: str = ""
    state = "broken"

    def __post_init__(self) -> None:
        self.args = astuple(self)  # what pickle gives the class

    @property
    def told(self) -> str:
        """The message and what to do, in one line."""
        stop = "" if self.message.endswith(("?", ".")) else "."
        text = f"{self.message}{stop} {self.hint}" if self.hint else self.message
        return " ".join(text.split())

    def __str__(self) -> str:
        return f"{self.device}: {self.told}" if self.device else self.told


class Unavailable(BackendError):
    """No hardware, no driver, a version that is too old, or switched off: not a defect."""

    state = "unavailable"


class Unsupported(BackendError, NotImplementedError):
    """The device cannot do this; raised before anything is queued."""


@dataclass(eq=False, repr=False)
class CompileError(BackendError):
    """A vendor's compiler refused a kernel."""

    source: str = ""
    line: int = 0
    log: str = ""


class OutOfMemory(BackendError, MemoryError):
    """The device has no room for a buffer; it stays usable."""


class LaunchError(BackendError):
    """A kernel could not be started, or failed while it ran."""


class DeviceLost(BackendError):
    """The device stopped answering; it cannot be used again in this process."""

    state = "lost"


class ApiMismatch(BackendError):
    """The package and this core speak versions of the contract that do not meet."""

    state = "incompatible"


def adopt(error: BaseException, device: str, operation: str) -> BackendError:
    """What vendor code raised, as one of our classes, under the name of the device.

    It is a fresh object: one that is raised again must not collect tracebacks.
    """
    if isinstance(error, BackendError):
        kind = next(kind for kind in type(error).__mro__ if kind.__module__ == __name__)
        named: BackendError = kind(*[getattr(error, row.name) for row in fields(kind)])
        named.device = named.device or device
        return named
    if isinstance(error, MemoryError):
        return OutOfMemory(f"{operation}: out of memory {error}".rstrip(), device)
    return BackendError(f"{operation} failed with {cause(error)}", device)


def cause(error: BaseException) -> str:
    """The class and the message of what was raised, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())


# Capabilities


@dataclass(frozen=True)
class Space:
    """One memory a buffer can live in. Units: bytes."""

    name: str
    size_bytes: int
    alignment: int = 64
    host_visible: bool = False
    coherent: bool = False
    opaque: bool = False


def _hint(default: Any) -> Any:
    return field(default=default, metadata={"part": "hint"})


@dataclass(frozen=True)
class Caps:
    """The capabilities of one architecture; a field left at its default claims the least.

    `dtypes` are computed natively, `emulated` by longer code, `storage` only loaded and stored; all
    are names of tinycore.dtype. `ops` names lowered ops; none means every one. `spaces` starts with
    the default space, `tile_spaces` are the places STAGE may use. `max_group` and `max_grid` are x,
    y, z. `warp_threads` of consecutive numbers exchange registers. `image_bytes` is the
    largest parameter that can be an image. `virtual` is how many indexes may share one device.
    `thread_safety`: 0 one thread, 1 one at a time, 2 distinct objects, 3 any.
    Hints: `units` work side by side (cores, multiprocessors), `lanes` are threads that run as one,
    `registers` hold `vector_bytes` each, `cache_bytes` starts at the nearest level; a stage of more
    than `row` elements must not share a narrow kernel; `image_reads` are faster than others.
    """

    dtypes: Names
    spaces: tuple[Space, ...]
    emulated: Names = ()
    storage: Names = ()
    ops: Names = ()
    atomics: Names = ()
    tile_spaces: Names = ("reg",)
    max_allocation_bytes: int = 1 << 31
    offset_alignment: int = 64
    max_buffers: int = 8
    max_group: XYZ = (1, 1, 1)
    max_group_threads: int = 1
    max_grid: XYZ = (65535, 65535, 65535)
    group_bytes: int = 0
    warp_threads: int = 1
    denormals: str = "either"
    contraction: bool = True
    rounding: str = "nearest"
    matmul_f32: str = "ieee"
    image_bytes: int = 0
    deterministic: bool = False
    thread_safety: int = 1
    codegen: bool = True
    virtual: int = 1
    version: int = 1
    units: int = _hint(1)
    lanes: int = _hint(1)
    vector_bytes: int = _hint(16)
    registers: int = _hint(16)
    cache_bytes: tuple[int, ...] = _hint(())
    row: int = _hint(1024)
    image_reads: bool = _hint(False)
    graph: bool = _hint(False)

    def __post_init__(self) -> None:
        if not self.dtypes or not self.spaces:
            raise ArgumentError("Caps: dtypes or spaces is empty; expected at least one of each")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ArgumentError(f"Caps: {name} is {value!r}; expected one of {choices}")
        if self.warp_threads & (self.warp_threads - 1):
            raise ArgumentError(f"Caps: warp_threads is {self.warp_threads}; expected a power of 2")
        self.supported_dtypes()

    def supported_dtypes(self) -> tuple[DType, ...]:
        """Every dtype a buffer of this device may have."""
        names = self.dtypes + self.emulated + self.storage
        return tuple(dict.fromkeys(map(to_dtype, names)))

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, contract and hints apart."""
        values = asdict(self)
        version = values.pop("version")
        hints = {row.name: values.pop(row.name) for row in fields(self) if row.metadata}
        return {"version": version, "contract": values, "hints": hints}


# Programs, and the classes to subclass


class Launch(NamedTuple):
    """How many groups a kernel runs in and how many threads each has, as x, y, z.

    Units: `scratch_bytes` of near memory for each group.
    """

    grid: XYZ = (1, 1, 1)
    group: XYZ = (1, 1, 1)
    scratch_bytes: int = 0


class Program(Protocol):
    """A loaded kernel, ready to run."""

    def __call__(
        self,
        buffers: Sequence[Handle],
        values: Sequence[int],
        launch: Launch,
        wait: bool = False,
        descs: Sequence[bytes] = (),
    ) -> float | None:
        """Run once, in order after earlier work of this device.

        `buffers` and `values` follow the kernel's parameters; `descs` are host-computed
        descriptions of views. With `wait`, return after the kernel is done. Units: the seconds the
        kernel itself took, or None if the device cannot tell. Raises: LaunchError, DeviceLost.
        """


class Call(NamedTuple):
    """One program with its arguments."""

    program: Program
    buffers: Sequence[Handle]
    values: Sequence[int]
    launch: Launch
    descs: tuple[bytes, ...] = ()


class Graph(Protocol):
    """Replays a recorded run with less work than one launch after another."""

    def replay(self, calls: Sequence[Call]) -> None:
        """Run the calls in order; programs and launches are those of the first replay."""


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
        """Optional: a handle for a part of the memory, never freed; None if there is none.

        `offset_bytes` is a multiple of `Caps.offset_alignment`.
        """
        return None

    def view(self, handle: Handle, size_bytes: int) -> memoryview | None:
        """Optional: a writable view of the memory itself; None if the host cannot see it.

        The caller has synchronized, and keeps the buffer alive while it uses the view.
        """
        return None

    def transfer(self, target: Handle, source: Handle, size_bytes: int) -> bool:
        """Optional: copy within the device (or from a peer); False if the host must."""
        return False


class Renderer(ABC, Generic[Source]):
    """Writes a kernel as the text its compiler reads.

    `takes` is "lanes" for a lowered program of scalars and vectors (`Renderer[Lowered]`), or
    "kernel" for the kernel as scheduled (`Renderer[Kernel]`).
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

    `key` changes whenever the object could: with the versions of compiler, driver and firmware,
    flags, architecture. The disk cache trusts it: a lie runs stale kernels.
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
    """One architecture: all that is needed to compile for it, with no device at hand.

    Without code generation (`caps.codegen`) there is neither renderer nor compiler.
    """

    arch: str
    caps: Caps
    renderer: Renderer[Any] | None = None
    compiler: Compiler | None = None

    def __post_init__(self) -> None:
        given = self.renderer is not None, self.compiler is not None
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
        """Return when all queued work is done. Raises: LaunchError if some failed late."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back. Called at most once, and last."""


class Backend(ABC):
    """One kind of device: says what there is, opens nothing until asked.

    `name` equals the entry point's, `api` is the PLUGIN_API it was written for, `version` the
    package's own. The highest `priority` becomes the default. Users may choose among `renderers`
    (`DEV=NAME:RENDERER`), of which the first is usual. `fork_safe`: a child process may go on using
    an open device.
    """

    name: str
    api: tuple[int, int]
    version: str
    priority: int = 0
    aliases: Names = ()
    renderers: Names = ()
    fork_safe: bool = False

    @abstractmethod
    def count(self) -> int:
        """How many devices there are, in less than 200 ms, opening none.

        Raises: Unavailable where there could be one, with the reason (a driver too old).
        """

    @abstractmethod
    def open(self, index: int, renderer: str = "") -> Device:
        """Open device `index`: below `count()`, or below `count() * caps.virtual` if shared.

        `renderer` is one of `renderers`, or "" for the usual one. Raises: Unavailable.
        """

    @abstractmethod
    def target(self, arch: str) -> Target:
        """The target of a named architecture, "" for the host's own; needs no device and no driver.

        Raises: Unsupported, naming the known.
        """

    def describe(self, index: int) -> Mapping[str, str]:
        """Optional: vendor, product, stable id, driver and firmware versions of one device."""
        return {}
