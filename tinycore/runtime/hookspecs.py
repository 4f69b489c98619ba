"""The hooks a package may implement, as pluggy specifications.

In: pluggy, so this module is imported late, by plugins.py alone. Out: two classes of hook specs
and `hookimpl`. A function of a plugin module is a hook if its name starts with `tinycore_`;
the marker is only needed for pluggy's options (tryfirst, wrapper).
"""

from __future__ import annotations

import inspect
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Mapping, Sequence
from typing import Any

import pluggy

from tinycore.runtime.contract import Backend, Device
from tinycore.runtime.options import Check, Declaration, PatternRule, Tunable

PREFIX = "tinycore_"
hookspec = pluggy.HookspecMarker("tinycore")
hookimpl = pluggy.HookimplMarker("tinycore")


class BackendHooks:
    """Group `tinycore.backends`: called on the one plugin that the user's device belongs to."""

    @hookspec(firstresult=True)
    def tinycore_backend(self, core_api: tuple[int, int]) -> Backend:  # type: ignore[empty-body]
        """Required: describe the device; open nothing. `core_api` is the core's PLUGIN_API."""

    @hookspec(firstresult=True)
    def tinycore_patterns(  # type: ignore[empty-body]
        self, device: Device
    ) -> Sequence[PatternRule]:
        """Library calls for parts of the graph; each competes in search on measured time."""

    @hookspec(firstresult=True)
    def tinycore_tunables(self, device: Device) -> Sequence[Tunable]:  # type: ignore[empty-body]
        """Further actions for search."""

    @hookspec(firstresult=True)
    def tinycore_doctor(self, backend: Backend) -> Sequence[Check]:  # type: ignore[empty-body]
        """Steps of a self-test; must work when opening the device fails."""

    @hookspec(firstresult=True)
    def tinycore_conformance(self, device: Device) -> Declaration:  # type: ignore[empty-body]
        """Waivers and tighter tolerances for the conformance suite."""


class GlobalHooks:
    """Group `tinycore.hooks`: called on every plugin; one that raises is switched off."""

    @hookspec
    def tinycore_configure(self) -> None:
        """Called once, when hooks are first needed."""

    @hookspec
    def tinycore_select_default(self, candidates: Sequence[str]) -> str | None:
        """Pick the default device among ready ones, best first; None leaves it to others."""

    @hookspec
    def tinycore_kernel_compiled(self, device: str, name: str, info: Mapping[str, Any]) -> None:
        """A kernel was compiled: source, actions, seconds."""

    @hookspec
    def tinycore_run(self, device: str, name: str, info: Mapping[str, Any]) -> None:
        """A kernel was run: bytes, operations, seconds."""

    @hookspec
    def tinycore_cli(self, subparsers: _SubParsersAction[ArgumentParser]) -> None:
        """Add commands to `tinycore`: each parser sets `run`, a function of its namespace."""


class Manager(pluggy.PluginManager):
    """A pluggy manager that takes every routine called `tinycore_...` for a hook.

    So a native module, whose functions carry no marks, can be a plugin too.
    """

    def __init__(self, hooks: type) -> None:
        super().__init__("tinycore")
        self.add_hookspecs(hooks)

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> pluggy.HookimplOpts | None:
        """The options of one hook implementation; None if the name is not a hook's."""
        if not name.startswith(PREFIX) or not inspect.isroutine(getattr(plugin, name, None)):
            return None
        marked = super().parse_hookimpl_opts(plugin, name)
        return marked if marked is not None else _PLAIN

    def unknown_hooks(self, plugin: Any) -> list[str]:
        """Names of the plugin that look like hooks, but that no specification has."""
        return [
            caller.name for caller in self.get_hookcallers(plugin) or [] if not caller.has_spec()
        ]


_PLAIN: pluggy.HookimplOpts = {
    "wrapper": False,
    "hookwrapper": False,
    "optionalhook": False,
    "tryfirst": False,
    "trylast": False,
    "specname": None,
}


def hook_names(hooks: type) -> list[str]:
    """The names of the hooks a class specifies."""
    return [name for name in vars(hooks) if name.startswith(PREFIX)]
