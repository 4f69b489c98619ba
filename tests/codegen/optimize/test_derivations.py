"""The three derivations of the kernel IR as programs of actions, each tree equal to numpy."""

import pytest

from tests.codegen.optimize import assert_same, reads_back, steps
from tests.conftest import Golden
from tests.ir import kernels_of
from tinycore.codegen.optimize.pieces import as_plan
from tinycore.uop.parser import parse
from tinycore.uop.printer import canonical, show
from tinycore.uop.spec import check
from tinycore.uop.tree import Kernel

MATMUL = """
kernel matmul(A f32[M,K], B f32[K,N], C f32[M,N])
  par i:M, j:N
    buf acc f32[] reg = sum
    red k:K: acc += A[i,k] * B[k,j]
    C[i,j] = acc
"""
COLUMNS = ["SPLIT(j, 64)", "SPLIT(j.1, 32)", "SPLIT(j.1.1, 16)"]
TILE = ["SPLIT(i, 12)", "REORDER(j.1.1.1, k)", "REORDER(j.1.1.0, k)", "REORDER(i.1, k)"]
PANEL = ["REORDER(i.0, j.0)", "STAGE(B, j.0, packed, [j.1.0][k][j.1.1.0 j.1.1.1])"]
PEELED = ["PEEL(i.0)", "MAP(j.0, grid)"]
MAPS = [
    *["MAP(i.1, reg)", "MAP(i.1', reg)", "MAP(j.1.1.0, reg)", "MAP(j.1.1.0', reg)"],
    *["MAP(j.1.1.1, vec)", "MAP(j.1.1.1', vec)"],
]
SUNK = [f"REORDER({axis}, k.0)" for axis in ["j.1.1.1", "j.1.1.0", "j.1.0", "i.1", "i.0"]]
INNER = [f"REORDER({axis}, k.1)" for axis in ["j.1.1.1", "j.1.1.0", "i.1"]]
SPLIT_K = [
    *["SPLIT(i, 12)", "SPLIT(k, 16)", "REORDER(i.1, j.0)", "REORDER(i.0, j.0)", *SUNK, *INNER],
    *["UPDATE(acc, j.1.0, [i.1][j.1.1.0][j.1.1.1])", "FILL(acc.reg)"],
    *["STAGE(B, k.0, packed, [j.1.0][k.1][j.1.1.0 j.1.1.1])", "PEEL(i.0)", "MAP(j.0, grid)"],
    *["MAP(i.1, reg)", "MAP(i.1'', reg)", "MAP(j.1.1.0, reg)", "MAP(j.1.1.0'', reg)"],
    *["MAP(j.1.1.1, vec)", "MAP(j.1.1.1'', vec)", "MAP(j.1.1.1', vec)"],
]
CONV = """
kernel conv(X f32[2,3,7,9], G f32[10,3,3,3], Y f32[2,10,7,9])
  par n:2, o:10, y:7, x:9
    buf acc f32[] reg = sum
    red c:3: red ky:3: red kx:3
      acc += X[n,c,y+ky-1,x+kx-1 | y+ky >= 1, y+ky < 8, x+kx >= 1, x+kx < 10] * G[o,c,ky,kx]
    Y[n,o,y,x] = acc
"""
IMPLICIT_GEMM = [
    *["FUSE(y, x)", "FUSE(ky, kx)", "FUSE(c, ky_kx)"],
    *["SPLIT(y_x, 32)", "SPLIT(y_x.1, 16)", "SPLIT(o, 8)"],
    *["REORDER(y_x.1.1, c_ky_kx)", "REORDER(y_x.1.0, c_ky_kx)", "REORDER(o.1, c_ky_kx)"],
    *["REORDER(o.0, y_x.0)", "STAGE(X, y_x.0, packed, [c_ky_kx][y_x.1.0 y_x.1.1])"],
    *["STAGE(G, n, packed, [o.0][c_ky_kx][o.1])", "MAP(n, grid)", "MAP(o.1, reg)"],
    *["MAP(y_x.1.0, reg)", "MAP(y_x.1.1, vec)"],
]
BOX = [
    *["SPLIT(y, 4)", "SPLIT(x, 16)", "REORDER(x.1, c)", "REORDER(y.1, c)"],
    *["REORDER(o, y.0)", "REORDER(o, x.0)", "STAGE(X, y.0, packed, box)"],
    *["MAP(n, grid)", "MAP(y.1, reg)", "MAP(x.1, vec)"],
]
SOFTMAX = """
kernel softmax(X f32[R,N], Y f32[R,N])
  buf M f32[R] global
  par i:R
    buf m f32[] reg = max
    red n:N: m max= X[i,n]
    M[i] = m
  buf e f32[R,N] global
  par i:R, n:N: e[i,n] = exp(X[i,n] - M[i])
  buf L f32[R] global
  par i:R
    buf l f32[] reg = sum
    red n:N: l += e[i,n]
    L[i] = l
  par i:R, n:N: Y[i,n] = e[i,n] / L[i]
"""
ONLINE = ["AT(M, i)", "AT(e, i)", "AT(L, i)", "AT(e, inline)", "AT(m, n)"]
ATTENTION = """
kernel attention(Q f32[H,S,D], K f32[H,S,D], V f32[H,S,D], Y f32[H,S,D])
  buf Z f32[H,S,S] global
  par h:H, i:S, n:S
    buf s f32[] reg = sum
    red e:D: s += Q[h,i,e] * K[h,n,e]
    Z[h,i,n] = where(i >= n, 0.25*s, -inf)
  buf M f32[H,S] global
  par h:H, i:S
    buf m f32[] reg = max
    red n:S: m max= Z[h,i,n]
    M[h,i] = m
  buf P f32[H,S,S] global
  par h:H, i:S, n:S: P[h,i,n] = exp(Z[h,i,n] - M[h,i])
  buf L f32[H,S] global
  par h:H, i:S
    buf l f32[] reg = sum
    red n:S: l += P[h,i,n]
    L[h,i] = l
  buf R f32[H,S,S] global
  par h:H, i:S, n:S: R[h,i,n] = P[h,i,n] / L[h,i]
  par h:H, i:S, d:D
    buf O f32[] reg = sum
    red n:S: O += R[h,i,n] * V[h,n,d]
    Y[h,i,d] = O
"""
CARRIED = [
    *["AT(Z, i)", "AT(M, i)", "AT(P, i)", "AT(L, i)", "AT(R, i)", "AT(R, inline)", "FACTOR(O)"],
    *["AT(P, inline)", "REORDER(d, n)", "AT(m, n)", "AT(l, n)", "AT(Z, n)"],
]
STATES = ["m.n.0", "l.n.0", "O.n.0"]
SPLIT_KEYS = [
    *["SPLIT(n, 3)", "RFACTOR(n.0)", "AT(m.n.0, root)"],
    *[f"AT({state}, {state}.0)" for state in STATES],
]


