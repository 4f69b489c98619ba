"""Counts code lines and tokens, and holds a tree to the budgets.

In: the path of a tree. Out: measures of files and functions, the defects among them, and a table
to read (`python tools/budget.py`). Next file: style.py, which reads the shape of the code.

A code line is a line that holds a token of code: docstrings, comments and blank lines are free. A
multi-line string that is not a docstring counts every line it covers, so that logic moved into
text is still paid for.
"""

import ast
import io
import sys
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CORE_LINES = 10_000
LIBRARY_LINES = 4_500
FILE_LINES = 300
FUNCTION_LINES = 40
COLUMNS = 100
FILE_TOKENS = 12.0
CORE_TOKENS = 10.0
MAX_EXCEPTIONS = 5

REACHED_LINES = 10_366
"""Where compiler and runtime stand while they are over CORE_LINES: they may only fall from here,
unless a decision names what it adds, and this goes when they fit (decisions 0014 and 0016;
`make test-all` holds the budget)."""

LIBRARY = frozenset({"tensor", "nn", "cli"})
"""The parts of the core that are library; all other parts are compiler and runtime."""

EXCEPTIONS: Mapping[str, str] = {}
"""Files allowed to be longer than FILE_LINES: path from the root, and the reason."""

SOURCES = ("tinycore", "plugins/*/src", "conformance/src", "tools", "benchmarks", "examples")
"""Where the limits of a file and a function hold; the totals count `tinycore` alone."""

LAYOUT = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    }
)
STATEMENT_ENDS = frozenset({tokenize.NEWLINE, tokenize.ENDMARKER})


@dataclass(frozen=True)
class Measure:
    """What one file costs: its path from the root, the rows that hold code, and their tokens."""

    path: str
    rows: frozenset[int]
    tokens: int

    @property
    def lines(self) -> int:
        """The number of code lines."""
        return len(self.rows)

    @property
    def density(self) -> float:
        """Tokens a code line, on average; 0 for a file without code."""
        return self.tokens / max(self.lines, 1)

    @property
    def part(self) -> str:
        """The part of the core the file belongs to: `uop` for tinycore/uop/ops.py."""
        below = self.path.split("/")[1]
        return below.removesuffix(".py")


def python_files(tree: Path, patterns: tuple[str, ...] = SOURCES) -> list[Path]:
    """The Python files below the given folders of a tree, in order of their paths."""
    folders = [folder for pattern in patterns for folder in tree.glob(pattern)]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def code_tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    """The tokens of a module that are code: no layout, comment, docstring or other bare string.

    Raises: tokenize.TokenError or SyntaxError for text that is no Python.
    """
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    starts = True
    for position, token in enumerate(tokens):
        if token.type in LAYOUT:
            starts = True
            continue
        follows = tokens[position + 1].type
        bare = token.type == tokenize.STRING and starts and follows in STATEMENT_ENDS
        starts = False
        if not bare:
            yield token


def measure(tree: Path, path: Path) -> Measure:
    """Count one file."""
    rows: set[int] = set()
    count = 0
    for token in code_tokens(path.read_text()):
        rows.update(range(token.start[0], token.end[0] + 1))
        count += 1
    return Measure(path.relative_to(tree).as_posix(), frozenset(rows), count)


def check(tree: Path, exceptions: Mapping[str, str] = EXCEPTIONS) -> list[str]:
    """Every budget of a file that a tree breaks, each in a line that names the culprit."""
    paths = python_files(tree)
    measures = [measure(tree, path) for path in paths]
    defects: list[str] = []
    for path, one in zip(paths, measures, strict=True):
        defects += _file_defects(one, exceptions)
        defects += _text_defects(path, one)
    return defects + _exception_defects(measures, exceptions)


def totals(tree: Path) -> tuple[int, int, float]:
    """Code lines of compiler and runtime, code lines of the library, and tokens a line of both."""
    measures = [measure(tree, path) for path in python_files(tree)]
    core = [one for one in measures if one.path.startswith("tinycore/")]
    library = sum(one.lines for one in core if one.part in LIBRARY)
    return sum(one.lines for one in core) - library, library, _density(core)


