"""Caps, targets, counters, cached compilation, and the vendors' one module."""

import ast
import json
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from types import ModuleType

import pytest

from tests.runtime import fake_backend
from tests.runtime.fake_backend import FakeBackend, FakeCompiler
from tests.runtime.texts import exactly
from tinycore import backend
from tinycore.config import Context
from tinycore.dtype import dtypes
from tinycore.errors import ArgumentError, DTypeError
from tinycore.runtime import contract
from tinycore.runtime.buffer import Counters
from tinycore.runtime.contract import Caps, Space, Target, Unsupported
from tinycore.runtime.device import compile_cached

HOST = Space("host", 1 << 30, host_visible=True)
CAPS = Caps(
    dtypes=("float32",), spaces=(HOST,), storage=("bfloat16", "float32"), cache_bytes=(1, 2)
)


def test_caps_are_json() -> None:
    document = json.loads(json.dumps(CAPS.to_json()))
    assert document["version"] == CAPS.version
    assert document["contract"]["spaces"][0]["name"] == "host"
    assert document["hints"]["cache_bytes"] == [1, 2]


def test_every_field_is_contract_or_hint() -> None:
    document = CAPS.to_json()
    told = {*document["contract"], *document["hints"], "version"}
    assert told == {field.name for field in fields(Caps)}
    assert "units" in document["hints"] and "max_buffers" in document["contract"]


def test_caps_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        CAPS.units = 3  # type: ignore[misc]


def test_supported_dtypes_are_listed_once() -> None:
    assert CAPS.supported_dtypes() == (dtypes.float32, dtypes.bfloat16)


def test_caps_refuse_what_no_device_can_mean() -> None:
    text = "Caps: thread_safety is 4; expected one of (0, 1, 2, 3)"
    with pytest.raises(ArgumentError, match=exactly(text)):
        replace(CAPS, thread_safety=4)
    text = "Caps: dtypes or spaces is empty; expected at least one of each"
    with pytest.raises(ArgumentError, match=exactly(text)):
        Caps(dtypes=("float32",), spaces=())
    text = "Caps: warp_threads is 24; expected a power of 2"
    with pytest.raises(ArgumentError, match=exactly(text)):
        replace(CAPS, warp_threads=24)
    with pytest.raises(DTypeError):
        Caps(dtypes=("float33",), spaces=(HOST,))


def test_a_target_generates_code_or_does_not() -> None:
    npu = replace(CAPS, codegen=False)
    assert Target("npu1", npu).renderer is None
    with pytest.raises(ArgumentError, match="expected both for a device with code generation"):
        Target("gpu1", CAPS)


def test_optional_members_have_defaults() -> None:
    device = FakeBackend().open(0)
    assert device.graph is None and device.allocator.transfer(None, None, 1) is False
    with pytest.raises(Unsupported, match=exactly("disassemble: FakeCompiler has no disassembler")):
        FakeCompiler().disassemble(b"")


def test_counters_reset_what_counts_work_and_keep_what_is_live() -> None:
    counters = Counters()
    counters.mem_used, counters.kernel_count, counters.global_ops = 5, 6, 7
    counters.reset()
    assert (counters.mem_used, counters.kernel_count, counters.global_ops) == (5, 0, 0)


def test_a_source_is_compiled_once_for_each_key(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = FakeCompiler()
    source = "a source no other test compiles"
    monkeypatch.setattr(FakeCompiler, "compiled", 0)
    for _ in range(3):
        assert compile_cached(compiler, source) == source.encode()
    assert FakeCompiler.compiled == 1
    compiler.key = "fake compiler 2"
    compile_cached(compiler, source)
    assert FakeCompiler.compiled == 2
    for setting in ("CCACHE", "CACHELEVEL"):
        with Context(**{setting: 0}):
            compile_cached(compiler, source)
    assert FakeCompiler.compiled == 4


def test_the_vendors_module_has_every_class_of_the_contract_and_no_module() -> None:
    public = {name: value for name, value in vars(backend).items() if not name.startswith("_")}
    assert not [name for name, value in public.items() if isinstance(value, ModuleType)]
    classes = [value for value in vars(contract).values() if isinstance(value, type)]
    owned = {kind.__name__ for kind in classes if kind.__module__ == contract.__name__}
    assert owned and owned <= public.keys()


HARDWARE = "tinycore.runtime.ref.backend"  # what stands in for a chip in the fake package


def test_a_device_package_needs_no_other_module_of_the_core() -> None:
    tree = ast.parse(Path(fake_backend.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in modules if name and name.startswith("tinycore")} == {
        "tinycore.backend",
        HARDWARE,
    }
