"""Which OpenCL runtimes the loader is to find, those that came as Python packages among them.

In: .icd files, each with the name of one runtime's library. Out: a folder of such files for the
loader, and what is wrong with any. A wheel's file may name the place its library was built for;
the library is then looked for where the wheel put it. Next: api.py.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import site
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHOICES = ("OCL_ICD_VENDORS", "OCL_ICD_FILENAMES")
"""Variables by which a user chooses runtimes; with one of them set, nothing is added."""

WRAPPER = "pyopencl"
"""The package whose wheel brings a loader, and beside it the runtimes of its extras."""

_SYSTEM_FOLDER = "/etc/OpenCL/vendors"
_ELSEWHERE = "OPENCL_VENDOR_PATH"


@dataclass(frozen=True, slots=True)
class Runtime:
    """An .icd file and the library it stands for.

    `problem` says why that cannot be loaded, `note` what else there is to say.
    """

    file: Path
    library: str
    problem: str = ""
    note: str = ""

    @property
    def is_file(self) -> bool:
        """False if the library itself was named, without a file."""
        return str(self.file) != self.library

    @property
    def trouble(self) -> str:
        """Why it does not load, found by loading it; empty if it does."""
        if self.problem:
            return self.problem
        try:
            ctypes.CDLL(self.library)
        except OSError as error:
            named = f"{self.file} names {self.library}, which" if self.is_file else self.library
            return f"{named} does not load: {error}"
        return ""


def chosen() -> dict[str, str]:
    """What the user set in the environment to choose runtimes."""
    return {name: os.environ[name] for name in CHOICES if os.environ.get(name)}


def candidates() -> list[Runtime]:
    """Every runtime that the loader may try: those chosen, else the system's and packages'."""
    values = chosen()
    if not values:
        return [*of_system(), *of_packages()]
    places = [Path(part) for value in values.values() for part in value.split(os.pathsep)]
    return [row for place in places for row in _of_choice(place)]


def of_system() -> list[Runtime]:
    """The runtimes that a loader finds without help."""
    return _runtimes(Path(os.environ.get(_ELSEWHERE) or _SYSTEM_FOLDER))


def of_packages() -> list[Runtime]:
    """The runtimes that pip installed into this environment or for this user, and no others."""
    prefixes = [sys.prefix]
    if site.ENABLE_USER_SITE and site.USER_BASE:
        prefixes.append(site.USER_BASE)
    folders = [(Path(prefix, _SYSTEM_FOLDER[1:]), Path(prefix, "lib")) for prefix in prefixes]
    folders += [(folder, folder) for folder in wrapper_folders()]
    rows = [_repaired(row, libraries) for files, libraries in folders for row in _runtimes(files)]
    own = {Path(row.library).name for row in of_system() if not row.problem}
    return [row for row in rows if Path(row.library).name not in own]


def wrapper_folders() -> list[Path]:
    """Where the wheel of pyopencl keeps libraries; none if it is not installed."""
    spec = importlib.util.find_spec(WRAPPER)
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent
    return [folder / ".libs", folder / ".dylibs", folder.parent / f"{WRAPPER}.libs"]


@contextmanager
def visible() -> Iterator[None]:
    """Let a loader that is used for the first time find the packages' runtimes too.

    It takes either a folder from the environment or the system's own: ours holds both. The
    variable is set in this block alone, so that other programs are not touched.
    """
    added = [row for row in of_packages() if not row.problem]
    if chosen() or not added:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="tinycore-icd-") as folder:
        for number, row in enumerate([*of_system(), *added]):
            Path(folder, f"{number:02}-{row.file.name}").write_text(row.library + "\n")
        os.environ[CHOICES[0]] = folder
        try:
            yield
        finally:
            del os.environ[CHOICES[0]]


def _runtimes(folder: Path) -> list[Runtime]:
    return [_read(file) for file in sorted(folder.glob("*.icd"))]


def _of_choice(place: Path) -> list[Runtime]:
    """What a value of a variable stands for: a folder, an .icd file or a library."""
    if place.suffix == ".icd":
        return [_read(place)]
    if not place.is_dir():
        missing = place.is_absolute() and not place.exists()
        return [Runtime(place, str(place), f"{place} does not exist" * missing)]
    return _runtimes(place) or [Runtime(place, "", f"{place} holds no file that ends in .icd")]


def _read(file: Path) -> Runtime:
    try:
        library = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        return Runtime(file, "", f"{file} cannot be read: {error}")
    if not library:
        return Runtime(file, "", f"{file} is empty; expected the name of a library")
    missing = os.path.isabs(library) and not os.path.exists(library)
    return Runtime(file, library, f"{file} names {library}, which does not exist" * missing)


def _repaired(row: Runtime, folder: Path) -> Runtime:
    """The row with the library of that name in the folder, if there is one."""
    here = folder / Path(row.library).name
    is_path = os.path.isabs(row.library)
    if not row.library or (is_path and not row.problem) or not here.exists():
        return row
    note = f"{row.problem}; {here} is used" if row.problem else ""
    return Runtime(row.file, str(here), note=note)
