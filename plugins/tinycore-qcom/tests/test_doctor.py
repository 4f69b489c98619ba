"""The doctor names what is missing or wrong, and works where no device opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinycore.backend import PLUGIN_API, Unavailable
from tinycore_qcom import api, opencl, platforms, runtimes, tinycore_backend
from tinycore_qcom.doctor import Check, main
from tinycore_qcom.runtimes import CHOICES


def told() -> dict[str, Check]:
    """The checks of CL, those that fail before others of the same name."""
    found = opencl.tinycore_doctor(opencl.tinycore_backend(PLUGIN_API))
    return {check.name: check for check in sorted(found, key=lambda check: not check.passed)}


def told_names() -> list[str]:
    return [check.name for check in opencl.tinycore_doctor(opencl.tinycore_backend(PLUGIN_API))]


def test_where_all_is_well_every_step_passes() -> None:
    checks = told()
    assert list(checks.values()) and all(check.passed for check in checks.values())
    assert "driver" in checks["platforms"].detail


def test_an_adreno_that_is_not_there_is_the_last_step() -> None:
    *others, last = opencl.tinycore_doctor(tinycore_backend(PLUGIN_API))
    assert all(check.passed for check in others)
    assert (last.name, last.passed) == ("devices", False)
    assert "no Adreno GPU is here" in last.detail


def nothing() -> tuple[()]:
    raise Unavailable("there is no loader", hint="Install one")


@pytest.mark.usefixtures("free_choice")
@pytest.mark.parametrize("variable", [CHOICES[0], "OPENCL_VENDOR_PATH"])
def test_a_wrong_file_is_named_with_what_is_wrong_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    (tmp_path / "gpu.icd").write_text("/not/here/libgpu.so")
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(platforms, "devices", lambda: ())
    monkeypatch.setattr(runtimes, "of_packages", list)
    checks = told()
    detail = f"{tmp_path}/gpu.icd names /not/here/libgpu.so, which does not exist"
    hint = "Install the runtime that gpu.icd belongs to again, or remove the file"
    if variable in CHOICES:
        hint = f"Leave {variable} out, or name a runtime that is here"
    assert checks["runtime"] == Check("runtime", False, detail, hint)
    assert not checks["platforms"].passed
    assert checks["devices"].detail.startswith("OpenCL finds no runtime")


@pytest.mark.usefixtures("free_choice")
def test_a_choice_through_which_nothing_is_found_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHOICES[0], str(tmp_path))
    leaves = f"{CHOICES[0]}={tmp_path} leaves out the runtimes of Python packages"
    hint = f"Leave {CHOICES[0]} out, or name a runtime that is here"
    assert told()["choice"] == Check("choice", True, leaves)
    monkeypatch.setattr(platforms, "devices", lambda: ())
    nothing_else = f"{leaves}, and nothing is found without them"
    assert told()["choice"] == Check("choice", False, nothing_else, hint)
    assert told()["runtime"].hint == hint
    monkeypatch.setattr(api, "library", nothing)
    assert told()["choice"].passed


@pytest.mark.usefixtures("free_choice")
def test_without_any_file_the_packages_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENCL_VENDOR_PATH", str(tmp_path))
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setattr("site.ENABLE_USER_SITE", False)
    monkeypatch.setattr(platforms, "devices", nothing)
    check = told()["runtime"]
    assert (check.passed, check.detail) == (False, "there is no .icd file for the loader to read")
    assert 'pip install "tinycore-qcom[cpu]"' in check.hint


def test_the_steps_are_printed_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in told_names()]


@pytest.mark.usefixtures("free_choice")
def test_a_step_that_fails_is_printed_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(CHOICES[0], str(tmp_path))
    monkeypatch.setattr(platforms, "devices", lambda: ())
    assert main([]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"failed   devices    OpenCL finds no runtime: {CHOICES[0]}={tmp_path}")
    assert last.endswith(f". Leave {CHOICES[0]} out, or name a runtime that is here")


def test_the_command_tells_its_steps_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["QCOM", "--json"]) == 1
    *others, last = json.loads(capsys.readouterr().out)
    assert all(one["passed"] for one in others)
    assert (last["name"], last["passed"]) == ("devices", False)


def test_the_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "python -m tinycore_qcom.doctor [-h] [--json]" in capsys.readouterr().out
