"""Settings: environment, process, thread; each mistake named."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinycore import config
from tinycore.config import BEAM, DEBUG, DEV, SETTINGS, THREADS, Context, getenv
from tinycore.errors import ConfigError
from tools import settings


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test starts from defaults and an empty environment."""
    for row in SETTINGS.values():
        for name in (row.name, *row.aliases):
            monkeypatch.delenv(name, raising=False)
        row.unset()
    yield
    for row in SETTINGS.values():
        row.unset()


def test_a_setting_starts_at_its_default() -> None:
    assert DEBUG.value == 0
    assert DEV.value == ""


def test_the_environment_beats_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUG", "2")
    assert DEBUG.value == 2


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUG", "")
    assert DEBUG.value == 0


def test_the_environment_is_read_at_first_use_not_at_import() -> None:
    code = "from tinycore.config import DEBUG; import os; os.environ['DEBUG'] = '3'; "
    result = subprocess.run(
        [sys.executable, "-c", code + "print(DEBUG.value)"],
        env={**os.environ, "DEBUG": "nonsense"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "3\n"


@pytest.mark.parametrize("text", ["yes", "8", "-1", "1.5"])
def test_a_variable_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DEBUG", text)
    with pytest.raises(ConfigError, match=r"^DEBUG: .*; expected a whole number from"):
        _ = DEBUG.value


def test_set_beats_the_environment_and_context_beats_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEV", "A")
    DEV.set("B")
    assert DEV.value == "B"
    with Context(DEV="C"):
        assert DEV.value == "C"
    DEV.unset()
    assert DEV.value == "A"


def test_contexts_nest_and_unwind_through_an_exception() -> None:
    with Context(BEAM=2):
        with pytest.raises(KeyError), Context(BEAM=4, DEBUG=1):
            assert (BEAM.value, DEBUG.value) == (4, 1)
            raise KeyError
        assert (BEAM.value, DEBUG.value) == (2, 0)
    assert BEAM.value == 0


def test_a_context_holds_in_its_own_thread_only() -> None:
    seen: list[int] = []
    with Context(BEAM=2):
        thread = threading.Thread(target=lambda: seen.append(BEAM.value))
        thread.start()
        thread.join()
    assert seen == [0]


def test_a_context_decorates_recursive_and_threaded_functions() -> None:
    gate = threading.Barrier(2)

    @Context(BEAM=3)
    def run(depth: int) -> list[int]:
        gate.wait(timeout=10)
        return [BEAM.value, *(run(depth - 1) if depth else [])]

    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda: results.append(run(3))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[3, 3, 3, 3]] * 2
    assert BEAM.value == 0


def test_a_context_may_be_entered_again_inside_itself() -> None:
    wide = Context(BEAM=3)
    with wide:
        with Context(BEAM=1), wide:
            assert BEAM.value == 3
        assert BEAM.value == 3
    assert BEAM.value == 0


def test_true_and_false_are_numbers() -> None:
    with Context(TRAINING=True):
        assert config.TRAINING.value == 1


def test_the_familiar_name_of_the_thread_count_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NUM_CPU_THREADS", "3")
    assert THREADS.value == 3
    with Context(NUM_CPU_THREADS=5):
        assert THREADS.value == 5


def test_an_unknown_setting_names_those_that_look_like_it() -> None:
    message = "^Context: there is no setting DEBG; did you mean DEBUG[?]$"
    with pytest.raises(ConfigError, match=message):
        Context(DEBG=1)


def test_an_unknown_setting_like_no_other_names_all() -> None:
    with pytest.raises(ConfigError, match="there is no setting QQQQ; known are DEBUG, DEV, "):
        Context(QQQQ=1)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("BEAM", -1, "BEAM: -1 does not fit; expected a whole number from 0 to 1024"),
        ("DEBUG", "2", "DEBUG: '2' does not fit; expected a whole number from 0 to 7"),
        ("DEV", 1, "DEV: 1 is no text; expected a string"),
    ],
)
def test_a_context_checks_values(name: str, value: int | str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Context(**{name: value})


def test_getenv_reads_any_variable_as_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPS", "70")
    assert getenv("STEPS", 10) == 70
    assert getenv("STEPS", "") == "70"
    assert getenv("OTHER_STEPS", -5) == -5


def test_the_key_tells_what_changes_programs_and_nothing_else() -> None:
    before = config.key()
    with Context(DEBUG=2):
        assert config.key() == before
    with Context(NOOPT=1):
        assert config.key() != before


def test_every_row_has_a_meaning_and_a_default_that_fits() -> None:
    for row in SETTINGS.values():
        assert row.meaning
        assert row.checked(row.default) == row.default


def test_the_table_in_the_documentation_is_the_one_in_the_code() -> None:
    page = Path(__file__).parents[1] / "docs" / "settings.md"
    assert settings.table() in page.read_text(), "put `python -m tools.settings` into the page"
