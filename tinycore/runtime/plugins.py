"""Installed device packages: found by metadata alone, imported late, kept apart when they fail.

In: entry points of the group `tinycore.backends`. Out: `Plugin` records, each with a state and,
once it is loaded, a `Backend`; the first failure is kept and shown at every use.
Next: registry.py, which chooses among them and opens devices.
"""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from tinycore import __version__
from tinycore.config import TINYCORE_PLUGINS
from tinycore.runtime.contract import PLUGIN_API, Backend
from tinycore.runtime.errors import (
    ApiMismatch,
    BackendError,
    DeviceLost,
    Unavailable,
    as_backend_error,
)
from tinycore.runtime.installed import Entry, allowed, installed
from tinycore.util import listed, near

if TYPE_CHECKING:
    from tinycore.runtime.hookspecs import Manager

GROUP = "tinycore.backends"
BUILT_IN = {"REF": "tinycore.runtime.ref.backend"}
"""The devices of the core: a name, and the module whose `BACKEND` it is."""

_REQUIRED = ("name", "api", "version", "count", "open", "target")
_STATES: dict[type[BackendError], State] = {
    Unavailable: "unavailable",
    ApiMismatch: "incompatible",
    DeviceLost: "lost",
}

State = Literal[
    "discovered", "ready", "disabled", "conflict", "unavailable", "incompatible", "broken", "lost"
]


@dataclass
class Plugin:
    """One device name: who provides it, how far it got, and what stopped it."""

    name: str
    wheel: str
    version: str
    entry: Entry | None = None
    state: State = "discovered"
    error: BackendError | None = None
    trace: str = ""
    backend: Backend | None = None
    hooks: Manager | None = None
    devices: int = 0

    @property
    def source(self) -> str:
        """The wheel and its version, as messages name it."""
        return f"{self.wheel} {self.version}"

    @property
    def built_in(self) -> bool:
        """True for the device that comes with the core."""
        return self.entry is None

    @property
    def faulty(self) -> bool:
        """True if it is out of use for a reason someone should repair."""
        return self.state in ("conflict", "incompatible", "broken", "lost")

    def load(self) -> Backend:
        """The backend, imported at the first call, whether or not there is a device.

        Raises: BackendError, the first failure, each time.
        """
        if self.backend is None:
            self.check()
            self.backend = _read(self)
        return self.backend

    def ready(self) -> Backend:
        """The backend of at least one device, counted at the first call. Raises: as `load`."""
        self.check()
        backend = self.load()
        if self.state == "discovered":
            self.devices = _count(self, backend)
            self.state = "ready"
        return backend

    def check(self) -> None:
        """Raise the failure that took the plugin out of use, if there was one."""
        if self.error is not None:
            raise as_backend_error(self.error, self.name, "") from self.error.__cause__

    def fact(self, name: str) -> Any:
        """An optional member of the backend, or the contract's default for it."""
        return getattr(self.load(), name, getattr(Backend, name))

    def fail(self, error: BaseException, operation: str) -> BackendError:
        """Take the plugin out of use; only the first failure is kept."""
        if self.error is None:
            self.error = as_backend_error(error, self.name, operation)
            self.error.hint = self.error.hint or f"Run `tinycore doctor {self.name}`"
            self.error.__cause__ = error
            self.trace = "".join(traceback.format_exception(error))
            self.state = _STATES.get(type(self.error), "broken")
        return self.error

    @contextmanager
    def guard(self, operation: str) -> Iterator[None]:
        """Run the plugin's own code: what it raises is its failure, an attempt to exit included."""
        try:
            yield
        except (Exception, SystemExit) as error:
            raise self.fail(error, operation) from error


def discover() -> dict[str, Plugin]:
    """Every device name there is, by metadata alone: nothing is imported."""
    found = {name: [Plugin(name, "tinycore", __version__)] for name in BUILT_IN}
    for entry in installed(GROUP):
        plugin = Plugin(entry.name.upper(), entry.wheel, entry.version, entry)
        found.setdefault(plugin.name, []).append(plugin)
    plugins = {name: _one_of(name, found[name]) for name in sorted(found)}
    for plugin in plugins.values():
        if plugin.entry is not None and not allowed(plugin.name):
            _switch_off(plugin)
    return plugins


