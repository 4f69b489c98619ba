"""What can go wrong with a device, as classes that users, vendors and BEAM workers share.

In: a message, the device's name and a hint. Out: one line `DEVICE: message. hint`. Every class
survives pickling.
"""

from dataclasses import astuple, dataclass, fields

from tinycore.errors import TinycoreError


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
