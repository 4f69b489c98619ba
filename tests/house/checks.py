"""What house tests share: a verdict to read, and a tree broken on purpose."""

from collections.abc import Callable
from pathlib import Path

import pytest

Check = Callable[[Path], list[str]]


def holds(defects: list[str]) -> None:
    """Fail with one line for each defect, if there are any."""
    if defects:
        pytest.fail("\n".join(defects), pytrace=False)


def write(tree: Path, name: str, text: str) -> Path:
    """Write a file of the tree, with the folders it needs."""
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def added(check: Check, tree: Path, name: str, text: str) -> list[str]:
    """The defects a checker finds once a file has been written, and did not find before."""
    before = set(check(tree))
    write(tree, name, text)
    return [defect for defect in check(tree) if defect not in before]
