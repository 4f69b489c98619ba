"""Each action on a kernel small enough to read, and every reason it may be refused for."""

import re

import pytest

from tests.codegen.optimize import assert_same, kernels, steps
from tests.codegen.optimize.fuzz import action
from tests.conftest import Golden
from tinycore.codegen.optimize.actions import apply, apply_all
from tinycore.codegen.optimize.edit import Illegal
from tinycore.uop.parser import parse
from tinycore.uop.printer import show
from tinycore.uop.spec import check
from tinycore.uop.tree import Kernel

SMALL = kernels(A=5, B=7, C=6, D=9)
ONE = kernels(A=1, B=1, C=1, D=1)


def read(text: str) -> Kernel:
    """The one kernel of a text."""
    found = next(iter(parse(text).values()))
    assert isinstance(found, Kernel)
    return found


LEGAL = {
    "split": ("tail", ["SPLIT(i0, 4)"]),
    "split_exactly": ("columns", ["SPLIT(i0, 3)"]),
    "split_reduction": ("rows", ["SPLIT(i1, 4)"]),
    "split_gathered": ("embed", ["SPLIT(i0, 4)", "SPLIT(i1, 4)"]),
    "fuse": ("transposed", ["FUSE(i0, i1)", "FUSE(i0_i1, i2)"]),
    "swap": ("columns", ["REORDER(i1, i2)", "REORDER(i0, i2)"]),
    "distribute": ("linear", ["REORDER(i1, i2)", "REORDER(i0, i2)"]),
    "distribute_values": ("norm", ["SPLIT(i0, 2)", "SPLIT(i1, 4)", "REORDER(i0.1, i1.0)"]),
    "map": ("matmul", ["MAP(i0, grid)", "REORDER(i1, i2)", "MAP(i1, vec)"]),
    "rfactor": ("rows", ["SPLIT(i1, 4)", "RFACTOR(i1.1)", "PEEL(i1.0)"]),
    "rfactor_states": ("softmax", ["SPLIT(i1, 4)", "RFACTOR(i1.1)"]),
    "rfactor_inner": ("attention", ["RFACTOR(i3)"]),
    "peel": ("matmul", ["SPLIT(i0, 3)", "REORDER(i0.1, i2)", "PEEL(i0.0)"]),
    "peel_grid": ("tail", ["SPLIT(i0, 4)", "MAP(i0.0, grid)", "PEEL(i0.0)"]),
    "mask": ("spread", ["MASK(i2)"]),
    "overlap": ("transposed", ["OVERLAP(i2, 4)"]),
    "stage_box": ("conv", ["SPLIT(i2, 4)", "STAGE(b0, i2.0, packed, box)"]),
    "stage_several": ("pool", ["STAGE(b0, i0, packed, box)"]),
    "stage_computed": ("activated", ["STAGE(b0, i0, packed, box)"]),
    "stage_computed_twice": ("softmax2", ["STAGE(b0, i0, packed, box)"]),
    "stage_registers": ("softmax2", ["STAGE(b0, i0, reg, [i1])"]),
    "inline": ("chain", ["AT(b4, inline)"]),
    "inline_masked": ("chain", ["AT(b3, inline)"]),
    "at_loop": ("softmax_stages", ["AT(b2, i0)", "AT(b4, i0)", "AT(b5, i0)"]),
    "at_root": ("norm", ["AT(b4, root)"]),
    "split_k": ("matmul", ["SPLIT(i2, 4)", "RFACTOR(i2.0)", "AT(b3.i2.0, root)"]),
    "split_k_on_a_grid": (
        "matmul",
        [
            *["SPLIT(i2, 4)", "RFACTOR(i2.0)", "AT(b3.i2.0, root)", "AT(b3.i2.0, b3.i2.0.0)"],
            *["MAP(i0, grid)", "MAP(i1, grid)", "MAP(b3.i2.0.0, grid)"],
        ],
    ),
    "fill": ("dot", ["SPLIT(i0, 2)", "FILL(b3)"]),
    "factor": ("chain", ["FACTOR(b5)"]),
}


@pytest.mark.parametrize("name", LEGAL)
def test_an_action_computes_the_same(name: str, golden: Golden) -> None:
    kernel, actions = LEGAL[name]
    trees = steps(SMALL[kernel], actions)
    golden("\n".join([" ".join(actions), show(trees[-1])]), name)


