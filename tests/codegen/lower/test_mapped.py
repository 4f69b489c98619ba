"""Reductions along lanes: each lane keeps a state, and the lanes are joined after the loop."""

import numpy as np
import pytest

from tests.codegen.harness import TARGET, Array, kernel_of, random, run
from tinycore.codegen.lower.joins import reduce
from tinycore.runtime.ref import run_kernel
from tinycore.uop.printer import show

SOFTMAX = """
kernel softmax(X f32[R,N], Y f32[R,N])
  par i:R @grid
    buf m f32[] reg = max; buf l f32[] reg = sum
    red n.0:(N+W-1)//W: red n.1:W @vec
      n = W*n.0+n.1; s = X[i,n | n < N else -inf]; m max= s rebase exp(l); l += exp(s - fin(m))
    par n.0:(N+W-1)//W: par n.1:W @vec: n = W*n.0+n.1; Y[i,n | n < N] = exp(X[i,n | n < N] - m) / l
"""


def softmax(x: Array) -> Array:
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    found: Array = e / e.sum(1, keepdims=True)
    return found


@pytest.mark.parametrize("lanes", [16, 8, 5, 3, 2])
@pytest.mark.parametrize("n", [1, 37, 64])
def test_online_softmax_keeps_a_maximum_and_a_sum_in_every_lane(n: int, lanes: int) -> None:
    x, y = 10 * random(3, n), np.zeros((3, n), np.float32)
    run(SOFTMAX, [x, y], R=3, N=n, W=lanes)
    assert np.allclose(y, softmax(x), rtol=2e-6)


@pytest.mark.parametrize("n", [37, 64])
def test_the_tree_with_states_of_lanes_still_means_the_same(n: int) -> None:
    kernel = reduce(kernel_of(SOFTMAX, R=3, N=n, W=16), TARGET.caps)
    x, y = 10 * random(3, n), np.zeros((3, n), np.float32)
    run_kernel(kernel, [x, y], {})
    assert np.allclose(y, softmax(x), rtol=2e-6)


def test_states_of_lanes_stand_around_the_loop_and_no_reduction_is_along_lanes() -> None:
    text = show(reduce(kernel_of(SOFTMAX, R=3, N=64, W=16), TARGET.caps))
    assert "red n.1:16 @vec" not in text
    lines = [line.strip() for line in text.splitlines()]
    assert lines.index("buf m.n.1 f32[16] reg = max") < lines.index("red n.0:4")
    assert lines.index("red n.0:4") < lines.index("m max= max(m.n.1.j.h2[0], m.n.1.j.h2[1])")


ARGMAX = """
kernel argmax(X f32[R,N], Y i32[R])
  par i:R @grid
    buf m f32[] reg = max; buf k i32[] reg = min
    red n.0:(N+15)//16: red n.1:16 @vec
      n = 16*n.0+n.1; x = X[i,n | n < N else -inf]
      m max= x rebase reset(k); k min= where(x == m, i32(n), 2147483647)
    Y[i] = k
"""


def test_argmax_by_lanes_gives_the_first_of_equal_maxima() -> None:
    x = np.zeros((4, 50), np.float32)
    x[0, 7] = x[0, 40] = x[0, 23] = 3
    x[1, 49] = 1
    x[2] = -np.inf
    x[2, 33] = -5
    y = np.zeros(4, np.int32)
    run(ARGMAX, [x, y], R=4, N=50)
    assert y.tolist() == [7, 49, 33, 0]


VARIANCE = """
kernel variance(X f32[R,N], M f32[R], V f32[R])
  par i:R @grid
    buf n f32[] reg = sum; buf s f32[] reg = sum; buf q f32[] reg = sum
    red c.0:N//8: red c.1:8 @vec
      x = X[i, 8*c.0+c.1]; n, s += 1.0, x rebase var(q); d = x - s/n; q += d*d
    M[i] = s / n
    V[i] = q / n
"""


def test_variance_moves_squared_deviations_when_counts_and_sums_join() -> None:
    x = 100 + random(3, 24)
    m, v = np.zeros(3, np.float32), np.zeros(3, np.float32)
    run(VARIANCE, [x, m, v], R=3, N=24)
    assert np.allclose(m, x.mean(1), rtol=1e-6)
    assert np.allclose(v, x.astype(np.float64).var(1), rtol=1e-4)


SUMS = """
kernel sums(X f32[R,N], S f32[R], P f32[R])
  par i:R @grid
    buf s f32[4] reg = sum; buf p f32[] reg = prod
    red n.0:N//64: par u:4 @reg: red n.1:16 @vec: s[u] += X[i, 64*n.0 + 16*u + n.1]
    red n:N//16: red k:16 @vec: p *= 1.0 + 0.01*X[i, 16*n+k]
    S[i] = s[0] + s[1] + (s[2] + s[3]); P[i] = p
"""


def test_several_accumulators_each_keep_their_lanes() -> None:
    x = random(2, 192)
    s, p = np.zeros(2, np.float32), np.zeros(2, np.float32)
    run(SUMS, [x, s, p], R=2, N=192)
    assert np.allclose(s, x.sum(1), rtol=1e-4, atol=1e-4)
    assert np.allclose(p, np.prod(1 + 0.01 * x.astype(np.float64), axis=1), rtol=1e-5)


SCATTER = """
kernel scatter(ids i32[B], G f32[B], Y f32[V])
  red b:B @vec: Y[ids[b] in V] += G[b]
"""


def test_lanes_that_may_meet_in_memory_run_one_after_another() -> None:
    ids = np.array([3, 3, -1, 9, 3, 0, 0, 2], np.int32)
    g, y = random(8), np.zeros(5, np.float32)
    run(SCATTER, [ids, g, y], B=8, V=5)
    expected = np.zeros(5, np.float32)
    for k, row in enumerate(ids):
        if -5 <= row < 5:
            expected[row] += g[k]
    assert np.allclose(y, expected, rtol=1e-6)


PARTIAL = """
kernel partial(X f32[4,N], Y f32[4])
  par g:1 @grid
    buf s f32[4] reg = sum
    red n.0:N//16: par i:4 @reg: red n.1:16 @vec: s[i] += X[i, 16*n.0+n.1]
    par i:4 @reg: Y[i] = s[i]
"""


def test_states_pass_parallel_loops_on_their_way_out() -> None:
    x, y = random(4, 64), np.zeros(4, np.float32)
    run(PARTIAL, [x, y], N=64)
    assert np.allclose(y, x.sum(1), rtol=1e-5, atol=1e-5)
    kernel = reduce(kernel_of(PARTIAL, N=64), TARGET.caps)
    assert "buf s.n.1 f32[16, 4] reg = sum\n    red n.0:4" in show(kernel)
