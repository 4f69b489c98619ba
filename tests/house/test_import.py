"""`import tinycore` costs almost nothing and loads nothing it may never need."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinycore
from tests.house.checks import holds
from tools import imports

MISSPELLED = "Tensro"


def test_import_touches_neither_numpy_nor_plugins_nor_metadata(tree: Path) -> None:
    holds(imports.check(tree))


def test_import_loads_no_module_of_its_own(tree: Path) -> None:
    modules = imports.fresh_import(tree).modules
    assert {name for name in modules if name.startswith("tinycore")} == {"tinycore"}


def test_import_takes_at_most_60_ms(tree: Path) -> None:
    # The shortest of several runs: a busy machine only ever adds to it.
    assert imports.times(tree, runs=5)[0] <= imports.TIME_S


def test_an_eager_import_is_named(copied_tree: Path) -> None:
    with (copied_tree / "tinycore/__init__.py").open("a") as file:
        file.write("\nimport importlib.metadata\n")
    assert imports.check(copied_tree) == [
        "import tinycore: loads importlib.metadata; it must wait for its first use"
    ]


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(AttributeError, match="tinycore has no name 'Tensro'; it has Context, "):
        getattr(tinycore, MISSPELLED)


def test_type_checkers_see_every_name_where_it_lives(tree: Path) -> None:
    homes = {name: home for name, home in tinycore.EXPORTS.items() if is_built(tree, home)}
    seen = dict(imported_for_types(tree / "tinycore/__init__.py"))
    assert seen == {name: home.removesuffix(f".{name}") for name, home in homes.items()}


@pytest.mark.parametrize("name", sorted(tinycore.EXPORTS))
def test_every_public_name_resolves(tree: Path, name: str) -> None:
    if is_built(tree, tinycore.EXPORTS[name]):
        assert getattr(tinycore, name) is not None


def is_built(tree: Path, home: str) -> bool:
    """True if the floor a public name lives in is in the tree."""
    path = tree / home.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def imported_for_types(path: Path) -> Iterator[tuple[str, str]]:
    """The names a module imports under TYPE_CHECKING, and the modules they come from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinycore"):
            yield from [(alias.name, node.module or "") for alias in node.names]


def test_dir_shows_the_public_names() -> None:
    assert set(tinycore.EXPORTS) < set(dir(tinycore))
