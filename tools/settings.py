"""Writes the table of settings in docs/settings.md.

In: the rows of tinycore.config. Out: a Markdown table. Next file: the page itself.
"""

from tinycore.config import SETTINGS, Setting

HEAD = "| name | type | default | meaning |\n|---|---|---|---|\n"


def table() -> str:
    """All settings, a row each."""
    return HEAD + "".join(_line(row) for row in SETTINGS.values())


def _line(row: Setting[int] | Setting[str]) -> str:
    names = " or ".join(f"`{name}`" for name in (row.name, *row.aliases))
    kind = "text" if isinstance(row.default, str) else f"{row.low} to {row.high}"
    return f"| {names} | {kind} | `{row.default}` | {row.meaning} |\n".replace("| `` |", "| |")


if __name__ == "__main__":
    print(table(), end="")
