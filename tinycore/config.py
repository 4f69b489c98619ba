"""Settings: one table row each, read from the environment, overridden per thread by `Context`.

In: environment variables and `Context(BEAM=2)`. Out: `DEBUG.value`, cheap enough for hot paths.
A row's value is, in this order: the innermost `Context` of this thread, what the program `set`,
the environment as it was when first asked, the default. Next: whoever reads a setting.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from functools import wraps
from types import MappingProxyType, TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast

from tinycore.errors import ConfigError
from tinycore.util import listed, near

Value = TypeVar("Value", bound=int | str)
P = ParamSpec("P")
R = TypeVar("R")

# What the `Context`s around us say, by name: replaced whole, never changed.
_local: ContextVar[Mapping[str, Any]] = ContextVar("settings", default=MappingProxyType({}))


class Setting(Generic[Value]):
    """One named setting; `value` is what holds here and now.

    `low` and `high` bound a number, `keyed` says that a change may change compiled programs,
    `aliases` are further names that the environment and `Context` accept.
    """

    __slots__ = ("_base", "aliases", "default", "high", "keyed", "low", "meaning", "name")

    def __init__(
        self,
        name: str,
        default: Value,
        meaning: str,
        low: int = 0,
        high: int = 1,
        keyed: bool = False,
        aliases: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.default = default
        self.meaning = meaning
        self.low = low
        self.high = high
        self.keyed = keyed
        self.aliases = aliases
        self._base: Value | None = None

    @property
    def value(self) -> Value:
        """What holds in this thread now. Raises: ConfigError if the environment holds nonsense."""
        local: Value | None = _local.get().get(self.name)
        if local is not None:
            return local
        if self._base is None:
            self._base = self._from_environment()
        return self._base

    def set(self, value: Value) -> None:
        """Replace the environment's value for the whole process; a `Context` still overrides."""
        self._base = self.checked(value)

    def unset(self) -> None:
        """Forget what was set or read: the environment is asked again at the next use."""
        self._base = None

    def checked(self, value: Any) -> Value:
        """The value as this row's type. Raises: ConfigError if it does not fit."""
        if isinstance(self.default, str):
            if isinstance(value, str):
                return cast("Value", value)
            raise ConfigError(f"{self.name}: {value!r} is no text; expected a string")
        if isinstance(value, int) and self.low <= value <= self.high:
            return cast("Value", int(value))
        raise ConfigError(
            f"{self.name}: {value!r} does not fit; "
            f"expected a whole number from {self.low} to {self.high}"
        )

    def _from_environment(self) -> Value:
        for name in (self.name, *self.aliases):
            text = os.environ.get(name, "")
            if text:
                return self.checked(text if isinstance(self.default, str) else _number(text))
        return self.default

    def __repr__(self) -> str:
        return f"{self.name}={self.value!r}"