SCORES = """
kernel k(X f32[4,6], Y f32[4,6])
  par i:4
    buf m f32[] reg = max
    red n:6: m max= X[i,n]
    buf l f32[] reg = sum
    red n:6: {store}
    Y[i,0] = l
"""
REFUSED_REBASE = {
    "a sum with 1": "l += 1.0 + exp(X[i,n] - m)",
    "a square": "l += exp(X[i,n] - m) * exp(X[i,n] - m)",
    "no exp": "l += X[i,n] - m",
    "another score": "l += exp(2.0*X[i,n] - m)",
    "a masked sum": "l[| n < 3] += exp(X[i,n] - m)",
    "the maximum twice": "l += exp(X[i,n] - m) * m",
}


@pytest.mark.parametrize("store", REFUSED_REBASE.values(), ids=list(REFUSED_REBASE))
def test_a_sum_that_is_no_product_with_one_exp_does_not_follow_a_maximum(store: str) -> None:
    with pytest.raises(Illegal, match=re.escape("other than by one exp(x - it) of a sum")):
        apply(read(SCORES.format(store=store)), "AT(m, n)")


def test_a_store_of_what_follows_a_maximum_is_refused() -> None:
    text = SCORES.format(store="Y[i,n] = exp(X[i,n] - m)").replace("Y[i,0] = l", "Y[i,0] = 0.0")
    with pytest.raises(Illegal, match="other than by one exp"):
        apply(read(text), "AT(m, n)")


