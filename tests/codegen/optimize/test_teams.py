"""What BEAM=0 decides for groups of threads: the actions for a kernel, and equal results."""

from dataclasses import replace

import pytest

from tests.codegen.harness import OPS
from tests.codegen.optimize import assert_same, fuzz
from tests.conftest import Golden
from tinycore.codegen.lower.mapped import laid_out, tasks
from tinycore.codegen.optimize.actions import apply
from tinycore.codegen.optimize.edit import Illegal, find
from tinycore.codegen.optimize.heuristic import heuristic
from tinycore.codegen.optimize.pieces import as_plan
from tinycore.runtime.contract import Caps, Space
from tinycore.uop import Ops
from tinycore.uop.lowered import GROUP
from tinycore.uop.parser import parse
from tinycore.uop.printer import show
from tinycore.uop.tree import Kernel

CAPS = Caps(
    dtypes=("float32", "int32"),
    spaces=(Space("global", 1 << 30),),
    tile_spaces=("reg", "group"),
    max_group=(256, 256, 64),
    max_group_threads=256,
    group_bytes=1 << 15,
    units=2,
    lanes=4,
    vector_bytes=16,
    registers=64,
    ops=(*OPS, "DOT"),
)
CASES = {
    # one thread for each element, of one axis
    "elements": """
kernel k(X f32[20,15], Y f32[20,15])
  par i:20: par j:15: Y[i,j] = X[i,j] + 1.0
""",
    # so many elements that each thread has a vector of them
    "vectors": """
kernel k(X f32[64,64], Y f32[64,64])
  par i:64: par j:64: Y[i,j] = X[i,j] + 1.0
""",
    # what is read down the columns is turned in group memory
    "turned": """
kernel k(X f32[64,96], Y f32[96,64])
  par j:96: par i:64: Y[j,i] = X[i,j]
""",
    # a group for each long row, which stays in registers between the loops that read it
    "rows": """
kernel k(X f32[3,512], Y f32[3,512])
  par i:3
    buf m f32[] reg = max
    red j:512: m max= X[i,j]
    par k:512: Y[i,k] = X[i,k] - m
""",
    # few long rows are shared by groups, whose sums a second launch adds
    "shared": """
kernel k(X f32[2,8192], Y f32[2])
  par i:2
    buf s f32[] reg = sum
    red j:8192: s += X[i,j]
    Y[i] = s
""",
    # sums that a moving maximum rescales are shared with it
    "rescaled": """
kernel k(X f32[2,8192], Y f32[2])
  par i:2
    buf m f32[] reg = max
    buf s f32[] reg = sum
    red j:8192
      m max= X[i,j] rebase exp(s)
      s += exp(X[i,j] - fin(m))
    Y[i] = log(s) + m
""",
    # short rows of neighbours across have a thread each
    "columns": """
kernel k(X f32[30,200], Y f32[200])
  par j:200
    buf s f32[] reg = sum
    red i:30: s += X[i,j]
    Y[j] = s
""",
    # a contraction in tiles of a group, both operands in its memory, zeros for what is outside
    "tiles": """
kernel k(A f32[40,24], B f32[24,50], C f32[40,50])
  par i:40: par j:50
    buf s f32[] reg = sum
    red k:24: s += A[i,k] * B[k,j]
    C[i,j] = s
""",
    # sums of many elements, reduced again: threads have elements, since a share each is too much
    "again": """
kernel k(X f32[300,64], V f32[64], Y f32[1])
  buf t f32[300] reg = sum
  red k:64: par i:300: t[i] += X[i,k] * V[k]
  buf s f32[] reg = max
  red j:300: s max= t[j]
  Y[0] = s
""",
    # four products of bytes are one op
    "bytes": """
kernel k(X i8[128,64], W i8[128,64], Y i32[128,128])
  par i:128: par j:128
    buf s i32[] reg = sum
    red k:64: s += i32(X[i,k]) * i32(W[j,k])
    Y[i,j] = s
""",
    # bytes that are summed otherwise, or lie apart, have the tile of other numbers
    "floats of bytes": """
kernel k(X i8[128,64], W i8[128,64], Y f32[128,128])
  par i:128: par j:128
    buf s f32[] reg = sum
    red k:64: s += f32(X[i,k]) * f32(W[j,k])
    Y[i,j] = s
""",
    # a sum without a loop around is one group's
    "whole": """
kernel k(X f32[600], Y f32[1])
  buf s f32[] reg = sum
  red j:600: s += X[j]
  Y[0] = s
""",
}


def kernel_of(text: str) -> Kernel:
    kernel = parse(text)["k"]
    assert isinstance(kernel, Kernel)
    return kernel


@pytest.mark.parametrize("name", CASES)
def test_the_actions_chosen_are_those_expected(name: str, golden: Golden) -> None:
    kernel = kernel_of(CASES[name])
    tree, actions = heuristic(kernel, CAPS)
    golden("\n".join(actions) + "\n", name)
    assert_same(kernel, fuzz.planned(tree), 0)


@pytest.mark.parametrize("name", CASES)
def test_the_actions_alone_lead_to_the_same_kernel(name: str) -> None:
    kernel = kernel_of(CASES[name])
    tree, actions = heuristic(kernel, CAPS)
    for text in actions:
        kernel = apply(kernel, text)
    assert show(kernel) == show(tree)


# Sums over part of a grid

