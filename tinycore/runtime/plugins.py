"""Installed packages: found by metadata alone, imported late, kept apart when they fail.

In: entry points. Out: a `Plugin` for each; those of `tinycore.backends` are devices. Next file:
registry.py.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tinycore import __version__
from tinycore.config import TINYCORE_PLUGINS
from tinycore.errors import TinycoreError, warn
from tinycore.runtime import contract
from tinycore.runtime.contract import Backend, BackendError, Unavailable, adopt, cause
from tinycore.util import listed, near

GROUP = "tinycore.backends"
BUILT_IN = {"REF": "tinycore.runtime.ref.backend"}
"""The devices of the core: a name, and the module whose `BACKEND` it is."""

_HOOKS = "tinycore.runtime.hooks"
_REQUIRED = ("name", "api", "version", "count", "open", "target")


@dataclass
class Plugin:
    """One entry point: the wheel and version it comes from, how far it got, what stopped it.

    `point` is None for what comes with the core. `state` goes from discovered to ready, or to
    disabled, conflict, unavailable, incompatible, broken or lost.
    """

    name: str
    wheel: str
    version: str
    point: Any = None
    state: str = "discovered"
    error: BackendError | None = None
    backend: Backend | None = None
    devices: int = 0

    @property
    def source(self) -> str:
        """The wheel and its version, as messages name it."""
        return f"{self.wheel} {self.version}"

    @property
    def allowed(self) -> bool:
        """True if TINYCORE_PLUGINS lets it load: it lists names, or is empty."""
        names = TINYCORE_PLUGINS.value.upper().replace(" ", "")
        return not names or self.name.upper() in names.split(",")

    @property
    def built_in(self) -> bool:
        """True for the device that comes with the core."""
        return self.point is None

    def load(self) -> Backend:
        """The backend, imported at the first call. Raises: BackendError, the same each time."""
        if self.backend is None:
            self.check()
            with self.guard(f"import of {self.source}"):
                module = self.point.load() if self.point else import_module(BUILT_IN[self.name])
            with self.guard(f"tinycore_backend of {self.source}"):
                self.backend = module.BACKEND if self.built_in else _checked_backend(self, module)
        return self.backend

    def ready(self) -> Backend:
        """The backend of at least one device, counted at the first call. Raises: as `load`."""
        self.check()
        backend = self.load()
        if self.state == "discovered":
            with self.guard(f"count() of {self.source}"):
                self.devices = count = backend.count()
                if not isinstance(count, int) or count < 0:
                    found = f"gave {count!r}; expected 0 or more"
                    raise BackendError(f"count() of {self.source} {found}")
                if count == 0:
                    raise Unavailable(f"{self.source} finds no such device on this machine")
                self.state = "ready"
        return backend

    def check(self) -> None:
        """Raise the failure that took the plugin out of use, if there was one."""
        if self.error:
            raise adopt(self.error, self.name, "") from self.error.__cause__

    def fact(self, name: str) -> Any:
        """An optional member of the backend, or the contract's default for it."""
        return getattr(self.load(), name, getattr(Backend, name))

    @contextmanager
    def guard(self, operation: str, device: str = "") -> Iterator[None]:
        """Run the plugin's own code: what it raises, SystemExit too, becomes a BackendError.

        It takes the plugin out of use; on an open `device` only DeviceLost does, and our other
        errors (an index out of bounds) pass. The first failure is kept.
        """
        try:
            yield
        except (Exception, SystemExit) as error:
            if not self.error and (not device or isinstance(error, contract.DeviceLost)):
                self.error = adopt(error, self.name, operation)
                self.error.hint = self.error.hint or f"Run `tinycore doctor {self.name}`"
                self.error.__cause__ = error
                self.state = self.error.state
            if not device:
                self.check()
            # Ours, and under a name if it is a device's: it says all.
            if isinstance(error, TinycoreError) and getattr(error, "device", True):
                raise
            # Never in a variable: it would make its traceback, with the caller's buffers, a cycle.
            raise adopt(error, device, operation) from error


def discover() -> dict[str, Plugin]:
    """Every device name there is, by metadata alone."""
    found = {name: [Plugin(name, "tinycore", __version__)] for name in BUILT_IN}
    for plugin in installed(GROUP):
        plugin.name = plugin.name.upper()
        found.setdefault(plugin.name, []).append(plugin)
    return {name: _one_of(name, found[name]) for name in sorted(found)}


