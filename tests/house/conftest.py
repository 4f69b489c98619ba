"""The tree the house tests look at, and a copy of it to break on purpose."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("tinycore", "plugins", "conformance", "tools", "pyproject.toml", ".importlinter")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*_cache", "dist", "build")


@pytest.fixture(scope="session")
def tree() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture
def copied_tree(tmp_path: Path) -> Path:
    """A copy of all sources in a folder of its own."""
    target = tmp_path / "tree"
    target.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=LEFT_OUT)
        else:
            shutil.copy(source, target / name)
    return target