def check_totals(tree: Path) -> list[str]:
    """Every total of the core that is over its budget, each in a line."""
    compiler, library, density = totals(tree)
    defects = []
    if compiler > CORE_LINES:
        defects.append(f"compiler and runtime: {compiler} code lines; the budget is {CORE_LINES}")
    if library > LIBRARY_LINES:
        defects.append(f"library: {library} code lines; the budget is {LIBRARY_LINES}")
    if density > CORE_TOKENS:
        defects.append(f"tinycore: {density:.2f} tokens a line; the budget is {CORE_TOKENS}")
    return defects


def _file_defects(one: Measure, exceptions: Mapping[str, str]) -> list[str]:
    defects = []
    if one.lines > FILE_LINES and one.path not in exceptions:
        defects.append(f"{one.path}: {one.lines} code lines; a file has at most {FILE_LINES}")
    if one.density > FILE_TOKENS:
        defects.append(
            f"{one.path}: {one.density:.2f} tokens a line; a file has at most {FILE_TOKENS}"
        )
    return defects


def _text_defects(path: Path, one: Measure) -> list[str]:
    text = path.read_text()
    defects = []
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > COLUMNS:
            defects.append(
                f"{one.path}:{number}: {len(line)} columns; a line has at most {COLUMNS}"
            )
    for name, node in _functions(text):
        lines = len(one.rows.intersection(range(node.lineno, (node.end_lineno or 0) + 1)))
        if lines > FUNCTION_LINES:
            where = f"{one.path}:{node.lineno}: {name}"
            defects.append(f"{where}: {lines} code lines; a function has at most {FUNCTION_LINES}")
    return defects


def _functions(text: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node


def _exception_defects(measures: list[Measure], exceptions: Mapping[str, str]) -> list[str]:
    defects = []
    if len(exceptions) > MAX_EXCEPTIONS:
        defects.append(f"exceptions: {len(exceptions)} files; at most {MAX_EXCEPTIONS}")
    long = {one.path for one in measures if one.lines > FILE_LINES}
    for path, reason in exceptions.items():
        if path not in long:
            defects.append(f"exceptions: {path} needs none; take it off the list")
        if not reason.strip():
            defects.append(f"exceptions: {path} gives no reason")
    return defects


def _density(measures: list[Measure]) -> float:
    return sum(one.tokens for one in measures) / max(sum(one.lines for one in measures), 1)


def table(tree: Path) -> str:
    """The counts as a table: a row for each part of the core, then the totals and budgets."""
    core = [measure(tree, path) for path in python_files(tree, ("tinycore",))]
    rows = [f"{'part':<12}{'files':>6}{'lines':>8}{'tokens/line':>13}  longest file"]
    for part in sorted({one.part for one in core}):
        rows.append(_table_row(part, [one for one in core if one.part == part]))
    library = sum(one.lines for one in core if one.part in LIBRARY)
    compiler = sum(one.lines for one in core) - library
    rows.append(f"compiler and runtime {compiler} of {CORE_LINES} code lines")
    rows.append(f"library {library} of {LIBRARY_LINES} code lines")
    rows.append(f"tokens a line {_density(core):.2f} of {CORE_TOKENS}")
    return "\n".join(rows)


def _table_row(part: str, measures: list[Measure]) -> str:
    longest = max(measures, key=lambda one: (one.lines, one.path))
    lines = sum(one.lines for one in measures)
    counts = f"{part:<12}{len(measures):>6}{lines:>8}{_density(measures):>13.2f}"
    return f"{counts}  {longest.path} {longest.lines}"


def main() -> int:
    """Print the table and the defects of this tree; the exit status is 1 if there are any."""
    tree = Path(__file__).resolve().parent.parent
    print(table(tree))
    defects = check(tree) + check_totals(tree)
    for defect in defects:
        print(defect)
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
