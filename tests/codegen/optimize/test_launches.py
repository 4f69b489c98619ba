"""Statements beside a grid loop become launches; what they share becomes a temporary."""

import pytest

from tests.codegen.optimize import assert_same, kernels
from tests.conftest import Golden
from tests.ir import kernels_of
from tinycore.codegen.optimize.actions import apply, apply_all
from tinycore.codegen.optimize.edit import Illegal
from tinycore.codegen.optimize.pieces import as_plan
from tinycore.uop.parser import parse
from tinycore.uop.printer import show
from tinycore.uop.spec import check
from tinycore.uop.tree import Kernel

SMALL = kernels(A=5, B=7, C=6, D=9)
PLANS = {
    "one": ("matmul", ["MAP(i0, grid)"], 1),
    "two_loops": ("two_loops", ["MAP(i0, grid)"], 2),
    "stages": ("softmax_stages", ["MAP(i0, grid)"], 4),
    "a_grid_and_the_rest": ("embed", ["MAP(i0, grid)"], 2),
    "cut": ("norm", ["AT(b4, root)", "MAP(i0, grid)"], 2),
    "dot": (
        "dot",
        [
            *["SPLIT(i0, 2)", "RFACTOR(i0.0)", "AT(b3.i0.0, root)", "AT(b3.i0.0, b3.i0.0.0)"],
            "MAP(b3.i0.0.0, grid)",
        ],
        2,
    ),
    "split_k": (
        "matmul",
        [
            *["SPLIT(i2, 4)", "RFACTOR(i2.0)", "AT(b3.i2.0, root)", "AT(b3.i2.0, b3.i2.0.0)"],
            *["MAP(i0, grid)", "MAP(i1, grid)", "MAP(b3.i2.0.0, grid)"],
        ],
        2,
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_computes_the_same(name: str, golden: Golden) -> None:
    kernel, actions, count = PLANS[name]
    plan = as_plan(apply_all(SMALL[kernel], actions))
    for launched in kernels_of(plan):
        check(launched, "action")
    assert len(plan.launches) == count
    for seed in range(3):
        assert_same(SMALL[kernel], plan, seed)
    golden(show(plan), name)


def test_global_memory_of_a_kernel_is_a_temporary_even_of_one_launch() -> None:
    plan = as_plan(SMALL["chain"])
    assert [temp.arg.name for temp in plan.temps] == ["b3", "b4"]
    assert_same(SMALL["chain"], plan, 1)


def test_a_sum_that_two_launches_add_to_is_refused() -> None:
    kernel = parse(SUMMED_TWICE)["k"]
    assert isinstance(kernel, Kernel)
    with pytest.raises(Illegal, match="t is filled by more than one of the launches that use it"):
        apply(kernel, "MAP(i, grid)")


SUMMED_TWICE = """
kernel k(X f32[4], Y f32[4])
  buf t f32[4] packed = sum
  par i:4: t[i] += X[i]
  par i:4: t[i] += 1.0
  par i:4: Y[i] = t[i]
"""
