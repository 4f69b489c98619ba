"""Finds ops that miss one of their four places: row, gradient rule, spelling, Tensor method.

In: the path of a tree. Out: lines that name op and place. Next file: imports.py.

An op stands in a place when the code there names it (`Ops.EXP`). A place is looked at once its
file or folder is in the tree.
"""

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Place(NamedTuple):
    """Where an op of the given groups must be named; no group means every op."""

    name: str
    path: str
    groups: frozenset[str]


ROW = Place("table row", "tinycore/uop/table.py", frozenset())
PLACES = (
    Place("gradient rule", "tinycore/gradient.py", frozenset({"graph"})),
    Place("spelling or decomposition", "tinycore/codegen", frozenset({"lowered", "scalar"})),
    Place("Tensor method", "tinycore/tensor", frozenset({"graph", "scalar"})),
    Place("Tensor method", "tinycore/tensor", frozenset({"graph", "movement"})),
)

ELSEWHERE: Mapping[tuple[str, str], str] = {
    ("FIN", "Tensor method"): "the scheduler writes it, for running maxima",
    ("SKEW", "Tensor method"): "the half of a window: pooling and convolution write it",
}
"""Ops that need no such place: (op, place), and the reason."""


def check(tree: Path, elsewhere: Mapping[tuple[str, str], str] = ELSEWHERE) -> list[str]:
    """Every op that misses a place."""
    ops = op_names(tree)
    defects = _missing(tree, ROW, ops)
    if defects:
        return defects
    groups = _groups(tree)
    for place in PLACES:
        wanted = [op for op in ops if place.groups <= groups[op]]
        wanted = [op for op in wanted if (op, place.name) not in elsewhere]
        defects += _missing(tree, place, wanted)
    return defects


def _missing(tree: Path, place: Place, ops: list[str]) -> list[str]:
    if not (tree / place.path).exists():
        return []
    named = _named(tree / place.path)
    return [f"Ops.{op}: no {place.name} in {place.path}" for op in ops if op not in named]


def op_names(tree: Path) -> list[str]:
    """The names of all ops of a tree, in the order of their enumeration."""
    body = ast.parse((tree / "tinycore/uop/ops.py").read_text()).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    (owner,) = [node for node in classes if node.name == "Ops"]
    lines = [node for node in owner.body if isinstance(node, ast.Assign)]
    targets = [node.targets[0] for node in lines]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if name.isupper()]


def _named(path: Path) -> set[str]:
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    return {node.attr for node in attributes if _is_ops(node.value)}


def _is_ops(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "Ops"


def _groups(tree: Path) -> dict[str, set[str]]:
    script = Path(__file__).with_name("facts.py")
    command = [sys.executable, "-I", str(script), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return {name: set(words) for name, *words in rows}
