"""Makes fake installed packages, and runs Python where they and the core are all there is."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy
import pluggy

import tinycore
from tests.runtime import fake_backend

FAKE_SOURCE = Path(fake_backend.__file__).read_text()


def fake_source(name: str, *changes: tuple[str, str]) -> str:
    """The fake backend under another device name, with pieces of its text replaced."""
    text = FAKE_SOURCE.replace('name = "FAKE"', f'name = "{name}"').replace('("FAUX",)', "()")
    for old, new in changes:
        assert old in text, f"the fake backend has no {old!r}"
        text = text.replace(old, new)
    return text


def entry_point(name: str) -> EntryPoint:
    """An entry point that nobody follows: its backend is loaded already."""
    return EntryPoint(name, "no_such_module", "tinycore.backends")


def bare_core(folder: Path) -> Path:
    """A folder with the core and what it depends on, and nothing else of this machine."""
    for package in (tinycore, pluggy):
        source = Path(str(package.__file__)).parent
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / source.name, ignore=ignored)
    for path in Path(numpy.__file__).parents[1].glob("numpy*"):
        (folder / path.name).symlink_to(path)
    return folder


class Site:
    """A folder of installed packages, made by hand."""

    def __init__(self, folder: Path, core: Path) -> None:
        self.folder = folder
        self.core = core
        folder.mkdir()

    def add(self, name: str, source: str, version: str = "1.2", wheel: str = "") -> None:
        """Install a wheel whose one entry point gives the device `name`."""
        module = f"{(wheel or name).lower().replace('-', '_')}_module"
        (self.folder / f"{module}.py").write_text(source)
        wheel = wheel or f"tinycore-{name.lower()}"
        self.add_metadata(wheel, f"[tinycore.backends]\n{name} = {module}\n", version)

    def add_metadata(self, wheel: str, entry_points: str, version: str = "1.2") -> None:
        """Write the metadata folder of a wheel."""
        info = self.folder / f"{wheel.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {wheel}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(entry_points)

    def run(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run code where nothing but the core, pluggy and these wheels can be imported."""
        return self._python(["-c", code], environment)

    def script(self, path: Path) -> subprocess.CompletedProcess[str]:
        """Run a script there."""
        return self._python([str(path)], {})

    def command(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command `tinycore` there."""
        return self._python(["-m", "tinycore.cli", *words], environment)

    def _python(
        self, arguments: list[str], environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        path = os.pathsep.join([str(self.folder), str(self.core)])
        cache = {"TINYCORE_CACHE": str(self.folder / "cache")}
        return subprocess.run(
            [sys.executable, "-S", "-P", *arguments],
            env={**kept, **cache, **environment, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60,
        )