REFUSED = [
    ("rows", "JUMP(i0)", "'JUMP(i0)' is no action; expected one of SPLIT, FUSE,"),
    ("rows", "SPLIT(i0)", "'SPLIT(i0)' has other arguments; expected str, int"),
    ("rows", "SPLIT(i9, 4)", "no loop of axis i9"),
    ("rows", "SPLIT(i0, 0)", "SPLIT: factor 0 of axis i0"),
    ("rows", "MAP(i0, grid) SPLIT(i0, 2)", "SPLIT: axis i0 is mapped to grid"),
    ("triangle", "SPLIT(i0, 2)", "SPLIT: extents depend on i0, which 2 does not divide"),
    ("rows", "FUSE(i0, i1)", "FUSE: i1 is not the whole body of i0"),
    ("attention", "FUSE(i0, i2)", "FUSE: i2 is not the whole body of i0"),
    ("transposed", "MAP(i1, reg) FUSE(i0, i1)", "FUSE: i0 and i1 differ in kind or are mapped"),
    ("rows", "MAP(i0, moon)", "MAP: 'moon' is no place"),
    ("rows", "MAP(i0, grid) MAP(i0, vec)", "MAP: axis i0 is mapped to grid already"),
    ("rows", "MAP(i1, grid)", "MAP: no loop of i1 can run on grid"),
    ("decode", "RFACTOR(i1) MAP(i1, warpgroup)", "MAP: axis i1 has no constant extent"),
    ("triangle", "MAP(i1, unroll)", "MAP: axis i1 has no constant extent"),
    ("transposed", "MAP(i1, grid)", "MAP: i1 stands in i0 @nothing"),
    ("transposed", "MAP(i0, vec) MAP(i1, reg)", "MAP: i1 stands in i0 @vec"),
    ("rows", "REORDER(i1, i0)", "REORDER: no loop i0 inside i1"),
    ("triangle", "REORDER(i0, i1)", "REORDER: the extent of i1 depends on i0"),
    ("attention", "REORDER(i2, i3)", "REORDER: i2 is no par loop and i3 not its whole body"),
    ("rows", "RFACTOR(i0)", "RFACTOR: axis i0 is no free reduction axis"),
    ("argmax", "RFACTOR(i1)", "RFACTOR: axis i1 carries a state that cannot be merged"),
    ("embed", "RFACTOR(i0)", "RFACTOR: a state of i0 is no register"),
    ("softmax", "SPLIT(i1, 4) PEEL(i1.0) RFACTOR(i1.1')", "RFACTOR: a state of i1.1' has a value"),
    ("rows", "MAP(i0, vec) PEEL(i0)", "PEEL: axis i0 is mapped or has no constant extent"),
    ("rows", "OVERLAP(i0, 8)", "OVERLAP: axis i0 is not a free par axis of at least 8"),
    ("in_place", "OVERLAP(i0, 2)", "OVERLAP: i0 reads what it writes"),
    ("rows", "STAGE(b0, i0, moon, box)", "STAGE: 'moon' is no tile space"),
    ("rows", "STAGE(b0, i0, packed, tall)", "STAGE: 'tall' is no layout"),
    ("rows", "STAGE(b1, i0, packed, box)", "STAGE: b1 is written inside i0"),
    ("matmul", "STAGE(b0, i2, packed, [i1])", "STAGE: i1 is no inner axis of constant extent"),
    ("matmul", "STAGE(b0, i0, packed, [i1])", "STAGE: the layout lists other axes"),
    ("pool", "STAGE(b0, i0, packed, [i1][i2])", "STAGE: b0 is read at several places; use box"),
    ("embed", "STAGE(b1, i0, packed, box)", "STAGE: b1 is a ring or is gathered"),
    ("rows", "STAGE(b0, i0, packed, box) STAGE(b0, i0, reg, box)", "b0 is not read inside i0"),
    ("rows", "MAP(i0, vec) STAGE(b0, i0, packed, box)", "STAGE: COPY stands in i0 @vec"),
    ("rows", "STAGE(b0, i0, packed, box) SPLIT(i0, 2) REORDER(i0.1, i1)", "reorder before STAGE"),
    ("rows", "MASK(i0)", "MASK: no mask tells where all of i0 stores nothing"),
    ("spread", "REORDER(i1, i2) MASK(i2)", "MASK: no mask tells where all of i2 stores nothing"),
    ("rows", "UPDATE(b2, i0, [i1])", "UPDATE: b2 has no one store inside i0 in a reduction"),
    ("rows", "AT(b9, inline)", "no buffer b9"),
    ("rows", "AT(b1, inline)", "AT: b1 is a parameter; expected a stage of the kernel"),
    ("rows", "AT(b2, inline)", "AT: b2 is combined or masked; it cannot be inline"),
    ("rows", "STAGE(b0, i0, packed, box) AT(b0.packed, inline)", "not written by one store alone"),
    ("rows", "AT(b2, i0)", "AT: no loop i0 beside the loop that writes b2"),
    ("norm", "AT(b4, i1)", "AT: what stands between the loops needs b4 there"),
    ("softmax2", "AT(b2, i1)", "AT: b2 is read other than by one exp(x - it) of a sum"),
    ("argmax", "AT(b2, root)", "AT: nothing reads b2 after it is complete"),
    ("two_loops", "AT(b1, i1)", "AT: loops i0 and i1 differ in extent or place"),
    ("rows", "FACTOR(b1)", "FACTOR: b1 is a parameter"),
    ("rows", "FACTOR(b2)", "FACTOR: no factor of b2 leaves its sum, or all do"),
    ("embed", "SPLIT(i1, 4) FILL(b4)", "FILL: no store to b4 has a mask"),
    ("attention", "SPLIT(i2, 4) FILL(b6)", "FILL: no store to b6 has a mask"),
    ("columns", "FACTOR(b2)", "FACTOR: b2 is no plain sum"),
    ("columns", "UPDATE(b2, i2, [])", "UPDATE: b2 is not summed by a reduction of par loops to i2"),
    ("triangle", "SPLIT(i0, 5) STAGE(b0, i0.0, packed, box)", "STAGE: loops that read b0 have"),
    ("rows", "PLACE(b0, texture)", "PLACE: b0 in 'texture'; expected a float32 parameter"),
    ("rows", "PLACE(b2, image)", "PLACE: b2 in 'image'; expected a float32 parameter"),
    ("embed", "PLACE(b0, image)", "PLACE: b0 in 'image'; expected a float32 parameter"),
    ("embed", "PLACE(b4, image)", "only read or only written, in image"),
]


@pytest.mark.parametrize(("kernel", "actions", "reason"), REFUSED)
def test_an_action_that_does_not_apply_says_why(kernel: str, actions: str, reason: str) -> None:
    texts = re.findall(r"\w+\([^)]*\)", actions)
    before = apply_all(SMALL[kernel], texts[:-1])
    with pytest.raises(Illegal, match=re.escape(reason)):
        apply(before, texts[-1])


