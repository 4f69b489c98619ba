"""Every public name says what it does; every Tensor method shows it."""

from pathlib import Path

from tests.house.checks import added, holds
from tools import docstrings


def test_every_public_name_has_a_docstring(tree: Path) -> None:
    holds(docstrings.check(tree))


def test_a_missing_docstring_is_named(copied_tree: Path) -> None:
    text = '"""A module."""\n\n\ndef silent():\n    pass\n'
    assert added(docstrings.check, copied_tree, "tinycore/uop/mute.py", text) == [
        "tinycore/uop/mute.py:4: silent has no docstring"
    ]


def test_a_module_without_docstring_is_named(copied_tree: Path) -> None:
    assert added(docstrings.check, copied_tree, "tinycore/uop/mute.py", "LIMIT = 1\n") == [
        "tinycore/uop/mute.py:1: mute.py has no docstring"
    ]


def test_private_names_and_their_insides_need_none(copied_tree: Path) -> None:
    text = '"""A module."""\n\n\nclass _Hidden:\n    def method(self):\n        pass\n'
    assert added(docstrings.check, copied_tree, "tinycore/uop/quiet.py", text) == []


def test_a_tensor_method_without_example_is_named(copied_tree: Path) -> None:
    text = '"""A module."""\n\n\nclass Face:\n    """A face."""\n\n'
    text += '    def smile(self):\n        """Smile."""\n'
    assert added(docstrings.check, copied_tree, "tinycore/tensor/face.py", text) == [
        "tinycore/tensor/face.py:7: smile has no >>> example"
    ]
