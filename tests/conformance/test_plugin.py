"""The pytest side of the conformance suite, each run in a pytest of its own."""

import pytest

SHOW = """
    def pytest_report_header(config):
        return f"device under test: {config.getoption('tc_device')}"
"""

OWNER = """
    def pytest_addoption(parser):
        parser.addoption("--device", dest="mine")

    def pytest_report_header(config):
        options = config.option
        return f"mine: {options.mine}, under test: {options.tc_device}"
"""

CASE = """
    import sys

    def test_nothing_of_tinycore_is_loaded():
        assert "tinycore" not in sys.modules
        assert "numpy" not in sys.modules
"""

SUITE = ("--pyargs", "tinycore_conformance")


@pytest.mark.parametrize("words", [["--tc-device", "X"], ["--device", "X"], ["--device=X"]])
def test_the_option_and_its_alias_name_the_device(
    pytester: pytest.Pytester, words: list[str]
) -> None:
    pytester.makeconftest(SHOW)
    result = pytester.runpytest_subprocess(*words)
    result.stdout.fnmatch_lines(["device under test: X"])


def test_an_option_that_is_taken_stays_with_its_owner(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(OWNER)
    result = pytester.runpytest_subprocess("--device", "theirs", "--tc-device", "ours")
    result.stdout.fnmatch_lines(["mine: theirs, under test: ours"])


def test_other_test_runs_load_nothing_of_tinycore(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CASE)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_run_without_device_is_a_usage_error(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(*SUITE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no device is named; pass --tc-device NAME"])


def test_a_device_that_does_not_open_is_a_usage_error(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(*SUITE, "--tc-device", "NOWHERE")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*conformance: NOWHERE does not open; *"])