HALVES = """
kernel k(X f32[8,6], Y f32[6])
  buf t f32[2,6] reg = sum
  par h:2: par j:6: red i:4: t[h,j] += X[4*h+i, j | j < 5]
  par j:6: Y[j] = t[0,j] + t[1,j]
"""


def test_a_sum_that_a_grid_leaves_to_others_is_stored_when_it_is_complete() -> None:
    kernel = kernel_of(HALVES)
    tree = apply(kernel, "MAP(h, grid)")
    text = show(tree)
    assert "buf t f32[2, 6]\n" in text
    assert "buf t.g f32[] reg = sum" in text
    assert [step.name for step in as_plan(tree).launches] == ["k_0", "k_1"]
    assert_same(kernel, fuzz.planned(tree), 1)


TWO = """
kernel k(X f32[8], Y f32[2])
  buf t f32[2] reg = sum
  par h:2
    red i:4: t[h] += X[4*h+i]
    red i:4: t[h] += 1.0
  par h:2: Y[h] = t[h]
"""


def test_several_loops_that_add_to_one_place_share_its_register() -> None:
    kernel = kernel_of(TWO)
    tree = apply(kernel, "MAP(h, grid)")
    assert show(tree).count("t.g += ") == 2
    assert_same(kernel, fuzz.planned(tree), 2)


def test_what_one_loop_of_several_masks_the_others_still_store() -> None:
    kernel = kernel_of(TWO.replace("t[h] += X", "t[h | h < 1] += X"))
    assert_same(kernel, fuzz.planned(apply(kernel, "MAP(h, grid)")), 3)


ONLINE = """
kernel k(X f32[2,8192], Y f32[2])
  par i:2
    buf m f32[] reg = max
    buf s f32[] reg = sum
    red j:8192
      m max= X[i,j] rebase exp(s)
      s += exp(X[i,j] - fin(m))
    Y[i] = m + s
"""


def test_sums_that_move_with_a_maximum_are_shared_by_groups_too() -> None:
    kernel = kernel_of(ONLINE)
    tree, _ = heuristic(kernel, replace(CAPS, units=32))
    first, _ = fuzz.planned(tree).launches
    assert first.kernel is not None
    assert [one.op for one in tasks(first.kernel, CAPS).body] == [Ops.LOOP]
    assert_same(kernel, fuzz.planned(tree), 0)


IN_TURN = """
kernel k(X f32[8,6], Y f32[6])
  buf t f32[2,6] reg = sum
  par h:2: red i:4: par j:6: t[h,j] += X[4*h+i, j]
  par j:6: Y[j] = t[0,j] + t[1,j]
"""


def test_a_sum_in_which_elements_take_turns_is_no_grid() -> None:
    with pytest.raises(Illegal, match=r"t is filled by .* or by a grid"):
        apply(kernel_of(IN_TURN), "MAP(h, grid)")


NARROW = replace(CAPS, dtypes=("float64",))
SEVERAL = """
kernel k(A f64[96,64], B f64[96,64], C f64[96,64], Y f64[64,96])
  par i:64: par j:96: Y[i,j] = A[j,i] + B[j,i] * C[j,i]
"""
LARGE = """
kernel k(A f64[128,32], B f64[32,128], C f64[128,128])
  par i:128: par j:128
    buf s f64[] reg = sum
    red k:32: s += A[i,k] * B[k,j]
    C[i,j] = s
"""


@pytest.mark.parametrize("text", [SEVERAL, LARGE])
def test_tiles_are_no_larger_than_the_memory_of_a_group(text: str) -> None:
    kernel = kernel_of(text)
    tree, actions = heuristic(kernel, NARROW)
    assert any(" group," in one for one in actions)
    held = [one.arg for one in find(tree.body, Ops.BUFFER) if one.arg.space == GROUP]
    assert sum(8 * laid_out(one).size for one in held) <= NARROW.group_bytes
    assert_same(kernel, fuzz.planned(tree), 0)


def test_a_tile_that_fits_but_for_what_lies_between_its_rows_is_smaller() -> None:
    caps = replace(CAPS, dtypes=("float64",), registers=256, units=1, group_bytes=1 << 15)
    tree, _ = heuristic(kernel_of(LARGE), caps)
    held = [one.arg for one in find(tree.body, Ops.BUFFER) if one.arg.space == GROUP]
    assert 0 < sum(8 * laid_out(one).size for one in held) <= caps.group_bytes


SECOND = """
kernel k(X f32[64], Y f32[64], A f32[40,24], B f32[24,50], C f32[40,50])
  par l:64: Y[l] = X[l] + 1.0
  par i:40: par j:50
    buf s f32[] reg = sum
    red n:24: s += A[i,n] * B[n,j]
    C[i,j] = s
"""


def test_a_contraction_after_other_statements_has_zeros_for_its_masks_too() -> None:
    kernel = kernel_of(SECOND)
    tree, actions = heuristic(kernel, CAPS)
    assert "FILL(s)" in actions
    assert_same(kernel, fuzz.planned(tree), 0)


@pytest.mark.parametrize(("most", "placed"), [(0, 0), (20 * 15 * 4 - 1, 0), (20 * 15 * 4, 2)])
def test_what_is_too_large_for_an_image_is_none(most: int, placed: int) -> None:
    caps = replace(CAPS, image_reads=True, image_bytes=most)
    _, actions = heuristic(kernel_of(CASES["elements"]), caps)
    assert sum(one.startswith("PLACE(") for one in actions) == placed
