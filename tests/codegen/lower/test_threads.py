"""Groups of threads: what a thread keeps, what it shares, and where it waits for the others."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.codegen.harness import OPS, Array, caps, kernel_of, random, target
from tinycore.codegen.lower import lower
from tinycore.codegen.lower.joins import reduce
from tinycore.codegen.lower.mapped import tasks
from tinycore.codegen.lower.stores import copies
from tinycore.codegen.lower.threads import group_size, threads
from tinycore.codegen.optimize.edit import edit, find
from tinycore.dtype import dtypes
from tinycore.runtime.contract import Caps, Unsupported
from tinycore.runtime.ref import RefError, check_kernel
from tinycore.uop.ops import Ops, UOp, arena
from tinycore.uop.printer import show
from tinycore.uop.spec import check
from tinycore.uop.tree import Kernel

TARGET = target(vector_bytes=16, max_group_threads=256, group_bytes=1 << 14, lanes=32)
SERIAL = caps(16)


def grouped(text: str, row: Caps = TARGET.caps, **sizes: int) -> Kernel:
    """The last kernel of a text as the threads of a group run it."""
    kernel = kernel_of(text, **sizes)
    for step in (copies, reduce, tasks, threads):
        kernel = step(kernel, row)
    return kernel


def assert_runs(kernel: Kernel, *arrays: Array) -> None:
    """REF runs the kernel and finds no two threads that meet."""
    check(kernel, "sync" if kernel.spmd else "action")
    for seed in range(3):
        check_kernel(kernel, [one.copy() for one in arrays], {}, seed)
    check_kernel(kernel, list(arrays), {}, 3)


def barriers(kernel: Kernel) -> int:
    return len(find(kernel.body, Ops.BARRIER))


def without(kernel: Kernel, number: int) -> Kernel:
    """The kernel without one of its barriers."""
    seen: Iterator[int] = iter(range(barriers(kernel)))

    def change(statement: UOp) -> list[UOp]:
        is_gone = statement.op is Ops.BARRIER and next(seen) == number
        return [] if is_gone else [statement]

    return kernel._replace(body=edit(kernel.body, change))


def assert_barriers_are_needed(kernel: Kernel, *arrays: Array) -> None:
    """REF refuses the kernel without any one of its barriers."""
    for number in range(barriers(kernel)):
        with pytest.raises(RefError, match="threads meet"):
            for seed in range(4):
                check_kernel(without(kernel, number), [one.copy() for one in arrays], {}, seed)


# Barriers

TURNED = """
kernel turned(X f32[N,16], Y f32[16,N])
  par b:N//16 @grid
    buf T f32[16,16] group
    copy(p:16, q:16) T[p, q] = X[16*b+p, q] @thread; wait T[]
    par c:16: par a:16 @thread: Y[c, 16*b+a] = T[a, c]
"""


def test_what_threads_copied_is_read_after_a_barrier() -> None:
    kernel = grouped(TURNED, N=64)
    assert barriers(kernel) == 1
    x, y = random(64, 16), np.zeros((16, 64), np.float32)
    assert_runs(kernel, x, y)
    assert np.array_equal(y, x.T)
    assert_barriers_are_needed(kernel, x, y)


ONE = """
kernel one(X f32[4], Y f32[4,32])
  par g:4 @grid
    buf T f32[] group
    copy() T[] = X[g] @thread; wait T[]
    par a:32 @thread: Y[g, a] = T[]
"""


def test_an_element_wider_than_a_vector_is_copied_alone() -> None:
    narrow = replace(TARGET.caps, vector_bytes=4)
    kernel = grouped(TURNED.replace("f32", "f64"), narrow, N=64)
    x, y = random(64, 16, dtype=dtypes.float64), np.zeros((16, 64))
    assert_runs(kernel, x, y)
    assert np.array_equal(y, x.T)


def test_a_tile_of_one_element_is_copied_by_the_first_thread() -> None:
    kernel = grouped(ONE)
    assert barriers(kernel) == 1
    x, y = random(4), np.zeros((4, 32), np.float32)
    assert_runs(kernel, x, y)
    assert np.array_equal(y, np.repeat(x, 32).reshape(4, 32))
    assert_barriers_are_needed(kernel, x, y)


AGAIN = """
kernel again(X f32[4,32], Y f32[4,32])
  par g:1 @grid
    buf T f32[32] group
    ser k:4
      copy(p:32) T[p] = X[k, p] @thread; wait T[]
      par a:32 @thread: Y[k, a] = T[31-a]
