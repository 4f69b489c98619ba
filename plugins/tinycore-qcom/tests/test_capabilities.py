"""What a device claims is what its driver reports."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tinycore.backend import Caps, Ops, Unavailable
from tinycore_qcom import api, capabilities as module
from tinycore_qcom.backend import OpenCLBackend
from tinycore_qcom.capabilities import (
    ADRENO,
    CL_PLAN,
    capabilities,
    extensions,
    image_bytes,
    native_ops,
    plan_of,
)
from tinycore_qcom.device import make_target
from tinycore_qcom.images import EXTENSION
from tinycore_qcom.platforms import CPU, GPU, Found


def told(found: Found, key: int) -> int:
    return api.library().number_of("clGetDeviceInfo", found.pointer, key)


def test_limits_are_the_drivers(found: Found) -> None:
    caps = capabilities(found, GPU)
    assert caps.units == told(found, 0x1002)
    assert caps.max_group_threads == told(found, 0x1004)
    assert caps.max_allocation_bytes == told(found, 0x1010)
    assert caps.offset_alignment == told(found, 0x1019) // 8
    assert caps.spaces[0].size_bytes == told(found, 0x101F)
    assert caps.group_bytes == told(found, 0x1023)
    assert 8 * caps.max_buffers < told(found, 0x1017)
    assert len(caps.max_group) == 3
    assert caps.lanes > 1


@pytest.mark.parametrize(
    ("known", "native", "storage"),
    [
        (("cl_khr_fp16", "cl_khr_fp64"), {"float16", "float64"}, ()),
        (("cl_khr_fp16",), {"float16"}, ()),
        (("cl_khr_fp64",), {"float64"}, ("float16",)),
        ((), set(), ("float16",)),
    ],
)
def test_halves_and_doubles_are_native_where_the_driver_says_so(
    found: Found,
    monkeypatch: pytest.MonkeyPatch,
    known: tuple[str, ...],
    native: set[str],
    storage: tuple[str, ...],
) -> None:
    monkeypatch.setattr(module, "extensions", lambda row: frozenset(known))
    caps = capabilities(replace(found, name=f"with {known}"), GPU)
    assert {"float16", "float64"} & {*caps.dtypes} == native
    assert caps.storage == storage
    assert "bfloat16" in caps.emulated


@pytest.mark.parametrize(
    ("config", "denormals", "rounding", "contraction"),
    [(0b100111, "preserve", "nearest", True), (0b001010, "flush", "zero", False)],
)
def test_floats_are_as_the_driver_says(
    found: Found,
    monkeypatch: pytest.MonkeyPatch,
    config: int,
    denormals: str,
    rounding: str,
    contraction: bool,
) -> None:
    usual = api.Library.bytes_of

    def answer(library: api.Library, name: str, *subject: int) -> bytes:
        if subject[-1] == 0x101B:
            return config.to_bytes(8, "little")
        return usual(library, name, *subject)

    monkeypatch.setattr(api.Library, "bytes_of", answer)
    caps = capabilities(replace(found, name=f"floats {config}"), GPU)
    assert (caps.denormals, caps.rounding) == (denormals, rounding)
    assert caps.contraction == contraction


@pytest.mark.parametrize(
    ("width", "height", "known", "size_bytes"),
    [
        (16384, 16384, {EXTENSION}, 16384 * 4096 * 16),
        (4096, 8192, {EXTENSION}, 8192 * 4096 * 16),
        (4095, 8192, {EXTENSION}, 0),
        (0, 0, {EXTENSION}, 0),
        (16384, 16384, set(), 0),
    ],
)
def test_an_image_has_as_many_rows_as_the_driver_says(
    found: Found,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    height: int,
    known: set[str],
    size_bytes: int,
) -> None:
    numbers = {0x1016: int(width > 0), 0x1011: width, 0x1012: height}
    usual = api.Library.number_of

    def answer(library: api.Library, name: str, *subject: int) -> int:
        told = numbers.get(subject[-1])
        return usual(library, name, *subject) if told is None else told

    monkeypatch.setattr(api.Library, "number_of", answer)
    monkeypatch.setattr(module, "extensions", lambda row: known)
    assert image_bytes(found) == size_bytes
    named = replace(found, name=f"images of {width}, {height}, {known}")
    assert capabilities(named, ADRENO).image_reads == (size_bytes > 0)


def test_hints_follow_the_plan(found: Found) -> None:
    plain, wide, textured = (capabilities(found, plan) for plan in (CPU, GPU, ADRENO))
    assert (plain.tile_spaces, plain.vector_bytes) == (("reg",), 4)
    assert (wide.tile_spaces, wide.vector_bytes) == (("reg", "group"), 16)
    assert (wide.image_reads, textured.image_reads) == (False, textured.image_bytes > 0)


@pytest.mark.parametrize(
    ("known", "plan", "threads"),
    [
        ({"cl_intel_required_subgroup_size", "cl_khr_subgroup_shuffle"}, GPU, 16),
        ({"cl_intel_required_subgroup_size", "cl_khr_subgroup_shuffle"}, CPU, 1),
        ({"cl_khr_subgroup_shuffle"}, GPU, 1),
        ({"cl_intel_required_subgroup_size"}, GPU, 1),
    ],
)
def test_subgroups_exchange_where_a_kernel_chooses_their_size(
    found: Found, monkeypatch: pytest.MonkeyPatch, known: set[str], plan: str, threads: int
) -> None:
    monkeypatch.setattr(module, "extensions", lambda row: frozenset(known))
    row = replace(found, name=f"subgroups of {sorted(known)}")
    assert capabilities(row, plan).warp_threads == threads


def test_bytes_are_multiplied_by_the_device_where_it_has_an_op(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has(plan: str = GPU, options: str = "-cl-std=CL3.0") -> bool:
        return Ops.DOT in native_ops(found, plan, options)

    monkeypatch.setattr(module, "extensions", lambda row: {"cl_khr_integer_dot_product"})
    for kinds in (1, 3):  # packed ones alone; vectors too
        monkeypatch.setattr(api.Library, "numbers_of", lambda *question, kinds=kinds: iter([kinds]))
        assert [has(plan) for plan in (GPU, ADRENO, CPU)] == [kinds == 3, kinds == 3, False]
    assert not has(options="-cl-std=CL2.0")
    monkeypatch.setattr(module, "extensions", lambda row: set())
    assert not has()


def test_a_plan_that_is_none_is_refused(found: Found) -> None:
    CL_PLAN.set("vax")
    with pytest.raises(Unavailable, match="CL_PLAN=vax is no plan; expected one of gpu, "):
        OpenCLBackend().target("")
    CL_PLAN.unset()
    assert plan_of(replace(found, kind=GPU, vendor="QUALCOMM")) == ADRENO
    assert plan_of(replace(found, kind=CPU)) == CPU


def test_the_target_of_a_device_holds_its_dialect(found: Found) -> None:
    target = make_target(found)
    assert isinstance(target.caps, Caps)
    assert ("float64" in target.caps.dtypes) == ("cl_khr_fp64" in extensions(found))
    assert target.renderer is not None
    assert "MUL" in target.caps.ops
