"""The hand-written kernels, lowered for a processor with vectors, compute what numpy does."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tests.codegen.harness import Built, kernel_of, random, render, run, target
from tests.ir.cases import CASES, Case, by_launches, run_case
from tinycore.runtime.contract import Unsupported
from tinycore.uop.ops import Ops, toposort
from tinycore.uop.tree import Kernel, Plan

BEYOND = {Ops.MMA}
"""What a processor has no lowering for: tensor cores, roles."""


def runs_here(case: Case) -> bool:
    unit = case.read()
    kernels = [unit] if isinstance(unit, Kernel) else [step.kernel for step in unit.launches]
    nodes = [node for kernel in kernels if kernel for node in toposort(kernel.body)]
    roles = [node for node in nodes if node.op is Ops.BLOCK and node.arg.kind != "seq"]
    return not roles and not BEYOND & {node.op for node in nodes}


def build_and_run(
    kernel: Kernel, arrays: Sequence[np.ndarray], values: Mapping[str, int], seed: int
) -> None:
    Built(kernel)(*arrays, workers=1 + seed % 3, **values)


@pytest.mark.parametrize("case", [case for case in CASES if runs_here(case)], ids=str)
def test_a_hand_written_kernel_computes_what_numpy_does(case: Case) -> None:
    assert not run_case(case, case.read(), 1, by_launches(build_and_run))


@pytest.mark.parametrize("vector_bytes", [16, 32])
@pytest.mark.parametrize("name", ["matmul_staged", "softmax_online", "conv_gemm", "attention"])
def test_kernels_do_not_depend_on_the_width_of_vectors(name: str, vector_bytes: int) -> None:
    case = next(case for case in CASES if case.unit == name)
    unit = case.read()
    assert not isinstance(unit, Plan)

    def narrow(
        kernel: Kernel, arrays: Sequence[np.ndarray], values: Mapping[str, int], seed: int
    ) -> None:
        Built(kernel, target(vector_bytes=vector_bytes))(*arrays, **values)

    assert not run_case(case, unit, 0, narrow)


ROLES = """
kernel apart(X f32[4], Y f32[4], Z f32[4])
  roles
    role first: par i:4: Y[i] = X[i]
    role second: par i:4: Z[i] = X[i]
"""


def test_matrix_units_and_roles_are_refused_by_name() -> None:
    case = next(case for case in CASES if case.unit == "ring")
    unit = case.read()
    assert isinstance(unit, Kernel)
    with pytest.raises(Unsupported, match="lower: MMA has no lowering for this target"):
        Built(unit)
    with pytest.raises(Unsupported, match="lower: roles have no lowering for this target"):
        run(ROLES, [])


TRANSPOSED = """
kernel transposed(B f32[N,K], Y f32[K,N])
  par g:1 @grid
    buf P f32[K,N] packed
    copy(q:K, x:N) P[q, x] = 2.0*B[x, q | x < N-1 else 7.0] @loop; wait P[]
    par q:K, x:N: Y[q, x] = P[q, x]
"""


@pytest.mark.parametrize(("n", "k"), [(32, 64), (64, 37), (48, 10), (17, 33), (16, 16)])
def test_a_tile_is_transposed_along_its_source_and_a_rest(n: int, k: int) -> None:
    b, y = random(n, k), np.zeros((k, n), np.float32)
    run(TRANSPOSED, [b, y], N=n, K=k)
    expected = 2 * b
    expected[n - 1] = 14.0
    assert np.array_equal(y, expected.T)


ACROSS = """
kernel across(X f32[M,N], Y f32[2,N,M])
  par b:2
    buf T f32[N,M] packed
    copy(i:M, j:N) T[j,i] = X[i,j] * 2.0 @loop
    wait T
    par j:N: par i:M: Y[b,j,i] = T[j,i]
"""


@pytest.mark.parametrize("rows", [3, 4, 8, 11])
@pytest.mark.parametrize("columns", [4, 7, 8])
def test_a_copy_across_turns_squares_of_registers(rows: int, columns: int) -> None:
    x, y = random(rows, columns), np.zeros((2, columns, rows), np.float32)
    kernel = kernel_of(ACROSS, M=rows, N=columns)
    Built(kernel, target(vector_bytes=16))(x, y)
    np.testing.assert_array_equal(y, np.stack([2 * x.T] * 2))


def test_columns_of_a_square_share_what_they_zip() -> None:
    lowered, _ = render(kernel_of(ACROSS, M=16, N=16))
    zips = [node for node in lowered.uops if node.op is Ops.SHUFFLE and len(node.src) == 2]
    assert len(zips) == 16 * 4
