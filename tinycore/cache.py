"""A cache on disk, private to its user, shared by processes: bytes by (table, key).

In: canonical text or bytes as key, bytes as value. Out: the same bytes, or None. Entries are
checked by hash before anyone sees them: a truncated, altered or foreign file is a miss, is
removed, and is made again by whoever asked. A cache that others can write to is not used.
Next: the engine, which keeps compiled kernels and tuned actions here.
"""

import contextlib
import functools
import hashlib
import itertools
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from tinycore.errors import warn_once

_MAGIC = b"tinycore cache 1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_WITHOUT = (
    "; expected a folder that only you can write to. "
    "Repair it, or name another in TINYCORE_CACHE; this run keeps nothing"
)
_HOME_FOLDERS = {"darwin": "Library/Caches"}
_serial = itertools.count()


class DiskCache:
    """The cache below one folder; it is made, readable by its owner alone, at the first `put`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._refused: bool | None = None

    def get(self, table: str, key: str | bytes) -> bytes | None:
        """The value put under this key, or None if there is none that can be trusted."""
        if not self._trusted():
            return None
        path = self._path(table, key)
        try:
            entry = _read(path)
        except OSError:
            return None
        value = _opened(entry, table, key)
        if value is None:
            _remove(path)
        return value

    def put(self, table: str, key: str | bytes, value: bytes) -> None:
        """Keep the value; a full disk or a refused folder only costs the next process time."""
        if not self._trusted(make=True):
            return
        path = self._path(table, key)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, _MAGIC + _digest(table, key, value) + value)
        except OSError as error:
            if not path.exists():
                warn_once(f"cache: cannot write to {self.root} ({error.strerror}){_WITHOUT}")

    def clear(self, table: str = "") -> int:
        """Remove the entries of one table, or of all; returns how many files went."""
        if not self._trusted():
            return 0
        files = list(self.root.glob(f"{table or '*'}/??/*"))
        for path in files:
            _remove(path)
        return len(files)

    def _path(self, table: str, key: str | bytes) -> Path:
        name = hashlib.sha256(_as_bytes(key)).hexdigest()
        return self.root / table / name[:2] / name[2:]

    def _trusted(self, make: bool = False) -> bool:
        if self._refused is None and make:
            with contextlib.suppress(OSError):  # told below, by what stat finds
                self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._refused is None:
            self._refused = self._judge(make)
        return self._refused is False

    def _judge(self, make: bool) -> bool | None:
        """True if the folder is refused, None if there is none yet; says why, once."""
        try:
            reason = _distrust(os.stat(self.root), stat.S_ISDIR)
        except OSError as error:
            if not make:
                return None
            reason = f"cannot be made ({error.strerror})"
        if not self.root.is_absolute():
            reason = "is no absolute path"
        if reason:
            warn_once(f"cache: {self.root} {reason}{_WITHOUT}")
        return bool(reason)


def default_root() -> Path:
    """Where the cache lives: TINYCORE_CACHE, XDG_CACHE_HOME, or the platform's own place."""
    chosen = os.environ.get("TINYCORE_CACHE", "")
    if chosen:
        return Path(chosen).expanduser().absolute()
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if xdg.is_absolute():
        return xdg / "tinycore"
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home)) / "tinycore" / "cache"
    return home / _HOME_FOLDERS.get(sys.platform, ".cache") / "tinycore"


def shared() -> DiskCache:
    """The cache of this user and environment; every caller in the process gets the same one."""
    return _at(default_root())


@functools.cache
def _at(root: Path) -> DiskCache:
    return DiskCache(root)


def _distrust(status: os.stat_result, is_kind: Callable[[int], bool]) -> str:
    """Why a file or folder may hold what others wrote; empty if only its owner, we, could."""
    if not is_kind(status.st_mode):
        return "is of the wrong kind"
    if not hasattr(os, "getuid"):
        return ""
    if status.st_uid != os.getuid():
        return "belongs to another user"
    return "can be written by other users" if status.st_mode & 0o022 else ""


def _opened(entry: bytes, table: str, key: str | bytes) -> bytes | None:
    start = len(_MAGIC) + _DIGEST_BYTES
    value = entry[start:]
    if entry[:start] != _MAGIC + _digest(table, key, value):
        return None
    return value


def _digest(table: str, key: str | bytes, value: bytes) -> bytes:
    parts = (table.encode(), _as_bytes(key), value)
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


def _as_bytes(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


def _read(path: Path) -> bytes:
    """The file's content; empty if it is a link, or could have been written by others."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        foreign = _distrust(os.fstat(file.fileno()), stat.S_ISREG)
        return b"" if foreign else file.read()


def _write(path: Path, content: bytes) -> None:
    """Put the file in place at once or not at all, whatever interrupts."""
    part = path.with_name(f"{path.name}.{os.getpid()}.{next(_serial)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(part, flags, mode=0o600), "wb") as file:
            file.write(content)
        os.replace(part, path)
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
