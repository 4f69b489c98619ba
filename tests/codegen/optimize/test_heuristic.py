"""What BEAM=0 decides, on kernels whose right schedule is known: the actions, and equal results."""

import re

import pytest

from tests.codegen.optimize import assert_same, fuzz
from tests.conftest import Golden
from tinycore.codegen.optimize.heuristic import heuristic
from tinycore.runtime.contract import Caps, Space
from tinycore.uop.parser import parse
from tinycore.uop.tree import Kernel

CAPS = Caps(
    dtypes=("float32", "int32"),
    spaces=(Space("host", 1 << 30),),
    vector_bytes=16,
    registers=16,
    cache_bytes=(1 << 12, 1 << 14),
    units=2,
)
CASES = {
    # the panel of all images is too large for the cache: images run outside the tiles
    "filters": """
kernel k(D f32[24,8,4,6], X f32[24,8,6,8], W f32[8,8,3,3])
  par o:8, c:8, ky:3, kx:3
    buf g f32[] reg = sum
    red n:24: red y:4: red x:6
      v = X[n,c,y+ky,x+kx]
      g += D[n,o,y,x] * where(v < 0.0, 0.0, v)
    W[o,c,ky,kx] = 0.5 * g
""",
    # an activation in front of a convolution is computed in the copy
    "activated": """
kernel k(X f32[4,8,10,10], G f32[16,8,3,3], Y f32[4,16,8,8])
  par n:4, o:16, y:8, x:8
    buf s f32[] reg = sum
    red c:8: red ky:3: red kx:3
      v = X[n,c,y+ky,x+kx]
      s += where(v < 0.0, 0.0, v) * G[o,c,ky,kx]
    Y[n,o,y,x] = s
""",
    # what is used again between rows is read at half the pace of the lanes
    "pooled": """
kernel k(X f32[3,4,12,12], P f32[3,4,6,6], s f32[4])
  par c:4
    buf t f32[] reg = sum
    red n:3: red y:12: red x:12
      v = X[n,c,y,x]
      t += where(v == P[n,c,y//2,x//2], v, 0.0)
    s[c] = t
""",
    # a row of scores for each query: queries run some at once, with a tile for each of the products
    "scores": """
kernel k(Q f32[6,52,8], K f32[6,20,8], V f32[6,20,8], Y f32[6,52,8])
  par h:6, i:52
    buf r f32[20] reg
    par n:20
      buf s f32[] reg = sum
      red e:8: s += Q[h,i,e] * K[h,n,e]
      r[n] = s
    buf m f32[] reg = max
    red n':20: m max= r[n'] * 0.5
    buf l f32[] reg = sum
    buf o f32[8] reg = sum
    red n'':20
      p = exp(r[n''] * 0.5 - m)
      l += p
      par d:8: o[d] += p * V[h,n'',d]
    par d':8: Y[h,i,d'] = o[d'] / l
""",
    # what stands beside an element at its place is computed with it in the copy
    "normalised": """
kernel k(X f32[24,64], m f32[24], r f32[24], g f32[64], W f32[64,40], Y f32[24,40])
  par i:24, j:40
    buf s f32[] reg = sum
    red k:64
      v = (X[i,k] - m[i]) * r[i]
      s += v * g[k] * W[k,j]
    Y[i,j] = s
""",
    # stored along another axis than read: squares of registers are turned
    "turned": """
kernel k(X f32[3,10,12], b f32[10], Y f32[3,12,10])
  par n:3, j:12, i:10: Y[n,j,i] = X[n,i,j] + b[i]
""",
    # along x, though images would divide: a padded window is copied once for all that share it
    "padded": """
kernel k(X f32[8,16,13,13], G f32[16,16,3,3], Y f32[8,16,13,13])
  par n:8, o:16, y:13, x:13
    buf s f32[] reg = sum
    red c:16: red ky:3: red kx:3
      v = X[n,c,y+ky-1,x+kx-1 | y+ky >= 1, y+ky < 14, x+kx >= 1, x+kx < 14]
      s += v * G[o,c,ky,kx]
    Y[n,o,y,x] = s
""",
    # a few rows: what is left of their columns is masked, not copied
    "few_rows": """
kernel k(A f32[4,16], B f32[16,33], C f32[4,33])
  par i:4, j:33
    buf s f32[] reg = sum
    red k:16: s += A[i,k] * B[k,j]
    C[i,j] = s
""",
    # a load that stands still along what is stored, or moves along both, needs no square
    "not_turned": """
kernel k(X f32[12,16], b f32[12], c f32[27], Y f32[12,16])
  par i:12, j:16: Y[i,j] = X[i,j] * b[i] + c[i+j]
""",
    # what is left of both axes after the squares is peeled, so that no square has a mask
    "turned_odd": """
kernel k(X f32[9,14], Y f32[14,9])
  par j:14, i:9: Y[j,i] = X[i,j]
""",
    # rows for the scores, more than a window over rows has registers for: that gets lanes alone
    "scores_and_window": """
kernel k(Q f32[48,8], K f32[20,8], X f32[50,8], W f32[3,8], Y f32[48,8])
  par i:48
    buf r f32[20] reg
    par n:20
      buf s f32[] reg = sum
      red e:8: s += Q[i,e] * K[n,e]
      r[n] = s
    buf m f32[] reg = max
    red n':20: m max= r[n']
    par d:8
      buf t f32[] reg = sum
      red w:3: t += X[i+w,d] * W[w,d]
      Y[i,d] = t * m
""",
    # too few elements for all units: each leaves a part to others, of several streams
    "long": """
kernel k(X f32[300001], s f32[])
  buf t f32[] reg = sum
  red i:300001: t += X[i] * X[i]
  s[] = t / 2.0
""",
    # rows of one reduction: several are read at once, the last ones by a copy
    "rows": """
kernel k(X f32[37,50], s f32[37])
  par i:37
    buf t f32[] reg = max
    red j:50: t max= X[i,j]
    s[i] = t
""",
    # one image a filter: a window is unrolled, and rows share what their windows read
    "depthwise": """
kernel k(X f32[3,18,18], W f32[3,3,3], Y f32[3,16,16])
  par c:3, y:16, x:16
    buf s f32[] reg = sum
    red ky:3: red kx:3: s += X[c,y+ky,x+kx] * W[c,ky,kx]
    Y[c,y,x] = s
""",
    # numbers that are computed in a wider type have lanes of that
    "halves": """
kernel k(A f16[24,16], B f16[16,32], C f16[24,32])
  par i:24, j:32
    buf s f32[] reg = sum
    red k:16: s += f32(A[i,k]) * f32(B[k,j])
    C[i,j] = f16(s)
""",
    # what is held in a row has lanes where memory has them, here outside of all reductions
    "columns": """
kernel k(X f32[20,32], Y f32[20,32])
  par i:32
    buf m f32[] reg = max
    red j:20: m max= X[j,i]
    buf r f32[20] reg
    par j':20: r[j'] = exp(X[j',i] - m)
    buf l f32[] reg = sum
    red j'':20: l += r[j'']
    par j''':20: Y[j''',i] = r[j'''] / l
""",
    # lanes along the outer reduction: it goes inside the other, and the register tile inside it
    "outer_lanes": """
kernel k(A f32[8,6,64], B f32[8,6,64], C f32[8,8])
  par i:8, j:8
    buf s f32[] reg = sum
    red k:64: red c:6: s += A[i,c,k] * B[j,c,k]
    C[i,j] = s
""",
}


@pytest.mark.parametrize("name", CASES)
def test_the_actions_chosen_are_those_expected(name: str, golden: Golden) -> None:
    kernel = parse(CASES[name])["k"]
    assert isinstance(kernel, Kernel)
    tree, actions = heuristic(kernel, CAPS)
    golden("\n".join(actions) + "\n", name)
    assert_same(kernel, fuzz.planned(tree), 0)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(("queries", "keys", "depth"), [(52, 20, 8), (53, 21, 9), (7, 33, 5)])
def test_tiles_of_rows_compute_the_same_at_every_size(
    heads: int, queries: int, keys: int, depth: int
) -> None:
    text = CASES["scores"]
    for old, new in (("6", heads), ("52", queries), ("20", keys), ("8", depth)):
        text = re.sub(rf"(?<=[:,\[]){old}\b", f"{new}", text)
    kernel = parse(text)["k"]
    assert isinstance(kernel, Kernel)
    tree, actions = heuristic(kernel, CAPS)
    assert any(action.startswith("UPDATE(o,") for action in actions)
    assert_same(kernel, fuzz.planned(tree), 0)
