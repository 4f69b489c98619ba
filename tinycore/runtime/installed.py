"""What is installed beside the core, read from metadata alone: no package is imported here.

In: the name of an entry point group. Out: one `Entry` for each entry point of each wheel.
Next: plugins.py and hooks.py, which import what the entries point to.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from tinycore.config import TINYCORE_PLUGINS
from tinycore.errors import warn
from tinycore.runtime.errors import cause


@dataclass
class Entry:
    """One entry point, and the wheel and version it comes from.

    `point` is the EntryPoint of importlib.metadata, None for what comes with the core.
    """

    name: str
    wheel: str
    version: str
    point: Any = None

    @property
    def source(self) -> str:
        """The wheel and its version, as messages name it."""
        return f"{self.wheel} {self.version}"

    @property
    def allowed(self) -> bool:
        """True if TINYCORE_PLUGINS lets it load: it lists names, or is empty."""
        names = TINYCORE_PLUGINS.value.upper().replace(" ", "")
        return not names or self.name.upper() in names.split(",")


def installed(group: str) -> list[Entry]:
    """Every entry of the group; of two copies of one wheel, the first on the path counts.

    A wheel whose metadata cannot be read has none, with a warning.
    """
    wheels: dict[str, list[Entry]] = {}
    for distribution in importlib.import_module("importlib.metadata").distributions():
        wheel = "a package"
        try:
            # Most wheels have no entry of ours: look at the text before anything is parsed.
            if group not in (distribution.read_text("entry_points.txt") or ""):
                continue
            wheel, version = distribution.name, distribution.version
            plain = wheel.lower().replace("_", "-").replace(".", "-")
            points = distribution.entry_points.select(group=group)
            entries = [Entry(point.name, wheel, version, point) for point in points]
            wheels.setdefault(plain, entries)
        except Exception as error:
            warn(f"{group}: metadata of {wheel} cannot be read: {cause(error)}")
    return [entry for entries in wheels.values() for entry in entries]
