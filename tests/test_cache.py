"""The disk cache: private, checked before use, shared by processes, never in the way."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinycore import cache
from tinycore.cache import DiskCache, source_key
from tinycore.errors import TinycoreWarning


def entry_of(root: Path) -> Path:
    """The one file of a cache that holds one entry."""
    (path,) = [path for path in root.rglob("*") if path.is_file()]
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "cache"


def test_what_was_put_comes_back_in_another_cache_object(root: Path) -> None:
    DiskCache(root).put("kernel", "key", b"value")
    assert DiskCache(root).get("kernel", "key") == b"value"


def test_table_and_key_both_tell_entries_apart(root: Path) -> None:
    store = DiskCache(root)
    store.put("kernel", "a", b"1")
    store.put("kernel", "b", b"2")
    store.put("tuned", "a", b"3")
    assert [store.get("kernel", "a"), store.get("kernel", "b")] == [b"1", b"2"]
    assert store.get("tuned", "a") == b"3"
    assert store.get("tuned", "b") is None


def test_a_key_may_be_bytes_and_a_value_may_be_empty(root: Path) -> None:
    DiskCache(root).put("kernel", b"\x00\xff", b"")
    assert DiskCache(root).get("kernel", b"\x00\xff") == b""


def test_a_later_put_replaces_the_value(root: Path) -> None:
    store = DiskCache(root)
    store.put("kernel", "key", b"old")
    store.put("kernel", "key", b"new")
    assert store.get("kernel", "key") == b"new"


def test_reading_makes_no_folder(root: Path) -> None:
    assert DiskCache(root).get("kernel", "key") is None
    assert not root.exists()


@pytest.mark.parametrize("keep", [0, 5, 17, 48, 49, 52])
def test_a_truncated_entry_is_a_miss_and_is_rebuilt(root: Path, keep: int) -> None:
    store = DiskCache(root)
    store.put("kernel", "key", b"value")
    path = entry_of(root)
    path.write_bytes(path.read_bytes()[:keep])
    assert store.get("kernel", "key") is None
    assert not path.exists()
    store.put("kernel", "key", b"value")
    assert store.get("kernel", "key") == b"value"


def test_a_single_flipped_bit_anywhere_is_a_miss(root: Path) -> None:
    store = DiskCache(root)
    store.put("kernel", "key", b"value")
    path = entry_of(root)
    good = path.read_bytes()
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1
        path.write_bytes(bad)
        assert store.get("kernel", "key") is None


def test_a_foreign_file_is_a_miss(root: Path) -> None:
    store = DiskCache(root)
    store.put("kernel", "key", b"value")
    entry_of(root).write_bytes(b"\x7fELF and whatever else is lying about")
    assert store.get("kernel", "key") is None


def test_an_entry_moved_to_another_key_is_a_miss(root: Path) -> None:
    store = DiskCache(root)
    store.put("kernel", "a", b"value of a")
    stolen = entry_of(root).read_bytes()
    entry_of(root).unlink()
    store.put("kernel", "b", b"value of b")
    entry_of(root).write_bytes(stolen)
    assert store.get("kernel", "b") is None


class TestPrivacy:
    """Nobody else may read the cache, and nobody else can have written what is used."""

    def test_the_folder_is_0700_and_entries_are_0600(self, root: Path) -> None:
        DiskCache(root).put("kernel", "key", b"value")
        assert root.stat().st_mode & 0o777 == 0o700
        assert entry_of(root).stat().st_mode & 0o777 == 0o600

    def test_the_umask_does_not_open_the_folder(self, root: Path) -> None:
        before = os.umask(0)
        try:
            DiskCache(root).put("kernel", "key", b"value")
        finally:
            os.umask(before)
        assert root.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
    def test_a_folder_others_can_write_to_is_refused(self, root: Path, mode: int) -> None:
        DiskCache(root).put("kernel", "key", b"value")
        root.chmod(mode)
        store = DiskCache(root)
        with pytest.warns(TinycoreWarning, match="can be written by other users; expected a fold"):
            assert store.get("kernel", "key") is None
        store.put("kernel", "other", b"value")
        assert len(list(root.rglob("*/*/*"))) == 1

    def test_a_folder_of_another_user_is_refused(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        DiskCache(root).put("kernel", "key", b"value")
        own = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: own + 1)
        with pytest.warns(TinycoreWarning, match="belongs to another user"):
            assert DiskCache(root).get("kernel", "key") is None

    def test_an_entry_others_can_write_to_is_a_miss(self, root: Path) -> None:
        store = DiskCache(root)
        store.put("kernel", "key", b"value")
        entry_of(root).chmod(0o666)
        assert store.get("kernel", "key") is None

    def test_a_link_is_a_miss(self, root: Path, tmp_path: Path) -> None:
        store = DiskCache(root)
        store.put("kernel", "key", b"value")
        path = entry_of(root)
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        assert store.get("kernel", "key") is None
        store.put("kernel", "key", b"value")
        assert store.get("kernel", "key") == b"value"


def test_a_folder_that_cannot_be_made_costs_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = DiskCache(tmp_path / "file" / "cache")
    with pytest.warns(TinycoreWarning, match="cannot be made") as caught:
        store.put("kernel", "key", b"value")
        store.put("kernel", "key", b"value")
    assert len(caught) == 1
    assert store.get("kernel", "key") is None


def test_a_full_disk_costs_one_warning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    store = DiskCache(root)
    with pytest.warns(TinycoreWarning, match="No space left on device"):
        store.put("kernel", "key", b"value")
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_an_interrupt_while_writing_leaves_no_trace(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    store = DiskCache(root)
    store.put("kernel", "key", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.put("kernel", "key", b"new")
    assert store.get("kernel", "key") == b"old"
    assert len([path for path in root.rglob("*") if path.is_file()]) == 1


WRITER = """
import sys
from pathlib import Path
from tinycore.cache import DiskCache
store = DiskCache(Path(sys.argv[1]))
for turn in range(300):
    store.put("kernel", "key", bytes([turn % 256]) * 50_000)
"""


def test_readers_never_see_half_of_what_other_processes_write(root: Path) -> None:
    DiskCache(root).put("kernel", "key", b"\0" * 50_000)
    command = [sys.executable, "-c", WRITER, str(root)]
    writers = [subprocess.Popen(command) for _ in range(2)]
    store = DiskCache(root)
    while any(writer.poll() is None for writer in writers):
        value = store.get("kernel", "key")
        assert value is not None and len(value) == 50_000 and len(set(value)) == 1
    assert [writer.returncode for writer in writers] == [0, 0]


def test_the_place_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TINYCORE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.default_root() == tmp_path / "xdg" / "tinycore"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache.default_root().is_relative_to(tmp_path / "home")
    monkeypatch.setenv("TINYCORE_CACHE", str(tmp_path / "mine"))
    assert cache.shared() is cache.shared()
    assert cache.shared().root == tmp_path / "mine"


def test_an_edited_package_has_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "vendor_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("vendor_package")
    first = source_key("vendor_package")
    (package / "renderer.py").write_text("FAST = True")
    source_key.cache_clear()
    assert source_key("vendor_package") != first
    source_key.cache_clear()