"""


def test_memory_that_a_loop_fills_again_is_kept_until_all_have_read_it() -> None:
    kernel = grouped(AGAIN)
    assert barriers(kernel) == 2
    x, y = random(4, 32), np.zeros((4, 32), np.float32)
    assert_runs(kernel, x, y)
    assert np.array_equal(y, x[:, ::-1])
    assert_barriers_are_needed(kernel, x, y)


@pytest.mark.parametrize("kind", ["ser", "par"])
def test_a_buffer_of_each_iteration_is_the_same_memory_again(kind: str) -> None:
    inside = AGAIN.replace("    buf T f32[32] group\n", "")
    inside = inside.replace("    ser k:4\n", f"    {kind} k:4\n      buf T f32[32] group\n")
    assert barriers(grouped(inside)) == 2


APART = """
kernel apart(X f32[8,32], Y f32[8,32])
  par g:1 @grid
    par k:8: par a:32 @thread: Y[k, a] = X[k, a] + 1.0
    par a:32 @thread: Y[0, a] = 2.0
"""


def test_what_nobody_reads_needs_no_barrier() -> None:
    assert barriers(grouped(APART)) == 0


BEGUN = """
kernel begun(ids i32[4], G f32[4,32], Y f32[5,32])
  par g:1 @grid
    par v:5: par a:32 @thread: Y[v, a] = 1.0
    red b:4: par a:32 @thread: Y[ids[b] in 5, 31-a] += G[b, a]
"""


def test_what_is_added_to_was_written_by_other_threads_before() -> None:
    kernel = grouped(BEGUN)
    assert find(kernel.body, Ops.STORE, Ops.BARRIER)[1].op is Ops.BARRIER
    ids, g = np.array([3, 3, -1, 0], np.int32), random(4, 32)
    y, expected = np.zeros((5, 32), np.float32), np.ones((5, 32), np.float32)
    np.add.at(expected, ids, g[:, ::-1])
    assert_runs(kernel, ids, g, y)
    assert np.allclose(y, expected, atol=1e-6)


def test_what_each_thread_adds_to_its_own_elements_needs_no_barrier() -> None:
    assert barriers(grouped(BEGUN.replace("31-a", "a"))) == 0


SPREAD = """
kernel spread(ids i32[4], X f32[32], Y f32[5,32])
  par g:1 @grid
    par a:32 @thread: Y[0, a] = X[a]
    par b:4: Y[ids[b] in 5, b] = 2.0
"""


def test_what_the_first_thread_writes_is_kept_until_others_have_written() -> None:
    kernel = grouped(SPREAD)
    assert barriers(kernel) == 1
    ids, x, y = np.array([0, 3, 0, -1], np.int32), random(32), np.zeros((5, 32), np.float32)
    assert_runs(kernel, ids, x, y)
    assert y[0, 0] == y[0, 2] == 2.0
    assert y[0, 1] == x[1]


# Sums over threads

SUM = """
kernel total(X f32[R,N], Y f32[R])
  par i:R @grid
    buf s f32[] reg = sum
    red n:N @thread: s += X[i,n]
    Y[i] = s
"""


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 63, 64, 65, 100, 200, 256])
def test_a_sum_over_any_number_of_threads_is_that_of_all(count: int) -> None:
    kernel = grouped(SUM, R=2, N=count)
    x, y = random(2, count), np.zeros(2, np.float32)
    assert_runs(kernel, x, y)
    assert np.allclose(y, x.sum(1), rtol=1e-5, atol=1e-5)
    assert lower(kernel_of(SUM, R=2, N=count), TARGET).uops


def test_each_step_of_a_sum_waits_for_the_one_before() -> None:
    kernel = grouped(SUM, R=2, N=100)
    assert barriers(kernel) == 3
    x, y = random(2, 100), np.zeros(2, np.float32)
    assert_barriers_are_needed(kernel, x, y)


WARPS = target(
    vector_bytes=16,
    max_group_threads=256,
    group_bytes=1 << 14,
    ops=(*OPS, "EXCHANGE"),
    warp_threads=8,
)


@pytest.mark.parametrize("count", [8, 32, 128])
def test_threads_of_a_warp_read_each_others_registers(count: int) -> None:
    kernel = grouped(SUM, WARPS.caps, R=2, N=count)
    assert barriers(kernel) == 1 + (count > 64)
    x, y = random(2, count), np.zeros(2, np.float32)
    assert_runs(kernel, x, y)
    assert np.allclose(y, x.sum(1), rtol=1e-5, atol=1e-5)
    assert_barriers_are_needed(kernel, x, y)
    ops = [node.op for node in lower(kernel_of(SUM, R=2, N=count), WARPS).uops]
    assert ops.count(Ops.EXCHANGE) == 3


def test_warps_that_exchange_by_no_op_meet_in_memory() -> None:
    named = replace(WARPS.caps, ops=OPS)
    assert show(grouped(SUM, named, R=2, N=32)) == show(grouped(SUM, R=2, N=32))


GATHERED = """
kernel gathered(X f32[2,64], I i32[64], Y f32[2])
  par i:2 @grid
    buf s f32[] reg = sum
    red t:64 @thread: s[| I[t] in 4 < 2] += X[i,t]
    Y[i] = s
