"""An import only goes down; plugins see tinycore.backend alone."""

from pathlib import Path

import pytest

from tests.house.checks import holds
from tools import floors

LATE = "tinycore/runtime/plugins.py"


def append(tree: Path, name: str, line: str) -> None:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text() if path.exists() else ""
    path.write_text(f"{before}\n{line}\n")


def test_every_import_keeps_its_floor(tree: Path) -> None:
    holds(floors.check(tree))


@pytest.mark.parametrize(
    ("name", "line", "culprit"),
    [
        ("tinycore/dtype.py", "import tinycore.runtime.contract", "tinycore.dtype"),
        ("tinycore/errors.py", "import tinycore.util", "tinycore.errors"),
        ("tinycore/runtime/contract.py", "import tinycore.backend", "tinycore.backend"),
        ("tinycore/newcomer.py", "import tinycore.util", "newcomer"),
        ("conformance/src/tinycore_conformance/new.py", "import tinycore_cpu", "tinycore_cpu"),
        ("tinycore/dtype.py", "import tinycore_conformance", "tinycore_conformance"),
        ("plugins/tinycore-cpu/src/tinycore_cpu/new.py", "import tinycore.dtype", "tinycore_cpu"),
    ],
)
def test_a_broken_contract_names_the_culprit(
    copied_tree: Path, name: str, line: str, culprit: str
) -> None:
    append(copied_tree, name, line)
    said = "\n".join(floors.contracts(copied_tree))
    assert "BROKEN" in said
    assert culprit in said.split("Broken contracts")[1]


def test_files_that_import_each_other_are_named(copied_tree: Path) -> None:
    append(copied_tree, "tinycore/uop/first.py", "import tinycore.uop.second")
    append(copied_tree, "tinycore/uop/second.py", "import tinycore.uop.first")
    said = "\n".join(floors.contracts(copied_tree))
    assert "- .second -> .first (1 import)" in said


@pytest.mark.parametrize(
    ("name", "line", "defect"),
    [
        (
            "tinycore/uop/broken.py",
            "import torch",
            "imports torch; the core knows pluggy and numpy alone",
        ),
        (
            "tinycore/uop/broken.py",
            "from tinycore import Tensor",
            "imports tinycore.Tensor; name the floor it lives in",
        ),
        (
            "tinycore/uop/broken.py",
            'x = importlib.import_module("tinycore.tensor")',
            "imports by a name in text; only accessors may",
        ),
        (
            "plugins/tinycore-cpu/src/tinycore_cpu/broken.py",
            "from tinycore.dtype import DType",
            "imports tinycore.dtype; a plugin imports tinycore.backend alone",
        ),
    ],
)
def test_an_import_that_contracts_cannot_see_is_named(
    copied_tree: Path, name: str, line: str, defect: str
) -> None:
    append(copied_tree, name, line)
    assert f"{name}:2: {defect}" in floors.check(copied_tree)


def test_an_accessor_that_reaches_upward_is_named(copied_tree: Path) -> None:
    line = (copied_tree / LATE).read_text().count("\n") + 2
    append(copied_tree, LATE, 'UP = "tinycore.engine.realize"')
    defect = f"{LATE}:{line}: names tinycore.engine.realize, which is not below it"
    assert defect in floors.check(copied_tree)


def test_the_floors_are_those_of_the_contract(tree: Path) -> None:
    numbers = floors.floor_numbers(tree)
    assert numbers["errors"] == numbers["util"] == 1
    assert numbers["gradient"] == numbers["schedule"] == numbers["codegen"] == 5
    assert numbers["cli"] == max(numbers.values()) == 10
