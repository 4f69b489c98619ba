"""Finds files named in documents and docstrings, by name or by path, that are not in the tree.

In: the path of a tree. Out: lines that name file, line and mention. Next file: settings.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("tinycore", "plugins", "conformance", "benchmarks", "tools", "docs", ".")
"""Where mentions are looked for; "." is the root's own pages alone."""

MENTION = re.compile(r"[\w/.-]*\w\.(?:py|md|toml|ini)\b")

ELSEWHERE = frozenset({"NNNN-title.md", "train.py"})
"""Names that stand for a user's own file, or for any."""


def check(tree: Path) -> list[str]:
    """Every mention of a file that is nowhere in the tree."""
    known = {part for path in _files(tree, ".", "**/*") for part in _endings(path, tree)}
    defects: list[str] = []
    for path in _speaking(tree):
        name = path.relative_to(tree).as_posix()
        for row, line in enumerate(path.read_text().splitlines(), 1):
            for mention in MENTION.findall(line):
                if mention.lstrip("./") not in known | ELSEWHERE:
                    defects.append(f"{name}:{row}: {mention} is not in the tree")
    return defects


def _speaking(tree: Path) -> Iterator[Path]:
    for folder in FOLDERS:
        depth = "*" if folder == "." else "**/*"
        for suffix in (".py", ".md"):
            yield from _files(tree, folder, depth + suffix)


def _files(tree: Path, folder: str, pattern: str) -> Iterator[Path]:
    for path in sorted((tree / folder).glob(pattern)):
        parts = path.relative_to(tree).parts
        if path.is_file() and not any(_is_made(part) for part in parts[:-1]):
            yield path


def _is_made(folder: str) -> bool:
    """True for folders that are not the tree's own: environments, caches, what a build leaves."""
    return folder.startswith((".", "__")) or folder in ("build", "dist", "golden")


def _endings(path: Path, tree: Path) -> list[str]:
    """A path as anyone may name it: whole, or from any of its folders on."""
    parts = path.relative_to(tree).parts
    return ["/".join(parts[k:]) for k in range(len(parts))]
