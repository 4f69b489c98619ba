"""Cross-cutting plugins (profilers, commands, default choice): group `tinycore.hooks`.

In: the name of a hook and its arguments. Out: what each plugin answered. A plugin that raises
is switched off with one warning; the others, and the run, go on.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

from tinycore.errors import warn
from tinycore.runtime.installed import Entry, allowed, installed

if TYPE_CHECKING:
    from tinycore.runtime.hookspecs import Manager

GROUP = "tinycore.hooks"


class Hooks:
    """The hook plugins of this process, imported when the first hook is called."""

    def __init__(self, entries: list[Entry]) -> None:
        hookspecs = importlib.import_module("tinycore.runtime.hookspecs")
        self._manager: Manager = hookspecs.Manager(hookspecs.GlobalHooks)
        self._sources: dict[int, str] = {}
        for entry in entries:
            self._add(entry)
        self.call("tinycore_configure")

    def call(self, name: str, **arguments: Any) -> list[Any]:
        """The answers of every plugin that has the hook, None left out."""
        caller = getattr(self._manager.hook, name)
        if not caller.get_hookimpls():
            return []
        answers: list[Any] = []
        for plugin in self._manager.get_plugins():
            answers += self._ask(plugin, name, arguments)
        return answers

    def _ask(self, plugin: object, name: str, arguments: dict[str, Any]) -> list[Any]:
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        caller = self._manager.subset_hook_caller(name, others)
        try:
            return list(caller(**arguments))
        except (Exception, SystemExit) as error:
            self._manager.unregister(plugin)
            self._tell(self._sources[id(plugin)], name, error)
            return []

    def _add(self, entry: Entry) -> None:
        source = f"{entry.name} of {entry.wheel} {entry.version}"
        try:
            plugin = entry.load()
            self._manager.register(plugin)
            self._sources[id(plugin)] = source
        except (Exception, SystemExit) as error:
            self._tell(source, "import", error)

    def _tell(self, source: str, step: str, error: BaseException) -> None:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        warn(f"hooks: {source} is switched off: {step} failed with {cause}")


@functools.cache
def hooks() -> Hooks:
    """The process's hook plugins, those of TINYCORE_PLUGINS if that is set."""
    return Hooks([entry for entry in installed(GROUP) if allowed(entry.name)])
