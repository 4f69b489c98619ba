"""An op of the table stands in its four places."""

import shutil
from pathlib import Path

import pytest

from tests.house.checks import holds, write
from tools import places

TABLE = "tinycore/uop/table.py"


def name_all_but(tree: Path, missing: str) -> str:
    """Code that names every op but one."""
    return "".join(f"Ops.{op}\n" for op in places.op_names(tree) if op != missing)


def test_every_op_stands_in_its_places(tree: Path) -> None:
    holds(places.check(tree))


def test_a_new_op_is_named_until_it_stands_in_its_other_places(copied_tree: Path) -> None:
    text = (copied_tree / TABLE).read_text()
    member = '    TRUNC = _scalar("unary", "trunc")\n'
    sinh = '    SINH = _scalar("unary", "sinh")\n'
    write(copied_tree, TABLE, text.replace(member, member + sinh))
    assert places.check(copied_tree) == [
        "Ops.SINH: no gradient rule in tinycore/gradient.py",
        "Ops.SINH: no spelling or decomposition in tinycore/codegen",
        "Ops.SINH: no Tensor method in tinycore/tensor",
    ]


def test_an_op_without_gradient_rule_is_named(copied_tree: Path) -> None:
    write(copied_tree, "tinycore/gradient.py", name_all_but(copied_tree, "EXP"))
    assert "Ops.EXP: no gradient rule in tinycore/gradient.py" in places.check(copied_tree)


@pytest.mark.parametrize(
    ("folder", "op", "place"),
    [
        ("tinycore/codegen", "EXP", "spelling or decomposition"),
        ("tinycore/codegen", "SQRT", "spelling or decomposition"),
        ("tinycore/tensor", "EXP", "Tensor method"),
        ("tinycore/tensor", "FLIP", "Tensor method"),
    ],
)
def test_an_op_without_spelling_or_method_is_named(
    copied_tree: Path, folder: str, op: str, place: str
) -> None:
    shutil.rmtree(copied_tree / folder, ignore_errors=True)
    write(copied_tree, f"{folder}/ops.py", name_all_but(copied_tree, op))
    assert f"Ops.{op}: no {place} in {folder}" in places.check(copied_tree)
    write(copied_tree, f"{folder}/ops.py", name_all_but(copied_tree, ""))
    assert not [line for line in places.check(copied_tree) if line.endswith(folder)]


def test_a_function_of_the_graph_or_a_group_names_its_ops(copied_tree: Path) -> None:
    text = name_all_but(copied_tree, "EXP").replace("Ops.FLIP", "graph.flip")
    text = text.replace("Ops.RESHAPE\n", "MOVEMENT\n").replace("Ops.PERMUTE\n", "")
    write(copied_tree, "tinycore/gradient.py", text)
    wanting = [line for line in places.check(copied_tree) if "gradient" in line]
    assert wanting == ["Ops.EXP: no gradient rule in tinycore/gradient.py"]