def _one_of(name: str, plugins: Sequence[Plugin]) -> Plugin:
    variable = f"TINYCORE_PREFER_{name}"
    preferred = [plugin for plugin in plugins if plugin.wheel == os.environ.get(variable)]
    if len(plugins) == 1 or preferred:
        return (preferred or plugins)[0]
    sources = listed(sorted(plugin.source for plugin in plugins))
    conflict = Plugin(
        name, listed(sorted(plugin.wheel for plugin in plugins)), "", plugins[-1].entry
    )
    conflict.state = "conflict"
    conflict.error = Unavailable(
        f"{sources} both provide it, so neither is used; expected one",
        name,
        f"Set {variable} to the wheel you want, or uninstall the other",
    )
    return conflict


def _switch_off(plugin: Plugin) -> None:
    plugin.state = "disabled"
    plugin.error = Unavailable(
        f"{plugin.source} is switched off by TINYCORE_PLUGINS={TINYCORE_PLUGINS.value}",
        plugin.name,
        f"Add {plugin.name} to it",
    )


def _read(plugin: Plugin) -> Backend:
    entry = plugin.entry
    with plugin.guard(f"import of {plugin.source}"):
        if entry is None:
            built_in = importlib.import_module(BUILT_IN[plugin.name])
            return cast(Backend, built_in.BACKEND)
        module = entry.load()
    with plugin.guard(f"tinycore_backend of {plugin.source}"):
        backend = _ask_for_backend(plugin, module)
        _check_members(plugin, backend)
        _check_api(plugin, backend.api)
        _check_hooks(plugin, module)
    return backend


def _ask_for_backend(plugin: Plugin, module: object) -> Backend:
    hookspecs = importlib.import_module("tinycore.runtime.hookspecs")
    known = hookspecs.hook_names(hookspecs.BackendHooks)
    if not hasattr(module, "tinycore_backend"):
        alike = near("tinycore_backend", [name for name in dir(module) if name not in known])
        found = f"it has {alike[0]}" if alike else "it has nothing like it"
        raise BackendError(f"{plugin.source} has no hook tinycore_backend; {found}")
    plugin.hooks = manager = hookspecs.Manager(hookspecs.BackendHooks)
    manager.register(module)
    return cast(Backend, manager.hook.tinycore_backend(core_api=PLUGIN_API))


def _check_members(plugin: Plugin, backend: Backend) -> None:
    missing = [name for name in _REQUIRED if not hasattr(backend, name)]
    if missing:
        raise BackendError(
            f"tinycore_backend of {plugin.source} gave {type(backend).__name__} "
            f"without {listed(missing)}; expected a Backend"
        )
    if backend.name.upper() != plugin.name:
        raise BackendError(
            f"the backend of {plugin.source} calls itself {backend.name}; "
            f"expected {plugin.name}, as its entry point says"
        )


def _check_api(plugin: Plugin, api: tuple[int, int]) -> None:
    """The core takes its own major version up to its own minor one."""
    major, minor = api
    if (major, 0) <= PLUGIN_API and major == PLUGIN_API[0] and minor <= PLUGIN_API[1]:
        return
    newer = (major, minor) > PLUGIN_API
    raise ApiMismatch(
        f"{plugin.source} speaks plugin API {major}.{minor}; tinycore {__version__} accepts "
        f"{PLUGIN_API[0]}.0 to {PLUGIN_API[0]}.{PLUGIN_API[1]}",
        plugin.name,
        f"Upgrade {'tinycore' if newer else plugin.wheel}",
    )


def _check_hooks(plugin: Plugin, module: object) -> None:
    assert plugin.hooks is not None, "hooks are checked after they are registered"
    hookspecs = importlib.import_module("tinycore.runtime.hookspecs")
    for name in plugin.hooks.unknown_hooks(module):
        alike = near(name, hookspecs.hook_names(hookspecs.BackendHooks))
        expected = f"did you mean {alike[0]}?" if alike else "see tinycore.runtime.hookspecs"
        raise BackendError(f"{plugin.source} has a hook {name} that does not exist; {expected}")


def _count(plugin: Plugin, backend: Backend) -> int:
    with plugin.guard(f"count() of {plugin.source}"):
        count = backend.count()
        if not isinstance(count, int) or count < 0:
            raise BackendError(f"count() of {plugin.source} gave {count!r}; expected 0 or more")
        if count == 0:
            raise Unavailable(f"{plugin.source} finds no such device on this machine")
    return count
