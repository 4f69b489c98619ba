"""What the tests of the CPU plugin share: a compiler for this machine and a few small kernels."""

from collections.abc import Callable, Iterator

import pytest

from tinycore_cpu.arch import find_arch
from tinycore_cpu.compiler import LLVMCompiler
from tinycore_cpu.image import Image
from tinycore_cpu.loader import load_object

ADD = """
; out[i] = a[i] + b[i] over this task's share of n floats; arguments: out, a, b, n
define void @add(ptr %args, i64 %task, i64 %tasks) nounwind {
entry:
  %a_at = getelementptr i64, ptr %args, i64 1
  %b_at = getelementptr i64, ptr %args, i64 2
  %n_at = getelementptr i64, ptr %args, i64 3
  %out = load ptr, ptr %args
  %a = load ptr, ptr %a_at
  %b = load ptr, ptr %b_at
  %n = load i64, ptr %n_at
  %next_task = add i64 %task, 1
  %low = mul i64 %task, %n
  %high = mul i64 %next_task, %n
  %first = udiv i64 %low, %tasks
  %end = udiv i64 %high, %tasks
  br label %check
check:
  %i = phi i64 [ %first, %entry ], [ %next, %body ]
  %more = icmp ult i64 %i, %end
  br i1 %more, label %body, label %done
body:
  %x_at = getelementptr float, ptr %a, i64 %i
  %y_at = getelementptr float, ptr %b, i64 %i
  %z_at = getelementptr float, ptr %out, i64 %i
  %x = load float, ptr %x_at
  %y = load float, ptr %y_at
  %z = fadd float %x, %y
  store float %z, ptr %z_at
  %next = add i64 %i, 1
  br label %check
done:
  ret void
}
"""

COUNT = """
; marks[task] += 1; arguments: marks
define void @count(ptr %args, i64 %task, i64 %tasks) nounwind {
  %marks = load ptr, ptr %args
  %at = getelementptr i64, ptr %marks, i64 %task
  %old = load i64, ptr %at
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  ret void
}
; target[task] = the sum of source; arguments: target, source, length
define void @sums(ptr %args, i64 %task, i64 %tasks) nounwind {
entry:
  %source_at = getelementptr i64, ptr %args, i64 1
  %length_at = getelementptr i64, ptr %args, i64 2
  %target = load ptr, ptr %args
  %source = load ptr, ptr %source_at
  %length = load i64, ptr %length_at
  br label %check
check:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %sum = phi i64 [ 0, %entry ], [ %more_sum, %body ]
  %more = icmp ult i64 %i, %length
  br i1 %more, label %body, label %done
body:
  %x_at = getelementptr i64, ptr %source, i64 %i
  %x = load i64, ptr %x_at
  %more_sum = add i64 %sum, %x
  %next = add i64 %i, 1
  br label %check
done:
  %at = getelementptr i64, ptr %target, i64 %task
  store i64 %sum, ptr %at
  ret void
}
"""


@pytest.fixture(autouse=True, scope="session")
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every test, and the processes it starts, out of the user's caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYCORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def compiler() -> LLVMCompiler:
    """A compiler for the processor the tests run on."""
    return LLVMCompiler(find_arch("native"))


@pytest.fixture(scope="session")
def load(compiler: LLVMCompiler) -> Callable[..., Image]:
    """Makes functions of IR text executable: load(source, name, ...)."""

    def loaded(source: str, *names: str) -> Image:
        return load_object(compiler.compile(source), names)

    return loaded


@pytest.fixture(scope="session")
def kernels(load: Callable[..., Image]) -> Image:
    """The kernels `add`, `count` and `sums`."""
    return load(ADD + COUNT, "add", "count", "sums")
