"""`tinycore devices`: every device, really used, with the wheel behind it or what stopped it.

In: what is installed. Out: a table or JSON, and a status.
"""

from __future__ import annotations

import json
import time
import warnings
from argparse import ArgumentParser, Namespace, _SubParsersAction
from dataclasses import asdict, dataclass, field
from typing import Any

from tinycore import __version__
from tinycore.errors import TinycoreError, TinycoreWarning
from tinycore.runtime.contract import BackendError
from tinycore.runtime.device import OpenDevice
from tinycore.runtime.plugins import Plugin
from tinycore.runtime.registry import Device
from tinycore.tensor import Tensor
from tinycore.util import format_seconds

REPORT_VERSION = 1
_COUNT = 256


@dataclass
class Row:
    """What is said of one device."""

    name: str
    state: str
    wheel: str
    version: str
    default: bool = False
    detail: str = ""
    arch: str = ""
    description: dict[str, str] = field(default_factory=dict)
    caps: dict[str, Any] = field(default_factory=dict)


@dataclass
class Report:
    """The rows, the default's name, and notes."""

    default: str
    rows: list[Row]
    notes: list[str]

    @property
    def failed(self) -> bool:
        """True if a device fails that should work, or there is no default."""
        has_failed = any(row.state == "failed" for row in self.rows)
        return has_failed or not self.default


def add_command(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("devices", help="list devices and run something on each")
    parser.add_argument("--json", action="store_true", help="print everything known, as JSON")
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Print the report; returns the exit status."""
    report = collect()
    print(as_json(report) if arguments.json else as_text(report))
    return int(report.failed)


def probe(device: OpenDevice) -> str:
    """Run and check a small kernel; says how long it took.

    Raises: BackendError for a wrong result.
    """
    given = list(range(_COUNT))
    numbers = Tensor(given, dtype="float32", device=device.name)
    start_s = time.perf_counter()
    total = (numbers * numbers).sum().item()
    time_s = time.perf_counter() - start_s
    if total != sum(k * k for k in given):
        raise BackendError(f"the sum of {_COUNT} squares came out as {total}", device.name)
    return f"ran a kernel over {_COUNT} numbers in {format_seconds(time_s)}"


def collect() -> Report:
    """Look at every device; nothing a plugin does stops the others."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TinycoreWarning)
        notes = []
        try:
            default = Device.DEFAULT
        except TinycoreError as error:
            default = ""
            notes.append(f"there is no default: {error}")
        plugins = Device.plugins().values()
        rows = [row for plugin in plugins for row in _rows(plugin, default)]
    # What is left out has its own row.
    texts = [str(warning.message) for warning in caught]
    notes += [text for text in texts if " is left out: " not in text]
    rows.sort(key=lambda row: (not row.default, row.state != "ready", row.name))
    return Report(default, rows, notes)


def as_text(report: Report) -> str:
    """The table."""
    lines = [_line(row) for row in report.rows]
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """The report; its schema has its own version."""
    document = {
        "version": REPORT_VERSION,
        "tinycore": __version__,
        "default": report.default,
        "devices": [asdict(row) for row in report.rows],
        "notes": report.notes,
    }
    return json.dumps(document, indent=2)


def _rows(plugin: Plugin, default: str) -> list[Row]:
    first = Row(plugin.name, plugin.state, plugin.wheel, plugin.version)
    try:
        plugin.ready()
    except BackendError as error:
        first.state = plugin.state
        first.detail = error.told
        return [first]
    others = [f"{plugin.name}:{index}" for index in range(1, plugin.devices)]
    names = [plugin.name, *others]
    return [_used(plugin, name, name == default) for name in names]


def _used(plugin: Plugin, name: str, default: bool) -> Row:
    row = Row(name, "ready", plugin.wheel, plugin.version, default)
    try:
        device = Device[name]
        row.arch = device.target.arch
        row.caps = device.caps.to_json()
        row.description = dict(device.describe())
        row.detail = probe(device)
    except TinycoreError as error:
        row.state = "failed"
        words = str(error).split()
        row.detail = " ".join(words)
    return row


def _line(row: Row) -> str:
    star = "*" if row.default else " "
    product = row.description.get("product") or row.arch
    subject = f"{product}: " if product else ""
    return f"{star} {row.name:<8} {row.state:<12} {row.wheel} {row.version}  {subject}{row.detail}"
