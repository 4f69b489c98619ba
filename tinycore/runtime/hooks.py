"""The hooks a package may implement, and the managers that call them.

In: plugins, objects with functions called `tinycore_...`. Out: their answers. Imported late, since
it imports pluggy.
"""

from __future__ import annotations

import functools
import inspect
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pluggy

from tinycore.errors import warn
from tinycore.runtime.contract import Backend, Device, cause
from tinycore.runtime.plugins import installed

GROUP = "tinycore.hooks"
PREFIX = "tinycore_"

hookimpl = pluggy.HookimplMarker("tinycore")


class BackendHooks:
    """Group `tinycore.backends`: called on the one plugin that the user's device belongs to."""

    def tinycore_backend(self, core_api: tuple[int, int]) -> Any:
        """Required: a `Backend`; opens nothing. `core_api` is the core's PLUGIN_API."""

    def tinycore_patterns(self, device: Device) -> Any:
        """Library calls for parts of the graph; each competes in search on measured time."""

    def tinycore_tunables(self, device: Device) -> Any:
        """Further actions for search."""

    def tinycore_doctor(self, backend: Backend) -> Any:
        """Steps of a self-test; must work when opening the device fails."""

    def tinycore_conformance(self, device: Device) -> Any:
        """Waivers and tighter tolerances for the conformance suite."""


class GlobalHooks:
    """Group `tinycore.hooks`: called on every plugin; one that raises is switched off."""

    def tinycore_configure(self) -> None:
        """Called once, when hooks are first needed."""

    def tinycore_select_default(self, candidates: Sequence[str]) -> str | None:
        """Pick the default device among ready ones, best first; None leaves it to others."""

    def tinycore_kernel_compiled(self, device: str, name: str, info: Mapping[str, Any]) -> None:
        """A kernel was compiled: source, actions, seconds."""

    def tinycore_run(self, device: str, name: str, info: Mapping[str, Any]) -> None:
        """A kernel was run: bytes, operations, seconds."""

    def tinycore_cli(self, subparsers: _SubParsersAction[ArgumentParser]) -> None:
        """Add commands to `tinycore`: each parser sets `run`, a function of its namespace."""


class Manager(pluggy.PluginManager):
    """A pluggy manager that takes every routine called `tinycore_...` for a hook.

    So a native module, whose functions carry no marks, can be a plugin.
    """

    def __init__(self, hooks: type) -> None:
        super().__init__("tinycore")
        self.add_hookspecs(hooks)

    def parse_hookspec_opts(self, holder: Any, name: str) -> pluggy.HookspecOpts | None:
        """No options; None if the name is not a hook's."""
        return cast(pluggy.HookspecOpts, {}) if name.startswith(PREFIX) else None

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> pluggy.HookimplOpts | None:
        """The options of an implementation; None if the name is not a hook's."""
        if not name.startswith(PREFIX) or not inspect.isroutine(getattr(plugin, name, None)):
            return None
        return super().parse_hookimpl_opts(plugin, name) or cast(pluggy.HookimplOpts, {})


class Hooks(Manager):
    """The hook plugins of this process, imported when the first hook is called."""

    def __init__(self) -> None:
        super().__init__(GlobalHooks)
        for plugin in installed(GROUP):
            if not plugin.allowed:
                continue
            name = f"{plugin.name} of {plugin.source}"
            with self._guard(name, "import"):
                self.register(plugin.point.load(), name)
        self.call("tinycore_configure")

    def call(self, hook: str, **arguments: Any) -> list[Any]:
        """The answers of every plugin that has the hook, None left out."""
        answers = []
        for name, plugin in self.list_name_plugin():
            others = self.get_plugins() - {plugin}
            with self._guard(name, hook):
                answers += self.subset_hook_caller(hook, others)(**arguments)
        return answers

    @contextmanager
    def _guard(self, name: str, step: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:
            if self.has_plugin(name):
                self.unregister(name=name)
            warn(f"hooks: {name} is switched off: {step} failed with {cause(error)}")


hooks = functools.cache(Hooks)
"""The process's hook plugins, those of TINYCORE_PLUGINS if that is set."""
