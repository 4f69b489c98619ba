"""Holds imports to the floors: the contracts of .importlinter, and what contracts cannot say.

In: the path of a tree. Out: lines that name file, line and import. Next file: places.py.
"""

import ast
import configparser
import os
import re
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
    "tinycore/runtime/plugins.py": "what is installed, and pluggy, at the first use of a device",
}
"""The files that may import by a name in text: the accessors, one a subject."""

MODULE = re.compile(r"tinycore\.\w+(\.\w+)*")

PLUGIN_FOLDERS = ("plugins/tinycore-cpu/src", "plugins/tinycore-qcom/src")
SOURCE_FOLDERS = (".", *PLUGIN_FOLDERS, "conformance/src")


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
    floors = floor_numbers(tree)
    for path in python_files(tree, ("tinycore",)):
        name = path.relative_to(tree).as_posix()
        text = path.read_text()
        yield from (f"{name}:{defect}" for defect in _foreign_imports(tree, name, text))
        if name not in LATE:
            rule = "imports by a name in text; only accessors may"
            yield from (f"{name}:{row}: {rule}" for row in _late_imports(text))
        elif name != "tinycore/__init__.py":
            yield from (f"{name}:{defect}" for defect in _upward_texts(name, text, floors))


def floor_numbers(tree: Path) -> dict[str, int]:
    """The floor of each part of the core, the lowest 1, as .importlinter draws them."""
    contracts = configparser.ConfigParser()
    contracts.read(tree / ".importlinter")
    lines = contracts["importlinter:contract:floors"]["layers"].split("\n")
    lines = [line for line in lines if line.strip()]
    rows = [re.findall(r"\w+", line) for line in reversed(lines)]
    return {part: number for number, row in enumerate(rows, 1) for part in row}


def _foreign_imports(tree: Path, name: str, text: str) -> Iterator[str]:
    for row, module in _imports(text):
        root, _, part = module.partition(".")
        if root not in PACKAGES and root not in sys.stdlib_module_names:
            yield f"{row}: imports {module}; the core knows pluggy and numpy alone"
        if root == "tinycore" and not _is_module(tree, part) and part != "__version__":
            yield f"{row}: imports {module}; name the floor it lives in"


def _is_module(tree: Path, part: str) -> bool:
    path = tree / "tinycore" / part.split(".")[0]
    return bool(part) and (path.is_dir() or path.with_suffix(".py").is_file())


def _upward_texts(name: str, text: str, floors: Mapping[str, int]) -> Iterator[str]:
    own = name.split("/")[1].removesuffix(".py")
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        part = node.value.split(".")[1] if MODULE.fullmatch(node.value) else own
        if part != own and floors.get(part, 0) >= floors[own]:
            yield f"{node.lineno}: names {node.value}, which is not below it"


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
            root = node.module or ""
            names = [root] if root != "tinycore" else [f"{root}.{one.name}" for one in node.names]
            yield from ((node.lineno, one) for one in names)


def _late_imports(text: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute | ast.Name):
            word = node.attr if isinstance(node, ast.Attribute) else node.id
            if word == "import_module":
                yield node.lineno
