"""What documents and docstrings name is there."""

from pathlib import Path

import pytest

from tests.house.checks import added, holds
from tools import mentions

PLACE = "tinycore/uop/lost.py"


def test_every_file_that_is_named_is_in_the_tree(tree: Path) -> None:
    holds(mentions.check(tree))


@pytest.mark.parametrize("name", ["gone.py", "uop/gone.py", "docs/GONE.md"])
def test_a_file_that_is_named_and_not_there_is_found(copied_tree: Path, name: str) -> None:
    assert added(mentions.check, copied_tree, PLACE, f'"""Next: {name}."""\n') == [
        f"{PLACE}:1: {name} is not in the tree"
    ]


@pytest.mark.parametrize("name", ["table.py", "uop/table.py", "tinycore/uop/table.py"])
def test_a_file_may_be_named_by_any_end_of_its_path(copied_tree: Path, name: str) -> None:
    assert added(mentions.check, copied_tree, PLACE, f'"""Next: {name}."""\n') == []
