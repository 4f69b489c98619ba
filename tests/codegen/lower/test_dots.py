"""Sums of products of int8: one op where the target has it, lanes of their own elsewhere."""

import pytest

from tests.codegen.harness import OPS, caps, kernel_of
from tinycore.codegen.lower.stores import dots
from tinycore.runtime.contract import Caps
from tinycore.uop.ops import Ops, toposort

HAS = caps(4, ops=(*OPS, "DOT"))
BYTES = """
kernel bytes(X i8[M,K], W i8[N,K], Y i32[M,N])
  par i:M @grid: par j:N
    buf s i32[] reg = sum
    red k.0:K//4: red k.1:4 @vec: s += i32(X[i, 4*k.0+k.1]) * i32(W[j, 4*k.0+k.1])
    Y[i, j] = s
"""
OTHERS = {
    "other bytes": BYTES.replace("X i8", "X u8"),
    "a wider sum": BYTES.replace("i32", "i64"),
    "another length": BYTES.replace("red k.1:4", "red k.1:2"),
    "another combine": BYTES.replace("= sum", "= max").replace("+=", "max="),
    "no product": BYTES.replace("* i32(W[j, 4*k.0+k.1])", "* 2"),
    "no sum along lanes": BYTES.replace(" @vec", ""),
    "a masked sum": BYTES.replace("s += ", "s[| 4*k.0+k.1 < K-1] += "),
}


def count(text: str, row: Caps = HAS) -> int:
    kernel = dots(kernel_of(text, M=2, N=3, K=8), row)
    return sum(node.op is Ops.DOT for node in toposort(kernel.body))


def test_four_products_of_bytes_are_one_op() -> None:
    assert count(BYTES) == 1


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_left_to_lanes(name: str) -> None:
    assert count(OTHERS[name]) == 0


def test_a_target_without_the_op_keeps_its_lanes() -> None:
    assert count(BYTES, caps(4)) == 0
    assert count(BYTES, caps(4, ops=())) == 0
