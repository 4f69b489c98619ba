"""What is installed beside the core, read from metadata alone: no package is imported here.

In: the name of an entry point group. Out: one `Entry` for each entry point of each wheel.
Next: plugins.py and hooks.py, which import what the entries point to.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinycore.config import TINYCORE_PLUGINS
from tinycore.errors import warn
from tinycore.runtime.errors import cause

if TYPE_CHECKING:
    from importlib.metadata import Distribution


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
    """Every entry of the group; of two copies of one wheel, the first on the path counts."""
    metadata = importlib.import_module("importlib.metadata")
    wheels: dict[str, list[Entry]] = {}
    for distribution in metadata.distributions():
        entries = _entries(distribution, group)
        if entries:
            plain = entries[0].wheel.lower().replace("_", "-").replace(".", "-")
            wheels.setdefault(plain, entries)
    return [entry for entries in wheels.values() for entry in entries]


def _entries(distribution: Distribution, group: str) -> list[Entry]:
    """One wheel's entries; none, with a warning, if its metadata cannot be read."""
    wheel = "a package"
    try:
        # Most wheels have no entry of ours: look at the text before anything is parsed.
        if group not in (distribution.read_text("entry_points.txt") or ""):
            return []
        wheel, version = distribution.name, distribution.version
        points = distribution.entry_points.select(group=group)
    except Exception as error:
        warn(f"{group}: metadata of {wheel} cannot be read: {cause(error)}")
        return []
    return [Entry(point.name, wheel, version, point) for point in points]
