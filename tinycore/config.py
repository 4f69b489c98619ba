"""Settings: one table row each, read from the environment, overridden per thread by `Context`.

A value is that of the innermost `Context` of this thread, else what the program `set`, else the
environment's when first asked, else the default.
"""

import os
import re
from collections.abc import Mapping
from contextlib import ContextDecorator
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from tinycore.errors import ConfigError
from tinycore.util import listed, near

Value = TypeVar("Value", bound=int | str)

# What `Context`s say, by name; "" holds what is said outside the innermost.
_local: ContextVar[Mapping[str, Any]] = ContextVar("settings", default=MappingProxyType({}))


@dataclass(eq=False)
class Setting(Generic[Value]):
    """One named setting; a change of a `keyed` one may change compiled programs.

    The environment and `Context` also accept its `aliases`.
    """

    name: str
    default: Value
    meaning: str
    high: int = 1
    low: int = 0
    keyed: bool = False
    aliases: tuple[str, ...] = ()
    _base: Value | None = field(default=None, init=False)

    @property
    def value(self) -> Value:
        """What holds in this thread now. Raises: ConfigError if the environment holds nonsense."""
        local: Value | None = _local.get().get(self.name)
        if local is not None:
            return local
        if self._base is None:
            self._base = self.from_environment()
        return self._base

    def set(self, value: Value) -> None:
        """Replace the environment's value; a `Context` still overrides."""
        self._base = self.checked(value)

    def unset(self) -> None:
        """Ask the environment again."""
        self._base = None

    def checked(self, value: Any) -> Value:
        """The value as this row's type. Raises: ConfigError if it does not fit."""
        fits = isinstance(value, str)
        expected = "is no text; expected a string"
        if not isinstance(self.default, str):
            fits = isinstance(value, int) and self.low <= value <= self.high
            expected = f"does not fit; expected a whole number from {self.low} to {self.high}"
        if not fits:
            raise ConfigError(f"{self.name}: {value!r} {expected}")
        return type(self.default)(value)

    def from_environment(self) -> Value:
        """The environment's value or the default. Raises: ConfigError for nonsense."""
        for name in (self.name, *self.aliases):
            text = os.getenv(name)
            if text:
                number = isinstance(self.default, int) and re.fullmatch(r"-?\d+", text)
                return self.checked(int(text) if number else text)
        return self.default


# name, default, meaning, highest value
_PRINTED = (
    "prints 1 devices, JIT; 2 kernels; 3 actions; 4 source; 5 UOps; 6 linear ones; 7 assembly"
)
DEBUG = Setting("DEBUG", 0, _PRINTED, 7)
DEV = Setting("DEV", "", "default device: NAME, NAME:INDEX or NAME:RENDERER; also NAME=1")
DEFAULT_FLOAT = Setting("DEFAULT_FLOAT", "float32", "dtype of tensors made from Python floats")
TRAINING = Setting("TRAINING", 0, "1: dropout drops and batchnorm learns its statistics")
NO_GRAD = Setting("NO_GRAD", 0, "1: backward() and gradients are off")
JIT = Setting("JIT", 1, "0: TinyJit runs as written; 1: capture and replay; 2: no graph", 2)
BEAM = Setting("BEAM", 0, "width of the search for fast kernels; 0: heuristic", 1024, keyed=True)
NOOPT = Setting("NOOPT", 0, "1: kernels run as scheduled, with no action", keyed=True)
SPEC = Setting("SPEC", 0, "1: verify the program after each stage")
CHECK_OOB = Setting("CHECK_OOB", 0, "1: a gathered index out of bounds raises on REF", keyed=True)
CACHELEVEL = Setting("CACHELEVEL", 2, "disk cache: 0 off, 1 compiled kernels, 2 tuned too", 2)
CCACHE = Setting("CCACHE", 1, "0: compile every kernel anew")
SCACHE = Setting("SCACHE", 1, "0: schedule every graph anew")
LRU = Setting("LRU", 1, "0: freed buffers go back to the device at once")
_THREADS = "threads of a device that computes on the host's cores; 0: one a core"
THREADS = Setting("THREADS", 0, _THREADS, 4096, aliases=("NUM_CPU_THREADS",))
PARALLEL = Setting("PARALLEL", 0, "processes that compile for BEAM; 0: one a core", 4096)
TINYCORE_PLUGINS = Setting("TINYCORE_PLUGINS", "", "the only plugins to load: A,B; none: none")
TINYCORE_STRICT = Setting("TINYCORE_STRICT", 0, "1: a broken plugin raises even if unasked for")

SETTINGS: dict[str, Setting[int] | Setting[str]] = {
    row.name: row for row in globals().values() if isinstance(row, Setting)
}

_BY_ALIAS = {name: row for row in SETTINGS.values() for name in (row.name, *row.aliases)}


class Context(ContextDecorator):
    """Gives settings other values in this thread, in a `with` block or a decorated function.

    >>> with Context(DEBUG=2):
    ...     DEBUG.value
    2

    Raises: ConfigError if a name is unknown or a value does not fit.
    """

    def __init__(self, **values: int | str) -> None:
        rows = [(lookup(name), value) for name, value in values.items()]
        self._values = {row.name: row.checked(value) for row, value in rows}

    def __enter__(self) -> None:
        outer = _local.get()
        _local.set({**outer, **self._values, "": outer})

    def __exit__(self, *error: object) -> None:
        _local.set(_local.get()[""])


def lookup(name: str) -> Setting[int] | Setting[str]:
    """The setting called `name`. Raises: ConfigError with those that look like it."""
    if name in _BY_ALIAS:
        return _BY_ALIAS[name]
    alike = near(name, _BY_ALIAS)
    expected = f"did you mean {listed(alike)}?" if alike else f"known are {listed(SETTINGS)}"
    raise ConfigError(f"Context: there is no setting {name}; {expected}")


def getenv(name: str, default: Value) -> Value:
    """The environment variable `name` as the default's type, or the default.

    >>> getenv("SURELY_NOT_SET", 7)
    7
    """
    return Setting(name, default, "", high=1 << 62, low=-1 << 62).from_environment()


def key() -> tuple[tuple[str, int | str], ...]:
    """The settings that may change compiled programs."""
    return tuple((row.name, row.value) for row in SETTINGS.values() if row.keyed)