RING = """
kernel k(X f32[5,6], Y f32[5,6])
  buf P f32[6] packed
  ser i:5
    copy(q:6) P[q] = X[i,q] @loop
    wait P[i]
    par j:6: Y[i,j] = P[j]
    free P[i]
"""
GROWING = """
kernel k(X f32[4,4], Y f32[4,4])
  par i:4
    buf t f32[i+1] reg
    par j:i+1: t[j] = X[i,j]
    par n:4: Y[i,n] = t[n | n <= i]
"""
MOVED = """
kernel k(X f32[6], Y f32[1])
  buf m f32[] reg = max
  buf l f32[] reg = sum
  red n:6: m max= X[n] rebase exp(l)
  red j:6: l += exp(X[j] - m)
  Y[0] = l
"""
COPIED = """
kernel k(X f32[6], Y f32[6])
  red n:6: Y[n] = X[n]
"""
TWO_BLOCKS = """
kernel k(X f32[3,4], Y f32[3], Z f32[1])
  buf a f32[] reg = sum
  red i:3
    buf b f32[] reg = sum
    red n:4
      a += X[i,n]
      b += X[i,n]
    Y[i] = b
  Z[0] = a
"""
PREFIXES = """
kernel k(X f32[3,4], Y f32[3])
  buf a f32[] reg = sum
  ser i:3
    red n:4: a += X[i,n]
    Y[i] = a
"""
SHRINKING = """
kernel k(X f32[4,4], Y f32[1])
  buf a f32[] reg = sum
  red i:4: red n:i+1: a += X[i,n]
  Y[0] = a
"""
FIRST_VALUE = """
kernel k(X f32[6,4], Y f32[4])
  buf a f32[4] reg = prod
  red n:6: par i:4: a[i] += 2.0 * X[n,i]
  par j:4: Y[j] = a[j]
"""
STAGES = """
kernel k(X f32[4], Y f32[4])
  buf t f32[4] reg
  {stage}
  par j:4: Y[j] = t[j]
"""
REVERSED = STAGES.format(stage="par i:4: t[3-i] = X[i]")
LAST = STAGES.format(stage="ser n:2: par i:4: t[i] = X[i] * f32(n)")
ADDED_TO = """
kernel k(X f32[8], Y f32[8])
  buf t f32[8] reg
  par i:8: t[i] = X[i] + t[i]
  par j:8: Y[j] = t[j]
"""
OVERWRITTEN = STAGES.format(stage="par i:4: t[i] = X[i]\n  par i:4: X[i] = 0.0")
IN_ORDER = STAGES.format(stage="ser i:4: t[i] = X[i]")
TWICE = STAGES.format(stage="par i:4: par j:1: t[i] = X[i]")
PARTLY = STAGES.replace("reg", "reg = sum").format(stage="par i:2: t[i] = X[i]")
MAYBE = """
kernel k(X f32[4], Y f32[4], n in 0..3)
  buf t f32[4] reg
  if n >= 2: par i:4: t[i] = X[n-2]
  par j:4: Y[j] = t[j | n >= 2]
"""
DIAGONAL = """
kernel k(X f32[4], Y f32[4])
  buf t f32[4,4] reg
  par i:4: t[i,i] = X[i]
  par i:4: Y[i] = t[i,i]
"""
NAMED_ALIKE = """
kernel k(X f32[4], Y f32[4])
  buf t f32[4] global
  par i:4
    x = X[i]
    t[i] = x * x
  par j:4
    x = t[j]
    Y[j] = x * x
"""
ARGMAX = """
kernel k(X f32[6], Y f32[1], Z i32[1])
  buf m f32[] reg = max
  buf a i32[] reg = min
  buf l f32[] reg = sum
  red n:6
    m max= X[n] rebase reset(a)
    a min= where(X[n] == m, i32(n), 2147483647)
  red j:6: l += exp(X[j] - m)
  Y[0] = l
  Z[0] = a
"""
CARRIED = """
kernel k(X f32[3,6], Y f32[1])
  buf l f32[] reg = sum
  red i:3
    buf m f32[] reg = max
    red n:6: m max= X[i,n]
    red j:6: l += exp(X[i,j] - m)
  Y[0] = l
"""
LOWER = """
kernel k(X f32[4,4], Y f32[4,4])
  par i:4, j:i+1: Y[i,j] = X[i,j]
"""
READS = """
kernel k(X f32[5,6], Y f32[4,6])
  par i:4, j:6: Y[i,j] = {reads}
"""
MASKS = READS.format(reads="X[i,j | j >= 2] + X[i,j | j < 4]")
FILLS = READS.format(reads="X[i,j | j >= 2 else 1.0] + X[i,j | j >= 2 else 2.0]")
DIGIT = READS.format(reads="X[(i+j)//2,j]")
SCATTERED = """
kernel k(ids i32[2,4], X f32[2,4], Y f32[2,4])
  buf t f32[2,4] reg = sum
  par i:2: red n:4: t[i, ids[i,n] in 4] += X[i,n]
  par i:2: par j:4: Y[i,j] = t[i,j]
"""
NEVER_ADDED = """
kernel k(Y f32[2], Z f32[2])
  buf t f32[2] reg = sum
  par i:2: Y[i] = t[i]
  par j:2: Z[j] = t[j]
"""
REFUSED_ALONE = [
    (RING, "SPLIT(i, 2)", "a mask does not reach the tile statement on P"),
    (GROWING, "REORDER(i, n)", "REORDER: the shape of t depends on i"),
    (MOVED, "RFACTOR(n)", "RFACTOR: m moves what n does not combine into"),
    (COPIED, "RFACTOR(n)", "RFACTOR: axis n combines into no state"),
    (TWO_BLOCKS, "RFACTOR(n)", "RFACTOR: axis n combines into no one block of states"),
    (PREFIXES, "RFACTOR(n)", "RFACTOR: a state of n is used around its loop"),
    (SHRINKING, "RFACTOR(n)", "RFACTOR: the extent of n depends on a loop around it"),
    (FIRST_VALUE, "RFACTOR(n)", "RFACTOR: a state of n is no register that starts as one"),
    (FIRST_VALUE, "UPDATE(a, i, [])", "UPDATE: a is not summed by a reduction of par loops to i"),
    (FIRST_VALUE, "FACTOR(a)", "FACTOR: a is no plain sum"),
    (REVERSED, "AT(t, inline)", "AT: a stage that is inline is stored at plain axes"),
    (LAST, "AT(t, inline)", "AT: t is no function of its place"),
    (DIAGONAL, "AT(t, inline)", "AT: t is no function of its place"),
    (OVERWRITTEN, "AT(t, inline)", "AT: what t was computed from is stored to since"),
    (ADDED_TO, "AT(t, inline)", "AT: what t was computed from is stored to since"),
    (PARTLY, "AT(t, inline)", "AT: t is combined or masked; it cannot be inline"),
    (MAYBE, "AT(t, inline)", "t is not written by one store alone, without a condition"),
    (IN_ORDER, "AT(t, j)", "AT: loop i or j runs in order"),
    (NAMED_ALIKE, "AT(t, j)", "AT: x is a name in both loops"),
    (TWICE, "AT(t, j)", "AT: j is a name in both loops"),
    (ARGMAX, "AT(m, j)", "AT: m resets what depends on it"),
    (CARRIED, "AT(m, j)", "AT: m is read other than by one exp(x - it) of a sum that begins here"),
    (LOWER, "FUSE(i, j)", "FUSE: extents of i and j are not constant"),
    (LOWER, "MAP(j, grid)", "MAP: the extent of j is not known at launch"),
    (MASKS, "STAGE(X, i, packed, box)", "STAGE: reads of X have several masks"),
    (FILLS, "STAGE(X, i, packed, box)", "STAGE: reads of X have several fills"),
    (DIGIT, "STAGE(X, i, packed, box)", "STAGE: a digit of the index mixes axes inside and out"),
    (SCATTERED, "MAP(i, grid)", "t is filled by more than one of the launches"),
    (NEVER_ADDED, "MAP(i, grid)", "t is filled by more than one of the launches"),
]


