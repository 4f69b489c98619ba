"""Holds imports to the floors: the contracts of .importlinter, and what contracts cannot say.

In: the path of a tree. Out: lines that name file, line and import. Next file: places.py.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.budget import python_files

PACKAGES = ("tinycore", "pluggy", "numpy")
"""What the core may import besides the standard library."""

LATE: Mapping[str, str] = {
    "tinycore/__init__.py": "the public names, each at its first use",
    "tinycore/util.py": "numpy, at the first use of an array",
    "tinycore/runtime/registry.py": "plugins, at the first use of a device",
}
"""The files that may import by a name in text: the accessors, one a subject (STYLE.md 9)."""

SOURCE_FOLDERS = (".", "plugins/tinycore-cpu/src", "conformance/src")


def check(tree: Path) -> list[str]:
    """Every import of a tree that leaves its floor."""
    return [*contracts(tree), *_core_imports(tree), *_plugin_imports(tree)]


def contracts(tree: Path) -> list[str]:
    """What import-linter says of the tree's contracts: nothing, if all of them are kept."""
    folders = [str(tree / folder) for folder in SOURCE_FOLDERS]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "NO_COLOR": "1"}
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return []
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]


def _core_imports(tree: Path) -> Iterator[str]:
    for path in python_files(tree, ("tinycore",)):
        name = path.relative_to(tree).as_posix()
        for row, module in _imports(path.read_text()):
            root = module.split(".")[0]
            if root not in PACKAGES and root not in sys.stdlib_module_names:
                yield f"{name}:{row}: imports {module}; the core knows pluggy and numpy alone"
            if module == "tinycore" and name.split("/")[1] != "cli":
                yield f"{name}:{row}: imports the names of tinycore itself; name their floor"
        for row in _late_imports(path.read_text()):
            if name not in LATE:
                yield f"{name}:{row}: imports by a name in text; only accessors may"


def _plugin_imports(tree: Path) -> Iterator[str]:
    for path in python_files(tree, ("plugins/*/src",)):
        name = path.relative_to(tree).as_posix()
        for row, module in _imports(path.read_text()):
            if module.split(".")[0] == "tinycore" and module != "tinycore.backend":
                yield f"{name}:{row}: imports {module}; a plugin imports tinycore.backend alone"


def _imports(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "."


def _late_imports(text: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute | ast.Name):
            word = node.attr if isinstance(node, ast.Attribute) else node.id
            if word == "import_module":
                yield node.lineno
