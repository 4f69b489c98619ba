"""What no device may do is refused by the checked entry, with the statement that did it."""

import math

import numpy as np
import pytest

from tests.runtime.ref import checked, kernel_of
from tinycore.runtime.ref import RefError, check_kernel


def zeros(*shape: int) -> np.ndarray:
    """An output of float32."""
    return np.zeros(shape, np.float32)


def refused(text: str, *arrays: np.ndarray, **variables: int) -> str:
    """The message of the RefError that a kernel raises, in whatever order it runs."""
    messages = []
    for seed in range(3):
        with pytest.raises(RefError) as caught:
            check_kernel(kernel_of(text), [a.copy() for a in arrays], variables, seed)
        messages.append(str(caught.value))
    return messages[0]


# iterations of one loop


@pytest.mark.parametrize("place", ["", " @grid", " @thread", " @warpgroup"])
def test_an_iteration_that_reads_what_another_writes_is_refused(place: str) -> None:
    text = f"kernel k(X f32[5])\n  par i:4{place}: X[i] = X[i + 1]\n"
    assert "two iterations of par i meet in X" in refused(text, zeros(5))


def test_a_loop_counts_as_a_whole_not_statement_by_statement() -> None:
    text = """
kernel k(X f32[4], Y f32[4])
  par i:4
    X[i] = 1.0
    Y[i] = X[3 - i]
"""
    assert "two iterations of par i meet in X" in refused(text, zeros(4), zeros(4))


def test_loops_one_after_another_are_ordered() -> None:
    text = """
kernel k(X f32[4], Y f32[4])
  par i:4: X[i] = f32(i)
  par i:4: Y[i] = X[3 - i]
"""
    y = zeros(4)
    checked(text, zeros(4), y)
    assert y.tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("place", ["", " @grid", " @warpgroup"])
def test_iterations_may_store_equal_values_in_one_place_but_no_others(place: str) -> None:
    text = "kernel k(X f32[1])\n  par i:4{}: X[0] = {}\n"
    checked(text.format(place, "1.0"), zeros(1))
    assert "X" in refused(text.format(place, "f32(i)"), zeros(1))
    assert "X" in refused(text.format(place, "1.0").replace("=", "+="), zeros(1))


def test_a_private_buffer_is_not_shared_by_iterations() -> None:
    text = """
kernel k(X f32[4], Y f32[4])
  par i:4
    buf t f32[] reg
    t = X[i]
    Y[i] = t
"""
    y = zeros(4)
    checked(text, np.ones(4, np.float32), y)
    assert y.tolist() == [1, 1, 1, 1]


def test_plain_stores_of_a_red_loop_must_not_meet() -> None:
    text = "kernel k(X f32[4], Y f32[1])\n  red i:4: Y[0] = X[i]\n"
    values = np.arange(4, dtype=np.float32)
    assert "two iterations of red i meet in Y" in refused(text, values, zeros(1))


# registers


def test_registers_that_were_never_written_are_nan() -> None:
    text = "kernel k(Y f32[1])\n  buf t f32[] reg\n  Y[0] = t\n"
    y = zeros(1)
    checked(text, y)
    assert math.isnan(y[0])


def test_integers_that_were_never_written_are_not_read() -> None:
    text = "kernel k(Y i32[1])\n  buf t i32[2] reg\n  t[0] = 1\n  Y[0] = t[{}]\n"
    checked(text.format(0), np.zeros(1, np.int32))
    assert "t is touched, that nobody wrote" in refused(text.format(1), np.zeros(1, np.int32))


OWN = """
kernel k(X f32[8], Y f32[8])
  buf x f32[a:8] reg own(t:8) t = a
  par t:8 @thread: x[t] = X[t]
  par t:8 @thread: Y[t] = x[{}]
"""


def test_a_thread_reads_its_own_registers_only() -> None:
    y = zeros(8)
    checked(OWN.format("t"), np.arange(8, dtype=np.float32), y)
    assert y.tolist() == list(range(8))
    message = refused(OWN.format("7 - t"), zeros(8), zeros(8))
    assert "a lane touches a register that it does not own, of x" in message