"""


def test_a_thread_may_leave_out_what_it_reads_elsewhere() -> None:
    x, ids, y = random(2, 64), np.arange(64, dtype=np.int32) % 4, np.zeros(2, np.float32)
    assert_runs(grouped(GATHERED), x, ids, y)
    assert np.allclose(y, x[:, ids < 2].sum(1), rtol=1e-5, atol=1e-5)
    assert lower(kernel_of(GATHERED), TARGET).uops


def test_threads_that_are_no_whole_warps_meet_in_memory() -> None:
    kernel = grouped(SUM, WARPS.caps, R=2, N=100)
    assert show(kernel) == show(grouped(SUM, R=2, N=100))


LONGEST = """
kernel longest(X f32[N], Y f32[1])
  par g:1 @grid
    buf m f32[] reg = max
    red n.1:64 @thread: red n.0:(N+63)//64: m max= X[64*n.0+n.1 | 64*n.0+n.1 < N else -inf]
    Y[0] = m
"""


@pytest.mark.parametrize("n", [1, 64, 65, 1000])
def test_a_thread_reduces_its_share_before_it_meets_the_others(n: int) -> None:
    x, y = random(n), np.zeros(1, np.float32)
    assert_runs(grouped(LONGEST, N=n), x, y)
    assert y[0] == x.max()


RAGGED = """
kernel ragged(X f32[6,64], Y f32[6])
  par j.0:2 @grid: par j.1:4: red n:64 @thread
    Y[4*j.0+j.1 | 4*j.0+j.1 < 6] += X[4*j.0+j.1, n | 4*j.0+j.1 < 6]
"""


def test_a_sum_leaves_alone_what_its_mask_leaves_out() -> None:
    x, y = random(6, 64), np.zeros(6, np.float32)
    check_kernel(grouped(RAGGED), [x, y], {}, 0)
    assert np.allclose(y, x.sum(1), rtol=1e-5, atol=1e-5)


SCATTER = """
kernel scatter(ids i32[B], G f32[B], Y f32[V])
  par g:1 @grid: red b:B @thread: Y[ids[b] in V] += G[b]
"""


def test_sums_to_places_that_threads_choose_run_in_order() -> None:
    kernel = grouped(SCATTER, B=8, V=5)
    assert "red b:8\n" in show(kernel)
    ids, g = np.array([3, 3, -1, 4, 3, 0, 0, 2], np.int32), random(8)
    y, expected = np.zeros(5, np.float32), np.zeros(5, np.float32)
    np.add.at(expected, ids, g)
    assert_runs(kernel, ids, g, y)
    assert np.allclose(y, expected, atol=1e-6)


INSIDE = """
kernel inside(X f32[8,8], Y f32[8])
  par g:1 @grid: par i:8 @thread
    buf s f32[] reg = sum
    red n:8 @thread: s += X[i,n]
    Y[i] = s
"""
VARIED = INSIDE.replace("par g:1 @grid: par i:8 @thread", "par i:8 @grid").replace("n:8", "n:i+1")


@pytest.mark.parametrize("text", [INSIDE, VARIED])
def test_a_thread_sums_alone_in_its_own_loop_or_where_the_number_varies(text: str) -> None:
    kernel = grouped(text)
    assert "group" not in show(kernel)
    assert barriers(kernel) == 0
    x, y = random(8, 8), np.zeros(8, np.float32)
    assert_runs(kernel, x, y)
    assert np.allclose(y, (x if text == INSIDE else np.tril(x)).sum(1), atol=1e-5)


# What a thread keeps

KEPT = """
kernel kept(X f32[N], Y f32[N])
  par g:1 @grid
    buf r f32[N] reg
    par o:N//256: par t:64 @thread: par v:4: r[256*o+4*t+v] = X[256*o+4*t+v]
    par o:N//256: par t:64 @thread: par v:4: Y[256*o+4*t+v] = r[256*o+4*t+3-v]
