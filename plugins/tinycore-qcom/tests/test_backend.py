"""The OpenCL devices as the core meets them: counted quickly, chosen by name, explained."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import tinycore_qcom
from tinycore.backend import PLUGIN_API, Unavailable, Unsupported
from tinycore_qcom import api, opencl, platforms
from tinycore_qcom.backend import CL_PLATFORM, AdrenoBackend, OpenCLBackend
from tinycore_qcom.capabilities import extensions
from tinycore_qcom.platforms import CPU, GPU, Found
from tinycore_qcom.runtimes import CHOICES


def adreno(found: Found) -> Found:
    platform, name = "QUALCOMM Snapdragon(TM)", "QUALCOMM Adreno(TM) 740"
    return replace(found, kind=GPU, platform=platform, name=name, vendor="QUALCOMM")


@pytest.fixture
def both(found: Found, monkeypatch: pytest.MonkeyPatch) -> tuple[Found, ...]:
    """An Adreno GPU beside the processor."""
    rows = adreno(found), replace(found, kind=CPU, platform="OpenCL of a processor")
    monkeypatch.setattr(platforms, "devices", lambda: rows)
    return rows


def test_the_hooks_describe_two_devices_and_open_nothing() -> None:
    any_one = opencl.tinycore_backend(PLUGIN_API)
    qualcomm = tinycore_qcom.tinycore_backend(PLUGIN_API)
    assert (any_one.name, any_one.api) == ("CL", (1, 0))
    assert (qualcomm.name, qualcomm.api) == ("QCOM", (1, 0))
    assert any_one.count() >= 1


def test_without_an_adreno_the_others_are_named() -> None:
    with pytest.raises(Unavailable, match=r"no Adreno GPU is here; OpenCL finds .* of .*OpenCL"):
        AdrenoBackend().count()


def test_an_adreno_is_a_device_of_both_names(both: tuple[Found, ...]) -> None:
    assert (OpenCLBackend().count(), AdrenoBackend().count()) == (2, 1)
    assert "Adreno" in AdrenoBackend().describe(0)["product"]
    assert adreno(both[1]).arch == "qualcomm-snapdragon/qualcomm-adreno-740"


def test_a_gpu_is_preferred_to_the_processor_and_the_processor_to_none(
    both: tuple[Found, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, own = OpenCLBackend(), AdrenoBackend()
    assert (backend.count(), own.count()) == (2, 1)
    assert own.priority > backend.priority > 0
    monkeypatch.setattr(platforms, "devices", lambda: both[1:])
    backend.count()
    assert backend.priority < 0


def test_devices_stand_in_one_order(both: tuple[Found, ...]) -> None:
    kinds = [row.kind for row in OpenCLBackend().found()]
    assert kinds == [GPU, CPU]


@pytest.mark.parametrize(("part", "product"), [("snap", "Adreno"), ("SNAPDRAGON", "Adreno")])
def test_part_of_a_platforms_name_chooses_it(
    both: tuple[Found, ...], part: str, product: str
) -> None:
    CL_PLATFORM.set(part)
    backend = OpenCLBackend()
    assert backend.count() == 1
    assert product in backend.describe(0)["product"]
    CL_PLATFORM.set("nvidia")
    wrong = (
        "CL_PLATFORM=nvidia is in the name of no platform; expected part of: .*QUALCOMM.*"
        "Set CL_PLATFORM to part of a name, or leave it out"
    )
    with pytest.raises(Unavailable, match=wrong):
        backend.count()
    CL_PLATFORM.unset()


def test_indexes_share_the_devices_there_are() -> None:
    backend = OpenCLBackend()
    first, last = backend.open(0), backend.open(backend.count() * 15)
    assert first.target.caps.virtual == 16
    assert last.target.arch == first.target.arch
    assert backend.describe(backend.count()) == backend.describe(0)
    handles = [device.allocator.alloc(64, "global", 64) for device in (first, last)]
    first.allocator.copyin(handles[0], memoryview(b"a" * 64))
    last.allocator.copyin(handles[1], memoryview(b"b" * 64))
    told = bytearray(64)
    first.allocator.copyout(memoryview(told), handles[0])
    assert told == b"a" * 64
    first.close()
    last.close()


def test_an_unknown_renderer_is_refused() -> None:
    with pytest.raises(Unavailable, match="open: renderer 'PTX' is unknown; expected OPENCL"):
        OpenCLBackend().open(0, "PTX")


@pytest.mark.parametrize("function", ["clCreateContext", "clCreateCommandQueue"])
def test_a_device_that_is_full_is_unavailable_with_cause_and_hint(
    found: Found, refuse: Callable[[str, int], Counter[str]], function: str
) -> None:
    refuse(function, -6)
    wrong = (
        rf"open: {function} gave OUT_OF_HOST_MEMORY \(-6\) on {re.escape(found.name)}; "
        "expected a context with a queue. End other programs that use the device, or "
    )
    with pytest.raises(Unavailable, match=wrong):
        OpenCLBackend().open(0)


def test_a_target_is_found_by_the_name_of_a_device_that_is_here(found: Found) -> None:
    backend = OpenCLBackend()
    for name in ("", found.arch):
        target = backend.target(name)
        assert target.arch == found.arch
        assert json.loads(json.dumps(target.caps.to_json()))["version"] == target.caps.version
    with pytest.raises(
        Unsupported, match=f"'vax' has no driver here; expected one of: {found.arch}"
    ):
        backend.target("vax")


def test_a_device_is_described_in_words(found: Found) -> None:
    told = OpenCLBackend().describe(0)
    assert told["product"] == found.name
    assert told["driver"] == found.driver
    assert ("float64" in told["features"]) == ("cl_khr_fp64" in extensions(found))
    assert set(told["id"]) <= set("0123456789abcdef")
    assert told["id"] == OpenCLBackend().describe(0)["id"]


FRESH = """
import sys, time
from tinycore_qcom.backend import OpenCLBackend
start = time.perf_counter()
count = OpenCLBackend().count()
print(time.perf_counter() - start, count, *{"numpy", "pyopencl"}.intersection(sys.modules))
"""


def test_counting_is_quick_and_imports_nothing_large() -> None:
    time_s, count, *imported = run("-c", FRESH).split()
    assert float(time_s) < 0.2
    assert (int(count) >= 1, imported) == (True, [])


def run(*words: str, **settings: str) -> str:
    """What a Python process of its own prints."""
    environment = os.environ | settings
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_a_runtime_the_devices_are_unavailable_with_cause_and_hint(tmp_path: Path) -> None:
    settings = {CHOICES[0]: str(tmp_path), CHOICES[1]: "", "DEV": "REF"}
    rows = json.loads(run("-m", "tinycore.cli", "devices", "--json", **settings))["devices"]
    found = {row["name"]: row for row in rows}
    for name in ("CL", "QCOM"):
        assert found[name]["state"] == "unavailable"
        cause = f"OpenCL finds no runtime: {CHOICES[0]}={tmp_path}; {tmp_path} holds no file that"
        assert found[name]["detail"].startswith(cause)
        assert found[name]["detail"].endswith(
            f"Leave {CHOICES[0]} out, or name a runtime that is here"
        )


def test_without_a_loader_pyopencl_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "SYSTEM_ELSEWHERE", ("libnot-here.so",))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    wrong = "there is no OpenCL loader: libnot-here.so: cannot .* Do `pip install pyopencl`"
    with pytest.raises(Unavailable, match=wrong):
        api.open_library()