def read(text: str, **sizes: int) -> Kernel:
    """The one kernel of a text."""
    found = next(iter(parse(text, **sizes).values()))
    assert isinstance(found, Kernel)
    return found


@pytest.mark.parametrize("sizes", [(29, 75, 37), (12, 64, 16), (24, 31, 40), (13, 65, 17)])
def test_matmul_becomes_a_staged_matmul(sizes: tuple[int, int, int]) -> None:
    kernel = read(MATMUL, **dict(zip("MNK", sizes, strict=True)))
    assert all(map(reads_back, steps(kernel, [*COLUMNS, *TILE, *PANEL])))


def test_matmul_is_peeled_and_mapped(golden: Golden) -> None:
    kernel = read(MATMUL, M=29, N=75, K=37)
    trees = steps(kernel, [*COLUMNS, *TILE, *PANEL, *PEELED, *MAPS])
    golden(show(trees[-1]), "matmul")


def test_a_split_of_the_reduction_adds_tiles_to_sums_in_memory(golden: Golden) -> None:
    kernel = read(MATMUL, M=29, N=75, K=37)
    trees = steps(kernel, [*COLUMNS, *SPLIT_K])
    assert all(map(reads_back, trees))
    golden(show(trees[-1]), "split_k")


@pytest.mark.parametrize("actions", [IMPLICIT_GEMM, BOX])
def test_convolution_becomes_a_staged_product(actions: list[str], golden: Golden) -> None:
    trees = steps(read(CONV), actions)
    assert all(map(reads_back, trees))
    golden(show(trees[-1]), "box" if actions is BOX else "implicit_gemm")


@pytest.mark.parametrize("sizes", [{"R": 5, "N": 13}, {"R": 1, "N": 1}, {"R": 3, "N": 2}])
def test_softmax_from_every_stage_at_root_becomes_online(sizes: dict[str, int]) -> None:
    last = steps(read(SOFTMAX, **sizes), ONLINE)[-1]
    if sizes["N"] == 13:
        assert show(canonical(last)) == show(canonical(read(EXPECTED_SOFTMAX, **sizes)))


EXPECTED_SOFTMAX = """
kernel softmax(X f32[R,N], Y f32[R,N])
  par i:R
    buf m f32[] reg = max
    buf l f32[] reg = sum
    red n:N
      m max= X[i,n] rebase exp(l)
      l += exp(X[i,n] - fin(m))
    par n:N: Y[i,n] = exp(X[i,n] - m) / l
"""


@pytest.mark.parametrize("sizes", [{"H": 2, "S": 7, "D": 3}, {"H": 1, "S": 13, "D": 8}])
def test_attention_from_every_stage_at_root_carries_its_states(
    sizes: dict[str, int], golden: Golden
) -> None:
    last = steps(read(ATTENTION, **sizes), CARRIED)[-1]
    if sizes["S"] == 7:
        golden(show(last), "attention")


def test_attention_is_split_over_its_keys_into_two_launches(golden: Golden) -> None:
    kernel = read(ATTENTION, H=2, S=7, D=3)
    last = steps(kernel, [*CARRIED, *SPLIT_KEYS, "MAP(h, grid)", "MAP(i, grid)"])[-1]
    plan = as_plan(last)
    for launched in kernels_of(plan):
        check(launched, "action")
    assert len(plan.launches) == 2
    assert_same(kernel, plan, 1)
    golden(show(plan), "split_keys")


def test_a_tile_of_rows_keeps_its_states() -> None:
    kernel = read(ATTENTION, H=2, S=7, D=3)
    steps(kernel, [*CARRIED, "SPLIT(i, 4)", "SPLIT(n, 3)", "REORDER(i.1, n.0)", "MAP(h, grid)"])