"""


def test_a_thread_keeps_the_elements_that_it_alone_touches() -> None:
    text = show(grouped(KEPT, N=512))
    assert "buf r f32[8] reg" in text
    assert "r[4*o + v] = " in text
    assert "barrier" not in text


SPLIT = """
kernel split(X f32[8,8], Y f32[8,8])
  par g:1 @grid
    buf r f32[8,8] reg
    par i:8 @thread: par j:8 @thread: r[i, j] = X[i, j]
    par i:8 @thread: par j:8 @thread: Y[i, j] = r[i, j]
"""


def test_a_tile_with_one_element_a_thread_is_one_register() -> None:
    kernel = grouped(SPLIT)
    assert group_size(kernel) == 64
    assert "buf r f32[1, 1] reg" in show(kernel)


CROSSED = KEPT.replace("r[256*o+4*t+3-v]", "r[N-1-256*o-4*t-v]")


@pytest.mark.parametrize("space", ["reg", "packed", "global"])
def test_elements_that_another_thread_reads_are_in_the_memory_of_the_group(space: str) -> None:
    kernel = grouped(CROSSED.replace("] reg", f"] {space}"), N=512)
    assert "buf r f32[512] group" in show(kernel)
    assert barriers(kernel) == 1
    x, y = random(512), np.zeros(512, np.float32)
    assert_runs(kernel, x, y)
    assert np.array_equal(y, x[::-1])
    assert_barriers_are_needed(kernel, x, y)


UNIFORM = """
kernel uniform(X f32[4], Y f32[32])
  par g:1 @grid
    buf s f32[] reg = sum
    red n:4: s += X[n]
    par t:32 @thread: Y[t] = s
"""


def test_what_all_threads_compute_alike_each_keeps_for_itself() -> None:
    kernel = grouped(UNIFORM)
    assert "buf s f32[] reg = sum" in show(kernel)
    assert barriers(kernel) == 0


ONLINE = """
kernel online(X f32[32,4], V f32[4,32], Y f32[32])
  par g:1 @grid
    buf m f32[] reg = max
    buf l f32[] reg = sum
    buf O f32[32] reg = sum
    red n:4
      m max= X[0,n] rebase exp(l, O)
      p = exp(X[0,n] - fin(m))
      l += p
      par d:32 @thread: O[d] += p * V[n,d]
    par d:32 @thread: Y[d] = O[AT] / l
"""


def test_states_of_one_rebase_are_all_of_the_group_if_one_is() -> None:
    kernel = grouped(ONLINE.replace("AT", "31-d"))
    text = show(kernel)
    assert all(f"buf {one} group" in text for one in ("m f32[]", "l f32[]", "O f32[32]"))
    assert "par first:1 @thread\n        m max= X[0, n] rebase exp(l, O)" in text
    x, v, y = random(32, 4), random(4, 32), np.zeros(32, np.float32)
    assert_runs(kernel, x, v, y)
    weights = np.exp(x[0] - x[0].max())
    assert np.allclose(y, (weights @ v / weights.sum())[::-1], rtol=1e-5, atol=1e-5)


def test_a_thread_moves_its_part_of_a_state_by_a_leading_one_of_its_own() -> None:
    kernel = grouped(ONLINE.replace("AT", "d"))
    text = show(kernel)
    assert all(f"buf {one} reg" in text for one in ("m f32[]", "l f32[]", "O f32[1]"))
    assert barriers(kernel) == 0


# Limits

WIDE = "kernel wide(X f32[512])\n  par g:1 @grid: par t:512 @thread: X[t] = 1.0\n"
LARGE = """
kernel large(X f32[8192], Y f32[8192])
  par g:1 @grid
    buf T f32[8192] group
    copy(p:8192) T[p] = X[p] @thread; wait T[]
    par o:32: par t:256 @thread: Y[256*o+t] = T[256*o+255-t]
"""


def test_a_group_of_more_threads_than_the_target_has_is_refused() -> None:
    expected = "lower: wide needs 512 threads a group; this target has 256"
    with pytest.raises(Unsupported, match=expected):
        grouped(WIDE)


def test_a_group_of_more_memory_than_the_target_has_is_refused() -> None:
    expected = "lower: large needs 32768 bytes of group memory a group; this target has 16384"
    with pytest.raises(Unsupported, match=expected):
        grouped(LARGE)


@pytest.mark.parametrize("text", [TURNED, AGAIN, SUM, KEPT])
def test_a_target_without_groups_runs_threads_in_order(text: str) -> None:
    with arena():
        text = show(grouped(text, SERIAL, N=512, R=2, B=8, V=5))
    assert "@thread" not in text
    assert "barrier" not in text
