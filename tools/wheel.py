"""Builds the core's wheel and weighs it.

In: the path of a tree. Out: the wheel, its contents, and its weight with and without docstrings.
"""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

SIZE_BYTES = 300_000
STRIPPED_BYTES = 150_000

REACHED_SIZE_BYTES, REACHED_BYTES = 311_200, 245_500
"""Weights, the second without docstrings, while they are over SIZE_BYTES and STRIPPED_BYTES: they
may only fall (decisions 0010 and 0014)."""


def build(project: Path, folder: Path) -> Path:
    """Build the wheel of a project into a folder, with the build backend already installed."""
    before = set(folder.glob("*.whl"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(project)], check=True)
    (wheel,) = set(folder.glob("*.whl")) - before
    return wheel


def contents(wheel: Path) -> list[str]:
    """The paths inside a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def metadata(wheel: Path) -> str:
    """The METADATA file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return archive.read(name).decode()


def strip(wheel: Path, target: Path) -> Path:
    """Write a copy of a wheel whose Python files have no docstrings."""
    with (
        zipfile.ZipFile(wheel) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy,
    ):
        for name in source.namelist():
            body = source.read(name)
            copy.writestr(name, _bare(body.decode()) if name.endswith(".py") else body)
    return target


def _bare(text: str) -> str:
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and _is_text(node.value):
            last = node.end_lineno or node.lineno
            lines[node.lineno - 1 : last] = [""] * (last - node.lineno + 1)
            lines[node.lineno - 1] = " " * node.col_offset + "..."
    return "\n".join(lines)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def check(wheel: Path, folder: Path) -> list[str]:
    """What is wrong with the weight and the contents of the core's wheel."""
    defects = []
    size = wheel.stat().st_size
    bare = strip(wheel, folder / "stripped.zip").stat().st_size
    if size > SIZE_BYTES:
        defects.append(f"{wheel.name}: {size} bytes; at most {SIZE_BYTES}")
    if bare > STRIPPED_BYTES:
        defects.append(f"{wheel.name}: {bare} bytes without docstrings; at most {STRIPPED_BYTES}")
    for name in contents(wheel):
        if not name.startswith(("tinycore/", "tinycore-")):
            defects.append(f"{wheel.name}: holds {name}, which is no part of the core")
    return defects
