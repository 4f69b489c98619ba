"""Writes docs/tensor.md: every public member of Tensor, by topic, with its first sentence.

In: the class. Out: a Markdown page. Next file: the page itself.
"""

import inspect

from tinycore.tensor.tensor import Tensor

HEAD = """# The members of Tensor

All public ones, under the file of tinycore/tensor that holds them; `help(Tensor.NAME)` says more,
with an example. Operators and indexing are as in numpy and PyTorch; `Tensor.training` is a setting.
`python -m tools.members` writes this page.
"""


def page() -> str:
    """The whole page."""
    topics: dict[str, list[tuple[str, object]]] = {}
    for owner in reversed(Tensor.__mro__):
        title = owner.__module__.rpartition(".")[2]
        if owner is not object and _members(owner):
            topics.setdefault(title, []).extend(_members(owner))
    return HEAD + "".join(_topic(*topic) for topic in topics.items())


def _topic(title: str, members: list[tuple[str, object]]) -> str:
    rows = [f"| `{name}` | {_sentence(member)} |\n" for name, member in members]
    return f"\n## {title}\n\n| member | what it is |\n|---|---|\n{''.join(rows)}"


def _members(owner: type) -> list[tuple[str, object]]:
    """What a topic adds to Tensor: methods and properties, in the order of their file."""
    return [(name, member) for name, member in vars(owner).items() if _is_public(name, member)]


def _is_public(name: str, member: object) -> bool:
    is_described = callable(member) or isinstance(member, property | classmethod | staticmethod)
    return is_described and not name.startswith("_")


def _sentence(member: object) -> str:
    """The first paragraph of a docstring on one line, without what would end a cell."""
    first = (inspect.getdoc(member) or "").partition("\n\n")[0]
    return " ".join(first.split()).replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
