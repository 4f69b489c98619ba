"""The wheels alone are enough: nothing of the source tree is needed to run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import wheel

PROJECTS = (".", "plugins/tinycore-cpu", "plugins/tinycore-qcom", "conformance")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment into which the wheels were installed by name."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in PROJECTS:
        wheel.build(tree / project, folder)
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    command = [str(programs / "pip"), "install", "--quiet", "--find-links", str(folder)]
    packages = "tinycore[cpu]", "tinycore-qcom", "tinycore-conformance"
    subprocess.run([*command, *packages], check=True)
    return programs


def said(programs: Path, folder: Path, *words: str) -> str:
    """What a program of the environment prints, run far from the source tree."""
    command = [str(programs / words[0]), *words[1:]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_command_comes_with_the_wheel(installed: Path, tmp_path: Path) -> None:
    assert said(installed, tmp_path, "tinycore", "--version").startswith("tinycore ")


def test_nothing_is_read_from_the_source_tree(installed: Path, tmp_path: Path, tree: Path) -> None:
    files = said(installed, tmp_path, "pip", "show", "--files", "tinycore", "tinycore-cpu")
    assert str(tree) not in files
    assert "tinycore/py.typed" in files
    assert "tinycore_cpu/py.typed" in files


def test_the_extra_brings_the_device(installed: Path, tmp_path: Path) -> None:
    rows = json.loads(said(installed, tmp_path, "tinycore", "devices", "--json"))
    assert "tinycore-cpu" in json.dumps(rows)


def test_a_device_without_its_runtime_says_what_to_install(installed: Path, tmp_path: Path) -> None:
    rows = json.loads(said(installed, tmp_path, "tinycore", "devices", "--json"))["devices"]
    [found] = [row for row in rows if row["name"] == "CL"]
    assert found["state"] == "ready" or 'pip install "tinycore-qcom[cpu]"' in found["detail"]


def test_the_suite_is_there_for_pytest(installed: Path, tmp_path: Path) -> None:
    assert "--tc-device" in said(installed, tmp_path, "pytest", "--help")
