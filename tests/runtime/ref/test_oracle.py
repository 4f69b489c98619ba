"""The oracle computes what a kernel says, fast, and refuses places that do not exist."""

import math
import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.ir.cases import by_launches
from tests.runtime.ref import ENTRIES, kernel_of, run
from tinycore.config import Context
from tinycore.dtype import DType, dtypes
from tinycore.runtime.ref import RefError, check_kernel, machine, run_kernel
from tinycore.uop.parser import parse
from tinycore.uop.tree import Plan

Entry = Callable[..., None]
MATMUL = """
kernel matmul(A f32[M,K], B f32[K,N], C f32[M,N])
  par i:M, j:N
    buf acc f32[] reg = sum
    red k:K: acc += A[i,k] * B[k,j]
    C[i,j] = acc
"""


def normal(*shape: int) -> np.ndarray:
    """Normally distributed float32, the same at every call."""
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def test_a_matmul_runs_in_well_under_a_second() -> None:
    kernel = kernel_of(MATMUL, M=128, K=784, N=512)
    a, b, c = normal(128, 784), normal(784, 512), np.zeros((128, 512), np.float32)
    start = time.process_time()
    run_kernel(kernel, [a, b, c])
    assert time.process_time() - start < 0.9
    bound = 800 * 2.0**-24 * (np.abs(a).astype(np.float64) @ np.abs(b))
    assert (np.abs(c - a.astype(np.float64) @ b) <= bound).all()


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 18])
def test_the_result_does_not_depend_on_the_blocks(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "BLOCK", block)
    a, b, c = normal(5, 11), normal(11, 6), np.zeros((5, 6), np.float32)
    run_kernel(kernel_of(MATMUL, M=5, K=11, N=6), [a, b, c])
    np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("entry", ENTRIES)
def test_arrays_may_be_flat(entry: Entry) -> None:
    a, b, c = normal(2, 3), normal(3, 4), np.zeros((2, 4), np.float32)
    entry(kernel_of(MATMUL, M=2, K=3, N=4), [a.reshape(-1), b, c.reshape(-1)])
    np.testing.assert_allclose(c, a @ b, rtol=1e-5)


def test_arrays_that_are_too_few_too_small_or_strided_are_refused() -> None:
    kernel = kernel_of(MATMUL, M=2, K=3, N=4)
    a, b, c = normal(2, 3), normal(3, 4), np.zeros((2, 4), np.float32)
    for arrays in ([a, b], [a, b, c[:1]], [a, b, np.zeros((2, 8), np.float32)[:, ::2]]):
        with pytest.raises(ValueError, match=r"shorter|smaller|contiguous"):
            run_kernel(kernel, arrays)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_masked_store_touches_no_memory(entry: Entry) -> None:
    y = np.full(4, 7.0, np.float32)
    run(entry, "kernel k(Y f32[4])\n  par i:9: Y[i | i < 3] = 1.0\n", y)
    assert y.tolist() == [1, 1, 1, 7]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_masked_load_gives_its_fill(entry: Entry) -> None:
    y = np.zeros(4, np.float32)
    text = "kernel k(X f32[2], Y f32[4])\n  par i:4: Y[i] = X[i | i < 2 else -inf]\n"
    run(entry, text, np.ones(2, np.float32), y)
    assert y.tolist() == [1, 1, -math.inf, -math.inf]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("place", ["i + 1", "i - 1"])
def test_a_place_outside_is_refused(entry: Entry, place: str) -> None:
    text = f"kernel k(X f32[4], Y f32[4])\n  par i:4: Y[i] = X[{place}]\n"
    with pytest.raises(RefError, match=r"X is indexed out of bounds in `Y\[i\] = X\[i"):
        run(entry, text, np.ones(4, np.float32), np.ones(4, np.float32))


GATHER = "kernel k(ids i32[3], X f32[4], Y f32[3])\n  par i:3: Y[i] = X[ids[i] in 4 else 9.0]\n"


