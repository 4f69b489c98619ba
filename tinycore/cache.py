"""A cache on disk, private to its user, shared by processes: bytes by (table, key).

Entries are checked by hash: a truncated, altered or foreign file is a miss, is removed, and is made
again by whoever asked. A cache that others can write to is not used.
"""

import functools
import hashlib
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tinycore.errors import warn_once

_MAGIC = b"tinycore cache 1\n"
_HEAD_BYTES = len(_MAGIC) + hashlib.sha256().digest_size
_REPAIR = (
    "; expected a folder that only you can write to. "
    "Repair it, or name another in TINYCORE_CACHE; this run keeps nothing"
)
_FOLDERS = {"darwin": "Library/Caches", "win32": "AppData/Local"}


class DiskCache:
    """The cache below one folder, which is made at the first `put`, readable by its owner alone."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, table: str, key: str | bytes) -> bytes | None:
        """The value put under this key, or None if none can be trusted."""
        if not self._usable():
            return None
        path = self._path(table, key)
        with suppress(OSError):
            entry = _read(path)
            value = entry[_HEAD_BYTES:]
            if entry == _entry(table, key, value):
                return value
            path.unlink()
        return None

    def put(self, table: str, key: str | bytes, value: bytes) -> None:
        """Keep the value, if the disk allows."""
        if not self._usable(make=True):
            return
        path = self._path(table, key)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, _entry(table, key, value))
        except OSError as error:
            if not path.exists():
                warn_once(f"cache: cannot write to {self.root} ({error.strerror}){_REPAIR}")

    def _path(self, table: str, key: str | bytes) -> Path:
        name = _hash(key).hex()
        return self.root / table / name[:2] / name[2:]

    def _usable(self, make: bool = False) -> bool:
        """True if the folder is there and nobody else can write to it; warns once why not."""
        try:
            if make and self.root.is_absolute():
                self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            reason = _distrust(self.root.stat())
        except OSError as error:
            if not make:
                return False
            reason = f"cannot be made ({error.strerror})"
        # Without a home folder the path is relative.
        if not self.root.is_absolute():
            reason = "is no absolute path"
        if reason:
            warn_once(f"cache: {self.root} {reason}{_REPAIR}")
        return not reason


@functools.cache
def source_key(package: str) -> str:
    """A digest of the names, sizes and times of an imported package's files.

    What code makes is kept under it, so that an edited copy does not find it.
    """
    module = sys.modules[package]
    folders = getattr(module, "__path__", ())
    files = sorted(file for folder in folders for file in Path(folder).rglob("*.py"))
    files = files or [Path(module.__file__ or "")]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return _hash(repr(facts)).hex()


def default_root() -> Path:
    """TINYCORE_CACHE, a folder in XDG_CACHE_HOME, or the platform's own place."""
    chosen = os.getenv("TINYCORE_CACHE", "")
    if chosen:
        return Path(chosen).expanduser().absolute()
    xdg = Path(os.getenv("XDG_CACHE_HOME", ""))
    if xdg.is_absolute():
        return xdg / "tinycore"
    return Path(os.path.expanduser("~")) / _FOLDERS.get(sys.platform, ".cache") / "tinycore"


_at = functools.cache(DiskCache)


def shared() -> DiskCache:
    """The one cache of this process, in `default_root()`."""
    return _at(default_root())


def _distrust(status: os.stat_result) -> str:
    """Why a file or folder may hold what others wrote, or ""."""
    if not hasattr(os, "getuid"):
        return ""
    if status.st_uid != os.getuid():
        return "belongs to another user"
    if status.st_mode & 0o022:
        return "can be written by other users"
    return ""


def _entry(table: str, key: str | bytes, value: bytes) -> bytes:
    """The value after a hash of all that the entry says."""
    return _MAGIC + _hash(_hash(table) + _hash(key) + _hash(value)) + value


def _hash(text: str | bytes) -> bytes:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).digest()


def _read(path: Path) -> bytes:
    """The file's content; empty if it is a link or others could have written it."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        return b"" if _distrust(os.fstat(file.fileno())) else file.read()


def _write(path: Path, content: bytes) -> None:
    """Put the file in place at once or not at all."""
    number, part = tempfile.mkstemp(".part", path.name, path.parent)
    try:
        with open(number, "wb") as file:
            file.write(content)
        os.replace(part, path)
    finally:
        with suppress(OSError):
            os.unlink(part)
