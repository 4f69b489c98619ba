"""Holds code to CONTRIBUTING.md: one simple thing a line, and no logic in hiding.

In: the path of a tree. Out: lines that name file, line and rule. Next file: docstrings.py.
"""

import ast
import tokenize
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tools.budget import code_tokens, python_files

COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
MAX_FOR = 2

LOGIC = (
    ast.FunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.For,
    ast.While,
    ast.If,
)
"""What makes a piece of text a program; English alone may read as an import or a return."""

RUNS_TEXT = frozenset({"exec", "eval", "compile", "__import__"})

GENERATED: Mapping[str, str] = {}
"""Files that may run text they build: path from the root, and the reason; there is none today."""

DATA = frozenset({"py.typed"})
"""The files other than Python that the core's wheel may hold."""


def check(tree: Path, generated: Mapping[str, str] = GENERATED) -> list[str]:
    """Every place where the tree breaks a rule of style that a machine can see."""
    defects = _data_files(tree)
    for path in python_files(tree):
        name = path.relative_to(tree).as_posix()
        text = path.read_text()
        defects += [
            f"{name}:{row}: a semicolon; write one statement a line" for row in _joins(text)
        ]
        for node in ast.walk(ast.parse(text)):
            defects += [f"{name}:{row}: {rule}" for row, rule in _node_defects(node)]
            if name not in generated and _runs_text(node):
                row = getattr(node, "lineno", 0)
                defects.append(f"{name}:{row}: runs text as code; logic in strings is a defect")
    return defects


def _data_files(tree: Path) -> list[str]:
    files = [path for path in (tree / "tinycore").rglob("*") if path.is_file()]
    files = [path for path in files if "__pycache__" not in path.parts]
    files = [path for path in files if path.suffix != ".py" and path.name not in DATA]
    return [f"{path.relative_to(tree).as_posix()}: a data file in the core" for path in files]


def _joins(text: str) -> Iterator[int]:
    for token in code_tokens(text):
        if token.type == tokenize.OP and token.string == ";":
            yield token.start[0]


def _node_defects(node: ast.AST) -> Iterator[tuple[int, str]]:
    row = getattr(node, "lineno", 0)
    for rule, broken in RULES.items():
        if broken(node):
            yield row, rule


def _nested_lambda(node: ast.AST) -> bool:
    return isinstance(node, ast.Lambda) and _holds(node.body, ast.Lambda)


def _walrus_in_call(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    values = [*node.args, *(keyword.value for keyword in node.keywords)]
    return any(isinstance(value, ast.NamedExpr) for value in values)


def _many_for(node: ast.AST) -> bool:
    return isinstance(node, COMPREHENSIONS) and len(node.generators) > MAX_FOR


def _program_in_text(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return False
    try:
        parsed = ast.parse(node.value)
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(inner, LOGIC) for inner in ast.walk(parsed))


def _holds(node: ast.AST, kind: type[ast.AST]) -> bool:
    return any(isinstance(inner, kind) for inner in ast.walk(node))


def _runs_text(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return False
    return node.func.id in RUNS_TEXT


RULES: Mapping[str, Callable[[ast.AST], bool]] = {
    "a lambda inside a lambda; name the inner one": _nested_lambda,
    "a walrus inside a call; give the value a line of its own": _walrus_in_call,
    "a comprehension with three for; write the loop": _many_for,
    "a program inside a string; logic in strings is a defect": _program_in_text,
}
"""What a node of the syntax tree must not be: the message, and the test for it."""
