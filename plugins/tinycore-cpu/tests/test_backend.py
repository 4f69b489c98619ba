"""The CPU as the core meets it: described without LLVM, opened, targeted by name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinycore_cpu
from tinycore.backend import PLUGIN_API, Launch, Unavailable, Unsupported
from tinycore_cpu import host, llvm
from tinycore_cpu.arch import named_archs
from tinycore_cpu.backend import CPUBackend, shared_pool
from tinycore_cpu.memory import SPACE

NOP = "define void @nop(ptr %args, i64 %task, i64 %tasks) { ret void }\n"


def test_the_hook_describes_the_cpu_and_opens_nothing() -> None:
    backend = tinycore_cpu.tinycore_backend(PLUGIN_API)
    assert (backend.name, backend.api, backend.count()) == ("CPU", (1, 0), 1)
    assert backend.fork_safe


def test_a_device_is_opened_and_runs_what_its_target_compiled() -> None:
    device = CPUBackend().open(0)
    assert device.target.compiler is not None
    program = device.load(device.target.compiler.compile(NOP), "nop")
    assert program((), (), Launch((2, 1, 1)), True) is not None
    device.synchronize()
    device.close()


def test_virtual_devices_share_the_pool_and_have_their_own_memory() -> None:
    first, second = CPUBackend().open(0), CPUBackend().open(1)
    assert first.allocator is not second.allocator
    assert first.target.caps.virtual > 1
    handle = first.allocator.alloc(64, SPACE, 64)
    other = second.allocator.alloc(64, SPACE, 64)
    first.allocator.copyin(handle, memoryview(b"x" * 64))
    assert second.allocator.transfer(other, handle, 64)


@pytest.mark.parametrize("name", ["", "native", *named_archs()])
def test_a_target_is_made_from_its_name_alone(name: str) -> None:
    target = CPUBackend().target(name)
    assert target.compiler is not None
    assert target.renderer is not None
    assert target.compiler.compile(NOP)
    again = CPUBackend().target(target.arch)
    assert (again.arch, again.caps) == (target.arch, target.caps)
    assert json.loads(json.dumps(target.caps.to_json()))["version"] == target.caps.version


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(Unsupported, match=r"target: 'vax' is unknown; expected one of native, "):
        CPUBackend().target("vax")


def test_an_unknown_renderer_is_refused() -> None:
    with pytest.raises(Unavailable, match="open: renderer 'C' is unknown; expected LLVM"):
        CPUBackend().open(0, "C")


def test_vector_registers_follow_the_architecture() -> None:
    widths = {name: CPUBackend().target(name).caps for name in ("x86-64", "x86-64-v3", "x86-64-v4")}
    found = [(caps.vector_bytes, caps.registers) for caps in widths.values()]
    assert found == [(16, 16), (32, 16), (64, 32)]


def test_float16_is_converted_by_arithmetic_where_no_instruction_does() -> None:
    old, new = (CPUBackend().target(name).caps for name in ("x86-64", "x86-64-v3"))
    assert ("float16" in old.emulated, "float16" in old.storage) == (True, False)
    assert ("float16" in new.emulated, "float16" in new.storage) == (False, True)


def test_this_machine_is_described_in_words() -> None:
    found = CPUBackend().describe(0)
    assert found["product"] == host.processor().label
    assert found["threads"].isdigit()
    assert "llvmlite" in found["compiler"]


def test_without_llvmlite_the_device_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    llvm.build_id.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"llvmlite is not installed.*pip install llvmlite"):
        CPUBackend().count()
    llvm.build_id.cache_clear()


def test_threads_is_read_when_the_device_opens() -> None:
    script = (
        "from tinycore_cpu.backend import CPUBackend, shared_pool;"
        "print(CPUBackend().open(0).target.caps.units, shared_pool().threads)"
    )
    for name in ("THREADS", "NUM_CPU_THREADS"):
        assert output(script, **{name: "3"}) == "3 3\n"


WARM = """
import sys
from tinycore.backend import Launch, compile_cached
from tinycore_cpu.backend import CPUBackend
device = CPUBackend().open(0)
source = "define void @nop(ptr %args, i64 %task, i64 %tasks) { ret void }"
program = device.load(compile_cached(device.target.compiler, source), "nop")
for tasks in (1, 2):
    program((), (), Launch((tasks, 1, 1)))
print([name for name in sys.modules if name.startswith("llvmlite")])
"""


def test_a_second_process_runs_kernels_without_importing_llvmlite(tmp_path: Path) -> None:
    settings = {"THREADS": "2", "TINYCORE_CACHE": str(tmp_path / "cache")}
    assert "llvmlite.binding" in output(WARM, **settings)
    assert output(WARM, **settings) == "[]\n"


def output(script: str, **settings: str) -> str:
    environment = os.environ | settings
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_pool_serves_the_process() -> None:
    assert shared_pool() is shared_pool()
