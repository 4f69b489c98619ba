"""How a scheduled kernel becomes launches of a device."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.codegen.harness import kernel_of, target
from tinycore.engine.plan import build
from tinycore.runtime.contract import Target, Unsupported

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
    return SimpleNamespace(
        name="FOO", caps=row.caps, target=found, renderer=renderer, compiler=compiler
    )


def test_a_type_that_the_device_has_not_is_named_with_what_to_do() -> None:
    wrong = "FOO: compile: fp8e5m2 is no type of this device; expected one of "
    with pytest.raises(Unsupported, match=wrong) as refused:
        build(kernel_of("kernel k(X f8e5[8])\n  par i:8: X[i] = 0.0\n"), device(emulated=()))
    assert str(refused.value).endswith(". Cast to one of them")


@pytest.mark.parametrize(("group_bytes", "threads"), [(1 << 14, 512), (2048, 32)])
def test_a_group_that_would_need_too_much_memory_has_fewer_threads(
    group_bytes: int, threads: int
) -> None:
    [step] = build(kernel_of(SUMS), device(group_bytes=group_bytes)).steps
    assert step.launch.group == (threads, 1, 1)


@pytest.mark.parametrize("most", [16, 512])
def test_what_fits_the_memory_of_no_group_runs_without_groups(most: int) -> None:
    steps = build(kernel_of(SUMS), device(group_bytes=64, max_group_threads=most)).steps
    assert {step.launch.group for step in steps} == {(1, 1, 1)}


# A row of sums that a group keeps, and reduces again: what one compute unit is given.
AGAIN = """
kernel again(X f32[1000,64], V f32[64], Y f32[1])
  buf t f32[1000] reg = sum
  red k:64: par i:1000: t[i] += X[i,k] * V[k]
  buf s f32[] reg = max
  red j:1000: s max= t[j]
  Y[0] = s
"""


def test_threads_share_the_elements_of_a_sum_that_would_be_too_much_for_each() -> None:
    [step] = build(kernel_of(AGAIN), device(group_bytes=1 << 15, units=1)).steps
    assert step.launch.group[0] >= 64


@pytest.mark.parametrize(("most", "threads"), [(8, 8), (16, 16), (384, 256)])
def test_a_row_keeps_to_the_threads_a_group_may_have(most: int, threads: int) -> None:
    [step] = build(kernel_of(SUMS), device(group_bytes=1 << 14, max_group_threads=most)).steps
    assert step.launch.group == (threads, 1, 1)
