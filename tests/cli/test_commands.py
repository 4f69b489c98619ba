"""The command `tinycore`: devices as text and JSON, commands of plugins, mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinycore
from tests.runtime.wheels import Site, bare_core, fake_source
from tinycore.cli import main


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core and pluggy alone."""
    return bare_core(tmp_path_factory.mktemp("core"))


@pytest.fixture
def site(tmp_path: Path, core: Path) -> Site:
    """A place where nothing is installed yet."""
    return Site(tmp_path / "site", core)


def add_command(site: Site, name: str, body: str) -> None:
    """Install a hook plugin that brings a command."""
    source = f"""
def tinycore_cli(subparsers):
    parser = subparsers.add_parser("{name}", help="does it")
    parser.set_defaults(run=run)

def run(arguments):
    {body}
"""
    (site.folder / f"{name}_command.py").write_text(source)
    site.add_metadata(f"{name}-wheel", f"[tinycore.hooks]\n{name} = {name}_command\n")


def test_devices_tells_who_is_behind_each_name_and_stars_the_default(site: Site) -> None:
    site.add("GOOD", fake_source("GOOD"))
    site.add("FOO", "import libfoo")
    site.add("GONE", fake_source("GONE", ("return 2", "return 0")))
    result = site.command("devices")
    lines = result.stdout.splitlines()
    assert result.returncode == 0 and result.stderr == ""
    assert lines[0].startswith(
        "* GOOD     ready        tinycore-good 1.2  Fake 3000 #0: ran a kernel over 256 numbers in "
    )
    assert any(line.startswith("  GOOD:1   ready        tinycore-good 1.2") for line in lines)
    assert (
        "  FOO      broken       tinycore-foo 1.2  import of tinycore-foo 1.2 failed with "
        "ModuleNotFoundError: No module named 'libfoo'. Run `tinycore doctor FOO`"
    ) in lines
    assert (
        "  GONE     unavailable  tinycore-gone 1.2  tinycore-gone 1.2 finds no such device on "
        "this machine. Run `tinycore doctor GONE`"
    ) in lines
    assert len([line for line in lines if line.startswith("*")]) == 1


def test_devices_as_json_holds_states_and_capabilities(site: Site) -> None:
    site.add("GOOD", fake_source("GOOD"))
    site.add("FOO", "raise SystemExit")
    document = json.loads(site.command("devices", "--json").stdout)
    rows = {row["name"]: row for row in document["devices"]}
    assert (document["version"], document["default"]) == (1, "GOOD")
    assert rows["FOO"]["state"] == "broken" and "SystemExit" in rows["FOO"]["detail"]
    assert rows["GOOD"]["default"] and rows["GOOD"]["arch"] == "fake1"
    assert rows["GOOD"]["caps"]["contract"]["dtypes"] == ["uint8", "float32"]
    assert rows["GOOD:1"]["description"]["product"] == "Fake 3000 #1"


def test_a_device_that_computes_wrong_fails_the_command(site: Site) -> None:
    site.add("FOO", fake_source("FOO", ("self.program(arrays", "0 and self.program(arrays")))
    result = site.command("devices")
    assert result.returncode == 1
    assert "failed       tinycore-foo 1.2" in result.stdout
    assert "the sum of 256 squares came out as 0.0" in result.stdout


def test_a_default_that_is_broken_fails_the_command_and_hides_nothing(site: Site) -> None:
    site.add("GOOD", fake_source("GOOD"))
    result = site.command("devices", DEV="NOSUCH")
    assert result.returncode == 1
    assert "GOOD     ready" in result.stdout
    assert "note: there is no default: device: NOSUCH is not installed" in result.stdout


def test_ties_are_noted_below_the_table(site: Site) -> None:
    site.add("FOO", fake_source("FOO"))
    site.add("BAR", fake_source("BAR"))
    lines = site.command("devices").stdout.splitlines()
    assert lines[-1].startswith("note: BAR and FOO have the same priority, so BAR is used.")


def test_a_plugin_brings_a_command(site: Site) -> None:
    add_command(site, "hello", "print('hello'); return 4")
    result = site.command("hello")
    assert (result.stdout, result.returncode) == ("hello\n", 4)
    assert "hello" in site.command("--help").stdout


def test_our_own_errors_are_one_line_without_a_traceback(site: Site) -> None:
    body = "import tinycore.errors; raise tinycore.errors.ShapeError('it does not fit')"
    add_command(site, "hello", body)
    result = site.command("hello")
    assert (result.stderr, result.returncode) == ("tinycore: it does not fit\n", 1)


def test_an_interrupt_ends_a_command_quietly(site: Site) -> None:
    add_command(site, "hello", "raise KeyboardInterrupt")
    result = site.command("hello")
    assert (result.stderr, result.returncode) == ("", 130)


def test_a_reader_that_has_enough_ends_a_command_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "tinycore.cli", "devices"]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_broken_command_plugin_leaves_the_command_line_usable(site: Site) -> None:
    add_command(site, "hello", "return 0")
    (site.folder / "bad.py").write_text("def tinycore_cli(subparsers):\n    1 / 0\n")
    site.add_metadata("bad-wheel", "[tinycore.hooks]\nbad = bad\n")
    result = site.command("hello")
    assert result.returncode == 0
    assert "hooks: bad of bad-wheel 1.2 is switched off: tinycore_cli failed" in result.stderr


def test_a_command_of_another_package_says_which(site: Site) -> None:
    result = site.command("doctor", "FOO")
    assert result.returncode == 2
    assert result.stderr == (
        "tinycore: doctor is not installed; it comes with tinycore-conformance. "
        "Do `pip install tinycore-conformance`\n"
    )


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"tinycore {tinycore.__version__}\n"


def test_an_unknown_command_is_misuse(site: Site) -> None:
    result = site.command("devcies")
    assert result.returncode == 2
    assert "invalid choice: 'devcies'" in result.stderr
