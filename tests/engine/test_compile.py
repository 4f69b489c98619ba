"""How a scheduled kernel becomes launches of a device."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.codegen.harness import kernel_of, target
from tinycore.engine.compile import build
from tinycore.runtime.contract import Target
from tinycore.runtime.errors import Unsupported

SUMS = """
kernel sums(X f32[8,4096], Y f32[8], Z f32[8])
  par i:8
    buf s f32[] reg = sum
    buf t f32[] reg = sum
    red n:4096
      s += X[i,n]
      t += X[i,n] * X[i,n]
    Y[i] = s
    Z[i] = t
"""


def device(**caps: Any) -> Any:
    """A device that compiles nothing, whose groups have these limits."""
    row = target(**{"max_group_threads": 512, "lanes": 32, "vector_bytes": 4, "units": 2} | caps)
    renderer = SimpleNamespace(takes="lowered", render=lambda lowered: lowered.name)
    compiler = SimpleNamespace(compile=lambda source: source.encode())
    found = Target(row.arch, row.caps, cast(Any, renderer), cast(Any, compiler))
    return SimpleNamespace(caps=row.caps, target=found, renderer=renderer, compiler=compiler)


@pytest.mark.parametrize(("group_bytes", "threads"), [(1 << 14, 512), (2048, 32)])
def test_a_group_that_would_need_too_much_memory_has_fewer_threads(
    group_bytes: int, threads: int
) -> None:
    [step] = build(kernel_of(SUMS), device(group_bytes=group_bytes)).steps
    assert step.launch.group == (threads, 1, 1)


def test_what_fits_no_group_is_refused() -> None:
    with pytest.raises(Unsupported, match="bytes of group memory a group; this target has 64"):
        build(kernel_of(SUMS), device(group_bytes=64))


@pytest.mark.parametrize(("most", "threads"), [(8, 8), (16, 16), (384, 256)])
def test_a_row_keeps_to_the_threads_a_group_may_have(most: int, threads: int) -> None:
    [step] = build(kernel_of(SUMS), device(group_bytes=1 << 14, max_group_threads=most)).steps
    assert step.launch.group == (threads, 1, 1)


def test_a_second_plan_keeps_to_the_threads_a_group_may_have() -> None:
    with pytest.raises(Unsupported, match="bytes of group memory a group; this target has 64"):
        build(kernel_of(SUMS), device(group_bytes=64, max_group_threads=16))
