"""LLVM IR of lowered programs: what it says, and that a processor runs it as it was meant."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.codegen.harness import TARGET, Array, Built, caps, kernel_of, random, render, run
from tinycore.codegen.render.llvm import OPS, LLVMRenderer
from tinycore.dtype import DType, dtypes
from tinycore.runtime.contract import Unsupported
from tinycore.uop.index import as_index
from tinycore.uop.lowered import Lowered
from tinycore.uop.ops import Ops, UOp, const
from tinycore.uop.tree import buffer

COPY = """
kernel copy(X {0}[N], Y {0}[N])
  par i.0:(N+15)//16 @grid: par i.1:16 @vec: i = 16*i.0+i.1; Y[i | i < N] = X[i | i < N]
"""


@pytest.mark.parametrize("dtype", dtypes.all, ids=lambda dtype: dtype.short)
def test_a_masked_store_touches_no_memory_in_any_type(dtype: DType) -> None:
    x = dtype.encode(np.arange(37) % 2)
    y = dtype.encode(np.ones(48) * (dtype.kind != "b"))
    after = y[37:].copy()
    run(COPY.format(dtype.short), [x, y], N=37)
    assert np.array_equal(y[:37], x)
    assert np.array_equal(y[37:], after)


@pytest.mark.parametrize("dtype", dtypes.all, ids=lambda dtype: dtype.short)
@pytest.mark.parametrize("kind", ["@vec", ""])
def test_a_false_mask_reads_the_fill(dtype: DType, kind: str) -> None:
    fill = "-inf" if dtype.is_float and dtype is not dtypes.fp8e4m3 else "1"
    fill = "true" if dtype.kind == "b" else "1.0" if dtype is dtypes.fp8e4m3 else fill
    text = f"""
kernel shifted(X {dtype.short}[16], Y {dtype.short}[16])
  par i:16 {kind}: Y[i] = X[i-3 | i >= 3 else {fill}]
"""
    x = dtype.encode(np.zeros(16))
    y = np.zeros(16, dtype.storage)
    run(text, [x, y])
    value = {"true": 1.0, "-inf": -np.inf}.get(fill) or float(fill)
    assert dtype.decode(y).tolist() == [value] * 3 + [0] * 13


SHUFFLES: dict[str, tuple[str, str, Callable[[Array], Array]]] = {
    "backward": ("Y[15-i]", "X[i]", lambda x: x[:16][::-1]),
    "read backward": ("Y[i]", "X[15-i]", lambda x: x[:16][::-1]),
    "every second": ("Y[i]", "X[2*i]", lambda x: x[::2]),
    "by threes": ("Y[i]", "X[i//3]", lambda x: np.repeat(x, 3)[:16]),
    "around": ("Y[i]", "X[(i+5)%16]", lambda x: np.roll(x[:16], -5)),
    "one for all": ("Y[i]", "X[7]", lambda x: np.repeat(x[7], 16)),
}


@pytest.mark.parametrize("name", SHUFFLES)
def test_lanes_may_lie_anywhere_in_memory(name: str) -> None:
    left, right, expected = SHUFFLES[name]
    x, y = random(32), np.zeros(16, np.float32)
    run(f"kernel k(X f32[32], Y f32[16])\n  par i:16 @vec: {left} = {right}\n", [x, y])
    assert np.array_equal(y, expected(x))


STRIDED = "kernel k(X f32[16], Y f32[40])\n  par i:16 @vec: Y[2*i+1 | i >= 3] = X[i]\n"


def test_lanes_that_are_apart_are_stored_one_by_one() -> None:
    x, y = random(16), np.zeros(40, np.float32)
    run(STRIDED, [x, y])
    expected = np.zeros(40, np.float32)
    expected[7:33:2] = x[3:]
    assert np.array_equal(y, expected)


REGISTERS = """
kernel k(X f32[4,8], Y f32[8,4], Z f32[8])
  par g:1 @grid
    buf t f32[4,8] reg
    par i:4 @reg, j:8 @vec: t[i,j] = X[i,j]
    par j:8 @reg, i:4 @vec: Y[j,i] = t[i,j]
    par j:8 @vec: t[1,j] = t[0,7-j]
    par j:4 @vec: t[2,2*j+1] = X[3,j]
    t[3,5] = 9.0
    par j:8 @vec: Z[j] = t[1,j] + t[2,j] * 100.0 + t[3,j] * 1000.0
