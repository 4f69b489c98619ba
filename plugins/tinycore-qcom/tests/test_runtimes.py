"""Runtimes that came as packages are found beside the system's, and a wrong file is explained."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinycore_qcom import runtimes
from tinycore_qcom.runtimes import CHOICES

BUILT_ELSEWHERE = "/somewhere/else/lib/libsome.so"


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_choice: None) -> Path:
    """An environment with one runtime, whose .icd file names the place it was built for."""
    folder = tmp_path / "prefix"
    write(folder / "etc/OpenCL/vendors/some.icd", BUILT_ELSEWHERE + "\n")
    write(folder / "lib/libsome.so", "")
    monkeypatch.setattr(sys, "prefix", str(folder))
    monkeypatch.setattr("site.ENABLE_USER_SITE", False)
    monkeypatch.setenv("OPENCL_VENDOR_PATH", str(tmp_path / "system"))
    return folder


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def shown() -> dict[str, str]:
    """What the loader would read: the texts of the files in its folder, by name."""
    with runtimes.visible():
        folder = os.environ.get(CHOICES[0])
        files = sorted(Path(folder).iterdir()) if folder else []
        return {file.name: file.read_text().strip() for file in files}


def test_a_wheels_file_that_names_another_place_is_read_as_its_own(prefix: Path) -> None:
    [row] = runtimes.of_packages()
    assert (row.library, row.problem) == (str(prefix / "lib/libsome.so"), "")
    assert f"names {BUILT_ELSEWHERE}, which does not exist; " in row.note


def test_a_runtime_in_the_folder_of_pyopencl_is_found(
    prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / ".libs/pocl.icd", "libpocl-1.so")
    write(tmp_path / ".libs/libpocl-1.so", "")
    monkeypatch.setattr(runtimes, "wrapper_folders", lambda: [tmp_path / ".libs"])
    assert shown()["01-pocl.icd"] == str(tmp_path / ".libs/libpocl-1.so")


def test_packages_are_shown_beside_the_system_and_for_a_moment_alone(
    prefix: Path, tmp_path: Path
) -> None:
    write(tmp_path / "system/gpu.icd", "libgpu.so.1")
    assert shown() == {"00-gpu.icd": "libgpu.so.1", "01-some.icd": str(prefix / "lib/libsome.so")}
    assert CHOICES[0] not in os.environ


def test_a_runtime_of_the_system_is_not_shown_twice(prefix: Path, tmp_path: Path) -> None:
    write(tmp_path / "system/some.icd", "libsome.so")
    assert runtimes.of_packages() == []
    assert shown() == {}


def test_what_a_user_chose_is_left_alone(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOICES[0], "/mine")
    with runtimes.visible():
        assert os.environ[CHOICES[0]] == "/mine"
    [row] = runtimes.candidates()
    assert row.problem == "/mine does not exist"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty; expected the name of a library"),
        ("/not/here/libgpu.so", "names /not/here/libgpu.so, which does not exist"),
        ("libnot-here.so", "names libnot-here.so, which does not load: libnot-here.so: cannot"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_choice: None, text: str, problem: str
) -> None:
    file = write(tmp_path / "wrong.icd", text)
    for value in (file, tmp_path):
        monkeypatch.setenv(CHOICES[0], str(value))
        [row] = runtimes.candidates()
        assert row.trouble.startswith(f"{file} {problem}")


@pytest.mark.usefixtures("free_choice")
def test_a_folder_without_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOICES[0], str(tmp_path))
    [row] = runtimes.candidates()
    assert row.trouble == f"{tmp_path} holds no file that ends in .icd"


@pytest.mark.usefixtures("free_choice")
def test_a_library_that_was_chosen_itself_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOICES[1], "libnot-here.so")
    [row] = runtimes.candidates()
    assert row.trouble.startswith("libnot-here.so does not load: libnot-here.so: cannot")


BEHIND = """
import os, sys
from tinycore_qcom import platforms
print([row.platform for row in platforms.devices()], "OCL_ICD_VENDORS" in os.environ)
"""


def test_the_runtime_of_this_environment_is_found_without_help() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES}
    command = [sys.executable, "-c", BEHIND]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("['")
    assert done.stdout.endswith("'] False\n")
