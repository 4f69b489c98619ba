"""Finds ops that miss one of their four places: row, gradient rule, spelling, Tensor method.

In: the path of a tree. Out: lines that name op and place. Next file: imports.py.

An op stands in a place when the code there names it: `Ops.EXP`, the function `graph.reshape` that
makes it, or a small group such as MOVEMENT. A place is looked at once it is in the tree.
"""

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Place(NamedTuple):
    """Where an op of the given groups must be named."""

    name: str
    path: str
    groups: frozenset[str]


PLACES = (
    Place("gradient rule", "tinycore/gradient.py", frozenset({"graph"})),
    Place("spelling or decomposition", "tinycore/codegen", frozenset({"lowered", "scalar"})),
    Place("Tensor method", "tinycore/tensor", frozenset({"graph", "scalar"})),
    Place("Tensor method", "tinycore/tensor", frozenset({"graph", "MOVEMENT"})),
)

INTEGERS = "integers and booleans: no gradient flows"

ELSEWHERE: Mapping[tuple[str, str], str] = {
    ("BITCAST", "gradient rule"): "bits are no number that could move",
    ("IDIV", "gradient rule"): INTEGERS,
    ("MOD", "gradient rule"): INTEGERS,
    ("AND", "gradient rule"): INTEGERS,
    ("OR", "gradient rule"): INTEGERS,
    ("XOR", "gradient rule"): INTEGERS,
    ("SHL", "gradient rule"): INTEGERS,
    ("SHR", "gradient rule"): INTEGERS,
    ("FIN", "gradient rule"): "the scheduler writes it, after all gradients",
    ("FIN", "Tensor method"): "the scheduler writes it, for running maxima",
    ("SKEW", "Tensor method"): "the half of a window: pooling and convolution write it",
}
"""Ops that need no such place: (op, place), and the reason."""


def check(tree: Path, elsewhere: Mapping[tuple[str, str], str] = ELSEWHERE) -> list[str]:
    """Every op that misses a place."""
    defects: list[str] = []
    groups = _groups(tree)
    for place in PLACES:
        wanted = [op for op in groups if place.groups <= groups[op]]
        wanted = [op for op in wanted if (op, place.name) not in elsewhere]
        defects += _missing(tree, place, wanted, groups)
    return defects


def _missing(tree: Path, place: Place, ops: list[str], groups: Mapping[str, set[str]]) -> list[str]:
    if not (tree / place.path).exists():
        return []
    words = _words(tree / place.path)
    named = {op for op in ops if op in words or words & groups[op]}
    return [f"Ops.{op}: no {place.name} in {place.path}" for op in ops if op not in named]


def op_names(tree: Path) -> list[str]:
    """The names of all ops of a tree, in the order of their enumeration."""
    return list(_groups(tree))


def _words(path: Path) -> set[str]:
    """What the code names: members of Ops, functions of graph in capitals, and constants."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    owned = [(node.value.id, node.attr) for node in attributes if isinstance(node.value, ast.Name)]
    words = {name for owner, name in owned if owner == "Ops"}
    words |= {name.upper() for owner, name in owned if owner == "graph"}
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return words | {name for name in names if name.isupper()}


def _groups(tree: Path) -> dict[str, set[str]]:
    script = Path(__file__).with_name("facts.py")
    command = [sys.executable, "-I", str(script), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return {name: set(words) for name, *words in rows}
