"""Finds public names without a docstring, and Tensor methods without an example.

In: the path of a tree, and interrogate's settings in its pyproject.toml. Out: lines that name the
culprit. Next file: devices.py.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from interrogate.config import InterrogateConfig, parse_pyproject_toml
from interrogate.coverage import InterrogateCoverage
from interrogate.visit import CovNode

from tools.budget import python_files

FOLDERS = ("tinycore", "plugins/*/src", "conformance/src", "tools")
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def check(tree: Path) -> list[str]:
    """Every public name of a tree that tells its reader nothing."""
    return [*_undocumented(tree), *_without_example(tree)]


def _undocumented(tree: Path) -> Iterator[str]:
    paths = [str(path) for path in python_files(tree, FOLDERS)]
    results = InterrogateCoverage(paths=paths, conf=_settings(tree)).get_coverage()
    for file in results.file_results:
        name = Path(file.filename).relative_to(tree).as_posix()
        for node in file.nodes:
            if not node.covered and not _is_inside_private(node):
                yield f"{name}:{node.lineno or 1}: {node.name} has no docstring"


def _settings(tree: Path) -> InterrogateConfig:
    settings = parse_pyproject_toml(str(tree / "pyproject.toml"))
    settings["ignore_property_setters"] = settings.pop("ignore_setters")
    return InterrogateConfig(**settings)


def _is_inside_private(node: CovNode) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.name.startswith("_") and parent.node_type.endswith("ClassDef"):
            return True
        parent = parent.parent
    return False


def _without_example(tree: Path) -> Iterator[str]:
    for path in python_files(tree, ("tinycore/tensor",)):
        name = path.relative_to(tree).as_posix()
        for method in _public_methods(path.read_text()):
            if ">>>" not in (ast.get_docstring(method) or ""):
                yield f"{name}:{method.lineno}: {method.name} has no >>> example"


def _public_methods(text: str) -> Iterator[FUNCTIONS]:
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    for owner in classes:
        if owner.name.startswith("_"):
            continue
        for node in owner.body:
            if isinstance(node, FUNCTIONS) and not node.name.startswith("_"):
                yield node
