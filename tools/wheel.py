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
    """Write a copy of a wheel whose Python files have no docstrings and no comments."""
    with (
        zipfile.ZipFile(wheel) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy,
    ):
        for name in source.namelist():
            body = source.read(name)
            copy.writestr(name, _bare(body) if name.endswith(".py") else body)
    return target


def _bare(body: bytes) -> bytes:
    tree = ast.parse(body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [child for child in node.body if not _is_text(child)] or [ast.Pass()]
    return ast.unparse(tree).encode()


def _is_text(node: ast.stmt) -> bool:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return False
    return isinstance(node.value.value, str)


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