@pytest.mark.parametrize("entry", ENTRIES)
def test_gathered_places_count_from_the_end_and_are_masked_outside(entry: Entry) -> None:
    x, y = np.arange(4, dtype=np.float32), np.zeros(3, np.float32)
    run(entry, GATHER, np.array([-1, 2, 4], np.int32), x, y)
    assert y.tolist() == [3, 2, 9]


@pytest.mark.parametrize("entry", ENTRIES)
def test_gathered_places_outside_raise_if_asked_to(entry: Entry) -> None:
    ids, x, y = np.array([-1, 2, 4], np.int32), np.ones(4, np.float32), np.ones(3, np.float32)
    refused = pytest.raises(RefError, match=r"index 4 is gathered .*; expected -4\.\.3")
    with Context(CHECK_OOB=1), refused:
        entry(kernel_of(GATHER), [ids, x, y])


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_scatter_counts_every_iteration(entry: Entry) -> None:
    text = "kernel k(ids i32[5], Y i32[3])\n  red i:5: Y[ids[i] in 3] += 1\n"
    y = np.zeros(3, np.int32)
    run(entry, text, np.array([0, 2, 2, -1, 7], np.int32), y)
    assert y.tolist() == [1, 0, 3]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_masked_iteration_contributes_nothing(entry: Entry) -> None:
    text = """
kernel k(X i32[6], Y i32[2], Z i32[1])
  par i:2
    buf m i32[] reg = max
    red j:3: m[| 2*i + j < 3] max= X[3*i + j]
    Y[i] = m
  red j:6: Z[0 | j < 2] += 1
"""
    x, y, z = np.arange(6, dtype=np.int32) - 9, np.zeros(2, np.int32), np.zeros(1, np.int32)
    run(entry, text, x, y, z)
    assert y.tolist() == [-7, -6]
    assert z.tolist() == [2]


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_iteration_counts_under_a_mask_of_an_outer_axis(entry: Entry) -> None:
    text = """
kernel k(Y i32[4])
  par i:4
    buf s i32[] reg = sum
    red j:6: s[| i < 2] += 1
    Y[i] = s
"""
    y = np.zeros(4, np.int32)
    run(entry, text, y)
    assert y.tolist() == [6, 6, 0, 0]


@pytest.mark.parametrize("entry", ENTRIES)
def test_extents_may_depend_on_outer_axes(entry: Entry) -> None:
    text = """
kernel k(X i32[5], Y i32[5])
  par i:5
    buf s i32[] reg = sum
    red j:i + 1: s += X[j]
    Y[i] = s
"""
    y = np.zeros(5, np.int32)
    run(entry, text, np.arange(5, dtype=np.int32), y)
    assert y.tolist() == [0, 1, 3, 6, 10]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_scan_runs_in_order(entry: Entry) -> None:
    text = "kernel k(X i32[5])\n  ser i:4: X[i + 1] = X[i] + X[i + 1]\n"
    x = np.ones(5, np.int32)
    run(entry, text, x)
    assert x.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_if_holds_back_its_body(entry: Entry) -> None:
    text = """
kernel k(X f32[4], Y f32[6], n in 0..9)
  par i:6
    if i < 4, n >= 2
      v = X[i]
      Y[i] = v
"""
    for number, expected in ((1, [0] * 6), (2, [1] * 4 + [0] * 2)):
        y = np.zeros(6, np.float32)
        run(entry, text, np.ones(4, np.float32), y, n=number)
        assert y.tolist() == expected