@pytest.mark.parametrize(("text", "action", "reason"), REFUSED_ALONE)
def test_an_action_that_does_not_apply_to_a_legal_kernel_says_why(
    text: str, action: str, reason: str
) -> None:
    kernel = read(text)
    check(kernel, "action")
    assert_same(kernel, kernel, 0)
    with pytest.raises(Illegal, match=re.escape(reason)):
        apply(kernel, action)


def test_an_axis_that_runs_once_is_not_split_or_peeled() -> None:
    with pytest.raises(Illegal, match="SPLIT: factor 4 of axis i0, which runs 1 times"):
        apply(ONE["rows"], "SPLIT(i0, 4)")
    with pytest.raises(Illegal, match="PEEL"):
        apply(ONE["rows"], "PEEL(i0)")


def test_actions_are_text_that_reads_back() -> None:
    text = action("STAGE", "b1", "i1.0", "packed", (("i2",), ("i1.1", "i1.2")))
    assert text == "STAGE(b1, i1.0, packed, [i2][i1.1 i1.2])"


GAPS = """
kernel k(X f32[4,6], Y f32[8])
  buf acc f32[8] reg = sum
  red k:6: par i:4: acc[{place}] += X[i,k]
  par j:8: Y[j] = acc[j]
"""


@pytest.mark.parametrize("place", ["2*i", "i", "i + 4", "i | i >= 2"])
def test_what_nothing_is_added_to_keeps_its_identity(place: str) -> None:
    steps(read(GAPS.format(place=place)), ["UPDATE(acc, i, [])"])