def installed(group: str) -> list[Plugin]:
    """Every entry of the group; of two copies of one wheel, the first on the path counts.

    A wheel whose metadata cannot be read is left out with a warning.
    """
    wheels: dict[str, list[Plugin]] = {}
    for distribution in import_module("importlib.metadata").distributions():
        wheel = "a package"
        try:
            # Most wheels have no entry of ours: look before parsing.
            if group not in (distribution.read_text("entry_points.txt") or ""):
                continue
            wheel, version = distribution.name, distribution.version
            plain = re.sub("[-_.]+", "-", wheel).lower()
            points = distribution.entry_points.select(group=group)
            plugins = [Plugin(point.name, wheel, version, point) for point in points]
            wheels.setdefault(plain, plugins)
        except Exception as error:
            warn(f"{group}: metadata of {wheel} cannot be read: {cause(error)}")
    return [plugin for plugins in wheels.values() for plugin in plugins]


def call_hooks(name: str, **arguments: Any) -> list[Any]:
    """What the hook plugins answer, None left out; pluggy is imported at the first call."""
    answers: list[Any] = import_module(_HOOKS).hooks().call(name, **arguments)
    return answers


def _one_of(name: str, found: list[Plugin]) -> Plugin:
    variable = f"TINYCORE_PREFER_{name}"
    preferred = [plugin for plugin in found if plugin.wheel == os.getenv(variable)]
    plugin = (preferred or found)[-1]
    if len(found) > 1 and not preferred:
        sources = listed(sorted(rival.source for rival in found))
        plugin.wheel, plugin.version = listed(sorted(rival.wheel for rival in found)), ""
        wrong = f"{sources} both provide it, so neither is used; expected one"
        hint = f"Set {variable} to the wheel you want, or uninstall the other"
        plugin.state, plugin.error = "conflict", Unavailable(wrong, name, hint)
    if not plugin.built_in and not plugin.allowed:
        wrong = f"{plugin.source} is switched off by TINYCORE_PLUGINS={TINYCORE_PLUGINS.value}"
        plugin.state, plugin.error = "disabled", Unavailable(wrong, name, f"Add {name} to it")
    return plugin


def _checked_backend(plugin: Plugin, module: object) -> Any:
    hooks = import_module(_HOOKS)
    manager = hooks.Manager(hooks.BackendHooks)
    if not hasattr(module, "tinycore_backend"):
        alike = near("tinycore_backend", dir(module))
        found = f"it has {alike[0]}" if alike else "it has nothing like it"
        raise BackendError(f"{plugin.source} has no hook tinycore_backend; {found}")
    manager.register(module)
    answers = manager.hook.tinycore_backend(core_api=contract.PLUGIN_API)
    backend: Any = answers[0] if answers else None
    missing = [name for name in _REQUIRED if not hasattr(backend, name)]
    if missing:
        given = f"{type(backend).__name__} without {listed(missing)}"
        raise BackendError(f"tinycore_backend of {plugin.source} gave {given}; expected a Backend")
    if backend.name.upper() != plugin.name:
        wrong = f"the backend of {plugin.source} calls itself {backend.name}"
        raise BackendError(f"{wrong}; expected {plugin.name}, as its entry point says")
    _check_api(plugin, *backend.api)
    for caller in manager.get_hookcallers(module) or ():
        if not caller.has_spec():
            alike = near(caller.name, dir(hooks.BackendHooks))
            expected = f"did you mean {alike[0]}?" if alike else "see tinycore.runtime.hooks"
            wrong = f"{plugin.source} has a hook {caller.name} that does not exist"
            raise BackendError(f"{wrong}; {expected}")
    return backend


def _check_api(plugin: Plugin, major: int, minor: int) -> None:
    ours, newest = contract.PLUGIN_API
    if major == ours and minor <= newest:
        return
    older = plugin.wheel if (major, minor) < (ours, newest) else "tinycore"
    wrong = f"{plugin.source} speaks plugin API {major}.{minor}"
    taken = f"tinycore {__version__} accepts {ours}.0 to {ours}.{newest}"
    raise contract.ApiMismatch(f"{wrong}; {taken}", plugin.name, f"Upgrade {older}")
