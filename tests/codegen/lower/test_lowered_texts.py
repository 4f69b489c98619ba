"""Small kernels and the programs they become, read as text and held as goldens."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.codegen.harness import TARGET, kernel_of, render
from tinycore.codegen.lower import PASSES, SECONDS, lower
from tinycore.config import Context
from tinycore.errors import SpecError
from tinycore.uop.lowered import show_lowered
from tinycore.uop.ops import Ops, UOp, arena
from tinycore.uop.tree import Kernel
from tinycore.uop.upat import COUNTERS

Golden = Callable[[str, str], None]

KERNELS = {
    "masked_tail": """
kernel masked_tail(n in 1..1000, X f32[n], Y f32[n])
  par i.0:(n+15)//16 @grid: par i.1:16 @vec
    i = 16*i.0+i.1; Y[i | i < n] = max(X[i | i < n], 0.0)
""",
    "register_tile": """
kernel register_tile(A f32[8,4], B f32[4,32], C f32[8,32])
  par i.0:4 @grid
    buf acc f32[2,2,16] reg = sum
    red k:4
      par i.1:2 @reg, j.0:2 @reg, j.1:16 @vec
        j = 16*j.0+j.1; acc[i.1, j.0, j.1] += A[2*i.0+i.1, k] * B[k, j]
    par i.1:2 @reg, j.0:2 @reg, j.1:16 @vec: C[2*i.0+i.1, 16*j.0+j.1] = acc[i.1, j.0, j.1]
""",
    "joined_lanes": """
kernel joined_lanes(X f32[8,32], Y f32[8])
  par i:8 @grid
    buf s f32[] reg = sum
    red k.0:4: red k.1:8 @vec: s += X[i, 8*k.0+k.1]
    Y[i] = s
""",
    "gathered_rows": """
kernel gathered_rows(ids i32[4], E f32[9,8], Y f32[4,8])
  par b:4 @grid: par d:8 @vec: Y[b,d] = E[ids[b] in 9, d]
""",
    "invariant_code": """
kernel invariant_code(X f32[16], S f32[16], Y f32[16,16,16])
  par i:16 @grid: par j:16, k:16: Y[i,j,k] = X[k] * (S[i] + 1.0) + S[j]
""",
    "padded_window": """
kernel padded_window(X f32[6,7], Y f32[6,8])
  par y:6 @grid: par x:8 @vec: Y[y,x] = X[y-1, x-1 | y >= 1, x >= 1, x < 8]
""",
    "digits_of_an_axis": """
kernel digits_of_an_axis(X f32[5,9], Y f32[45])
  par p:45 @grid: Y[p] = X[p//9, p%9]
""",
    "in_place": """
kernel in_place(X f32[16], Y f32[16])
  ser t:3: par j:16 @vec: X[j] = X[j] * Y[j]
""",
    "branch": """
kernel branch(X f32[8], Y f32[8])
  par i:8 @grid
    buf s f32[] reg = sum
    if i >= 2: s += X[i-2]
    Y[i] = s
""",
    "scratch_and_dynamic_registers": """
kernel scratch(X f32[8,6], Y f32[8,6])
  par i:8 @grid
    buf r f32[6] reg = sum
    red n:3: par d:6: r[d] += X[i,d]
    par d:6: Y[i,d] = r[5-d]
""",
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_program_of_a_small_kernel(name: str, golden: Golden) -> None:
    program, _ = render(kernel_of(KERNELS[name]))
    golden(show_lowered(program), name)


@pytest.mark.parametrize("name", ["masked_tail", "register_tile", "branch"])
def test_the_llvm_text_of_a_small_kernel(name: str, golden: Golden) -> None:
    _, text = render(kernel_of(KERNELS[name]))
    golden(text, f"{name}.llvm")


@pytest.mark.parametrize("name", KERNELS)
def test_equal_kernels_have_equal_text(name: str) -> None:
    first = render(kernel_of(KERNELS[name]))[1]
    assert render(kernel_of(KERNELS[name]))[1] == first


def test_every_pass_is_printed_and_the_program_after_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Context(DEBUG=6), arena():
        lower(kernel_of(KERNELS["joined_lanes"]), TARGET)
    shown = capsys.readouterr().out
    for step in PASSES:
        assert f"# after {step.__name__}\nkernel joined_lanes" in shown
    assert "lowered joined_lanes" in shown


def test_lowering_counts_its_work_by_pass() -> None:
    COUNTERS.clear()
    SECONDS.clear()
    with arena():
        program = lower(kernel_of(KERNELS["register_tile"]), TARGET)
    names = [*[step.__name__ for step in PASSES], "expand"]
    assert list(SECONDS) == names
    assert COUNTERS["expand"].created >= len(program.uops)
    assert sum(COUNTERS[name].created for name in names) < 200
    assert COUNTERS["expand"].visits < 200


def test_work_grows_with_the_lanes_of_a_tile_and_no_faster() -> None:
    counts = []
    for rows in (4, 8, 16, 32):
        text = (
            KERNELS["register_tile"]
            .replace("8,", f"{4 * rows},")
            .replace("[2,2,16]", f"[{rows},2,16]")
        )
        COUNTERS.clear()
        with arena():
            lower(kernel_of(text.replace("i.1:2", f"i.1:{rows}")), TARGET)
        counts.append(COUNTERS["expand"].created)
    ratios = [after / before for before, after in pairwise(counts)]
    assert max(ratios) <= 2.3


def test_a_pass_that_leaves_what_its_row_forbids_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(kernel: Kernel, _: object) -> Kernel:
        return kernel

    monkeypatch.setattr("tinycore.codegen.lower.PASSES", {leave: (Ops.FIN,)})
    kernel = kernel_of("kernel k(X f32[4], Y f32[4])\n  par i:4: Y[i] = fin(X[i])\n")
    with Context(SPEC=1), arena(), pytest.raises(SpecError, match="lower: leave left UOp"):
        lower(kernel, TARGET)


def test_grid_loops_side_by_side_are_launches_of_a_plan_not_one_program() -> None:
    text = "kernel k(X f32[4], Y f32[4], Z f32[4])\n  par i:4 @grid: Y[i] = X[i]\n"
    kernel = kernel_of(text + "  par j:4 @grid: Z[j] = X[j]\n")
    with arena(), pytest.raises(SpecError, match="k has grid loops i and j side by side"):
        lower(kernel, TARGET)


def test_a_store_outside_of_the_grid_loop_is_refused() -> None:
    text = "kernel k(X f32[4], Y f32[4], Z f32[1])\n  par i:4 @grid: Y[i] = X[i]\n  Z[0] = 1.0\n"
    with arena(), pytest.raises(SpecError, match="k stores to Z outside of its grid loop"):
        lower(kernel_of(text), TARGET)


def test_grid_loops_inside_one_another_become_one_axis_of_tasks() -> None:
    text = "kernel k(X f32[3,5,7], Y f32[3,5,7])\n  par i:3 @grid: par j:5 @grid: par k:7 @grid: "
    with arena():
        program = lower(kernel_of(text + "Y[i,j,k] = X[i,j,k]\n"), TARGET)
    assert [extent.const for extent in program.grid] == [105]
    heads: list[UOp] = [node for node in program.uops if node.op.name == "LOOP"]
    assert [head.arg.axis for head in heads] == ["i_j_k"]