def test_an_accumulator_of_its_own_is_updated_in_memory() -> None:
    actions = ["SPLIT(i2, 3)", "REORDER(i1, i2.0)", "REORDER(i0, i2.0)", "REORDER(i1, i2.1)"]
    steps(SMALL["linear"], [*actions, "UPDATE(b4, i0, [i1])"])


def test_a_value_of_memory_that_is_stored_to_since_is_kept() -> None:
    text = """
    kernel k(A f32[4], B f32[4,3])
      par i:4
        x = A[i]
        A[i] = 0.0
        y = x * 2.0
        par j:3: B[i,j] = y
    """
    steps(read(text), ["REORDER(i, j)"])


BESIDE = """
kernel k(X f32[4,6], m f32[4], g f32[6], W f32[6,5], Y f32[4,5])
  par i:4
    n = m[i] * 2.0
    par j:5
      buf u f32[6] reg
      par q:6: u[q] = W[q,j]
      buf s f32[] reg = sum
      red e:6: s += {value} * u[e]
      Y[i,j] = s
"""


@pytest.mark.parametrize(
    ("value", "copied"),
    [
        ("exp(X[i,e] - m[i]) * g[e]", "exp(X[i, X.packed.0] - m[i]) * g[X.packed.0]"),
        ("(X[i,e] - n)", "X[i, X.packed.0]"),  # what is computed around
        ("(X[i,e] - m[3 - i])", "X[i, X.packed.0]"),  # at a place of its own
        ("(X[i,e] - g[e | e < 4])", "X[i, X.packed.0]"),  # under a mask of its own
        ("(X[i,e] - u[e])", "X[i, X.packed.0]"),  # of what is stored to
    ],
)
def test_a_copy_computes_what_stands_at_the_indices_of_its_element(value: str, copied: str) -> None:
    kernel = read(BESIDE.format(value=value))
    staged = steps(kernel, ["STAGE(X, j, packed, box)"])[-1]
    assert f"X.packed[X.packed.0] = {copied} @loop" in show(staged)


