"""Device packages that are well, broken, skewed, doubled or switched off; each message held."""

import textwrap

import pytest

from tests.runtime.wheels import Site, fake_source

DEFAULT = "from tinycore.runtime.registry import Device; print(Device.DEFAULT)"
NAMED = (
    "from tinycore.runtime.registry import Device\n"
    "for _ in range(2):\n"
    "    try: Device['FOO']\n"
    "    except Exception as error: print(type(error).__name__, error)"
)
WARNING = "tinycore:1: TinycoreWarning: "
STEP = "Run `tinycore doctor FOO`"


FAULTS = {
    "import error": (
        "import libfoo_that_is_missing",
        "BackendError",
        "import of tinycore-foo 1.2 failed with "
        "ModuleNotFoundError: No module named 'libfoo_that_is_missing'. " + STEP,
    ),
    "exit at import": (
        "import sys; sys.exit(3)",
        "BackendError",
        "import of tinycore-foo 1.2 failed with SystemExit: 3. " + STEP,
    ),
    "syntax error": (
        "def broken(:",
        "BackendError",
        "import of tinycore-foo 1.2 failed with SyntaxError: invalid syntax "
        "(foo_module.py, line 1). " + STEP,
    ),
    "no hook": (
        "x = 1",
        "BackendError",
        "tinycore-foo 1.2 has no hook tinycore_backend; it has nothing like it. " + STEP,
    ),
    "misspelt hook": (
        fake_source("FOO", ("def tinycore_backend(", "def tinycore_backnd(")),
        "BackendError",
        "tinycore-foo 1.2 has no hook tinycore_backend; it has tinycore_backnd. " + STEP,
    ),
    "misspelt second hook": (
        fake_source("FOO") + "\ndef tinycore_paterns(device):\n    return []\n",
        "BackendError",
        "tinycore-foo 1.2 has a hook tinycore_paterns that does not exist; "
        "did you mean tinycore_patterns? " + STEP,
    ),
    "hook raises": (
        fake_source("FOO", ("return FakeBackend()", "raise ValueError('no such\\nthing')")),
        "BackendError",
        "tinycore_backend of tinycore-foo 1.2 failed with ValueError: no such thing. " + STEP,
    ),
    "hook returns nothing": (
        fake_source("FOO", ("return FakeBackend()", "return None")),
        "BackendError",
        "tinycore_backend of tinycore-foo 1.2 gave NoneType without "
        "name, api, version, count, open and target; expected a Backend. " + STEP,
    ),
    "other name": (
        fake_source("BAR"),
        "BackendError",
        "the backend of tinycore-foo 1.2 calls itself BAR; "
        "expected FOO, as its entry point says. " + STEP,
    ),
    "newer API": (
        fake_source("FOO", ("api = (1, 0)", "api = (2, 0)")),
        "ApiMismatch",
        "tinycore-foo 1.2 speaks plugin API 2.0; tinycore 0.1.0 accepts 1.0 to 1.0. "
        "Upgrade tinycore",
    ),
    "newer minor API": (
        fake_source("FOO", ("api = (1, 0)", "api = (1, 7)")),
        "ApiMismatch",
        "tinycore-foo 1.2 speaks plugin API 1.7; tinycore 0.1.0 accepts 1.0 to 1.0. "
        "Upgrade tinycore",
    ),
    "older API": (
        fake_source("FOO", ("api = (1, 0)", "api = (0, 9)")),
        "ApiMismatch",
        "tinycore-foo 1.2 speaks plugin API 0.9; tinycore 0.1.0 accepts 1.0 to 1.0. "
        "Upgrade tinycore-foo",
    ),
    "count raises": (
        fake_source("FOO", ("return 2", "raise OSError('driver crashed')")),
        "BackendError",
        "count() of tinycore-foo 1.2 failed with OSError: driver crashed. " + STEP,
    ),
    "count is nonsense": (
        fake_source("FOO", ("return 2", "return -1")),
        "BackendError",
        "count() of tinycore-foo 1.2 gave -1; expected 0 or more. " + STEP,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_plugin_nobody_asked_for_is_left_out_with_one_line(site: Site, fault: str) -> None:
    source, _, message = FAULTS[fault]
    site.add("FOO", source)
    site.add("GOOD", fake_source("GOOD"))
    result = site.run(DEFAULT)
    assert result.stdout == "GOOD\n"
    assert result.stderr == f"{WARNING}FOO is left out: {message}\n"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_plugin_that_is_named_raises_its_first_cause_each_time(
    site: Site, fault: str
) -> None:
    source, kind, message = FAULTS[fault]
    site.add("FOO", source)
    result = site.run(NAMED)
    assert result.stderr == ""
    assert result.stdout.splitlines() == [f"{kind} FOO: {message}"] * 2


@pytest.mark.parametrize("fault", ["import error", "exit at import", "newer API", "count raises"])
def test_a_broken_plugin_raises_under_strict_even_if_nobody_asked(site: Site, fault: str) -> None:
    source, kind, message = FAULTS[fault]
    site.add("FOO", source)
    site.add("GOOD", fake_source("GOOD"))
    result = site.run(DEFAULT, TINYCORE_STRICT="1")
    assert result.returncode == 1
    assert result.stderr.endswith(f"{kind}: FOO: {message}\n")


def test_the_cause_keeps_its_traceback(site: Site) -> None:
    site.add("FOO", "def deep():\n    raise ValueError('here')\ndeep()")
    result = site.run("from tinycore.runtime.registry import Device; Device['FOO']")
    assert "foo_module.py" in result.stderr
    assert "in deep" in result.stderr


def test_a_broken_plugin_is_imported_once_however_often_it_is_named(site: Site) -> None:
    site.add("FOO", "print('importing'); raise ValueError('no')")
    assert site.run(NAMED).stdout.count("importing") == 1


def test_a_plugin_named_by_the_environment_raises_with_its_cause(site: Site) -> None:
    site.add("FOO", "import libfoo_that_is_missing")
    site.add("GOOD", fake_source("GOOD"))
    for choice in ({"DEV": "FOO"}, {"FOO": "1"}):
        result = site.run(DEFAULT, **choice)
        assert result.returncode == 1
        assert "No module named 'libfoo_that_is_missing'" in result.stderr.splitlines()[-1]


def test_no_hardware_is_not_a_defect(site: Site) -> None:
    site.add("FOO", fake_source("FOO", ("return 2", "return 0")))
    site.add("GOOD", fake_source("GOOD"))
    result = site.run(DEFAULT, TINYCORE_STRICT="1")
    assert (result.stdout, result.stderr) == ("GOOD\n", "")
    named = site.run(NAMED).stdout.splitlines()[0]
    assert named == (
        "Unavailable FOO: tinycore-foo 1.2 finds no such device on this machine. " + STEP
    )


def test_a_driver_that_is_too_old_is_told_in_the_plugins_own_words(site: Site) -> None:
    told = "raise Unavailable('driver 525 found; expected 535', hint='Update the driver')"
    changes = [("return 2", told), ("    Target,\n)", "    Target,\n    Unavailable,\n)")]
    site.add("FOO", fake_source("FOO", *changes))
    named = site.run(NAMED).stdout.splitlines()[0]
    assert named == "Unavailable FOO: driver 525 found; expected 535. Update the driver"


def test_a_plugin_is_not_imported_before_its_name_is_used(site: Site) -> None:
    site.add("FOO", "print('importing FOO')\n" + fake_source("FOO"))
    site.add("GOOD", "print('importing GOOD')\n" + fake_source("GOOD"))
    code = """
        import sys
        import tinycore
        print("pluggy" in sys.modules, "importlib.metadata" in sys.modules)
        print(len(tinycore.Device.plugins()))
        print(tinycore.Device["GOOD"].name)
    """
    result = site.run(textwrap.dedent(code))
    assert result.stdout == "False False\n3\nimporting GOOD\nGOOD\n"
    assert result.stderr == ""


def test_two_wheels_with_one_name_are_a_conflict_until_one_is_preferred(site: Site) -> None:
    site.add("FOO", fake_source("FOO"), wheel="tinycore-foo")
    site.add("FOO", fake_source("FOO"), wheel="foo-by-others", version="0.3")
    site.add("GOOD", fake_source("GOOD"))
    message = (
        "foo-by-others 0.3 and tinycore-foo 1.2 both provide it, so neither is used; "
        "expected one. Set TINYCORE_PREFER_FOO to the wheel you want, or uninstall the other"
    )
    result = site.run(DEFAULT)
    assert result.stdout == "GOOD\n"
    assert result.stderr == f"{WARNING}FOO is left out: {message}\n"
    assert site.run(NAMED).stdout.splitlines()[0] == f"Unavailable FOO: {message}"
    code = "from tinycore.runtime.registry import Device; print(Device['FOO'])"
    chosen = site.run(code, TINYCORE_PREFER_FOO="foo-by-others")
    assert chosen.stdout == "<device FOO, foo-by-others 0.3>\n"


def test_an_unknown_device_names_what_is_installed_and_what_to_install(site: Site) -> None:
    site.add("GOOD", fake_source("GOOD"))
    site.add("FOO", fake_source("FOO"))
    result = site.run("from tinycore.runtime.registry import Device; Device['goood:1']")
    assert result.stderr.splitlines()[-1] == (
        "tinycore.errors.DeviceError: device: GOOOD is not installed; installed are "
        "FOO, GOOD and REF. Do `pip install tinycore-goood`, or use GOOD"
    )


def test_only_listed_plugins_load(site: Site) -> None:
    site.add("FOO", "raise ValueError('must not be imported')")
    site.add("GOOD", fake_source("GOOD"))
    result = site.run(DEFAULT, TINYCORE_PLUGINS="other, good")
    assert (result.stdout, result.stderr) == ("GOOD\n", "")
    named = site.run(NAMED, TINYCORE_PLUGINS="GOOD").stdout.splitlines()[0]
    assert named == (
        "Unavailable FOO: tinycore-foo 1.2 is switched off by TINYCORE_PLUGINS=GOOD. Add FOO to it"
    )
    none = site.run(NAMED, TINYCORE_PLUGINS="none").stdout.splitlines()[0]
    assert "is switched off by TINYCORE_PLUGINS=none" in none


def test_a_package_with_unreadable_metadata_hides_no_other(site: Site) -> None:
    site.add("GOOD", fake_source("GOOD"))
    site.add_metadata("tinycore-bad", "[tinycore.backends]\nthis is no entry point\n")
    (site.folder / "empty-1.0.dist-info").mkdir()
    result = site.run(DEFAULT)
    assert result.stdout == "GOOD\n"
    assert len(result.stderr.splitlines()) == 1
    assert "metadata of tinycore-bad cannot be read" in result.stderr


def test_an_entry_point_to_nowhere_is_that_plugins_own_failure(site: Site) -> None:
    site.add_metadata("tinycore-foo", "[tinycore.backends]\nFOO = no_such_module\n")
    assert "No module named 'no_such_module'" in site.run(NAMED).stdout


def test_a_plugin_needs_none_of_our_base_classes(site: Site) -> None:
    source = """
        class Native:
            name, api, version = "FOO", (1, 0), "9"
            def count(self): return 1
            def open(self, index): raise RuntimeError("opened")
            def target(self, arch): return arch
        def tinycore_backend():
            return Native()
    """
    site.add("FOO", textwrap.dedent(source))
    assert site.run(DEFAULT).stdout == "FOO\n"
    assert (
        site.run(NAMED).stdout.splitlines()
        == ["BackendError FOO: open failed with RuntimeError: opened"] * 2
    )


def test_the_hook_marker_is_accepted_but_not_needed(site: Site) -> None:
    marked = ("def tinycore_backend", "@hookimpl\ndef tinycore_backend")
    imported = ("    Target,\n)", "    Target,\n    hookimpl,\n)")
    site.add("FOO", fake_source("FOO", marked, imported))
    assert site.run(DEFAULT).stdout == "FOO\n"
