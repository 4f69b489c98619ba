"""What a kernel is said to do: each operation counted once, where it runs."""

import pytest

from tinycore.engine.plan import name_of, work_of
from tinycore.uop.parser import parse
from tinycore.uop.tree import Kernel


def operations(text: str) -> int:
    """Of the one kernel of a text."""
    kernel = parse(text)["k"]
    assert isinstance(kernel, Kernel)
    return work_of(kernel)[0]


def test_a_value_with_a_name_is_counted_where_it_is_computed() -> None:
    text = "kernel k(X f32[8], Y f32[8])\n  par i:8\n    v = X[i] * 2.0\n    Y[i] = v + v * v\n"
    assert operations(text) == 8 * 3


def test_a_value_of_an_outer_loop_is_counted_outside() -> None:
    text = (
        "kernel k(X f32[4], Y f32[4,8])\n  par i:4\n    v = X[i] * 2.0\n"
        "    par j:8: Y[i,j] = v + 1.0\n"
    )
    assert operations(text) == 4 + 32


@pytest.mark.parametrize(
    ("loops", "index", "name"),
    [
        ("par i:2: par j:3:", "i, j", "map_2x3"),
        ("par i:2: par j:3: par a:2: par b:3: par c:2:", "i, j", "map_2x3x2x3_more"),
    ],
)
def test_a_name_tells_the_first_loops(loops: str, index: str, name: str) -> None:
    text = f"kernel k(X f32[2, 3], Y f32[2, 3])\n  {loops} Y[{index}] = X[{index}]\n"
    kernel = parse(text)["k"]
    assert isinstance(kernel, Kernel)
    assert name_of(kernel) == name