"""


def test_registers_are_read_and_written_in_any_lanes() -> None:
    x, y, z = random(4, 8), np.zeros((8, 4), np.float32), np.zeros(8, np.float32)
    run(REGISTERS, [x, y, z])
    assert np.array_equal(y, x.T)
    two, three = x[2].copy(), x[3].copy()
    two[1::2] = x[3, :4]
    three[5] = 9
    assert np.allclose(z, x[0, ::-1] + two * 100 + three * 1000, rtol=1e-6)


MEETING = """
kernel k(X f32[4], Y f32[4])
  par g:1 @grid
    buf s f32[] reg = sum; buf t f32[4] reg = sum
    par j:4 @vec: s[| j < 2] = X[1]
    par j:4 @vec: t[j//2 | (j+1)%2 >= 1] = X[2]
    par j:4 @vec: Y[j] = s + 10.0*t[j]
"""


def test_lanes_that_meet_in_a_register_store_where_their_mask_holds() -> None:
    x, y = random(4), np.zeros(4, np.float32)
    run(MEETING, [x, y])
    assert np.allclose(y, x[1] + 10 * x[2] * np.array([1, 1, 0, 0]), rtol=1e-6)


PHIS = """
kernel k(X f32[N], Y f32[4], L in 0..8)
  par g:1 @grid
    buf a f32[] reg = sum; buf b f32[] reg = prod; buf c f32[] reg = max; buf d f32[] reg = min
    red n:L
      a += X[n]
      if n >= 2
        b *= X[n]
        ser m:n: c max= X[m]
    d min= a
    Y[0] = a; Y[1] = b; Y[2] = c; Y[3] = d
"""


@pytest.mark.parametrize("length", [0, 1, 2, 3, 8])
def test_registers_survive_loops_that_may_not_run_and_branches(length: int) -> None:
    x, y = random(8), np.zeros(4, np.float32)
    run(PHIS, [x, y], N=8, L=length)
    used = x[:length]
    seen = x[: max(length - 1, 0)] if length > 2 else x[:0]
    expected = [used.sum(), np.prod(used[2:]), seen.max(initial=-np.inf), used.sum()]
    assert np.allclose(y, expected, rtol=1e-6)


def test_workers_share_the_grid_and_have_scratch_of_their_own() -> None:
    text = """
kernel k(X f32[N,5], Y f32[N,5])
  par i:N @grid
    buf p f32[5] packed
    par j:5: p[j] = X[i,4-j]
    par j:5: Y[i,j] = p[j] + 1.0
"""
    for workers in (1, 2, 3, 7, 12):
        x, y = random(11, 5), np.zeros((11, 5), np.float32)
        run(text, [x, y], workers=workers, N=11)
        assert np.array_equal(y, x[:, ::-1] + 1)


@pytest.mark.parametrize("around", ["", "par g:1 @grid: "])
def test_a_program_without_a_grid_to_share_runs_once(around: str) -> None:
    x = np.ones(3, np.float32)
    run(f"kernel k(X f32[3])\n  {around}par i:3: X[i] = X[i] + 1.0\n", [x], workers=4)
    assert x.tolist() == [2, 2, 2]


def test_a_grid_of_variable_size_is_evaluated_at_launch() -> None:
    text = "kernel k(X f32[9,4], Y f32[9,4], n in 1..9)\n"
    text += "  par i:n @grid, j:4 @grid: Y[i,j] = X[i,j]\n"
    built = Built(kernel_of(text))
    x, y = random(9, 4), np.zeros((9, 4), np.float32)
    built(x, y, workers=3, n=5)
    assert built.grid(n=5) == [20]
    assert np.array_equal(y[:5], x[:5])
    assert not y[5:].any()


def test_variables_are_values_too() -> None:
    y = np.zeros(4, np.int64)
    text = "kernel k(Y i64[4], n in 1..100)\n  par i:4: Y[i] = i64(3*n + i)\n"
    run(text, [y], n=33)
    assert y.tolist() == [99, 100, 101, 102]


def test_the_width_of_vectors_is_an_attribute_of_the_function() -> None:
    program, _ = render(kernel_of(COPY.format("f32"), N=16))
    text = LLVMRenderer(caps(vector_bytes=32)).render(program)
    assert '"prefer-vector-width"="256" "min-legal-vector-width"="256"' in text


SUMS = """
kernel k(X f32[4,16], Y f32[16])
  red n:4: par i:16 @vec: Y[i] += X[n,i] * X[n,i] + 1.0
"""


def test_what_a_reduction_adds_is_rounded_once_where_the_target_may() -> None:
    program, text = render(kernel_of(SUMS))
    assert text.count("fadd contract") == 1
    apart = LLVMRenderer(caps(contraction=False)).render(program)
    assert "contract" not in apart
    assert apart == text.replace(" contract", "")


def test_an_op_without_a_spelling_is_named() -> None:
    x = buffer("X", dtypes.float32, [1])
    zero = const(0, dtypes.int64)
    value = UOp(Ops.EXP, dtypes.float32, (UOp(Ops.LOAD, dtypes.float32, (x, zero)),))
    program = Lowered("k", (x,), (), (as_index(1),), (), 0, (value.src[0], value))
    assert TARGET.renderer is not None
    with pytest.raises(Unsupported, match=r"render: EXP on dtypes.float32 has no spelling"):
        TARGET.renderer.render(program)
    assert "EXP" not in OPS


OR = """
kernel k(X f32[32], Y f32[32])
  par i:32 {}: Y[i] = where((X[i] < 0.0) or mask(i < 3, i >= 1) or mask(i >= 30), 1.0, X[i])
"""


@pytest.mark.parametrize("kind", ["@vec", "@reg", ""])
def test_conditions_that_are_no_conjunction_are_values(kind: str) -> None:
    x, y = random(32), np.zeros(32, np.float32)
    run(OR.format(kind), [x, y])
    i = np.arange(32)
    chosen = (x < 0) | ((i < 3) & (i >= 1)) | (i >= 30)
    assert np.array_equal(y, np.where(chosen, 1, x))
