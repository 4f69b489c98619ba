"""docs/tensor.md lists the Tensor there is."""

from pathlib import Path

from tinycore import Tensor
from tools import members


def test_the_page_is_the_one_the_tool_writes(tree: Path) -> None:
    page = (tree / "docs" / "tensor.md").read_text()
    assert page == members.page(), "run `python -m tools.members > docs/tensor.md`"


def test_every_public_member_has_a_line_that_says_something() -> None:
    page = members.page()
    names = [name for name in dir(Tensor) if not name.startswith("_")]
    slots = {"cell", "steps", "grad"}
    assert [name for name in names if f"| `{name}` | " not in page and name not in slots] == []
    assert "|  |" not in page