def _number(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


DEBUG = Setting(
    "DEBUG",
    0,
    "what is printed: 1 devices and JIT, 2 a line for each kernel, 3 chosen actions, 4 source, "
    "5 UOps, 6 linear UOps, 7 assembly",
    high=7,
)
DEV = Setting("DEV", "", "default device: NAME, NAME:INDEX or NAME:RENDERER; also NAME=1")
DEFAULT_FLOAT = Setting("DEFAULT_FLOAT", "float32", "dtype of tensors made from Python floats")
TRAINING = Setting("TRAINING", 0, "1: dropout drops and batchnorm learns its statistics")
NO_GRAD = Setting("NO_GRAD", 0, "1: backward() and gradients are off")
JIT = Setting(
    "JIT", 1, "0: TinyJit runs as written; 1: capture and replay; 2: replay, no graph", high=2
)
BEAM = Setting(
    "BEAM", 0, "width of the search for fast kernels; 0: the heuristic", high=1024, keyed=True
)
NOOPT = Setting("NOOPT", 0, "1: kernels run as scheduled, with no action", keyed=True)
SPEC = Setting("SPEC", 0, "1: verify the program after each stage; 2: after each rewrite", high=2)
CHECK_OOB = Setting(
    "CHECK_OOB", 0, "1: an index out of bounds raises instead of being masked", keyed=True
)
CHECK_NAN = Setting("CHECK_NAN", 0, "1: stop at the first kernel that makes a NaN")
CACHELEVEL = Setting(
    "CACHELEVEL", 2, "disk cache: 0 off, 1 compiled kernels, 2 tuned actions too", high=2
)
CCACHE = Setting("CCACHE", 1, "0: compile every kernel anew")
SCACHE = Setting("SCACHE", 1, "0: schedule every graph anew")
LRU = Setting("LRU", 1, "0: freed buffers go back to the device at once")
THREADS = Setting(
    "THREADS",
    0,
    "threads of a device that computes on the host's cores; 0: one a core",
    high=4096,
    aliases=("NUM_CPU_THREADS",),
)
PARALLEL = Setting("PARALLEL", 0, "processes that compile for BEAM; 0: one a core", high=4096)
TINYCORE_PLUGINS = Setting(
    "TINYCORE_PLUGINS", "", "the only plugins that may load, by name and comma; none: none"
)
TINYCORE_STRICT = Setting(
    "TINYCORE_STRICT", 0, "1: a broken plugin raises even if nobody asked for it"
)

SETTINGS: dict[str, Setting[int] | Setting[str]] = {
    row.name: row for row in list(globals().values()) if isinstance(row, Setting)
}
"""Every setting by name; the table in docs is made from it."""

_BY_ALIAS = {name: row for row in SETTINGS.values() for name in (row.name, *row.aliases)}


class Context:
    """Give settings other values in this thread, for a `with` block or a decorated function.

    >>> with Context(DEBUG=2):
    ...     DEBUG.value
    2

    Raises: ConfigError for an unknown name or a value that does not fit.
    """

    def __init__(self, **values: int | str) -> None:
        rows = {name: lookup(name) for name in values}
        self._values = {rows[name].name: rows[name].checked(values[name]) for name in values}
        self._tokens: list[Token[Mapping[str, Any]]] = []

    def __enter__(self) -> None:
        self._tokens.append(_local.set({**_local.get(), **self._values}))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _local.reset(self._tokens.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, with these settings in force whenever it runs, in whatever thread."""

        @wraps(function)
        def inside(*args: P.args, **kwargs: P.kwargs) -> R:
            with Context(**self._values):
                return function(*args, **kwargs)

        return inside


def lookup(name: str) -> Setting[int] | Setting[str]:
    """The setting called `name`. Raises: ConfigError, naming those that look like it."""
    row = _BY_ALIAS.get(name)
    if row is not None:
        return row
    alike = near(name, _BY_ALIAS)
    expected = f"did you mean {listed(alike)}?" if alike else f"known are {listed(SETTINGS)}"
    raise ConfigError(f"Context: there is no setting {name}; {expected}")


def getenv(name: str, default: Value) -> Value:
    """The environment variable `name` as the default's type; the default if unset or empty.

    >>> getenv("SURELY_NOT_SET", 7)
    7
    """
    return Setting(name, default, "", low=-_FREE, high=_FREE)._from_environment()


_FREE = 1 << 62


def key() -> tuple[tuple[str, int | str], ...]:
    """The settings that may change compiled programs, for keys of caches."""
    return tuple((row.name, row.value) for row in SETTINGS.values() if row.keyed)


def table() -> str:
    """All settings as the Markdown table of docs/settings.md."""
    head = "| name | type | default | meaning |\n|---|---|---|---|\n"
    return head + "".join(_line(row) for row in SETTINGS.values())


def _line(row: Setting[int] | Setting[str]) -> str:
    names = " or ".join(f"`{name}`" for name in (row.name, *row.aliases))
    kind = "text" if isinstance(row.default, str) else f"{row.low} to {row.high}"
    return f"| {names} | {kind} | `{row.default}` | {row.meaning} |\n".replace("| `` |", "| |")