def test_registers_with_owners_need_a_lane() -> None:
    text = OWN.replace("par t:8 @thread: Y[t]", "par u:8: Y[u]").format("u")
    assert "a lane touches a register that it does not own, of x" in refused(
        text, zeros(8), zeros(8)
    )


def test_no_lane_may_hold_all_operands() -> None:
    text = """
kernel k(Y f32[8])
  buf x f32[a:8] reg = sum own(t:8) t = a
  buf y f32[a:8] reg = sum own(t:8) t = 7 - a
  par a:8 @own: Y[a] = x[a] + y[a]
"""
    assert "a register that it does not own, of x, y" in refused(text, zeros(8))


# threads and barriers

ROWS = """
kernel rows(X f32[3, 8], Y f32[3, 8]) spmd
  par i:3 @grid
    buf s f32[8] group
    buf u f32[8] group
    par t:8 @thread: s[t] = X[i, t]
    barrier
    par t:8 @thread: u[t] = s[7 - t]
    barrier
    par t:8 @thread: s[t] = u[t // 2]
    barrier
    par t:8 @thread: Y[i, t] = s[t] + s[t // 4]
"""


def test_barriers_order_threads_and_each_is_needed() -> None:
    x, y = np.arange(24, dtype=np.float32).reshape(3, 8), zeros(3, 8)
    checked(ROWS, x, y)
    s = x[:, ::-1][:, np.arange(8) // 2]
    assert (y == s + s[:, np.arange(8) // 4]).all()
    parts = ROWS.split("    barrier\n")
    for at in range(1, len(parts)):
        text = "    barrier\n".join([*parts[: at - 1], parts[at - 1] + parts[at], *parts[at + 1 :]])
        assert "two threads meet" in refused(text, x, y)


def test_a_thread_needs_no_barrier_for_what_it_wrote_itself() -> None:
    text = """
kernel k(Y f32[8]) spmd
  par i:1 @grid
    buf s f32[8] group
    par t:8 @thread: s[t] = 1.0
    par t:8 @thread: Y[t] = s[t]
"""
    checked(text, zeros(8))


TEAMS = """
kernel k(Y f32[2, 8]) spmd
  par i:1 @grid
    buf s f32[2, 8] group
    par w:2 @warpgroup
      par t:8 @thread: s[w, t] = f32(8*w + t)
      {}
    {}
    par w:2 @warpgroup
      par t:8 @thread: Y[w, t] = s[{}, 7 - t]
"""


def test_a_barrier_of_one_team_orders_that_team_alone() -> None:
    y = zeros(2, 8)
    checked(TEAMS.format("barrier", "", "w"), y)
    assert y.tolist() == [list(range(7, -1, -1)), list(range(15, 7, -1))]
    assert "two threads meet in s" in refused(TEAMS.format("barrier", "", "1 - w"), y)
    checked(TEAMS.format("", "barrier", "1 - w"), y)
    assert y.tolist() == [list(range(15, 7, -1)), list(range(7, -1, -1))]


@pytest.mark.parametrize("body", ["barrier", "if t < 4: barrier", "par u:2 @reg: barrier"])
def test_a_barrier_where_lanes_diverge_is_refused(body: str) -> None:
    text = f"kernel k(Y f32[8]) spmd\n  par t:8 @thread: {body}\n"
    assert "a barrier stands where lanes diverge" in refused(text, zeros(8))


ROLES = """
kernel k(X f32[8], Y f32[8])
  roles
    role first
      par i:4: X[i] = 1.0
    role second
      par i:4: Y[i] = X[i + {}]
"""


def test_roles_meet_in_no_plain_buffer() -> None:
    checked(ROLES.format(4), zeros(8), zeros(8))
    assert "in X" in refused(ROLES.format(0), zeros(8), zeros(8))
    assert "two roles meet in X" in refused(
        ROLES.format(4).replace("Y[i] = X[i + 4]", "X[i] = 2.0"), zeros(8), zeros(8)
    )


# copies

COPY = """
kernel k(X i32[8], Y i32[8])
  buf s i32[4] group slots 2
  ser k:2
    copy(x:4) s[k; x] = X[4*k + x]
    {}
    par i:4: Y[4*k + i] = s[k; i]
    {}
"""
EIGHT = np.arange(8, dtype=np.int32)


def test_a_copy_is_complete_at_its_wait() -> None:
    y = np.zeros(8, np.int32)
    checked(COPY.format("wait s[k]", "free s[k]"), EIGHT, y)
    assert (y == EIGHT).all()


def test_integers_are_not_read_before_the_wait_or_after_the_free() -> None:
    y = np.zeros(8, np.int32)
    assert "load of s[0], whose slot is being filled" in refused(COPY.format("", ""), EIGHT, y)
    text = COPY.format("wait s[k]; free s[k]", "")
    assert "load of s[0], whose slot is empty" in refused(text, EIGHT, y)


def test_another_number_in_the_slot_is_not_what_is_read() -> None:
    text = COPY.format("wait s[k]", "free s[k]").replace("s[k; i]", "s[k + 2; i]")
    message = refused(text, EIGHT, EIGHT)
    assert "load of s[2], whose slot is full, number 0" in message


def test_a_slot_takes_its_numbers_in_turn() -> None:
    text = COPY.format("wait s[k]", "").replace("s[k", "s[2*k")
    message = refused(text, EIGHT, EIGHT)
    assert "deadlock: copy s[2], whose slot is full, number 0" in message


def test_a_free_of_what_was_not_waited_for_is_refused() -> None:
    message = refused(COPY.format("wait s[k]", "free s[k + 1]"), EIGHT, EIGHT)
    assert "free s[1], whose slot is empty, number -1" in message


def test_a_second_free_is_refused() -> None:
    message = refused(COPY.format("wait s[k]", "free s[k]; free s[k]"), EIGHT, EIGHT)
    assert "free s[0], whose slot is empty, number 0" in message


def test_a_copy_that_nobody_waits_for_is_refused() -> None:
    text = "kernel k(X i32[4])\n  buf s i32[4] group\n  copy(x:4) s[x] = X[x]\n"
    assert "s ends while a copy fills it" in refused(text, EIGHT[:4])


def test_a_wait_for_a_copy_that_never_comes_is_a_deadlock() -> None:
    text = COPY.format("wait s[k + 1]", "")
    assert "deadlock: wait s[1], whose slot is empty, number -1" in refused(text, EIGHT, EIGHT)


@pytest.mark.parametrize(
    ("copy", "wrong"),
    [
        ("copy(x:3) s[x] = X[x]", "a copy does not fill s"),
        ("copy(x:4) s[0*x] = X[x]", "a copy does not fill s"),
        ("copy(x:4) s[x | x < 3] = X[x]", "masked"),
        ("copy(x:4) s[x] = X[2*x + 2]", "X is indexed out of bounds"),
    ],
)
def test_a_copy_fills_its_slot_once_and_reads_what_is_there(copy: str, wrong: str) -> None:
    text = f"kernel k(X i32[8])\n  buf s i32[4] group\n  {copy}\n  wait s[]\n"
    assert wrong in refused(text, EIGHT)


def test_a_slot_is_filled_by_copies_alone() -> None:
    text = COPY.format("wait s[k]", "par i:4: s[k; i] = 1")
    assert "store of s[0], whose slot is full" in refused(text, EIGHT, EIGHT)


OUT = """
kernel k(Y i32[8])
  buf s i32[4] group slots 2
  ser k:{}
    par i:4: s[k; i] = i32(4*k + i)
    copy(x:4) Y[4*k + x] = s[k; x]
    {}
"""


def test_a_copy_towards_global_memory_ends_with_its_buffer() -> None:
    y = np.zeros(8, np.int32)
    checked(OUT.format(2, ""), y)
    assert (y == EIGHT).all()


def test_a_slot_is_not_written_while_a_copy_reads_it() -> None:
    y = np.zeros(12, np.int32)
    text = OUT.format(3, "").replace("Y i32[8]", "Y i32[12]")
    assert "store of s[2], whose slot is being read by a copy" in refused(text, y)
    waited = text.replace("    par i:4", "    if k >= 2: wait s[k - 2]\n    par i:4")
    checked(waited, y)
    assert (y == np.arange(12)).all()


def test_what_a_copy_still_writes_is_not_read() -> None:
    text = OUT.format(2, "par i:4: Y[4*k + i] = Y[4*k + i] + 1")
    assert "Y is touched, that a copy writes" in refused(text, np.zeros(8, np.int32))


def test_a_slot_is_copied_out_once_before_a_wait() -> None:
    text = OUT.format(1, "copy(x:4) Y[x] = s[k; x]")
    assert "copy s[0], whose slot is being read by a copy" in refused(text, np.zeros(8, np.int32))


def test_a_wait_without_a_copy_out_is_refused() -> None:
    text = OUT.format(1, "wait s[k + 1]")
    assert "wait s[1], whose slot is empty" in refused(text, np.zeros(8, np.int32))


def test_a_swizzle_must_stay_in_its_slot() -> None:
    text = """
kernel k(X f32[3, 8], Y f32[3, 8])
  buf s f32[3, 8] group swizzle {}
  copy(r:3, x:8) s[r, x] = X[r, x]
  wait s[]
  par r:3, x:8: Y[r, x] = s[r, x]
"""
    x, y = np.arange(24, dtype=np.float32).reshape(3, 8), zeros(3, 8)
    checked(text.format("2 0 3"), x, y)
    assert (x == y).all()
    assert "the swizzle of s leaves its slots" in refused(text.format("3 3 1"), x, y)


# MMA

MMA = """
kernel k(A {0}[4, 4], B {0}[4, 4], C {1}[4, 4])
  par w:1 @warpgroup
    buf acc {1}[4, 4] reg = sum
    mma(r:4, c:4, q:4) acc[r, c] += A[r, q] * B[q, c] @{2}
    par r:4, c:4: C[r, c] = acc[r, c]
"""


def test_products_are_exact_and_rounded_once() -> None:
    a, b = np.zeros((4, 4), np.float16), np.ones((4, 4), np.float16)
    c = np.zeros((4, 4), np.float16)
    # each 2**-11 alone is half a unit in the last place of 1, and would round to even
    a[0] = [1, 2**-11, 2**-11, 0]
    checked(MMA.format("f16", "f16", "warpgroup"), a, b, c)
    assert c[0, 0] == 1 + 2.0**-10


def test_integer_products_are_exact() -> None:
    a = np.full((4, 4), -128, np.int8)
    c = np.zeros((4, 4), np.int32)
    checked(MMA.format("i8", "i32", "warpgroup"), a, a, c)
    assert (c == 4 * 128 * 128).all()


def test_an_mma_is_run_by_a_team_as_a_whole() -> None:
    text = MMA.format("f32", "f32", "warpgroup")
    a = zeros(4, 4)
    outside = text.replace("par w:1 @warpgroup", "par w:1")
    assert "mma is not run by a team as a whole" in refused(outside, a, a, a)
    inside = text.replace("    mma", "    par t:2 @thread: mma")
    assert "mma is not run by a team as a whole" in refused(inside, a, a, a)


def test_a_value_that_was_never_computed_is_named() -> None:
    text = """
kernel k(Y f32[2], n in 0..1)
  if n >= 1
    v = Y[0]
    Y[1] = v
"""
    kernel = kernel_of(text)
    (branch,) = kernel.body
    bare = kernel._replace(body=branch.src[1:])
    with pytest.raises(RefError, match="v has no value here"):
        check_kernel(bare, [zeros(2)], {"n": 1})
