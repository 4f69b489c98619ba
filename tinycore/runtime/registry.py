"""Which devices there are, which one is meant, and the open ones: `Device`.

In: names such as "FOO", "foo:1", or none. Out: canonical names and open devices. A name someone
asked for raises; other failures cost a warning. Next file: device.py.
"""

import atexit
import functools
import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from tinycore.config import DEBUG, DEV, TINYCORE_STRICT
from tinycore.errors import DeviceError, warn, warn_once
from tinycore.runtime.contract import BackendError
from tinycore.runtime.device import OpenDevice
from tinycore.runtime.plugins import Plugin, call_hooks, discover
from tinycore.util import listed, near

_SPELLING = re.compile(r"([A-Z_]\w*)(?::(\d+))?(?::([A-Z_]\w*))?")


class Spelling(NamedTuple):
    """The parts of a device name: NAME, NAME:INDEX, NAME:RENDERER or NAME:INDEX:RENDERER."""

    name: str
    number: int
    renderer: str

    @property
    def canonical(self) -> str:
        """The one spelling that tensors carry: upper case, no index 0, no renderer."""
        return f"{self.name}:{self.number}" if self.number else self.name


class Devices:
    """Every device of this machine by name; nothing is looked up before it is asked."""

    def __init__(self, look: Callable[[], dict[str, Plugin]] = discover) -> None:
        self._look = functools.cache(look)
        self._open: dict[str, OpenDevice] = {}
        self._resolved = functools.cache(self._resolve)
        self._lock = threading.RLock()

    @property
    def DEFAULT(self) -> str:
        """The device that tensors are made on when none is named.

        In this order: the innermost `Context(DEV=...)`, what was assigned here, `DEV`, the flag
        `NAME=1`, the best ready one. Raises: DeviceError or BackendError, with the cause.
        """
        return self.canonicalize(DEV.value) if DEV.value else self._automatic

    @DEFAULT.setter
    def DEFAULT(self, name: str) -> None:
        self.canonicalize(name)
        DEV.set(name)

    def canonicalize(self, name: str | None = None) -> str:
        """The one spelling of a device name: "foo:0" is "FOO"; None is the default.

        Raises: DeviceError if nothing installed has the name; BackendError if that plugin is out of
        use.
        """
        if not isinstance(name, str):
            return self.DEFAULT if name is None else self._resolve(name)
        return self._resolved(name)

    def __getitem__(self, name: str) -> OpenDevice:
        """The open device of that name, opened at the first call. Raises: as `canonicalize`."""
        device = self._open.get(name) or self._opened(spell(self.canonicalize(name)))
        device.plugin.check()
        if not device.usable_here:
            raise DeviceError(
                f"{device.name}: it was opened before this process was forked; expected a process "
                "of its own. Start workers with multiprocessing's spawn method"
            )
        return device

    def get_available_devices(self) -> list[str]:
        """The names that are ready, the best first; broken plugins cost a warning."""
        return [plugin.name for plugin in self._ready(False) + self._ready(True)]

    def synchronize(self, name: str | None = None) -> None:
        """Wait for all queued work of one device, or of every open one."""
        for device in [self[name]] if name else self._open.values():
            device.synchronize()

    def plugins(self) -> Mapping[str, Plugin]:
        """Everything installed, by name, in whatever state."""
        with self._lock:
            return self._look()

    def close(self) -> None:
        """Close every open device, the last opened first."""
        while self._open:
            _, device = self._open.popitem()
            with suppress(BackendError):
                device.close()

    def _resolve(self, name: object) -> str:
        spelling = spell(name)
        with self._lock:
            plugin = self._plugin(spelling.name)
            plugin.ready()
            spelling = spelling._replace(name=plugin.name)
            if spelling.number >= plugin.devices:
                limit = plugin.devices * self[plugin.name].caps.virtual
                if spelling.number >= limit:
                    there = f"expected {plugin.name}, with an index below {limit}"
                    raise DeviceError(f"device: there is no {spelling.canonical}; {there}")
            if spelling.renderer:
                self._opened(spelling)
        return spelling.canonical

    def _plugin(self, name: str) -> Plugin:
        found = self.plugins()
        if name in found:
            return found[name]
        for plugin in found.values():
            with suppress(BackendError):
                if name in map(str.upper, plugin.fact("aliases")):
                    return plugin
        alike = near(name, found)
        guess = f", or use {listed(alike)}" if alike else ""
        wrong = f"device: {name} is not installed; installed are {listed(found)}"
        raise DeviceError(f"{wrong}. Do `pip install tinycore-{name.lower()}`{guess}")

    def _opened(self, spelling: Spelling) -> OpenDevice:
        name, renderer = spelling.canonical, spelling.renderer
        chosen = spell(DEV.value or name)
        if not renderer and chosen.canonical == name:
            renderer = chosen.renderer
        with self._lock:
            plugin, device = self._plugin(spelling.name), self._open.get(name)
            known = list(map(str.upper, plugin.fact("renderers")))
            if renderer and renderer not in known:
                there = f"expected {listed(known)}"
                raise DeviceError(f"device: {plugin.name} has no renderer {renderer}; {there}")
            wanted = spelling.renderer
            if device and wanted and wanted != (device.chosen or known[0]):
                raise DeviceError(
                    f"device: {name} is open with another renderer than {renderer}; "
                    f"expected the choice before first use. Set DEV={name}:{renderer}"
                )
            if not device:
                if not self._open:
                    atexit.register(self.close)
                device = self._open[name] = OpenDevice(name, plugin, spelling.number, renderer)
                if DEBUG.value >= 1:
                    print(f"opened {name}: {plugin.source}, {device.target.arch}")
        return device

    @functools.cached_property
    def _automatic(self) -> str:
        names = tuple(name for name in self.plugins() if os.getenv(name) == "1")
        if len(names) > 1:
            flags = listed(f"{name}=1" for name in names)
            raise DeviceError(f"device: {flags} are all set; expected one. Unset the others")
        if names:
            return self.canonicalize(*names)
        # The core's own device is not imported where there is another.
        ready = self._ready(built_in=False) or self._ready(built_in=True)
        names = tuple(plugin.name for plugin in ready)
        if not ready:
            wrong = f"device: none is ready; expected at least one of {listed(self.plugins())}"
            raise DeviceError(f"{wrong}. Run `tinycore devices` to see why")
        for choice in call_hooks("tinycore_select_default", candidates=names):
            if choice in names:
                return str(choice)
        self._tell_about_choice(*ready)
        return names[0]

    def _tell_about_choice(self, first: Plugin, *others: Plugin) -> None:
        choice = f"so {first.name} is used"
        if first.built_in:
            causes = [str(row.error) for row in self.plugins().values() if row.error]
            state = f"ready ({'; '.join(causes)})" if causes else "installed"
            wrong = f"no device package is {state}, {choice}, which interprets and is slow"
            warn(f"{wrong}. Do `pip install tinycore-<device>`, or set DEV={first.name}")
        elif others and others[0].fact("priority") == first.fact("priority"):
            second = others[0].name
            wrong = f"{first.name} and {second} have the same priority, {choice}"
            warn(f"{wrong}. Set DEV={first.name} or DEV={second}")

    def _ready(self, built_in: bool) -> list[Plugin]:
        ready = []
        for plugin in self.plugins().values():
            if plugin.built_in != built_in:
                continue
            try:
                with self._lock:
                    plugin.ready()
                ready.append(plugin)
            except BackendError as error:
                if plugin.state in ("unavailable", "disabled"):  # nobody's fault
                    continue
                if TINYCORE_STRICT.value:
                    raise
                warn_once(f"{plugin.name} is left out: {error.told}")
        return sorted(ready, key=lambda row: (-row.fact("priority"), row.name))


def spell(name: object) -> Spelling:
    """The parts of a device name, in capitals. Raises: DeviceError if it is no such name."""
    match = _SPELLING.fullmatch(name.strip().upper()) if isinstance(name, str) else None
    if not match:
        raise DeviceError(f"device: {name!r} is no device name; expected NAME or NAME:INDEX")
    word, index, renderer = match.groups("")
    return Spelling(word, int(index or 0), renderer)


Device = Devices()
"""The devices of this process: `Device.DEFAULT`, `Device["NAME:1"]`."""