ELSEWHERE = {
    "one element for two parts": """
kernel k(X f32[4,2,6], Y f32[1], W f32[6,5], V f32[6,5], Z f32[4,5])
  par i:4: par j:5
    buf s f32[] reg = sum
    red k:6: s += (X[i,0,k] * Y[0]) * W[k,j] + (X[i,1,k] * Y[0]) * V[k,j]
    Z[i,j] = s
""",
    "a diagonal": """
kernel k(X f32[6,6], Y f32[6], W f32[6,5], Z f32[6,5])
  par j:5: par i:6
    buf s f32[] reg = sum
    red k:6: s += (X[i,i] * Y[i]) * W[k,j] + (X[i,k] * Y[i]) * W[i,j]
    Z[i,j] = s
""",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_copy_moves_what_stands_beside_its_element_alone(name: str) -> None:
    kernel = read(ELSEWHERE[name])
    axis = kernel.body[0].name
    steps(kernel, [f"STAGE(X, {axis}, packed, box)"])


def test_a_copy_reads_no_shorter_neighbour_where_its_own_element_is() -> None:
    text = """
    kernel k(X f32[64], Y f32[12], W f32[3,5], Z f32[10,5])
      par i:10: par j:5
        buf s f32[] reg = sum
        red k:3: s += (X[i+k] * Y[i+k]) * W[k,j]
        Z[i,j] = s
    """
    steps(read(text), ["SPLIT(i, 4)", "STAGE(X, i.0, packed, box)"])


def test_a_copy_leaves_alone_what_was_computed_around_it() -> None:
    text = """
    kernel k(X f32[4], Y f32[4], Z f32[4])
      v = X[0] * 2.0
      par i:4
        Y[i] = X[0]
        Z[i] = v
    """
    steps(read(text), ["STAGE(X, i, packed, box)"])


def test_a_reader_under_a_condition_is_no_loop_to_merge_with() -> None:
    text = """
    kernel k(X f32[4], Y f32[4], n in 0..3)
      buf t f32[4] global
      par i:4: t[i] = X[i]
      if n >= 1: par j:4: Y[j] = t[j]
    """
    with pytest.raises(Illegal, match="AT: no loop j beside the loop that writes t"):
        apply(read(text), "AT(t, j)")


LOADED = """
kernel k(X f32[4], Y f32[4,4])
  par i:4
    buf t f32[4] reg = {init}
    x = X[i]
    X[i] = 5.0
    {stage}
    par n:4: Y[i,n] = t[n + i | n + i < 4]
"""


def test_a_value_that_was_loaded_before_a_store_is_not_loaded_again() -> None:
    inline = LOADED.replace(" = {init}", "").format(stage="par j:4: t[j] = x")
    steps(read(inline), ["AT(t, inline)"])
    factor = LOADED.format(init="sum", stage="red k:4: par j:4: t[j] += x * Y[i,k]")
    steps(read(factor), ["FACTOR(t)"])


AGAIN = """
kernel k(X f32[6], Z f32[6], Y f32[1])
  buf a f32[] reg = sum
  red n:6: a += X[n]
  red n:6: a += Z[n]
  Y[0] = a
"""


def test_loops_of_one_axis_that_add_to_one_state_have_partial_states_each() -> None:
    steps(read(AGAIN), ["RFACTOR(n)", "RFACTOR(n.j)"])


OWN = """
kernel k(X f32[5], Y f32[5])
  par i:5
    buf t f32[5] reg
    t[i] = X[i]
    Y[i] = t[i]
"""


def test_memory_of_an_iteration_is_masked_where_a_remainder_is_outside_it() -> None:
    steps(read(OWN), ["SPLIT(i, 2)"])


BEGUN = """
kernel k(W f32[6], X f32[6], Y f32[1])
  buf m f32[] reg
  buf q f32[] reg = sum
  buf l f32[] reg = sum
  m = W[0]
  red n:6
    m max= X[n]
    q += W[n]
  red j:6
    {moved}
    l += exp(X[j] - m)
  Y[0] = l + q
"""


def test_a_sum_follows_a_maximum_that_began_before_or_goes_on() -> None:
    steps(read(BEGUN.format(moved="")), ["AT(m, j)"])
    steps(read(BEGUN.format(moved="m max= W[j] rebase exp(l)")), ["AT(q, j)"])


def test_an_axis_that_a_layout_lists_twice_is_walked_once() -> None:
    text = """
    kernel k(X f32[6,2,4], Y f32[2,4])
      buf a f32[2,4] reg = sum
      red n:6: par h:2: par i:4: a[h,i] += X[n,h,i]
      par h:2: par j:4: Y[h,j] = a[h,j]
    """
    steps(read(text), ["UPDATE(a, h, [i][i])"])


AROUND = """
kernel k(X f32[3,12], Y f32[3])
  par a.n:3
    buf a f32[] reg = sum
    red n:12: a += X[a.n,n]
    Y[a.n] = a
"""


def test_partial_states_are_named_as_nothing_around_them() -> None:
    kernel = parse(AROUND)["k"]
    assert isinstance(kernel, Kernel)
    changed = apply(kernel, "RFACTOR(n)")
    check(changed, "action")
    assert_same(kernel, changed, 0)