@pytest.mark.parametrize("entry", ENTRIES)
def test_symbolic_buffers_lie_at_upper_bounds(entry: Entry) -> None:
    text = "kernel k(n in 1..4, X i32[n, 3])\n  par i:n, j:3: X[i, j] = i32(10*i + j)\n"
    x = np.full((4, 3), -1, np.int32)
    run(entry, text, x, n=2)
    assert x.tolist() == [[0, 1, 2], [10, 11, 12], [-1] * 3, [-1] * 3]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("dtype", "value"), [(dtypes.float16, 2049.0), (dtypes.bfloat16, 257.0)], ids=str
)
def test_a_narrow_accumulator_rounds_at_every_addition(
    entry: Entry, dtype: DType, value: float
) -> None:
    name = dtype.short
    text = f"""
kernel k(Y {name}[1])
  buf s {name}[] reg = sum
  red i:{int(value)}: s += {name}(1.0)
  Y[0] = s
"""
    y = np.zeros(1, dtype.storage)
    run(entry, text, y)
    stuck = (value - 1).hex()
    found = y.view(np.float16) if dtype is dtypes.float16 else (y.astype(np.uint32) << 16)
    as_float = found.astype(np.float64) if dtype is dtypes.float16 else found.view(np.float32)
    assert float(as_float[0]).hex() == stuck


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_operation_on_float16_rounds(entry: Entry) -> None:
    text = "kernel k(X f16[1], Y f16[1])\n  par i:1: Y[i] = (X[i] + 1.0) * 1024.0\n"
    x, y = np.full(1, 2.0**-11, np.float16), np.zeros(1, np.float16)
    run(entry, text, x, y)
    assert y[0] == 1024


@pytest.mark.parametrize("entry", ENTRIES)
def test_integer_operations_follow_the_table(entry: Entry) -> None:
    text = """
kernel k(A i32[6], B i32[6], Q i32[6], R i32[6])
  par i:6
    Q[i] = idiv(A[i], B[i])
    R[i] = mod(A[i], B[i])
"""
    a = np.array([7, -7, 7, -7, 5, -(2**31)], np.int32)
    b = np.array([2, 2, -2, -2, 0, -1], np.int32)
    q, r = np.zeros(6, np.int32), np.zeros(6, np.int32)
    run(entry, text, a, b, q, r)
    assert q.tolist() == [3, -3, -3, 3, 0, -(2**31)]
    assert r.tolist() == [1, -1, 1, -1, 5, 0]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_long_expression_needs_no_recursion(entry: Entry) -> None:
    x = np.zeros(2, np.float32)
    run(entry, f"kernel k(X f32[2])\n  par i:2: X[i] = X[i]{' + 1.0' * 3000}\n", x)
    assert x.tolist() == [3000, 3000]


def test_a_parallel_loop_that_combines_in_one_place_is_refused() -> None:
    text = "kernel k(X f32[4], Y f32[1])\n  par i:4: Y[0] += X[i]\n"
    with pytest.raises(RefError, match="two iterations of par i meet in Y"):
        run(check_kernel, text, np.ones(4, np.float32), np.zeros(1, np.float32))


def test_a_plan_runs_its_launches_on_temporaries() -> None:
    text = """
kernel double(X f32[3], W f32[3])
  par i:3: W[i] = X[i] * 2.0
kernel add(W f32[3], Y f32[3], n in 0..5)
  par i:3: Y[i] = W[i] + f32(n)
plan both(X f32[3], Y f32[3], n in 0..5)
  temp W f32[3]
  launch double(X, W)
  launch add(W, Y)
"""
    plan = parse(text)["both"]
    assert isinstance(plan, Plan)
    y = np.zeros(3, np.float32)
    by_launches(run_kernel)(plan, [np.ones(3, np.float32), y], {"n": 4})
    assert y.tolist() == [6, 6, 6]
    call = plan._replace(launches=(plan.launches[0]._replace(kernel=None),))
    with pytest.raises(AssertionError, match="a vendor's call"):
        by_launches(run_kernel)(call, [y, y], {"n": 4})


@pytest.mark.parametrize("entry", ENTRIES)
def test_one_iteration_of_a_parallel_loop_may_combine_in_a_fixed_place(entry: Entry) -> None:
    x, y = np.arange(4, dtype=np.float32), np.ones(1, np.float32)
    text = "kernel k(X f32[4], Y f32[1])\n  par i:4: if i >= 3: Y[0] += X[i]\n"
    run(entry, text, x, y)
    assert y.tolist() == [4]
