"""What the tests of the OpenCL plugin share: the first device, opened, and small kernels."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tinycore.backend import Device, Program
from tinycore_qcom import platforms
from tinycore_qcom.api import Library, OpenCLError
from tinycore_qcom.backend import OpenCLBackend
from tinycore_qcom.compiler import DriverCompiler
from tinycore_qcom.platforms import Found
from tinycore_qcom.queue import Queue
from tinycore_qcom.runtimes import CHOICES

KERNELS = """
__kernel void add(__global float* out, __global const float* a, __global const float* b, long n) {
  long i = get_global_id(0);
  if (i < n) out[i] = a[i] + b[i];
}
__kernel void twice(__global const float* a, __global float* out) {
  int i = get_global_id(0);
  out[i] = 2.0f * a[i];
}
__kernel void shape(__global long* out) {
  if (get_local_id(0) + get_local_id(1) + get_local_id(2)) return;
  long group = get_group_id(0) + get_num_groups(0) * (get_group_id(1)
      + get_num_groups(1) * get_group_id(2));
  out[group] = get_local_size(0) + 100 * get_local_size(1) + 10000 * get_local_size(2);
}
__kernel void spin(__global float* out, long n) {
  float x = out[0];
  for (long i = 0; i < n; i++) x = x * 0.999f + 1.0f;
  out[0] = x;
}
"""


@pytest.fixture(autouse=True, scope="session")
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every test, and the processes it starts, out of the user's caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYCORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def free_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which nobody chose runtimes."""
    for name in (*CHOICES, "OPENCL_VENDOR_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def found() -> Found:
    """The first OpenCL device; without a runtime, every test that needs one fails here."""
    return platforms.devices()[0]


@pytest.fixture(scope="session")
def compiler(found: Found) -> DriverCompiler:
    """A compiler for that device."""
    return DriverCompiler(found)


@pytest.fixture
def queue(found: Found) -> Iterator[Queue]:
    """A queue of its own."""
    made = Queue(found)
    yield made
    made.close()


@pytest.fixture
def device() -> Iterator[Device]:
    """That device, open."""
    opened = OpenCLBackend().open(0)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def binary(compiler: DriverCompiler) -> bytes:
    """The kernels above, compiled."""
    return compiler.compile(KERNELS)


@pytest.fixture
def load(device: Device, binary: bytes) -> Callable[[str], Program]:
    """Makes one of the kernels above ready to run."""
    return lambda name: device.load(binary, name)


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], Counter[str]]:
    """Lets a function of OpenCL refuse from now on; counts how often the others did not."""

    def refused(function: str, code: int) -> Counter[str]:
        gc.collect()
        done: Counter[str] = Counter()

        def counted(usual: Callable[..., Any]) -> Callable[..., Any]:
            def called(library: Library, name: str, *arguments: Any) -> Any:
                if name == function:
                    raise OpenCLError(name, code)
                answer = usual(library, name, *arguments)
                done[name] += 1
                return answer

            return called

        for way in ("call", "create"):
            monkeypatch.setattr(Library, way, counted(getattr(Library, way)))
        return done

    return refused
