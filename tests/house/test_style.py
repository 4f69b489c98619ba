"""One simple thing a line, and no logic in hiding."""

from pathlib import Path

import pytest

from tests.house.checks import added, holds, write
from tools import style

PLACE = "tinycore/uop/broken.py"


def test_the_tree_keeps_the_style(tree: Path) -> None:
    holds(style.check(tree))


@pytest.mark.parametrize(
    ("code", "defect"),
    [
        ("x = 1; y = 2", "a semicolon; write one statement a line"),
        ("f = lambda x: lambda y: x", "a lambda inside a lambda; name the inner one"),
        ("print(x := 1)", "a walrus inside a call; give the value a line of its own"),
        ("[1 for a in b for c in d for e in f]", "a comprehension with three for; write the loop"),
        ('P = "def f(): return 1"', "a program inside a string; logic in strings is a defect"),
        ('exec("x")', "runs text as code; logic in strings is a defect"),
    ],
)
def test_a_broken_rule_is_named(copied_tree: Path, code: str, defect: str) -> None:
    assert added(style.check, copied_tree, PLACE, code + "\n") == [f"{PLACE}:1: {defect}"]


def test_a_file_that_generates_code_may_run_it_when_named(tmp_path: Path) -> None:
    write(tmp_path, PLACE, 'exec("x")\n')
    assert style.check(tmp_path, {PLACE: "a reason"}) == []


def test_a_data_file_in_the_core_is_named(copied_tree: Path) -> None:
    assert added(style.check, copied_tree, "tinycore/uop/rules.json", "{}") == [
        "tinycore/uop/rules.json: a data file in the core"
    ]
