"""Fixtures of the runtime's tests: a bare place with fake wheels, and fake devices in-process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.fake_backend import FakeBackend
from tests.runtime.wheels import Site, bare_core, entry_point
from tinycore.config import SETTINGS
from tinycore.runtime import buffer
from tinycore.runtime.plugins import Plugin
from tinycore.runtime.registry import Devices


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test starts from the defaults, whatever the environment says."""
    for row in SETTINGS.values():
        for name in (row.name, *row.aliases):
            monkeypatch.delenv(name, raising=False)
        row.unset()
    yield
    for row in SETTINGS.values():
        row.unset()


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core and pluggy alone."""
    return bare_core(tmp_path_factory.mktemp("core"))


@pytest.fixture
def site(tmp_path: Path, core: Path) -> Site:
    """A place where nothing is installed yet."""
    return Site(tmp_path / "site", core)


@pytest.fixture
def fake() -> FakeBackend:
    """The backend behind `devices`."""
    return FakeBackend()


@pytest.fixture
def devices(fake: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[Devices]:
    """A registry with one ready plugin, FAKE, which buffers use too."""
    plugin = Plugin("FAKE", "tinycore-fake", "1.2", entry_point("FAKE"), backend=fake)
    registry = Devices(lambda: {"FAKE": plugin})
    monkeypatch.setattr(buffer, "Device", registry)
    yield registry
    registry.close()
